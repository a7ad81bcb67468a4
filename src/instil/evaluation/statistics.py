"""How sure a score is: every mean comes with an interval, and says what the interval covers.

    proportion(7, 10)                            0.70 [0.40, 0.89]  n 10            Wilson
    mean([0.2, 0.9, 0.4])                        0.50 [...]         over these items
    mean_over_tasks({"a": [1, 0], "b": [1]})     0.75 [...]         over tasks like these
    paired({"a": [0, 1]}, {"a": [1, 1]})         +0.50 [...]        1 gained, 0 lost, p 1.0
    spread([0.2, 0.4, 0.5])                      median 0.40, quartiles 0.30 and 0.45, from 0.20 to 0.50

**What is covered.** A mean over tasks weighs every task alike, and has two intervals, for two questions. `low` to
`high` comes from drawing whole tasks with replacement (a bootstrap clustered by task): "how far could this be off for
other tasks of the same kind?" A task's mean holds the noise of its items already, so items are not drawn once more
within a drawn task: that would count their noise twice. `items` is for the very same tasks with other items (tasks
are strata, not drawn): narrower, and the one to read where the tasks are the benchmark. A score of one task comes from
its items alone, and says nothing about other tasks.

**How.** Percentiles of 10,000 seeded draws, expanded as Hesterberg (2015) does so that few tasks get the width that
Student's t gives them; above 2,000 values draws would only find the normal interval again, so it is computed. Over
items of fixed tasks: Student's t with Satterthwaite's degrees of freedom. Where nothing varies (all wrong, all right)
draws show no width at all: then the interval is Wilson's over the items, never a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Draws of a bootstrap. The ends of an interval move by about 1% of its width between seeds.
DRAWS = 10_000
#: Above so many values the mean is normal to within what 10,000 draws could tell.
_MANY = 2_000
#: Standard normal quantile of a two-sided 95% interval.
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval."""

    score: float
    low: float
    high: float
    n: int
    """Items behind it."""
    tasks: int = 1
    """Tasks behind it."""
    covers: Literal["items", "tasks"] = "items"
    """What the interval generalises to: more items of the same task, or more tasks of the same kind."""
    stderr: float | None = None
    """The standard error of the mean (of the tasks' means, where it covers tasks); None for a single value."""
    items: tuple[float, float] | None = None
    """The 95% interval for other items of the very same tasks, where `low` and `high` cover other tasks."""

    def row(self) -> dict[str, object]:
        """As it stands in results.json."""
        return {
            "score": self.score,
            "n": self.n,
            "ci95": [self.low, self.high],
            "tasks": self.tasks,
            "ci95_covers": self.covers,
            "stderr": self.stderr,
            "ci95_items": list(self.items or (self.low, self.high)),
        }


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same items: the second minus the first."""

    difference: Estimate
    gained: int
    """Items on which the second model scores higher."""
    lost: int
    """Items on which it scores lower."""
    p: float
    """Exact McNemar: how likely flips are to be this one-sided, or more, if each were as likely one way as the other.
    Items count as independent: with tasks that differ, read the interval."""

    def row(self) -> dict[str, object]:
        """As it stands in results.json and comparisons."""
        n = self.difference.n
        flips = {"gained": self.gained, "lost": self.lost, "gained_share": self.gained / n, "lost_share": self.lost / n}
        return self.difference.row() | flips | {"mcnemar_p": self.p}


@dataclass(frozen=True, slots=True)
class Spread:
    """How far scores lie apart, such as those of one task asked in different templates."""

    median: float
    lower_quartile: float
    upper_quartile: float
    low: float
    high: float
    n: int

    def row(self) -> dict[str, object]:
        """As it stands in results.json."""
        return {
            "median": self.median,
            "quartiles": [self.lower_quartile, self.upper_quartile],
            "range": [self.low, self.high],
            "n": self.n,
        }


def proportion(successes: float, n: int) -> Estimate:
    """A share of n items, with Wilson's score interval.

    Raises:
        ValueError: if there are no items.
    """
    if n < 1:
        raise ValueError("no items, so no proportion")
    share = successes / n
    spread = _Z * _Z / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * (share * (1 - share) / n + spread / (4 * n)) ** 0.5
    # Rounding must not push the end of the interval past a score of exactly 0 or 1.
    low, high = (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)
    error = (share * (1 - share) / (n - 1)) ** 0.5 if n > 1 else None
    return Estimate(share, max(low, 0.0), min(high, 1.0), n, stderr=error)


def mean(scores: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean of one task's scores, each from 0 to 1: Wilson's interval for right and wrong, else a bootstrap."""
    values = np.asarray(scores, dtype=np.float64)
    if not _varies(values) or bool(np.isin(values, (0.0, 1.0)).all()):
        return proportion(float(values.sum()), len(values))
    low, high = _interval(values, seed)
    return Estimate(float(values.mean()), low, high, len(values), stderr=standard_error(values))


def mean_over_tasks(scores: Mapping[str, Sequence[float]], *, seed: int = 0) -> Estimate:
    """The mean of the tasks' means; see the module for what its interval covers.

    Args:
        scores: for each task, the scores of its items, each from 0 to 1.
        seed: decides the draws.

    Raises:
        ValueError: if there is no task, or a task without items.
    """
    if not scores or not all(len(items) for items in scores.values()):
        raise ValueError("a mean over tasks needs tasks, each with items")
    items = np.concatenate([np.asarray(values, dtype=np.float64) for values in scores.values()])
    if len(scores) == 1:
        return mean(items.tolist(), seed=seed)
    means = _task_means(scores)
    centre = float(means.mean())
    if not _varies(means):
        pooled = proportion(centre * len(items), len(items))
        return replace(pooled, score=centre, tasks=len(scores))
    low, high = _interval(means, seed)
    within = _same_tasks(scores, 0.0, 1.0)
    return Estimate(centre, low, high, len(items), len(scores), "tasks", standard_error(means), within)


def paired(before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], *, seed: int = 0) -> Paired:
    """The second model minus the first on the same items: a mean over tasks of the differences.

    Pairing takes out what both models share, an item's difficulty above all, so the interval is narrower than that of
    two separate scores.

    Args:
        before: for each task, the first model's score of each item.
        after: the second model's scores of the same items, in the same order.
        seed: decides the draws.

    Raises:
        ValueError: if the two do not hold the same tasks with as many items.
    """
    if {task: len(items) for task, items in before.items()} != {task: len(items) for task, items in after.items()}:
        raise ValueError("paired scores need the same items on both sides")
    gaps = {
        task: np.asarray(after[task], dtype=np.float64) - np.asarray(items, dtype=np.float64)
        for task, items in before.items()
    }
    every = np.concatenate(list(gaps.values()))
    gained, lost = int((every > 0).sum()), int((every < 0).sum())
    means = _task_means(gaps)
    centre = float(means.mean())
    over_tasks = len(gaps) > 1 and _varies(means)
    resampled = means if over_tasks else every
    if _varies(resampled):
        low, high = _interval(resampled, seed)
    else:
        # No item differs from the others: as wide as what n items without one flip can rule out.
        width = proportion(0, len(every)).high
        low, high = max(-1.0, centre - width), min(1.0, centre + width)
    covers: Literal["items", "tasks"] = "tasks" if over_tasks else "items"
    within = _same_tasks(gaps, -1.0, 1.0) if over_tasks else None
    gap = Estimate(centre, low, high, len(every), len(gaps), covers, standard_error(resampled), within)
    return Paired(gap, gained, lost, flip_p(gained, lost))


def flip_p(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: a fair coin thrown once for every item that flipped."""
    flips = gained + lost
    if not flips:
        return 1.0
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, flips + 1)))])
    fewer = np.arange(min(gained, lost) + 1)
    chances = np.exp(logs[flips] - logs[fewer] - logs[flips - fewer] - flips * np.log(2.0))
    return float(min(1.0, 2 * chances.sum()))


def spread(scores: Sequence[float]) -> Spread:
    """Median, quartiles and ends.

    Raises:
        ValueError: if there are no scores.
    """
    if not scores:
        raise ValueError("no scores, so no spread")
    low, lower, median, upper, high = (float(value) for value in np.quantile(scores, [0, 0.25, 0.5, 0.75, 1]))
    return Spread(median, lower, upper, low, high, len(scores))


def above_chance(score: float, chance: float) -> float:
    """The score on a scale where chance is 0 and right is 1; below chance is negative.

    BIG-bench's normalised preferred metric, as Flan takes it: with 50% by chance, 55% becomes 10%, and 45% -10%.
    """
    return (score - chance) / (1 - chance) if chance < 1 else 0.0


def mean_above_chance(
    scores: Mapping[str, Sequence[float]], chances: Mapping[str, float], *, seed: int = 0
) -> Estimate:
    """The mean over tasks of what each scores above its own chance, with the intervals of `mean_over_tasks`.

    Args:
        scores: for each task, the scores of its items.
        chances: for each task, what blind choice scores.
        seed: decides the draws.
    """
    plain = mean_over_tasks(scores, seed=seed)
    scaled = {task: [above_chance(score, chances[task]) for score in items] for task, items in scores.items()}
    means = _task_means(scaled)
    centre = float(means.mean())
    if len(scores) > 1 and _varies(means):
        low, high = _interval(means, seed)
        worst, best = (float(np.mean([above_chance(end, chances[task]) for task in scores])) for end in (0.0, 1.0))
        within = _same_tasks(scaled, worst, best)
        return replace(plain, score=centre, low=low, high=high, stderr=standard_error(means), items=within)
    # One task, or tasks that all score alike: the plain interval on the other scale.
    stretch = float(np.mean([1 / (1 - chance) if chance < 1 else 0.0 for chance in chances.values()]))
    return replace(
        plain,
        score=centre,
        low=centre - (plain.score - plain.low) * stretch,
        high=centre + (plain.high - plain.score) * stretch,
        stderr=None if plain.stderr is None else plain.stderr * stretch,
        items=None,
    )


def standard_error(scores: Sequence[float] | Floats) -> float | None:
    """Of their mean: the sample's standard deviation by the root of n; None for a single score."""
    return float(np.std(scores, ddof=1) / len(scores) ** 0.5) if len(scores) > 1 else None


def _same_tasks(
    scores: Mapping[str, Sequence[float]] | Mapping[str, Floats], worst: float, best: float
) -> tuple[float, float] | None:
    """The interval of the tasks' mean for other items of the same tasks; None where no task shows how items vary.

    Args:
        scores: of the items of each task.
        worst: the least that the mean can be.
        best: the most that it can be.
    """
    sizes = np.array([len(items) for items in scores.values()], dtype=np.float64)
    known = np.array([float(np.var(items, ddof=1)) if len(items) > 1 else np.nan for items in scores.values()])
    if np.isnan(known).all() or not np.nansum(known):
        return None
    # A task of one item shows no variance: it gets that of the others.
    variances = np.where(np.isnan(known), np.nanmean(known), known) / sizes
    seen = variances[sizes > 1]
    freedom = seen.sum() ** 2 / (seen**2 / (sizes[sizes > 1] - 1)).sum()
    half = student_t(max(1, int(freedom))) * float(variances.sum()) ** 0.5 / len(sizes)
    centre = float(_task_means(scores).mean())
    return max(worst, centre - half), min(best, centre + half)


def _task_means(scores: Mapping[str, Sequence[float]] | Mapping[str, Floats]) -> Floats:
    return np.array([float(np.mean(np.asarray(values, dtype=np.float64))) for values in scores.values()])


def _varies(values: Floats) -> bool:
    return len(values) > 1 and float(np.ptp(values)) > 1e-12


def _interval(values: Floats, seed: int) -> tuple[float, float]:
    """The expanded percentile interval of the mean of independent values."""
    if len(values) > _MANY:
        centre, half = float(values.mean()), _Z * (standard_error(values) or 0.0)
        return max(centre - half, float(values.min())), min(centre + half, float(values.max()))
    tail = _expanded_tail(len(values))
    low, high = np.quantile(_drawn_means(values, seed), [tail, 1 - tail])
    return float(low), float(high)


def _drawn_means(values: Floats, seed: int, draws: int = DRAWS) -> Floats:
    """Means of `draws` samples of the same size, drawn with replacement."""
    generator = np.random.default_rng(seed)
    rows = max(1, 2_000_000 // len(values))
    means = [
        values[generator.integers(0, len(values), (min(rows, draws - start), len(values)))].mean(axis=1)
        for start in range(0, draws, rows)
    ]
    return np.concatenate(means)


@cache
def _expanded_tail(count: int) -> float:
    """The tail to cut off on each side: 2.5% for many values, less for few.

    Percentile intervals are narrow by sqrt((n - 1) / n), and use the normal where Student's t belongs: both are mended
    by cutting at Phi(-sqrt(n / (n - 1)) * t).
    """
    return NormalDist().cdf(-((count / (count - 1)) ** 0.5) * student_t(count - 1))


@cache
def student_t(freedom: float) -> float:
    """The 97.5% quantile of Student's t, from its density after t = sqrt(freedom) * tan(angle)."""
    angles = np.linspace(0.0, np.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(freedom**0.5 * np.tan(np.interp(0.95, mass / mass[-1], angles)))
