"""From the folders of runs to results: every item's score by every metric, and what is known of each run.

asks/held-out-91ab03f2/samples.jsonl  ->  Scored("tuned/pocket/seed-0", "held-out", "pocket/capital", ..., scores)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from instil.errors import RunError
from instil.studies.grid import Grid
from instil.studies.table import PER_TOKEN, Missing, Results, Scored
from instil.studies.units import Survey, Unit
from instil.tasks.metrics import accuracy


@dataclass
class Answers:
    """What evaluations answered, each read once: while others are still asked, where that is asked for."""

    _read: dict[Path, list[Scored]] = field(default_factory=dict)

    def of(self, folder: Path) -> list[Scored]:
        """The scores of an evaluation's items.

        Raises:
            RunError: if they cannot be read.
        """
        if folder not in self._read:
            self._read[folder] = read_ask(folder)
        return self._read[folder]

    def read_ahead(self, unit: Unit) -> None:
        """Read those of a unit that is done; what cannot be read is told by who needs it."""
        for ask in unit.asks.values():
            with suppress(RunError):
                self.of(unit.folder_of(ask))


def gathered(grid: Grid, found: Survey, missing: Sequence[Missing], answers: Answers | None = None) -> Results:
    """What the runs of a grid answered, in its order.

    Args:
        grid: the runs.
        found: where they lie.
        missing: those that gave nothing.
        answers: what was read of them already.

    Raises:
        RunError: if the answers of a run that is done cannot be read.
    """
    gone = {one.run for one in missing}
    scored: list[Scored] = []
    facts: dict[str, dict[str, Any]] = {}
    answers = answers or Answers()
    identities = found.by_run
    for run in grid:
        if run.key in gone:
            continue
        unit = found.units[identities[run.key]]
        facts[run.key] = {"identity": unit.identity, **unit.facts()}
        for ask in run.asks:
            scored += [replace(one, run=run.key, suite=ask.name) for one in answers.of(unit.folder_of(ask))]
    return Results(tuple(grid), scored, facts, tuple(missing))


def read_ask(folder: Path) -> list[Scored]:
    """The scores of an evaluation's items, by task, setting, method and metric; run and suite are not known here.

    Raises:
        RunError: if its samples cannot be read.
    """
    tables: dict[tuple[str, ...], _Table] = {}
    for row in _rows(folder / "samples.jsonl"):
        of = (row["task"], row["setting"], row["method"], *row["groups"])
        table = tables.setdefault(of, _Table(row))
        table.items.append(f"{row['template']}|{row['example']}")
        for metric, score in _scores(row).items():
            table.scores.setdefault(metric, []).append(float(score))
    return [scored for table in tables.values() for scored in table.scored()]


@dataclass
class _Table:
    """The items of one task in one setting by one method."""

    first: Mapping[str, Any]
    items: list[str] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)

    def scored(self) -> Iterator[Scored]:
        row, items = self.first, tuple(self.items)
        for metric, scores in self.scores.items():
            yield Scored(
                run="",
                suite="",
                task=row["task"],
                cluster=row["cluster"],
                groups=tuple(row["groups"]),
                setting=row["setting"],
                method=row["method"],
                metric=metric,
                headline=metric == row["metric"],
                items=items,
                scores=tuple(scores),
            )


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    """The scores of an item; options that were ranked by their sum are ranked per token too."""
    scores: dict[str, float] = dict(row["scores"])
    if row["method"] == "rank" and row.get("rank_by") == "sum" and "accuracy" in scores:
        best = max(row["options"], key=lambda option: option["loglikelihood"] / max(option["tokens"], 1))
        scores[PER_TOKEN] = accuracy(best["text"], row["references"])
    return scores


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise RunError(
            f"the answers in {path} cannot be read ({error})", remedy="Remove its folder and start the same again"
        ) from error
