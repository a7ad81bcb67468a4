"""The base at its best: what a base can do by being asked well, so that learning the answer format is no gain in skill.

    a base, asked     zero_shot   lenient   few_shot   few_shot_lenient   rank   rank_per_token
    held-out              0.01       0.02       0.03               0.05   0.14             0.16   <- its best
    tuned, zero-shot      0.67

    format gain   0.15    the best way minus plain zero-shot: what asking well already gives
    skill gain    0.51    tuned, asked zero-shot, minus the base's best: what tuning adds to that

Every study asks each of its bases once in all of these ways (`base_asks`) and takes the best for each part (held-in,
held-out) apart, chosen after the fact: the base is favoured. A task that a way cannot ask (no options to rank) stands
in it with its zero-shot score. The tuned model is asked zero-shot, and must match exactly.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from instil.studies.grid import Ask
from instil.studies.intervals import Interval, crossed_gain
from instil.studies.table import PER_TOKEN, Filter, Results

Units = Mapping[str, Sequence[float]]
"""Task -> the scores of its items."""
Seed = TypeVar("Seed", bound=Hashable)

#: What is added to the name of a suite's ask for the ask of its other ways.
PROBES = "-probes"
#: Whether the text begins with the answer: what a base that does not stop can show.
LENIENT = "starts_with"


@dataclass(frozen=True, slots=True)
class Best:
    """What a base scores in the way that suits it best."""

    way: str
    units: Units
    ways: Mapping[str, float]
    """The mean over tasks of every way."""


@dataclass(frozen=True, slots=True)
class Gains:
    """Where a gain comes from; total = format + skill."""

    total: Interval
    """Tuned zero-shot minus base zero-shot."""
    format: Interval
    """The base's best minus base zero-shot."""
    skill: Interval
    """Tuned zero-shot minus the base's best."""


def base_asks(suite: str, *, limit: int | None = None, shots: int = 3) -> tuple[Ask, Ask]:
    """Both asks of a base: the suite as it is, and in every other way.

    Args:
        suite: a name or file.
        limit: at most so many examples a task.
        shots: worked examples of the few-shot way, where the suite brings no probes of its own (`NAME/probes`).
    """
    name = ask_name(suite)
    return (
        Ask(name, suite=suite, limit=limit),
        Ask(name + PROBES, held_out={"probes_of": suite, "shots": shots}, limit=limit),
    )


def ask_name(suite: str) -> str:
    """What a suite's ask is called: `pocket`, or `mine` for `suites/mine.yaml`."""
    file = suite.endswith((".yaml", ".yml"))
    return suite.rpartition("/")[2].rpartition(".")[0] if file else suite.replace("/", "-")


def ways(results: Results, suite: str, **query: Filter) -> dict[str, dict[str, list[float]]]:
    """The scores of every way in which a base was asked, zero-shot first.

    Args:
        results: of the study.
        suite: the name of the ask; that of its probes follows from it.
        query: which tasks, groups and axes, as `units` takes them.
    """
    zero = results.units(suite=suite, **query)
    probes = suite + PROBES
    found = {
        "zero_shot": zero,
        "lenient": results.units(suite=suite, method="generate", metric=LENIENT, **query),
        "few_shot": results.units(suite=probes, method="generate", **query),
        "few_shot_lenient": results.units(suite=probes, method="generate", metric=LENIENT, **query),
        "rank": results.units(suite=probes, method="rank", **query),
        "rank_per_token": results.units(suite=probes, method="rank", metric=PER_TOKEN, **query),
    }
    there = {way: {task: units[task] for task in zero if task in units} for way, units in found.items()}
    return {way: dict(zero) | units for way, units in there.items() if units}


def best(results: Results, suite: str, **query: Filter) -> Best:
    """The way with the highest mean over tasks; the first of equal ones, so plain zero-shot where nothing beats it."""
    found = ways(results, suite, **query)
    means = {way: _mean([_mean(items) for items in units.values()]) for way, units in found.items()}
    if not means:
        return Best("zero_shot", {}, {})
    way = max(means, key=lambda name: means[name])
    return Best(way, found[way], means)


def gains(base: Units, at_best: Units, tuned: Mapping[Seed, Units]) -> Gains:
    """The gain of tuned models over one base, in its two parts.

    Args:
        base: the base's plain zero-shot scores.
        at_best: its scores in its best way.
        tuned: of each seed, the tuned model's zero-shot scores.

    Raises:
        ValueError: if they have no task in common.
    """
    zero, best_of = (dict.fromkeys(tuned, units) for units in (base, at_best))
    return Gains(gain(zero, tuned), gain({0: base}, {0: at_best}), gain(best_of, tuned))


def gain(before: Mapping[Seed, Units], after: Mapping[Seed, Units]) -> Interval:
    """After minus before, over seeds and tasks: item by item where both were asked the same number, else by task.

    Ways of asking may hold other items of a task (few-shot asks fewer), so there tasks are paired, not items.
    """
    paired = [
        (before[seed][task], items)
        for seed in after
        for task, items in after[seed].items()
        if task in before.get(seed, {})
    ]
    if all(len(earlier) == len(later) for earlier, later in paired):
        return crossed_gain(before, after)
    found = crossed_gain(_task_means(before), _task_means(after))
    sizes = {task: len(items) for seed in after for task, items in after[seed].items() if task in before.get(seed, {})}
    return replace(found, n=sum(sizes.values()))


def _task_means(scores: Mapping[Seed, Units]) -> dict[Seed, dict[str, list[float]]]:
    return {seed: {task: [_mean(items)] for task, items in units.items()} for seed, units in scores.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
