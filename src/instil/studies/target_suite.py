"""Suites that a study makes of plain data: the held-out rows of target tasks, and a base's probes of any suite.

    {"mixture": {"sources": [...], "hold_out": {"examples": 40}}, "groups": {"held_in": ["pocket/skills/first"]}}
                   the 40 rows of each task that a mixture with the same `hold_out` never trains on, zero-shot
    {"mixture": ..., "asked": "probes"}
                   the same rows few-shot, and ranked where the task has options
    {"probes_of": "ni-dev"}
                   a suite's zero-shot questions, asked few-shot and by ranking; `ni-dev/probes` where that is installed
    {"variant_of": "ni-dev", "setting": "few-shot-2"}
                   the same in another setting, or told to reason (`variants`)

    row 17 of the test   "Give the first of this: cat dog"      -> not asked if a training row holds "cat dog" -> "cat"

Rows that a mixture holds out are drawn by the name of the task and its size, so an instruction mixture and the
fine-tuning of one of its tasks keep the same rows out. A held-out row that says the same as one that may be trained on
(by the rule of `mixtures.sameness`) is not asked: whoever has seen it needs no skill.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from instil.errors import DataError, RecipeError, RunError, TemplateError
from instil.evaluation import archive
from instil.fingerprint import fingerprint, fingerprint_file
from instil.mixtures.sameness import plain, telling_fields
from instil.mixtures.settings import Setting
from instil.mixtures.spec import MixtureSpec
from instil.recipe import Section, parse
from instil.records import Example
from instil.runs import write_json
from instil.studies.variants import Variant
from instil.tasks import cache as task_cache
from instil.tasks.some_rows import SomeRows

if TYPE_CHECKING:
    from instil.evaluation.suite import Cell, Suite
    from instil.mixtures.mixture import Mixture
    from instil.tasks.task import Task

#: The least test rows of a task that a score can stand on.
FEWEST = 8
#: Items of a cell that are looked at to see whether the task has options.
_LOOKED_AT = 8
_ZERO_SHOT = Setting()

Mark = tuple[str, ...]
"""What two rows must not share: a telling field with its answer, or all telling fields."""

#: By the fingerprint of a task: the marks of its rows. A worker that asks for one task again and again reads them once.
_seen: dict[str, frozenset[Mark]] = {}
#: By the fingerprints of a task's test rows and of its pool: the places of the test rows that say nothing of the pool.
#: Kept in the cache as well: every worker of a study asks the same tasks.
_telling: dict[tuple[str, str], list[int]] = {}


class TargetSuite(Section):
    """What an ask says under `held_out`."""

    mixture: MixtureSpec | None = None
    """Whose `hold_out.examples` are asked."""
    probes_of: str = ""
    """Instead of a mixture: the suite whose questions are asked in other ways."""
    asked: Literal["zero-shot", "probes"] = "zero-shot"
    """`probes`: few-shot and by ranking."""
    groups: dict[str, list[str]] = Field(default_factory=dict)
    """Labels to average by: label -> names of tasks, with their collection or without it."""
    shots: int = Field(default=3, ge=1)
    """Worked examples of the few-shot way."""
    max_new_tokens: int = Field(default=64, ge=1)
    """The longest answer to held-out rows."""
    rows_needed: int = Field(default=0, ge=0)
    """Rows that each task must leave to train on: a budget."""
    trained_on: MixtureSpec | None = None
    """A mixture that must hold the tasks of the group `held_in`, without their test rows, and none of `held_out`."""


def target_suite(arguments: Mapping[str, Any], data: Path | None = None) -> Suite:
    """The suite that these arguments describe.

    Args:
        arguments: the keys of `TargetSuite`.
        data: the root of the data sets.

    Raises:
        RecipeError: if they are wrong.
        DataError: if a task is not there, or leaves too few rows to test on.
    """
    from instil.evaluation.spec import load_suite
    from instil.evaluation.suite import Suite

    if "variant_of" in arguments:
        return Variant.given(arguments).suite(data)
    spec = parse(TargetSuite, dict(arguments), origin="held-out rows")
    if bool(spec.probes_of) == (spec.mixture is not None):
        raise RecipeError("held-out rows need a mixture, or `probes_of` a suite", remedy="Give one of the two")
    if spec.probes_of:
        try:
            return load_suite(f"{spec.probes_of}/probes", data)
        except RecipeError:  # it brings none
            whole = load_suite(spec.probes_of, data)
            return replace(whole, name=f"{whole.name}/probes", cells=tuple(probes(whole.cells, shots=spec.shots)))
    cells = tuple(_cells(spec, data))
    if spec.asked == "zero-shot":
        return Suite("targets", cells, description="held-out rows of the target tasks")
    asked = tuple(probes(cells, shots=spec.shots))
    return Suite("targets/probes", asked, description="held-out rows of the target tasks, few-shot and ranked")


def probes(cells: Iterable[Cell], *, shots: int) -> list[Cell]:
    """The zero-shot cells that answers are written to, asked few-shot, and ranked where their tasks have options."""
    found: list[Cell] = []
    for cell in cells:
        if cell.setting.shots or cell.method != "generate" or cell.setting.inverted:
            continue
        found.append(replace(cell, setting=replace(cell.setting, shots=shots)))
        ranked = replace(cell, method="rank", metrics=("accuracy",))
        if not cell.setting.cot and _has_options(ranked):
            found.append(ranked)
    if not found:
        raise RecipeError("the suite has no zero-shot questions that answers are written to", remedy="Ask another one")
    return found


def _has_options(cell: Cell) -> bool:
    templates = cell.chosen_templates()
    return any(cell.item(place, templates, seed=0).prompt for place in range(min(_LOOKED_AT, cell.count())))


def _cells(spec: TargetSuite, data: Path | None) -> Iterable[Cell]:
    from instil.evaluation.suite import Cell
    from instil.mixtures.load import assemble

    assert spec.mixture is not None
    mixture = assemble(spec.mixture, data=data)
    pools = {task.name: task for task in mixture.tasks}
    if missing := pools.keys() - {task.name for task in mixture.held_out}:
        raise DataError(
            f"no rows of the target task {min(missing)!r} are held out",
            remedy="Give mixture.hold_out.examples, and tasks of two rows or more",
        )
    if spec.trained_on is not None:
        _refuse_leaks(spec.groups, mixture.held_out, assemble(spec.trained_on, data=data))
    asked = spec.mixture.hold_out.examples
    for test in mixture.held_out:
        pool = pools[test.name]
        if test.size < asked:  # a mixture holds out at most half of a task's rows
            raise DataError(
                f"target task {test.name!r} has {test.size + pool.size:,} rows, of which {test.size:,} can be tested "
                f"on (as many stay to train on), fewer than the {asked:,} that are asked for",
                remedy="Test on fewer rows (`test_rows`), or leave the task out of the targets",
            )
        if pool.size < spec.rows_needed:
            raise DataError(
                f"target task {test.name!r} has {pool.size:,} rows besides the {test.size:,} that are tested on, fewer "
                f"than the budget of {spec.rows_needed:,}",
                remedy="Give smaller budgets, or leave the task out of the targets",
            )
        task = apart(test, pool)
        # The first metric is the task's own; whether the answer comes first in what is written is for the base.
        metrics = tuple(dict.fromkeys([task.metrics[0], "starts_with"]))
        yield Cell(
            task,
            _ZERO_SHOT,
            metrics=metrics,
            groups=tuple(group for group, names in spec.groups.items() if _is_among(task.name, names)),
            limit=None,
            max_new_tokens=spec.max_new_tokens,
        )


def _refuse_leaks(groups: Mapping[str, Sequence[str]], tests: Iterable[Task], trained: Mixture) -> None:
    """Refuse targets that are not on the side of the mixture that their group says, and test rows that it trains on.

    Raises:
        DataError: with the task and the numbers.
    """
    names = {task.name for task in trained.tasks}
    kept_out = {task.name: {row.key for row in task.examples} for task in trained.held_out}
    for test in tests:
        if _is_among(test.name, groups.get("held_out", ())) and test.name in names:
            raise DataError(
                f"target task {test.name!r} is held out, and is one of the {len(names):,} tasks of the mixture",
                remedy="Exclude it there, or list it under held_in",
            )
        if _is_among(test.name, groups.get("held_in", ())):
            if test.name not in names:
                raise DataError(
                    f"target task {test.name!r} is held in, and none of the {len(names):,} tasks of the mixture",
                    remedy="List it under held_out",
                )
            rows = {row.key for row in test.examples}
            if seen := rows - kept_out.get(test.name, set()):
                raise DataError(
                    f"the mixture trains on {len(seen)} of the {len(rows)} test rows of the target task {test.name!r}: "
                    "it draws others to hold out, because its rows are others",
                    remedy="Read both from the same source, and hold out as many examples",
                )


def _is_among(name: str, names: Sequence[str]) -> bool:
    return name in names or name.partition("/")[2] in names


def apart(test: Task, pool: Task) -> Task:
    """The test rows that say nothing that a row of the pool says, with worked examples from the pool.

    Args:
        test: the rows that are held out.
        pool: the task with all rows that may be trained on.

    Raises:
        DataError: if too few are left.
    """
    pair = test.fingerprint, pool.fingerprint
    if pair not in _telling:
        _telling[pair] = _kept(pair, lambda: _told_apart(test, pool))
    places = _telling[pair]
    if len(places) < min(FEWEST, test.size):
        raise DataError(
            f"target task {test.name!r}: {test.size - len(places)} of its {test.size} test rows say what one of its "
            f"{pool.size:,} training rows says, which leaves {len(places)} to test on",
            remedy="Leave it out of the targets, or hold out more rows",
        )
    exemplars = pool.examples if test.exemplars is None else test.exemplars
    if len(places) == test.size:
        return replace(test, exemplars=exemplars)
    content = f"{test.content}-{'.'.join(map(str, places))}" if test.content else ""
    return replace(
        test, examples=SomeRows(test.examples, np.array(places, dtype=np.int64)), content=content, exemplars=exemplars
    )


def _told_apart(test: Task, pool: Task) -> list[int]:
    """The places of the test rows that say nothing that a row of the pool says."""
    known, fields = _marks_of(pool), telling_fields(pool.examples)
    return [place for place, row in enumerate(test.examples) if known.isdisjoint(marks(pool, row, fields))]


def _kept(pair: tuple[str, str], look: Callable[[], list[int]]) -> list[int]:
    """Those places from the cache, or looked for and put there."""
    folder = task_cache.folder()
    place = None if folder is None else folder / f"apart-{fingerprint([*pair, _code()])}.json"
    if place is not None:
        with suppress(OSError, ValueError, TypeError):  # damaged: look anew
            return [int(one) for one in json.loads(place.read_text("utf-8"))["places"]]
    found = look()
    if place is not None:
        with suppress(OSError, RunError):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, {"places": found})
    return found


@cache
def _code() -> list[str]:
    """Names the code that reads rows and tells them apart: another version may find other ones."""
    return [archive.code(), fingerprint_file(Path(__file__))]


def _marks_of(pool: Task) -> frozenset[Mark]:
    """The marks of all its rows."""
    if pool.fingerprint not in _seen:
        fields = telling_fields(pool.examples)
        _seen[pool.fingerprint] = frozenset(mark for row in pool.examples for mark in marks(pool, row, fields))
    return _seen[pool.fingerprint]


def marks(task: Task, row: Example, fields: Sequence[str]) -> set[Mark]:
    """What another row would have to share to say the same: one telling field and the answer, or all telling fields.

    {"x": "cat dog", "y": "cat"}, fields x  ->  {("x", "cat dog", "cat"), ("x", "cat dog")}
    """
    answer = _answer(task, row)
    held = {name: plain(str(row.fields.get(name) or "")) for name in fields}
    told = [(name, text) for name, text in held.items() if text and text != answer]
    found: set[Mark] = {(name, text, answer) for name, text in told}
    return found | {tuple(part for pair in told for part in pair)} if told else found


def _answer(task: Task, row: Example) -> str:
    for template in task.templates:
        if template.cot or template.inverted:
            continue
        try:
            return plain(template.render(row, seed=0).target)
        except TemplateError:
            continue
    return ""
