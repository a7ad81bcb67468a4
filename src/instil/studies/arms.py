"""The arms of a study, seed by seed, as intervals take them and as figures show them.

    by_seed(results, arm="both", suite="pocket")    {0: {"pocket/skills/sort": [1.0, 0.0, ...]}, 1: ...}
    versus(direct, both)                            +12.0 points [4.1, 19.8], or None where runs are missing
    told(mean(both))                                "61% [52, 70]"

A run that failed leaves its seed out; what has no run at all has no number, and figures say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from instil.studies.best import gain
from instil.studies.intervals import Interval, crossed
from instil.studies.table import Filter, Results
from instil.studies.verdict import in_points

if TYPE_CHECKING:
    from instil.reports.study_report import Cell, Point, RowMark

Units = Mapping[str, Sequence[float]]
BySeed = Mapping[int, Units]
"""Seed -> task -> the scores of its items."""


def by_seed(results: Results, **wanted: Filter) -> dict[int, Units]:
    """What the runs of an arm scored, by their axis `seed`; seeds without a score are left out."""
    found: dict[int, Units] = {}
    for seed in results.values("seed"):
        if isinstance(seed, int) and (units := results.units(seed=seed, **wanted)):
            found[seed] = units
    return found


def for_each(seeds: Sequence[int], units: Units) -> dict[int, Units]:
    """A base, which has no seed, under the seed of each run that it is compared with."""
    return dict.fromkeys(seeds, units) if units else {}


def mean(scores: BySeed) -> Interval | None:
    """The mean over seeds and tasks; None where there is no run."""
    return crossed(scores) if any(scores.values()) else None


def versus(before: BySeed, after: BySeed) -> Interval | None:
    """After minus before on the tasks and seeds of both; None where they have none in common."""
    if not any(set(units) & set(before.get(seed, ())) for seed, units in after.items()):
        return None
    return gain(before, after)


def told(score: Interval | None) -> str:
    """A score as a sentence has it."""
    if score is None:
        return "not known"
    return f"{100 * score.score:.0f}% [{100 * score.low:.0f}, {100 * score.high:.0f}]"


def told_gain(difference: Interval | None) -> str:
    """A difference as a sentence has it."""
    return "not known" if difference is None else in_points(difference)


def percents(score: Interval | None) -> list[Cell]:
    """Score, low and high of a table's row, in percent."""
    if score is None:
        return [None, None, None]
    return [round(100 * value, 1) for value in (score.score, score.low, score.high)]


def mark(series: str, score: Interval | None, name: str) -> RowMark:
    """A value of an interval plot."""
    if score is None:
        return {"series": series, "value": None, "low": None, "high": None, "name": name}
    return {"series": series, "value": score.score, "low": score.low, "high": score.high, "name": name}


def point(x: float | str, score: Interval | None) -> Point:
    """A value of a line."""
    if score is None:
        return {"x": x, "y": None}
    return {"x": x, "y": score.score, "low": score.low, "high": score.high, "n": score.n}
