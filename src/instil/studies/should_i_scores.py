"""The four arms of `should-i` as numbers: who gains at which budget, and what that comes to.

    arms = FourArms(results, "pocket", "held_out", seeds=[0, 1], budgets=["0", "16", "64", "all"])
    arms.gain(["16"])         tuned + fine-tuning minus base + fine-tuning, on 16 rows
    arms.gain()               the same over all budgets, none at all (the base at its best) included
    arms.alone("16")          tuned without fine-tuning minus the base fine-tuned on 16 rows
    arms.wins_alone()         "64": up to there its mean is above zero; surely=True: its whole interval
    arms.tasks()              {"pocket/unseen-skills/with_and": +0.21 [0.09, 0.33], ...}, over all budgets

Arms are compared item by item: every arm answers the same test rows of a task. Over several budgets an item counts with
the mean of its differences, and a task of a seed that lacks a run at one of them is left out there. Over several models
likewise. So it is with means: at a budget both arms are averaged over the tasks and seeds that both have, and what is
missing is said beside them (`Interval.lacks`). The base stands at its best: without fine-tuning in the way of asking
that suits it, and at a budget where fine-tuning leaves it below that, as if it were not fine-tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from instil.studies.arms import by_seed
from instil.studies.best import Best, Units, best
from instil.studies.intervals import Interval, crossed
from instil.studies.table import Results

#: The budget of an arm that is not fine-tuned.
NONE = "0"
TARGETS = "targets"
ARMS = ("base", "tuned")

Gaps = dict[int, dict[str, list[float]]]
"""Of each seed, of each task: the differences of its items."""


@dataclass(frozen=True)
class FourArms:
    """One model on the target tasks of one part."""

    results: Results
    model: str
    part: str
    """`held_in` or `held_out`."""
    seeds: Sequence[int]
    budgets: Sequence[str]
    """All of them, `0` first."""

    @cached_property
    def base(self) -> Best:
        """The base as it is, in its best way."""
        return best(self.results, TARGETS, model=self.model, groups=self.part, arm="base", budget=NONE)

    @cached_property
    def zero_shot(self) -> Units:
        """The base as it is, asked plainly."""
        return self.results.units(suite=TARGETS, model=self.model, groups=self.part, arm="base", budget=NONE)

    def scores(self, arm: str, budget: str) -> dict[int, Units]:
        """An arm at a budget, by seed and task; the base never below its best without fine-tuning."""
        if arm == "base" and budget == NONE:
            return dict.fromkeys(self.seeds, self.base.units) if self.base.units else {}
        found = self._asked(arm, budget)
        if arm == "base" and self.is_not_helped(budget):
            return {seed: {task: self.base.units[task] for task in units} for seed, units in found.items()}
        return found

    def is_not_helped(self, budget: str) -> bool:
        """Whether so many rows leave the base below its best without fine-tuning, on the tasks and seeds it has.

        Whoever has rows need not use them. And a base that so few steps do not even teach the form of an answer would
        make a gain of any tuning that does, with wrong answers too.
        """
        trained = self._asked("base", budget)
        untrained = {seed: {task: self.base.units.get(task, ()) for task in units} for seed, units in trained.items()}
        if not trained or not all(items for units in untrained.values() for items in units.values()):
            return False
        return crossed(untrained).score > crossed(trained).score

    def _asked(self, arm: str, budget: str) -> dict[int, Units]:
        found = by_seed(self.results, suite=TARGETS, model=self.model, groups=self.part, arm=arm, budget=budget)
        return {seed: units for seed, units in found.items() if seed in self.seeds}

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """Every task that any run of an arm was asked."""
        found = [units for arm in ARMS for one in self.budgets for units in self._asked(arm, one).values()]
        return tuple(dict.fromkeys(task for units in (self.base.units, *found) for task in units))

    def compared(self, arm: str, budget: str) -> dict[int, Units]:
        """An arm at a budget, of the tasks and seeds that the other arm has there too; all where that has none."""
        own, other = self.scores(arm, budget), self.scores("tuned" if arm == "base" else "base", budget)
        if not other:
            return own
        shared = {
            seed: {task: items for task, items in units.items() if task in other.get(seed, {})}
            for seed, units in own.items()
        }
        return {seed: units for seed, units in shared.items() if units}

    def mean(self, arm: str, budget: str) -> Interval | None:
        """The mean score of an arm over what both arms have; None where it has no run."""
        scores = self.compared(arm, budget)
        if not scores:
            return None
        if arm == "base" and budget == NONE:  # which is one model, whatever the seeds of the others
            one = {task: items for units in scores.values() for task, items in units.items()}
            return self.whole(crossed({0: one}), seeds=1)
        return self.whole(crossed(scores))

    def whole(self, found: Interval, *, seeds: int | None = None) -> Interval:
        """The same, knowing how many tasks and seeds were to be in it."""
        return of_all(found, tasks=len(self.asked), seeds=len(self.seeds) if seeds is None else seeds)

    def gaps(self, budgets: Sequence[str] | None = None) -> Gaps:
        """Tuned minus base, item by item, at some budgets together; all by default."""
        each = [differences(self.scores("base", one), self.scores("tuned", one)) for one in budgets or self.budgets]
        return averaged(each)

    def gain(self, budgets: Sequence[str] | None = None) -> Interval | None:
        """The mean of those differences."""
        found = interval(self.gaps(budgets))
        return None if found is None else self.whole(found)

    def format_gaps(self) -> Gaps:
        """The base in its best way minus the base asked plainly: what asking well gives, without any training."""
        return differences({0: self.zero_shot}, {0: self.base.units})

    def alone(self, budget: str) -> Interval | None:
        """The tuned model without any fine-tuning minus the base fine-tuned on so many rows."""
        found = interval(differences(self.scores("base", budget), self.scores("tuned", NONE)))
        return None if found is None else self.whole(found)

    def tasks(self, budgets: Sequence[str] | None = None) -> dict[str, Interval]:
        """The gain of each task by itself."""
        return of_each_task(self.gaps(budgets))

    def wins_alone(self, *, surely: bool = False) -> str | None:
        """The largest budget up to which the fine-tuned base stays below the tuned model as it is; None if at none.

        Args:
            surely: whether the whole interval has to lie above zero, or the mean alone.
        """
        last = None
        for budget in self.budgets[1:]:
            found = self.alone(budget)
            if found is None or (found.low if surely else found.score) <= 0:
                break
            last = budget
        return last

    def over_base(self, arm: str) -> Interval | None:
        """An arm or a control as it is, minus the base at its best."""
        return interval(differences(self.scores("base", NONE), self.scores(arm, NONE)))


def of_models(arms: Sequence[FourArms], budgets: Sequence[str] | None = None) -> Gaps:
    """The differences of several models on one part, together: items count with their mean over models."""
    return averaged([one.gaps(budgets) for one in arms])


def gain_of_models(arms: Sequence[FourArms], budgets: Sequence[str] | None = None) -> Interval | None:
    """Their mean; None where there is none."""
    found = interval(of_models(arms, budgets))
    tasks = {task for one in arms for task in one.asked}
    return None if found is None else of_all(found, tasks=len(tasks), seeds=len(arms[0].seeds))


def of_all(found: Interval, *, tasks: int, seeds: int) -> Interval:
    """An interval that knows how many tasks and seeds were to be in it."""
    return replace(found, lost_tasks=max(0, tasks - found.tasks), lost_seeds=max(0, seeds - found.seeds))


def interval(gaps: Gaps) -> Interval | None:
    """The mean difference; None where there is none."""
    return crossed(gaps, least=-1.0) if any(gaps.values()) else None


def of_each_task(gaps: Gaps) -> dict[str, Interval]:
    """The mean difference of each task."""
    names = dict.fromkeys(name for tasks in gaps.values() for name in tasks)
    each = {name: {seed: {name: tasks[name]} for seed, tasks in gaps.items() if name in tasks} for name in names}
    return {name: crossed(one, least=-1.0) for name, one in each.items()}


def differences(before: Mapping[int, Units], after: Mapping[int, Units]) -> Gaps:
    """After minus before, item by item, of the tasks and seeds that both have.

    Where a way of asking has fewer items (a few-shot prompt that could not be made), the task's means are compared.
    """
    found: Gaps = {}
    for seed, units in after.items():
        for task, later in units.items():
            earlier = before.get(seed, {}).get(task)
            if not earlier:
                continue
            if len(earlier) == len(later):
                gaps = [new - old for old, new in zip(earlier, later, strict=True)]
            else:
                gaps = [sum(later) / len(later) - sum(earlier) / len(earlier)] * len(later)
            found.setdefault(seed, {})[task] = gaps
    return found


def averaged(each: Sequence[Gaps]) -> Gaps:
    """The mean of several tables of differences, item by item, of the tasks and seeds that stand in all of them.

    [{0: {"a": [1, 0]}}, {0: {"a": [0, 0], "b": [1]}}]  ->  {0: {"a": [0.5, 0]}}
    """
    first, *others = each
    found: Gaps = {}
    for seed, tasks in first.items():
        for task, items in tasks.items():
            columns = [items, *(other.get(seed, {}).get(task, []) for other in others)]
            if all(len(column) == len(items) for column in columns):
                found.setdefault(seed, {})[task] = [sum(values) / len(columns) for values in zip(*columns, strict=True)]
    return found


def sides(tasks: Mapping[str, Interval]) -> dict[str, int]:
    """How many tasks gained, lost, or cannot be told from no change: by the 95% interval of each."""
    gained = sum(one.low > 0 for one in tasks.values())
    lost = sum(one.high < 0 for one in tasks.values())
    return {"gained": gained, "lost": lost, "unchanged": len(tasks) - gained - lost}
