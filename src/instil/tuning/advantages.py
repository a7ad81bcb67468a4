"""How much better an answer, or a token of it, was than what was expected: what policy gradients are weighted by.

    an answer of 3 tokens, reward 1 at its end, gamma = 1, lambda = 0.95, values [.2 .5 .4]
    delta       r_t + gamma V_{t+1} - V_t        [.3  -.1   .6]        the value behind the last token is 0
    advantage   delta_t + gamma lambda A_{t+1}   [.7465 .47 .6]        returns = advantage + value

    a group of 4 answers, rewards [1 0 0 1]
    GRPO        (r - mean) / (deviation + 1e-4)    [.87 -.87 -.87 .87]
    RLOO        r - mean of the others              [.67 -.67 -.67 .67]

Tensors in, tensors out. Shape legend: N answers, T tokens of the longest, padded on the right under a mask; G groups, S
answers a group.

Sources: GAE, Schulman et al. 2016, equation 16; KL penalty in the reward and whitening, Ziegler et al. 2019 and Ouyang
et al. 2022, appendix C.4; GRPO, Shao et al. 2024, section 4.1; RLOO, Ahmadian et al. 2024, section 3.3.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

#: Keeps a group whose rewards are all equal from being divided by zero; as in TRL.
_FLAT = 1e-4
#: The same where rewards or advantages of a whole batch are whitened; as in InstructGPT's descendants.
_STILL = 1e-8

Estimator = Literal["grpo", "rloo", "reinforce"]


def token_rewards(reward_N: Tensor, kl_NT: Tensor, mask_NT: Tensor, *, beta: float) -> Tensor:
    """The reward (N, T) of every token: minus beta times its KL, and the answer's own reward on its last token.

    Args:
        reward_N: of each answer.
        kl_NT: log policy - log reference of each token that was written.
        mask_NT: true where a token stands; each row has one or more.
        beta: weight of the penalty.
    """
    rewards_NT = torch.where(mask_NT, -beta * kl_NT, torch.zeros_like(kl_NT))
    last_N1 = mask_NT.sum(1, keepdim=True) - 1
    return rewards_NT.scatter_add(1, last_N1, reward_N[:, None].to(rewards_NT.dtype))


def gae(rewards_NT: Tensor, values_NT: Tensor, mask_NT: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns (N, T), both 0 where nothing stands.

    An answer's last token ends its episode: no value is expected behind it.
    """
    advantages_NT = torch.zeros_like(values_NT)
    following_N, value_after_N = values_NT.new_zeros((2, len(values_NT)))
    for place in reversed(range(values_NT.shape[1])):
        delta_N = rewards_NT[:, place] + gamma * value_after_N - values_NT[:, place]
        following_N = torch.where(mask_NT[:, place], delta_N + gamma * lam * following_N, torch.zeros_like(delta_N))
        value_after_N = torch.where(mask_NT[:, place], values_NT[:, place], torch.zeros_like(delta_N))
        advantages_NT[:, place] = following_N
    returns_NT = torch.where(mask_NT, advantages_NT + values_NT, torch.zeros_like(values_NT))
    return advantages_NT, returns_NT


def whitened(values_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Values of mean 0 and variance 1 over all that stand, 0 elsewhere; a single one is only shifted."""
    chosen = values_NT[mask_NT]
    if chosen.numel() == 0:
        return torch.zeros_like(values_NT)
    variance = chosen.var(correction=0) if chosen.numel() > 1 else torch.ones_like(chosen[0])
    white_NT = (values_NT - chosen.mean()) * torch.rsqrt(variance + _STILL)
    return torch.where(mask_NT, white_NT, torch.zeros_like(white_NT))


def scaled(values_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Values divided by the deviation of all that stand, 0 elsewhere; as they are where that is 0.

    Rewards are scaled and not whitened: the published code takes the mean off, divides, and adds the mean back (Ziegler
    et al. 2019), which gives every token a constant. Where answers differ in length that constant pays for tokens, or
    fines them, and moves the optimum.
    """
    chosen = values_NT[mask_NT]
    deviation = chosen.std(correction=0) if chosen.numel() else values_NT.new_zeros(())
    scaled_NT = values_NT / deviation if float(deviation) > _STILL else values_NT
    return torch.where(mask_NT, scaled_NT, torch.zeros_like(scaled_NT))


def group_advantages(rewards_GS: Tensor, *, estimator: Estimator, scaled: bool = True) -> Tensor:
    """The advantage (G, S) of every answer against the others of its prompt.

    Args:
        rewards_GS: of every answer.
        estimator: `grpo` subtracts the mean of the group, `rloo` that of the other answers, `reinforce` the mean over
            the whole batch, whatever the prompt.
        scaled: grpo, divide by the standard deviation within the group; reinforce, by that of the batch.
    """
    size = rewards_GS.shape[1]
    if estimator == "rloo":
        if size < 2:
            raise ValueError("rloo needs two answers of a prompt or more")
        return (rewards_GS - rewards_GS.mean(1, keepdim=True)) * (size / (size - 1))
    if estimator == "reinforce":
        centred = rewards_GS - rewards_GS.mean()
        return centred / (rewards_GS.std(correction=0) + _FLAT) if scaled else centred
    centred = rewards_GS - rewards_GS.mean(1, keepdim=True)
    if not scaled:
        return centred
    return centred / (rewards_GS.std(1, keepdim=True, correction=1 if size > 1 else 0) + _FLAT)


def running(baseline: float | None, rewards_N: Tensor, *, decay: float) -> float:
    """The next exponential average of rewards; the mean of the first ones begins it, and of none it stays.

    Args:
        baseline: the present average.
        rewards_N: of the answers that came since.
        decay: the share of the average that stays.
    """
    if not len(rewards_N):
        return 0.0 if baseline is None else baseline
    mean = float(rewards_N.double().mean())
    return mean if baseline is None else decay * baseline + (1.0 - decay) * mean


def adapted(beta: float, kl: float, *, target: float, horizon: float, episodes: int) -> float:
    """The next KL weight of an adaptive controller (Ziegler et al. 2019, section 2.2).

    beta <- beta (1 + K e),  e = clip(KL / target - 1, -0.2, 0.2),  K = episodes / horizon

    Args:
        beta: the present weight.
        kl: mean KL of an answer, in nats.
        target: what it should be.
        horizon: episodes over which beta may change by a fifth.
        episodes: answers of the rollout that `kl` is of.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return beta * (1.0 + error * episodes / horizon)
