"""Rejection-sampling fine-tuning (expert iteration): sample answers, keep the best, learn them; again.

    prompt A    8 answers, rewards .1 .9 .4 ...      keep: 1 -> the answer with .9
    prompt B    8 answers, all below least_reward    nothing is kept
    loss        the cross entropy a token of what was kept; then the next rollout, by the policy that learned it

With inner_epochs 1 and one minibatch every step samples anew; more of both learn longer from each rollout. No reference
holds the policy: keeping the best of n answers moves it by log n - (n - 1) / n nats a round at most (`best_of_n`).

Sources: STaR, Zelikman et al. 2022; ReST, Gulcehre et al. 2023; RAFT, Dong et al. 2023; Llama 2, section 3.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from instil.tuning.policy_losses import Normalise
from instil.tuning.policy_method import Learned, PolicyItem, Said
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.rollouts import Rollout


class RejectionSpec(PolicySpec):
    """Fine-tuning on the best of one's own answers."""

    keep: int = Field(default=1, ge=1)
    """Answers of each prompt that are learned; of equal ones the first."""
    least_reward: float | None = None
    """What an answer must be worth, at least, to be learned."""

    @model_validator(mode="after")
    def _no_ratios(self) -> Self:
        if self.importance_cap is not None:
            raise ValueError("importance_cap bounds ratios, and rejection has none: leave it out")
        return self


class Rejection:
    """This method, as `policy` runs it.

    Args:
        spec: how.
    """

    has_values = False
    has_reference = False
    has_entropy = False
    figures: tuple[str, ...] = ()
    normalise: Normalise = "token"

    def __init__(self, spec: RejectionSpec) -> None:
        self.spec = spec

    def carried(self, before: Mapping[str, Any] | None) -> dict[str, float]:
        """Nothing."""
        return {}

    def learned(self, rollout: Rollout) -> Learned:
        """The best answers of each prompt."""
        spec = self.spec
        scores_N = np.where(rollout.judged, rollout.rewards - spec.missing_end_penalty * ~rollout.finished, -np.inf)
        scores_GS = scores_N.reshape(len(rollout.groups), rollout.samples)
        order_GS = np.argsort(-scores_GS, axis=1, kind="stable")
        taken_GS = np.zeros(scores_GS.shape, dtype=bool)
        np.put_along_axis(taken_GS, order_GS[:, : spec.keep], True, axis=1)
        taken_GS &= np.isfinite(scores_GS)
        if spec.least_reward is not None:
            taken_GS &= scores_GS >= spec.least_reward
        nothing = np.zeros(0, dtype=np.float32)
        return Learned(taken_GS.reshape(-1), nothing, nothing)

    def told(self, rollout: Rollout, learned: Learned) -> dict[str, float]:
        """How many answers are learned, and what they are worth."""
        kept = rollout.rewards[learned.taken]
        return {"kept": float(len(kept)), "kept_reward": float(kept.mean()) if len(kept) else float("nan")}

    def loss(self, said: Said, item: PolicyItem) -> Tensor:
        """The summed cross entropy."""
        return torch.stack([-said.log_prob.sum()])
