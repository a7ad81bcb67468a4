"""Tasks without the rows that hold an item of a test, where a recipe says `decontaminate: [bbh, mmlu]`.

    task cot/ecqa, 7,110 rows, row 12 is mmlu item 4   ->   cot/ecqa, 7,109 rows, another fingerprint

What goes and why is listed (`Mixture.dropped`; `instil mix build` writes it as decontaminated.json). It is a pure
function of the tasks and the suites, so it is looked for once and kept beside the collections (`INSTIL_CACHE`), by the
fingerprints of both and of the code that looks. The rows of a pool of worked examples go as well.

Suites lie above mixtures, so they are found by the entry-point group `instil.questions`: a callable of the suite's name
or file and the data root that gives `questions.Asked`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instil import overlap
from instil.errors import RecipeError
from instil.fingerprint import fingerprint, fingerprint_file
from instil.mixtures import leaks as leaks_module
from instil.mixtures import questions as questions_module
from instil.mixtures import written as written_module
from instil.mixtures.dropped import bar
from instil.mixtures.leaks import Leaks
from instil.mixtures.leaky import leaky_rows
from instil.mixtures.questions import Asked
from instil.mixtures.written import EVERY_ROW, row_of
from instil.runs import write_json
from instil.tasks.cache import code, folder
from instil.tasks.some_rows import SomeRows

if TYPE_CHECKING:
    from instil.mixtures.mixture import Mixture
    from instil.records import Example
    from instil.tasks.task import Task

GROUP = "instil.questions"
#: The file that lists what was left out.
DECONTAMINATED = "decontaminated.json"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that holds an item of a test, and is left out for it."""

    task: str
    row: int
    """Its number; rows of the pool of worked examples come after the examples, and -1 is what stands in every row."""
    example: str
    """Its key."""
    suite: str
    item_task: str
    item: str
    """Key of the item that it holds, the surest one of several."""
    kind: str
    share: float


def drop_report(mixture: Mixture) -> dict[str, Any]:
    """What was left out of a mixture, and for which items, as plain data."""
    return {"suites": mixture.spec.decontaminate, "rows": [asdict(one) for one in mixture.dropped]}


def decontaminate(
    tasks: Sequence[Task], suites: Sequence[str], data: Path | None
) -> tuple[list[Task], list[str], list[Dropped]]:
    """The tasks without rows that hold an item of some suites, remarks that say how many these were, and their list.

    A task of which nothing is left goes as a whole. What stands in every row of a task (a definition) cannot be left
    out: where that holds an item, a remark says so.
    """
    dropped = [one for suite in suites for one in _drop_list(tasks, suite, data)]
    rows: dict[str, set[int]] = {}
    for one in dropped:
        if one.row != EVERY_ROW:
            rows.setdefault(one.task, set()).add(one.row)
    left = [_without(task, sorted(rows.get(task.name, ()))) for task in tasks]
    gone = [task.name for task in left if not len(task.examples)]
    everywhere = sorted({one.task for one in dropped if one.row == EVERY_ROW})
    total, count = sum(len(task.examples) for task in tasks), sum(map(len, rows.values()))
    remarks = [f"{count:,} of {total:,} rows hold an item of {', '.join(suites)} and were left out"] if count else []
    if gone:
        remarks.append(f"{len(gone):,} tasks hold nothing but items of {', '.join(suites)}, {gone[0]} for one")
    if everywhere:
        remarks.append(
            f"what {everywhere[0]} says above every row holds an item of {', '.join(suites)}, and stays; `exclude` it"
        )
    return [task for task in left if len(task.examples)], remarks, dropped


def _drop_list(tasks: Sequence[Task], suite: str, data: Path | None) -> list[Dropped]:
    """The rows that hold an item of a suite: looked for, or as they were found the last time, task by task."""
    asked = _asked(suite, data)
    places = [_place(task, asked) for task in tasks]
    found = [_kept(place) for place in places]
    left = [number for number, rows in enumerate(found) if rows is None]
    if left:
        leaks = Leaks(asked.questions)
        with bar(sum(len(tasks[number].examples) for number in left), f"looking for items of {asked.name}") as progress:
            for number in left:
                found[number] = made = list(_found(tasks[number], asked, leaks, progress))
                _keep(places[number], made)
    return [one for rows in found for one in rows or ()]


def _kept(place: Path | None) -> list[Dropped] | None:
    if place is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: look anew
            return [Dropped(**row) for row in json.loads(place.read_text("utf-8"))["rows"]]
    return None


def _keep(place: Path | None, rows: Sequence[Dropped]) -> None:
    if place is not None:
        with suppress(OSError):  # what cannot be kept is looked for again
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, {"rows": [asdict(one) for one in rows]})


def _found(task: Task, asked: Asked, leaks: Leaks, progress: Callable[[int], None]) -> Iterator[Dropped]:
    for found in leaky_rows([task], leaks, progress=progress):
        leak = found.leaks[0]
        item = asked.questions[leak.question]
        key, _, _ = row_of(task, found.row)
        yield Dropped(task.name, found.row, key, asked.name, item.task, item.example, leak.kind, round(leak.share, 3))


def _asked(suite: str, data: Path | None) -> Asked:
    for point in entry_points(group=GROUP):
        ask: Callable[[str, Path | None], Asked] = point.load()
        return ask(suite, data)
    raise RecipeError(
        f"nothing installed knows suites (the group {GROUP} is empty)",
        remedy="Install instil again: pip install instil",
    )


def _place(task: Task, asked: Asked) -> Path | None:
    """Where the rows of a task that hold items are kept: parts of a mixture share what was found of the whole."""
    kept = folder()
    if kept is None:
        return None
    mark = fingerprint([_code(), asked.fingerprint, task.name, task.fingerprint])
    return kept / "decontaminated" / f"{mark}.json"


@cache
def _code() -> list[str]:
    """Names the code that reads, phrases and looks: another version may find other rows."""
    modules: tuple[Any, ...] = (overlap, leaks_module, questions_module, written_module)
    return [*(fingerprint_file(Path(str(module.__file__))) for module in modules), code(), version("rensa")]


def _without(task: Task, rows: Sequence[int]) -> Task:
    if not rows:
        return task
    own = len(task.examples)
    content = fingerprint(["decontaminated", task.fingerprint, list(rows)])
    pool = task.exemplars
    if pool is not None:
        pool = _rest(pool, [row - own for row in rows if row >= own], content)
    return replace(
        task, examples=_rest(task.examples, [row for row in rows if row < own], ""), exemplars=pool, content=content
    )


def _rest(rows: Sequence[Example], gone: Sequence[int], content: str) -> Sequence[Example]:
    if not gone:
        return rows
    return SomeRows(rows, np.setdiff1d(np.arange(len(rows)), np.asarray(gone, np.int64)), content)
