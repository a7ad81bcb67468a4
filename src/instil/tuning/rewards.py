"""What judges answers: a number for each, from whatever source; the protocol that policies learn by.

    batch    prompts (Prompt, Prompt)    completions (" Paris", " a a a")    finished (True, False)
    reward   [0.9, 0.1]                  judged by a model, a check, a function, a service (`experiments.rewards`)

A value that is no number (NaN) or infinite says that the answer could not be judged: its group is left out of the step
and counted, never taken for a zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from instil.errors import RunError
from instil.records import Prompt


@dataclass(frozen=True, slots=True)
class RewardBatch:
    """Answers to be judged; all four have one entry for each."""

    prompts: tuple[Prompt, ...]
    completions: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    """The tokens that were written, without the end token."""
    finished: tuple[bool, ...]
    """Whether the answer ended by itself; False where a length limit cut it."""


class Reward(Protocol):
    """A source of rewards."""

    name: str
    weight: float

    def __call__(self, batch: RewardBatch) -> list[float]:
        """A number for each answer, in order."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a sum of rewards says of a batch."""

    total: list[float]
    """Of each answer: the weighted sum; NaN where any source gave no number."""
    by_source: dict[str, list[float]]
    """Of each source, before its weight."""


def judge(rewards: Sequence[Reward], batch: RewardBatch) -> Judged:
    """The weighted sum of all sources.

    Raises:
        RunError: if a source gives another number of values than there are answers.
    """
    by_source: dict[str, list[float]] = {}
    total = [0.0] * len(batch.completions)
    for reward in rewards:
        values = [float(value) for value in reward(batch)]
        if len(values) != len(total):
            raise RunError(
                f"the reward {reward.name!r} gave {len(values)} values for {len(total)} answers",
                remedy="It should give one number for each answer, in order",
            )
        by_source[reward.name] = values
        total = [
            sum_so_far + reward.weight * value if math.isfinite(value) else math.nan
            for sum_so_far, value in zip(total, values, strict=True)
        ]
    return Judged(total, by_source)
