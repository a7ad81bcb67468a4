"""Losses of policies and of value networks: tensors in, tensors out.

    ratio        exp(log policy - log policy when the answer was sampled)      1 at the first update
    policy loss  -min(ratio x A, clip(ratio, 1 - eps, 1 + eps) x A)            no gain from leaving the trust region
    value loss   1/2 max((V - R)^2, (clip(V, V_old - eps, V_old + eps) - R)^2)

    KL of a token, from log policy - log reference of what was sampled, d:
        k1   d             unbiased, of any sign       as a penalty in the reward (InstructGPT)
        k2   d^2 / 2       its gradient is that of KL  where d is small also its size
        k3   exp(-d)-1+d   unbiased, never negative    as a term of the loss (GRPO)

    three answers of 4, 2 and 2 tokens, as weights of their tokens in a mean over the 8 tokens of the step
        token      1    1    1       every token alike (PPO, DAPO)
        sequence   2/3  4/3  4/3     every answer alike: the mean over answers of the mean over tokens (GRPO)
        constant   8/(3 x most)      sums over tokens, over answers x the longest allowed (Dr. GRPO)

Everything is per token, (K,), or per whole answer, (N,): who sums and divides is the recipe. Shape legend: N answers, K
tokens of answers.

Sources: PPO, Schulman et al. 2017, equation 7; value clipping, Ouyang et al. 2022, appendix C.4; k1, k2, k3, Schulman
2020, "Approximating KL divergence"; GRPO, Shao et al. 2024, equation 3; Dr. GRPO, Liu et al. 2025; DAPO, Yu et al.
2025; truncated importance weights, Yao et al. 2025.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Normalise = Literal["token", "sequence", "constant"]
"""What a mean over answers is over; see above."""


class Clipped(NamedTuple):
    """A loss with the share of it that clipping acts on."""

    loss: Tensor
    clipped: Tensor
    """1 where the clipped term is the larger one, so that no gradient flows."""


def policy_loss(
    log_prob_K: Tensor, old_log_prob_K: Tensor, advantage_K: Tensor, *, clip: float, clip_above: float | None = None
) -> Clipped:
    """PPO's clipped surrogate, negated so that less is better.

    Args:
        log_prob_K: of the sampled tokens under the policy as it is.
        old_log_prob_K: as it was when they were sampled.
        advantage_K: of each token.
        clip: epsilon below 1.
        clip_above: epsilon above 1, where it is another (Yu et al. 2025).
    """
    ratio_K = torch.exp(log_prob_K - old_log_prob_K)
    held_K = ratio_K.clamp(1.0 - clip, 1.0 + (clip if clip_above is None else clip_above))
    free_K, bound_K = -ratio_K * advantage_K, -held_K * advantage_K
    return Clipped(torch.maximum(free_K, bound_K), (bound_K > free_K).to(log_prob_K.dtype))


def value_loss(value_K: Tensor, old_value_K: Tensor, return_K: Tensor, *, clip: float) -> Clipped:
    """Half the squared error of a value, the larger of that of the value and of the value held near the old one.

    Args:
        value_K: as the network says now.
        old_value_K: as it said when the answers were sampled.
        return_K: what came of it.
        clip: how far from the old one a value may gain; 0 leaves values free.
    """
    free_K = (value_K - return_K).square()
    if not clip:
        return Clipped(0.5 * free_K, torch.zeros_like(free_K))
    held_K = old_value_K + (value_K - old_value_K).clamp(-clip, clip)
    bound_K = (held_K - return_K).square()
    return Clipped(0.5 * torch.maximum(free_K, bound_K), (bound_K > free_K).to(value_K.dtype))


def k1(log_prob_K: Tensor, reference_K: Tensor) -> Tensor:
    """The plain estimate of KL(policy, reference) from tokens that the policy sampled."""
    return log_prob_K - reference_K


def k2(log_prob_K: Tensor, reference_K: Tensor) -> Tensor:
    """The estimate whose gradient, on what the policy sampled, is that of KL(policy, reference)."""
    return 0.5 * (log_prob_K - reference_K).square()


def k3(log_prob_K: Tensor, reference_K: Tensor) -> Tensor:
    """The estimate that is never negative and varies less. Its gradient, which is GRPO's, is that of KL(reference,
    policy) where the policy samples: as a term of a loss it has another optimum than a penalty in the reward.
    """
    lower_K = reference_K - log_prob_K
    return torch.exp(lower_K) - 1.0 - lower_K


def answer_weights(length_N: Tensor, *, how: Normalise, most: int) -> Tensor:
    """What the tokens of each answer weigh in a mean over all tokens (N,).

    Args:
        length_N: tokens of each answer of the step.
        how: what counts alike.
        most: the longest answer that is allowed.
    """
    length_N = length_N.double()
    if how == "token":
        return torch.ones_like(length_N)
    whole, answers = length_N.sum(), max(1, len(length_N))
    if how == "sequence":
        return whole / (answers * length_N)
    return torch.full_like(length_N, float(whole) / (answers * most))


def importance(log_prob: Tensor, sampled: Tensor, *, cap: float) -> Tensor:
    """What corrects for a sampler that is not quite the policy: policy over sampler, cut at `cap`.

    Where the sampler's log-probability is not known (NaN), 1.

    Args:
        log_prob: of tokens or answers, as the training forward had them when they were sampled.
        sampled: as the sampler had them.
        cap: the most.
    """
    return torch.exp(log_prob - sampled).clamp(max=cap).nan_to_num(nan=1.0)
