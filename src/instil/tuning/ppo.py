"""PPO as InstructGPT did it (Ouyang et al. 2022, appendices C.4 and E.9; Ziegler et al. 2019).

    sample      answers of prompts, at temperature 1, by the policy pi as it is
    score       r(x, y) of a whole answer, by the reward model; less where it has no end token
    penalise    token t of an answer costs   beta (log pi(t) - log reference(t)),   r(x, y) comes with the last token
    expect      V(t) in front of each token, by a value network that began as the reward model
    compare     advantage A and return R of each token: GAE with gamma = 1, lambda = 0.95; A whitened
    update      policy: clipped ratio, 1 +- 0.2      value: squared error, clipped +- 0.2      and, ptx, gamma times the
                cross entropy of what it learned before, summed into the same gradient

    beta is fixed (0.02), or led to a target by Ziegler's controller. There is no discount, one inner epoch, and the
    entropy has no bonus. Rewards are divided by their deviation in the rollout, KL included, so that the optimum stays
    where it is: pi*(y|x) ~ reference(y|x) exp(r(x, y) / beta).

What differs from the paper, and why: no dropout, so that ratios are 1 at the first update; an answer without an end
token is penalised (`missing_end_penalty`), which the paper leaves open; several answers of a prompt may be sampled
(`completions_per_prompt`), which then share it in memory; policy and value network have one learning rate; rewards are
scaled where the published code whitens them and adds the mean back, which pays or fines every token.

Shape legend: N answers, T tokens of the longest, K tokens of all answers or of those in a rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from instil.tuning.advantages import adapted, gae, scaled, token_rewards, whitened
from instil.tuning.policy_losses import Normalise, importance, k3, policy_loss, value_loss
from instil.tuning.policy_method import Learned, PolicyItem, Said
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.rollouts import Rollout


class PpoSpec(PolicySpec):
    """Proximal policy optimisation with a value network."""

    completions_per_prompt: int = Field(default=1, ge=1)
    """Answers sampled to each prompt."""
    minibatches: int = Field(default=8, ge=1)
    """Optimizer steps in which a rollout is learned from once."""
    beta: float = Field(default=0.02, ge=0)
    """What a nat of KL to the reference costs; where `target_kl` is given, at first."""
    target_kl: float | None = Field(default=None, gt=0)
    """KL of an answer, in nats, that beta is led to; left out, beta stays."""
    kl_horizon: int = Field(default=10_000, ge=1)
    """Answers over which beta may change by a fifth at most."""
    clip: float = Field(default=0.2, gt=0)
    """How far the ratio to the policy that sampled may gain."""
    value_clip: float = Field(default=0.2, ge=0)
    """How far a value may gain from what it was when the answers were sampled; 0 leaves values free."""
    value_weight: float = Field(default=0.1, ge=0)
    """What the value network's loss is multiplied by before it is added."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount a token."""
    lam: float = Field(default=0.95, ge=0, le=1)
    """lambda of the advantage estimates: 1 trusts what came of an answer alone, 0 the value network alone."""
    scale_rewards: bool = True
    """Whether rewards of tokens, KL included, are divided by their deviation in the rollout."""
    whiten_advantages: bool = True
    """Whether advantages have mean 0 and variance 1 in the rollout."""
    entropy_weight: float = Field(default=0.0, ge=0)
    """What the entropy a token is multiplied by and added to what is sought."""

    @model_validator(mode="after")
    def _one_penalty(self) -> Self:
        if self.target_kl is not None and self.beta == 0:
            raise ValueError("target_kl leads beta by factors, and beta is 0: give a beta to begin with")
        return self


class Ppo:
    """PPO, as `policy` runs it.

    Args:
        spec: how.
    """

    has_values = True
    has_reference = True
    normalise: Normalise = "token"

    def __init__(self, spec: PpoSpec) -> None:
        self.spec = spec
        self.has_entropy = spec.entropy_weight > 0
        own = ("policy_loss", "value_loss", "clipped", "value_clipped", "approx_kl")
        self.figures: tuple[str, ...] = (*own, "entropy") if self.has_entropy else own

    def carried(self, before: Mapping[str, Any] | None) -> dict[str, float]:
        """beta: as the recipe says, or led by the KL of the rollout before."""
        spec = self.spec
        if before is None or spec.target_kl is None:
            return {"beta": spec.beta}
        beta, kl, answers = float(before["beta"]), before["kl"], int(before["answers"])
        if not answers or kl is None:  # there was nothing to measure, or what was measured is no number
            return {"beta": beta}
        return {"beta": adapted(beta, float(kl), target=spec.target_kl, horizon=spec.kl_horizon, episodes=answers)}

    def scores(self, rollout: Rollout) -> Tensor:
        """The reward (N,) of each whole answer, less the penalty where a length limit cut it; 0 where left out."""
        whole_N = rollout.rewards - self.spec.missing_end_penalty * ~rollout.finished
        return torch.from_numpy(np.where(rollout.judged, whole_N, 0.0))

    def learned(self, rollout: Rollout) -> Learned:
        """Score, penalise, expect, compare."""
        spec, judged_N = self.spec, rollout.judged
        mask_NT = rollout.mask & torch.from_numpy(judged_N)[:, None]
        kl_NT = rollout.padded(rollout.policy - rollout.reference)
        values_NT = rollout.padded(rollout.values)
        rewards_NT = token_rewards(self.scores(rollout), kl_NT, rollout.mask, beta=rollout.state["beta"])
        if spec.scale_rewards:
            rewards_NT = scaled(rewards_NT, mask_NT)
        advantages_NT, returns_NT = gae(rewards_NT, values_NT, mask_NT, gamma=spec.gamma, lam=spec.lam)
        if spec.whiten_advantages:
            advantages_NT = whitened(advantages_NT, mask_NT)
        stands_NT = rollout.mask
        return Learned(judged_N, advantages_NT[stands_NT].float().numpy(), returns_NT[stands_NT].float().numpy())

    def told(self, rollout: Rollout, learned: Learned) -> dict[str, float]:
        """How well values foretold what came, and what is sought: reward, less penalties, less beta times KL."""
        judged_N, beta = rollout.judged, rollout.state["beta"]
        sought_N = (self.scores(rollout).numpy() - beta * rollout.kl)[judged_N]
        of_judged_K = np.repeat(judged_N, rollout.sizes)
        values_K = rollout.values[of_judged_K].astype(np.float64)
        returns_K = learned.returns[of_judged_K].astype(np.float64)
        spread = float(returns_K.var()) if len(returns_K) else 0.0
        return {
            "beta": beta,
            "objective": float(sought_N.mean()) if len(sought_N) else float("nan"),
            "value": float(values_K.mean()) if len(values_K) else float("nan"),
            "explained_variance": 1.0 - float((returns_K - values_K).var()) / spread if spread else float("nan"),
        }

    def loss(self, said: Said, item: PolicyItem) -> Tensor:
        """Update: the clipped policy loss, the clipped value loss, the entropy where it counts."""
        spec, log_prob_K = self.spec, said.log_prob
        assert said.value is not None
        policy = policy_loss(log_prob_K, item.old, item.advantage, clip=spec.clip)
        policy_K = policy.loss
        if spec.importance_cap is not None:
            policy_K = policy_K * importance(item.old, item.sampled, cap=spec.importance_cap)
        value = value_loss(said.value, item.value, item.returns, clip=spec.value_clip)
        total = policy_K.sum() + spec.value_weight * value.loss.sum()
        figures = [policy_K.sum(), value.loss.sum(), policy.clipped.sum(), value.clipped.sum()]
        figures.append(k3(item.old, log_prob_K).sum())
        if said.entropy is not None:
            total = total - spec.entropy_weight * said.entropy.sum()
            figures.append(said.entropy.sum())
        return torch.stack([total, *(figure.detach() for figure in figures)])
