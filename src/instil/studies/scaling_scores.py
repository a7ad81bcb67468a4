"""What a study of scaling measured, as lines: one for each axis, model and part, with the curves fitted through it.

    lines_of(spec, results)[("tasks", "pocket", "held-out")]
      at     1, 4, 16, 64         scores of draw 0 and 1 at each, by task
      fits   saturating, log-linear: the one first that predicts what was left out better
      gain   last minus first, over draws, tasks and items

Held-in scores of parts of the tasks are those of the tasks that the run was trained on: other tasks at every count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from instil.studies.arms import BySeed, Units, mean, versus
from instil.studies.best import Best, ask_name, best
from instil.studies.fits import Fit, Means, fits, means_apart, means_of
from instil.studies.intervals import Interval, crossed
from instil.studies.scaling import BASE
from instil.studies.table import Results

if TYPE_CHECKING:
    from instil.studies.scaling import Spec

HELD_IN, HELD_OUT = "held-in", "held-out"


@dataclass(frozen=True)
class Line:
    """Scores of one model along one axis."""

    axis: str
    model: str
    part: str
    scores: Mapping[int, BySeed]
    """Amount -> draw -> task -> items; amounts without a run are left out."""
    asked: tuple[int, ...]
    """Every amount of the study."""
    same_tasks: bool
    """Whether every amount was asked the same tasks."""

    @cached_property
    def intervals(self) -> dict[int, Interval | None]:
        """The mean at each amount asked for."""
        return {amount: mean(self.scores.get(amount, {})) for amount in self.asked}

    @cached_property
    def fits(self) -> list[Fit]:
        """The curves through the means, the better predictor first; none where there are too few amounts."""
        means = self._means()
        return [] if means is None else fits(means)

    def _means(self) -> Means | None:
        there = {amount: scores for amount, scores in self.scores.items() if scores}
        if len(there) < 2:
            return None
        if self.same_tasks:
            by_task = {
                float(amount): {
                    draw: {task: sum(items) / len(items) for task, items in units.items()}
                    for draw, units in scores.items()
                }
                for amount, scores in there.items()
            }
            try:
                return means_of(by_task)
            except ValueError:  # failed runs left no draw whole: the means that there are, as if apart
                pass
        points = {}
        for amount in there:
            if (one := self.intervals[amount]) is not None:
                # an end that lies at 0 or 1 was cut there, so the wider side tells the error
                points[float(amount)] = (one.score, max(one.high - one.score, one.score - one.low) / 1.96)
        return means_apart(points)

    @property
    def gain(self) -> Interval | None:
        """The largest amount minus the smallest, where both were asked the same tasks."""
        return versus(self.scores.get(self.asked[0], {}), self.scores.get(self.asked[-1], {}))

    def doubling(self, start: int, stop: int) -> Interval | None:
        """What a doubling gains on average from one amount to another; nothing is fitted."""
        whole = versus(self.scores.get(start, {}), self.scores.get(stop, {}))
        if whole is None:
            return None
        times = math.log2(stop / start)
        return replace(whole, score=whole.score / times, low=whole.low / times, high=whole.high / times)

    @property
    def middle(self) -> int:
        """The amount that parts the first half of the axis from the second."""
        return self.asked[len(self.asked) // 2]

    def bend(self) -> Interval | None:
        """What a doubling gains in the second half of the axis minus what it gains in the first, item by item."""
        if len(self.asked) < 3 or not self.same_tasks:
            return None
        at = self.asked[0], self.middle, self.asked[-1]
        first, second = 1 / math.log2(at[1] / at[0]), 1 / math.log2(at[2] / at[1])
        low, middle, high = (self.scores.get(amount, {}) for amount in at)
        gaps: dict[int, dict[str, list[float]]] = {}
        for draw, units in high.items():
            for task, after in units.items():
                before, between = (side.get(draw, {}).get(task, ()) for side in (low, middle))
                if len(before) == len(between) == len(after):
                    gaps.setdefault(draw, {})[task] = [
                        second * (z - y) - first * (y - x) for x, y, z in zip(before, between, after, strict=True)
                    ]
        return crossed(gaps, least=-first - second, most=first + second) if gaps else None


Lines = Mapping[tuple[str, str, str], Line]


def lines_of(spec: Spec, results: Results) -> Lines:
    """Every axis, model and part that has groups."""
    found: dict[tuple[str, str, str], Line] = {}
    groups = {HELD_OUT: spec.held_out, HELD_IN: spec.held_in}
    for axis, amounts in spec.axes.items():
        for model in spec.models:
            for part, names in groups.items():
                if not names:
                    continue
                scores = {
                    amount: _draws(spec, results, axis, amount, model, names, trained=part == HELD_IN)
                    for amount in amounts
                }
                same = axis != "tasks" or part == HELD_OUT
                held = {amount: draws for amount, draws in scores.items() if draws}
                found[axis, model, part] = Line(axis, model, part, held, tuple(amounts), same)
    return found


def _draws(
    spec: Spec, results: Results, axis: str, amount: int, model: str, groups: list[str], *, trained: bool
) -> dict[int, Units]:
    """Draw -> task -> items of one cell of the grid."""
    found: dict[int, Units] = {}
    suites = [ask_name(suite) for suite in spec.suites]
    for run in results.runs(axis=axis, amount=amount, model=model):
        units: Units = results.units(run=run.key, suite=suites, groups=groups)
        if trained:
            names = set(results.facts(run.key).get("tasks", ()))
            units = {task: items for task, items in units.items() if task in names}
        if units:
            found[int(run.axes["draw"])] = units
    return found


def group_scores(spec: Spec, results: Results, model: str, amount: int, group: str) -> Interval | None:
    """The mean of one group of the suites at one count of tasks (of the first axis)."""
    axis = next(iter(spec.axes))
    return mean(_draws(spec, results, axis, amount, model, [group], trained=False))


def base_best(spec: Spec, results: Results, model: str, part: str) -> Best:
    """The base in the way that suits it best, suite by suite, on all tasks of the part."""
    groups = spec.held_out if part == HELD_OUT else spec.held_in
    found = [best(results, ask_name(suite), groups=groups, model=model, axis=BASE) for suite in spec.suites]
    there = [one for one in found if one.units]
    ways = ", ".join(dict.fromkeys(one.way for one in there)) or "zero_shot"
    units = {task: items for one in there for task, items in one.units.items()}
    return Best(ways, units, there[0].ways if there else {})


def sizes(spec: Spec, results: Results) -> dict[str, int]:
    """The parameters of each model, ascending; models that nothing is known of are left out."""
    found: dict[str, int] = {}
    for model in spec.models:
        for run in results.runs(model=model):
            if (count := results.facts(run.key).get("parameters")) is not None:
                found[model] = int(count)
                break
    return dict(sorted(found.items(), key=lambda item: item[1]))
