"""What a study's runs answered: one tidy table, its items, and the facts of every run.

    run                  arm    seed  suite     task            groups    setting    method    metric       score    n
    base/pocket          base   0     held-out  pocket/capital  held_out  zero-shot  generate  exact_match  0.02    20
    tuned/pocket/seed-0  tuned  0     held-out  pocket/capital  held_out  zero-shot  generate  exact_match  0.71    20

    results.units(suite="held-out", groups="held_out", arm="tuned", seed=0)   {"pocket/capital": [1.0, 0.0, ...], ...}
    results.facts("tuned/pocket/seed-0")                                      {"steps": 40, "tokens": 91_022, ...}
    results.missing                                                           [Missing("after/...", "failed", ...), ...]

A filter is a value or several; what is not filtered is taken whatever it is. Where no metric is asked for, the one that
each cell of the suite names first counts. Rank classification by the sum of an option's tokens is also scored per token
(`accuracy_per_token`): whole options favour the short ones, and neither suits every kind of task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from instil.studies.grid import Axis, Run

Filter = str | int | float | bool | Iterable[Any] | None

#: The metric of rank cells that compares options by their mean over tokens.
PER_TOKEN = "accuracy_per_token"  # noqa: S105  # no password


@dataclass(frozen=True, slots=True)
class Scored:
    """The items of one task of one ask of one run, by one metric."""

    run: str
    suite: str
    task: str
    cluster: str
    groups: tuple[str, ...]
    setting: str
    method: str
    metric: str
    headline: bool
    """Whether this is the metric that the suite's cell names first."""
    items: tuple[str, ...]
    """A key of each item, equal for every run."""
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over items."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True, slots=True)
class Missing:
    """A run that gave nothing."""

    run: str
    state: Literal["failed", "skipped"]
    """It raised, or what it starts from did."""
    reason: str


@dataclass
class Results:
    """Everything that came of a grid; a question's `analyse` reads nothing else."""

    runs_asked: Sequence[Run]
    """The runs of the grid, in its order; after reading back from files, with key and axes alone."""
    scored: Sequence[Scored]
    facts_by_run: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: Sequence[Missing] = ()
    _by_run: dict[str, list[Scored]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for one in self.scored:
            self._by_run.setdefault(one.run, []).append(one)

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of all axes."""
        return tuple(dict.fromkeys(name for run in self.runs_asked for name in run.axes))

    def values(self, axis: str, **axes: Filter) -> list[Axis]:
        """The values of an axis among the runs that fit, in the grid's order."""
        return list(dict.fromkeys(run.axes[axis] for run in self.runs(**axes) if axis in run.axes))

    def runs(self, **axes: Filter) -> list[Run]:
        """The runs with these values on their axes, in the grid's order; failed ones too."""
        return [run for run in self.runs_asked if all(_fits(run.axes.get(name), value) for name, value in axes.items())]

    def facts(self, key: str) -> Mapping[str, Any]:
        """What is known of a run besides its answers; empty where it gave nothing.

        steps, tokens, answer_tokens, seconds (of tuning), loss, skipped, tasks (the names trained on), architecture,
        parameters, curve (rows of figures asked while it learned: {"step": 40, "evaluation": {...}}).
        """
        return self.facts_by_run.get(key, {})

    def select(
        self,
        *,
        run: Filter = None,
        suite: Filter = None,
        groups: Filter = None,
        tasks: Filter = None,
        setting: Filter = None,
        method: Filter = None,
        metric: Filter = None,
        **axes: Filter,
    ) -> Iterator[Scored]:
        """What fits, in the grid's order and the suites'. Of several groups one is enough."""
        wanted = None if groups is None else {groups} if isinstance(groups, str) else set(_many(groups))
        for one in self.runs(**axes):
            if not _fits(one.key, run):
                continue
            for scored in self._by_run.get(one.key, ()):
                if (
                    (scored.headline if metric is None else _fits(scored.metric, metric))
                    and (wanted is None or wanted & set(scored.groups))
                    and _fits(scored.suite, suite)
                    and _fits(scored.task, tasks)
                    and _fits(scored.setting, setting)
                    and _fits(scored.method, method)
                ):
                    yield scored

    def units(self, **wanted: Filter) -> dict[str, list[float]]:
        """Task -> the scores of its items, of all that fits (see `select`): runs and settings one after another."""
        found: dict[str, list[float]] = {}
        for one in self.select(**wanted):
            found.setdefault(one.task, []).extend(one.scores)
        return found

    def items(self, **wanted: Filter) -> dict[str, dict[str, float]]:
        """Task -> item -> score, for comparisons item by item; where several runs fit, the last one's."""
        found: dict[str, dict[str, float]] = {}
        for one in self.select(**wanted):
            found.setdefault(one.task, {}).update(zip(one.items, one.scores, strict=True))
        return found


def _many(value: Any) -> list[Any]:
    return [value] if isinstance(value, (str, int, float, bool)) else list(value)


def _fits(value: Any, wanted: Filter) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, (str, int, float, bool)):
        return bool(value == wanted)
    return value in wanted
