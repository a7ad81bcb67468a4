"""How sure a study's mean is: an interval for other seeds, other tasks and other items, all at once.

    crossed({0: {"rotate": [0, 1], "sort": [1, 1]},        a seed is a whole run, a task is asked in every run
             1: {"rotate": [1, 1], "sort": [1, 0]}})       0.75 [0.00, 1.00]  2 seeds, 2 tasks, 4 items
    crossed_gain(base, tuned)                              the same of tuned - base, item by item

**The model.** A run of seed s scores a task t at `mean + seed_s + task_t + rest_st`: seeds and tasks are crossed, and
the items of a task lie inside it. The noise of a task's items is in its mean already (in `task_t` what all runs share,
in `rest_st` what they do not), so items are not drawn once more within tasks: that would count their noise twice.
The variance of the mean is the sum of the three parts, each from mean squares of the table of seeds by tasks (moments
of incomplete tables, as Henderson's first method has them, where runs are missing); a part below zero is zero.
Student's t has Satterthwaite's degrees of freedom over the three mean squares.

**Why not a bootstrap.** It was compared in simulation, at 2 to 5 seeds and 6 to 40 tasks, in six mixes of variances
(tests/studies/test_intervals.py repeats a part). This interval covers the truth in 94 to 99% where seeds vary no more
than tasks; the worst was 90%, of 2 seeds that vary five times as much as 24 tasks: two seeds cannot know that.
Drawing seeds and tasks with replacement covered 73 to 96% (two seeds have three different draws), and tasks alone, with
seeds averaged out, 44 to 96%. What it costs is width where seeds are few: 2 seeds and 6 tasks give 1.4 times the width
that tasks alone would have.

**What it covers** is said beside it: one seed says nothing about other seeds (the interval is then that of
`evaluation.statistics`; of fewer than 8 tasks no narrower than Student's), one task nothing about other tasks (seeds
are crossed with its items instead).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from instil.evaluation.statistics import Estimate, mean_over_tasks, paired, proportion, student_t

Floats = NDArray[np.float64]
#: Below so many tasks of one seed, drawing them gives intervals that are too narrow.
_FEW = 8
Seed = TypeVar("Seed", bound=Hashable)
Scores = Mapping[Seed, Mapping[str, Sequence[float]]]
"""Of each seed, of each task: the scores of its items."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over runs and tasks with its 95% interval."""

    score: float
    low: float
    high: float
    n: int
    """Items behind it, each counted once however many runs were asked it."""
    tasks: int
    seeds: int
    covers: tuple[str, ...]
    """What the interval generalises to: some of seeds, tasks, items."""
    missing: int = 0
    """Pairs of seed and task that there is no score of."""
    lost_tasks: int = 0
    """Tasks that were to be asked and have no score of any seed, as far as whoever made it knows."""
    lost_seeds: int = 0
    """Seeds that have no score of any task, likewise."""

    @property
    def lacks(self) -> str:
        """What was to be in the mean and is not: `1 of 3 tasks missing`; empty where nothing is."""
        lost = (self.lost_tasks, self.tasks, "tasks"), (self.lost_seeds, self.seeds, "seeds")
        said = [f"{count} of {count + there} {kind} missing" for count, there, kind in lost if count]
        if self.missing:
            said.append(f"{self.missing} of {self.seeds * self.tasks} runs of a task are missing")
        return ", ".join(said)

    @property
    def words(self) -> str:
        """What the interval covers, as a page says it."""
        others = [kind for kind in ("seeds", "tasks", "items") if kind not in self.covers]
        counts = f"{counted(self.seeds, 'seed')}, {counted(self.tasks, 'task')}, {counted(self.n, 'item')}"
        said = f"covers other {_listed(self.covers)}" + (f", not other {_listed(others)}" if others else "")
        return f"{said} ({counts}{'; ' if self.lacks else ''}{self.lacks})"

    def row(self) -> dict[str, Any]:
        """As it stands in verdict.json and a study's tables."""
        return {
            "score": self.score,
            "ci95": [self.low, self.high],
            "n": self.n,
            "tasks": self.tasks,
            "seeds": self.seeds,
            "covers": self.words,
        }


def crossed(scores: Scores[Seed], *, least: float = 0.0, most: float = 1.0) -> Interval:
    """The mean over seeds and tasks, every run of a task weighing alike.

    Args:
        scores: of each seed, of each task: the scores of its items. Runs of a task that are not there are left out.
        least: what a score is at least; -1 for differences.
        most: what it is at most.

    Raises:
        ValueError: if there are no scores, or a task without items.
    """
    there = {seed: tasks for seed, tasks in scores.items() if tasks}
    names = list(dict.fromkeys(task for tasks in there.values() for task in tasks))
    if not names or not all(len(items) for tasks in there.values() for items in tasks.values()):
        raise ValueError("an interval needs seeds with tasks, each with items")
    n = sum(max(len(tasks.get(name, ())) for tasks in there.values()) for name in names)
    if len(there) == 1:
        return _of_one_seed(next(iter(there.values())), least)
    covers: tuple[str, ...] = ("seeds", "tasks", "items")
    if len(names) == 1:
        table, covers = _items_by_seed([tasks[names[0]] for tasks in there.values()]), ("seeds", "items")
    else:
        table = _table(there, names)
    centre = float(np.nanmean(table))
    gaps = len(there) * len(names) - sum(len(tasks) for tasks in there.values())
    if float(np.nanmax(table) - np.nanmin(table)) < 1e-12:
        low, high = _unmoved(centre, n, least)
        return Interval(centre, low, high, n, len(names), len(there), ("items",), gaps)
    half = _half_width(table)
    low, high = max(least, centre - half), min(most, centre + half)
    return Interval(centre, low, high, n, len(names), len(there), covers, gaps)


def crossed_gain(before: Scores[Seed], after: Scores[Seed]) -> Interval:
    """The second minus the first, item by item, over seeds and tasks.

    Args:
        before: of each seed, of each task: the scores of its items. A base, which has no seed, stands under each one.
        after: the same of what it is compared with; only runs of a task that both hold are compared.

    Raises:
        ValueError: if the two hold no task in common, or other items of one.
    """
    gaps: dict[Seed, dict[str, list[float]]] = {}
    for seed, tasks in after.items():
        for task, items in tasks.items():
            if task not in before.get(seed, {}):
                continue
            earlier = before[seed][task]
            if len(earlier) != len(items):
                raise ValueError(f"task {task!r} has {len(earlier)} items before and {len(items)} after")
            gaps.setdefault(seed, {})[task] = [new - old for old, new in zip(earlier, items, strict=True)]
    return crossed(gaps, least=-1.0)


def _of_one_seed(tasks: Mapping[str, Sequence[float]], least: float) -> Interval:
    """What a single run gives: the intervals that its own evaluation has, and not less than Student's of few tasks.

    Drawing tasks never leaves the range of their means: where all of three tasks happen to gain, which is so once in
    eight times without any effect, no draw would show a loss.
    """
    found: Estimate
    if least < 0:
        found = paired({task: [0.0] * len(items) for task, items in tasks.items()}, tasks).difference
    else:
        found = mean_over_tasks(tasks)
    if found.covers != "tasks":
        return Interval(found.score, found.low, found.high, found.n, found.tasks, 1, ("items",))
    low, high = found.low, found.high
    if found.tasks < _FEW:
        means = np.array([float(np.mean(items)) for items in tasks.values()])
        half = student_t(found.tasks - 1) * float(means.std(ddof=1)) / found.tasks**0.5
        low, high = max(least, min(low, found.score - half)), min(1.0, max(high, found.score + half))
    return Interval(found.score, low, high, found.n, found.tasks, 1, ("tasks", "items"))


def _table(scores: Scores[Seed], names: Sequence[str]) -> Floats:
    """Means by seed (rows) and task (columns); NaN where there is none."""
    return np.array([
        [float(np.mean(tasks[name])) if name in tasks else np.nan for name in names] for tasks in scores.values()
    ])  # fmt: skip


def _items_by_seed(scores: Sequence[Sequence[float]]) -> Floats:
    """Of one task: its items by seed; NaN where a seed was asked fewer."""
    most = max(len(items) for items in scores)
    return np.array([[*items, *[np.nan] * (most - len(items))] for items in scores], dtype=np.float64)


def _half_width(table: Floats) -> float:
    """Half of the 95% interval of the mean of a table of crossed rows and columns."""
    parts = _variance_parts(table)
    if parts is None:  # neither kind comes twice: cells are all there is
        cells = table[~np.isnan(table)]
        return float(student_t(max(1, len(cells) - 1)) * cells.std(ddof=1) / len(cells) ** 0.5)
    rows, columns, rest = parts
    variance = rows + columns + rest
    held = ~np.isnan(table)
    count, (height, width) = int(held.sum()), table.shape
    squares = (rows + rest, height - 1), (columns + rest, width - 1), (rest, max(1, count - height - width + 1))
    freedom = variance**2 / sum(square**2 / free for square, free in squares)
    # Rounded down, so that few quantiles are ever computed; 3 where the last bits say 2.9999999.
    return student_t(max(1.0, int(freedom * 10 + 1e-6) / 10)) * float(variance**0.5)


def _variance_parts(table: Floats) -> tuple[float, float, float] | None:
    """What rows, columns and the rest add to the variance of the mean; None where the table cannot tell.

    Expected sums of squares of a table with at most one value a cell, solved for the three variances. For a complete
    table these are the mean squares of the two-way analysis of variance.
    """
    held = ~np.isnan(table)
    values = np.where(held, table - np.nanmean(table), 0.0)
    in_row, in_column = held.sum(1).astype(np.float64), held.sum(0).astype(np.float64)
    count, (height, width) = float(held.sum()), table.shape
    by_row, by_column = float((in_row**2).sum()) / count, float((in_column**2).sum()) / count
    sums = np.array([
        float((values**2).sum()), float((values.sum(1) ** 2 / in_row).sum()),
        float((values.sum(0) ** 2 / in_column).sum()),
    ])  # fmt: skip
    expected = np.array([
        [count - by_row, count - by_column, count - 1],
        [count - by_row, height - by_column, height - 1],
        [width - by_row, count - by_column, width - 1],
    ])  # fmt: skip
    found, _, rank, _ = np.linalg.lstsq(expected, sums, rcond=1e-9)
    if rank < 2:
        return None
    rows, columns, rest = (max(0.0, float(variance)) for variance in found)
    if rows + columns + rest == 0:
        return None
    return rows * by_row / count, columns * by_column / count, rest / count


def _unmoved(centre: float, n: int, least: float) -> tuple[float, float]:
    """Where nothing varies, not even between seeds: as wide as what n items without an exception can rule out."""
    if least < 0:
        width = proportion(0, n).high
        return max(least, centre - width), min(-least, centre + width)
    found = proportion(centre * n, n)
    return found.low, found.high


def counted(count: int, what: str) -> str:
    """`1 task`, `1,200 items`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
