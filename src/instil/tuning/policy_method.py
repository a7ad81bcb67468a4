"""What tells one way of learning from sampled answers from another; all else they share.

    carried(before)          what holds for the next rollout: beta, a baseline
    learned(rollout)         which answers are learned from, and how much better each token was than expected
    told(rollout, learned)   figures beside those that every rollout has
    loss(said, item)         the summed loss of answers in a rectangle, and the sums of `figures`

`ppo`, `group_policy` and `rejection` each give one; `policy` runs them.

Shape legend: N answers, K tokens of all answers, one answer behind the other, or of those in a rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from instil.models.tensors import PackTensors
from instil.tuning.policy_losses import Normalise
from instil.tuning.rollouts import Rollout


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What a rollout teaches."""

    taken: NDArray[np.bool_]
    """(N,): the answers that are learned from."""
    advantages: NDArray[np.float32]
    """(K,)."""
    returns: NDArray[np.float32]
    """(K,): what values should be; empty where there are none."""


@dataclass(frozen=True, slots=True, eq=False)
class PolicyItem:
    """Answers in one rectangle, on the device of their model, with what the rollout knows of each token."""

    pack: PackTensors
    places: Tensor
    """(N, L): where in the rectangle's targets the tokens of each answer are; K where it has no more."""
    weight: Tensor
    """(N,): what the tokens of each answer weigh."""
    token_weight: Tensor
    """(K,): the same of each token."""
    old: Tensor
    """(K,): log-probabilities when they were sampled, by the forward pass that trains."""
    sampled: Tensor
    """(K,): as the sampler had them; NaN where they are not known."""
    reference: Tensor
    """(K,)."""
    advantage: Tensor
    """(K,)."""
    returns: Tensor
    """(K,); empty where there are no values."""
    value: Tensor
    """(K,): as they were when the answers were sampled."""
    tokens: int
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What the models say of the answers in a rectangle now, with gradients."""

    log_prob: Tensor
    """(K,)."""
    entropy: Tensor | None = None
    """(K,)."""
    value: Tensor | None = None
    """(K,)."""


class PolicyMethod(Protocol):
    """A way of learning from sampled answers."""

    figures: tuple[str, ...]
    """What `loss` gives behind the loss itself."""
    has_values: bool
    """Whether a value network is trained."""
    has_reference: bool
    """Whether it needs the reference's log-probabilities."""
    has_entropy: bool
    """Whether the entropy is part of its loss."""
    normalise: Normalise
    """What the mean over answers is over."""

    def carried(self, before: Mapping[str, Any] | None) -> dict[str, float]:
        """What holds for a rollout, from what the one before came to; None before the first."""

    def learned(self, rollout: Rollout) -> Learned:
        """What a rollout teaches: a pure function."""

    def told(self, rollout: Rollout, learned: Learned) -> dict[str, float]:
        """Figures of a rollout that other methods do not have."""

    def loss(self, said: Said, item: PolicyItem) -> Tensor:
        """The summed loss of a rectangle's answers, then the sums of `figures`."""
