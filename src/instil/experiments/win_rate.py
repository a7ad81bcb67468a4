"""Two models' answers to the same prompts: how often the one is better, and by how much.

    start's rewards     0.1   0.4   0.2   0.9
    the other's         0.5   0.4   0.1   1.2
    win rate            1     0.5   0     1          0.625 of 4, ties half
    gain               +0.4   0    -0.1  +0.3       +0.15

Both are paired by prompt, whose difficulty is the same for both; what is NaN on either side is left out. The interval
of the win rate is Wilson's, or an expanded bootstrap over prompts where there are ties; that of a mean reward, which
has no bounds, is Student's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instil.evaluation.statistics import mean, student_t
from instil.reports.report import Score

#: Of the same answer, a reward model that is asked in another batch may give another last digit.
_ALIKE = 1e-5


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95% interval; NaN where nothing was measured."""

    value: float
    low: float
    high: float
    n: int

    @property
    def score(self) -> Score:
        """As it stands in report.json."""
        return {"score": self.value, "n": self.n, "ci95": [self.low, self.high]}


NOTHING = Interval(math.nan, math.nan, math.nan, 0)


def win_rate(start: Sequence[float], now: Sequence[float]) -> Interval:
    """The share of prompts whose answer has the higher reward now; ties count half.

    Args:
        start: the reward of the start's answer to each prompt.
        now: the other model's, in the same order.
    """
    pairs = _known(start, now)
    if not pairs:
        return NOTHING
    found = mean([0.5 if math.isclose(a, b, rel_tol=_ALIKE, abs_tol=_ALIKE) else float(b > a) for a, b in pairs])
    return Interval(found.score, found.low, found.high, found.n)


def gain(start: Sequence[float], now: Sequence[float]) -> Interval:
    """The mean of the paired differences."""
    return average([b - a for a, b in _known(start, now)])


def average(values: Sequence[float]) -> Interval:
    """The mean of values without bounds; a single one has no interval but all numbers."""
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not len(known):
        return NOTHING
    centre = float(known.mean())
    if len(known) == 1:
        return Interval(centre, -math.inf, math.inf, 1)
    half = student_t(len(known) - 1) * float(known.std(ddof=1)) / len(known) ** 0.5
    return Interval(centre, centre - half, centre + half, len(known))


def _known(start: Sequence[float], now: Sequence[float]) -> list[tuple[float, float]]:
    return [(a, b) for a, b in zip(start, now, strict=True) if math.isfinite(a) and math.isfinite(b)]
