"""The runs of a study, and what each is asked.

    base/pocket             asked as it is
    tuned/pocket/seed-0     pocket + a recipe                            its model stays: something begins from it
    after/pocket/seed-0     starts from the model of tuned/pocket/seed-0

    axes    {"arm": "after", "model": "pocket", "seed": 0}      what varies; a column each in the table of results
    asks    [Ask("held-out", suite="pocket", limit=20)]         one evaluation each

A grid is plain data: who makes it opens nothing, and who carries it out (`engine`) knows nothing of the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from instil.errors import RecipeError

Axis = str | int | float | bool
Keep = Literal["model", "results"]

#: Columns of the tables, which no axis may be called.
RESERVED = (
    "run", "suite", "task", "tasks", "cluster", "groups", "setting", "method", "metric", "headline", "item", "score",
    "n",
)  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """One evaluation of a run's model."""

    name: str
    """What it is called in the column `suite` of the results."""
    suite: str = ""
    """The name of a suite, or a suite file."""
    held_out: Mapping[str, Any] | None = None
    """Instead of `suite`: the test rows of a task that the mixture holds out, as arguments of `target_suite`."""
    limit: int | None = None
    """At most so many examples a task, besides the suite's own limits."""

    def __post_init__(self) -> None:
        if bool(self.suite) == (self.held_out is not None):
            raise RecipeError(f"ask {self.name!r} needs either a suite or held-out rows", remedy="Give one of the two")


@dataclass(frozen=True)
class Run:
    """A cell of the grid: a model, how it is tuned, and what it is asked."""

    key: str
    """Unique in the grid, and readable: `tuned/pocket/seed-0`."""
    axes: Mapping[str, Axis]
    """What this run is, as columns of the table."""
    recipe: Mapping[str, Any] | None = None
    """A recipe as plain data, without `evaluation`; None where the model is asked as it is."""
    model: str = ""
    """The model that is asked, where there is no recipe: a folder, an installed name or a hub name."""
    start: str = ""
    """The key of the run whose model this one begins from; the recipe then names none."""
    asks: tuple[Ask, ...] = ()
    """What its model is asked."""
    keep: Keep = "results"
    """What stays on the disk: the model too, or what it answered alone."""


@dataclass(frozen=True)
class Grid:
    """Runs in the order in which tables list them.

    Raises:
        RecipeError: if two runs have one key, a start is not there or goes round in a circle, or an axis has the name
            of a column of the tables.
    """

    runs: tuple[Run, ...]
    _by_key: dict[str, Run] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(self.runs))
        for run in self.runs:
            if run.key in self._by_key:
                raise RecipeError(f"the study has two runs {run.key!r}", remedy="Give every run a key of its own")
            self._by_key[run.key] = run
            self._check(run)
        for run in self.runs:
            if run.start and run.start not in self._by_key:
                raise RecipeError(
                    f"run {run.key!r} starts from {run.start!r}, which is no run of the study",
                    remedy="Name the key of another run",
                )
            if run.start and self._by_key[run.start].recipe is None:
                raise RecipeError(
                    f"run {run.key!r} starts from {run.start!r}, which tunes nothing", remedy="Name that model instead"
                )
            self.line(run.key)

    def _check(self, run: Run) -> None:
        if taken := sorted(set(run.axes) & set(RESERVED)):
            raise RecipeError(
                f"run {run.key!r} has an axis {taken[0]!r}, which is a column of every table", remedy="Rename the axis"
            )
        names = [ask.name for ask in run.asks]
        if twice := next((name for name in names if names.count(name) > 1), ""):
            raise RecipeError(f"run {run.key!r} is asked {twice!r} twice", remedy="Give every ask a name of its own")
        if run.recipe is None and not (run.model or run.start):
            raise RecipeError(f"run {run.key!r} names no model", remedy="Give it a recipe, a model or a start")

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __getitem__(self, key: str) -> Run:
        return self._by_key[key]

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of all axes, in the order of their first run."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.axes))

    def line(self, key: str) -> list[Run]:
        """A run and what it starts from, the first of them first.

        Raises:
            RecipeError: if that goes round in a circle.
        """
        found: list[Run] = []
        while key:
            if any(run.key == key for run in found):
                raise RecipeError(f"run {key!r} starts from itself, by way of others", remedy="Break the circle")
            found.append(self._by_key[key])
            key = self._by_key[key].start
            if key and key not in self._by_key:
                break  # told by whoever checks that run
        return found[::-1]

    def in_order(self) -> Sequence[Run]:
        """Every run after the one that it starts from, else as they are listed."""
        seen: dict[str, Run] = {}
        for run in self.runs:
            for one in self.line(run.key):
                seen.setdefault(one.key, one)
        return list(seen.values())
