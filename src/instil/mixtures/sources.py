"""Opens one source of a recipe: the tasks of a collection that it asks for, and what a person should know of it.

    {collection: disfl_qa}                     disfl_qa/train; dev and test are left out, with a remark
    {collection: ni, clusters: ["*QA*"]}       tasks of these clusters alone
    {collection: jsonl, path: my.jsonl}        2 rows were set aside, for one line 7: ...

Mixtures and rankings are opened by it alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from instil.errors import DataError
from instil.mixtures import filters
from instil.mixtures.spec import SourceSpec
from instil.mixtures.weights import fits

if TYPE_CHECKING:
    from instil.tasks.readers.reading import Quarantined
    from instil.tasks.registry import Collection
    from instil.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Opened:
    """What a source gives."""

    tasks: tuple[Task, ...]
    quarantined: tuple[Quarantined, ...]
    """Rows of these tasks that were set aside, and those of files of which nothing is usable."""
    remarks: tuple[str, ...]


def open_source(source: SourceSpec, data: Path | None, *, skip_absent: bool = False, strict: bool = False) -> Opened:
    """The tasks that a source asks for.

    Args:
        source: a collection.
        data: the folder that collections and paths are looked for in; the current folder if None.
        skip_absent: pass over names and patterns that fit no task, as long as others do.
        strict: refuse the first row that cannot be used, instead of setting it aside.

    Raises:
        AbsentError: if its folder or a named task does not exist.
        DataError: if it cannot be read.
    """
    from instil.tasks.registry import open_collection

    hub = {
        "config": source.config,
        "split": source.split,
        "revision": source.revision,
        "where": source.where or None,
        "task_column": source.task_column,
    }
    found = open_collection(
        source.collection,
        data,
        path=source.path,
        tasks=source.tasks,
        columns=source.map,
        templates=source.templates,
        phrasings=source.phrasings,
        skip_absent=skip_absent,
        **{name: value for name, value in hub.items() if value is not None},
    )
    if strict and found.quarantined:
        file, rows = next(iter(found.quarantined.items()))
        raise DataError(f"{file}, {rows[0].where}: {rows[0].reason}", remedy="Mend it, or leave out --strict")
    remarks = list(_remarks(found))
    kept = found.tasks
    if source.tasks is None:
        kept, left = filters.without_other_splits(found.tasks)
        if left:
            remarks.append(
                f"{found.name}: {len(left):,} tasks are left out: the train split of their data set is here "
                f"({left[0].name} for one); name them in `tasks` to train on them"
            )
        if others := filters.evaluated(kept):
            remarks.append(
                f"{found.name}: no train split is here beside {others[0].name} (such tasks: {len(others):,}), "
                "so it is trained on itself; `exclude` it if you evaluate on it"
            )
    chosen = tuple(_chosen(kept, source, data))
    return Opened(chosen, tuple(_set_aside(found, chosen)), tuple(remarks))


def _chosen(tasks: Iterable[Task], source: SourceSpec, data: Path | None) -> Iterator[Task]:
    """The tasks that a source asks for by name and cluster, described by its catalogue."""
    from instil.tasks.catalogue import load_catalogue

    catalogue = None if source.catalogue is None else load_catalogue(source.catalogue, data)
    for task in tasks:
        if any(fits(task.name, pattern) for pattern in source.exclude):
            continue
        described = task if catalogue is None else catalogue.describe(task)
        if source.clusters is None or any(
            fnmatchcase(described.cluster.casefold(), pattern.casefold()) for pattern in source.clusters
        ):
            yield described


def _set_aside(found: Collection, chosen: Iterable[Task]) -> Iterator[Quarantined]:
    """The rows set aside in files that make none of the tasks that are left out."""
    used = {file.path for task in chosen for file in task.files}
    left_out = {file.path for task in found.tasks for file in task.files} - used
    for file, rows in found.quarantined.items():
        if file not in left_out:
            yield from rows


def _remarks(found: Collection) -> Iterator[str]:
    if found.absent:
        yield f"{found.name}: {len(found.absent):,} listed tasks are not there, {found.absent[0]} for one"
    if found.quarantined:
        file, rows = next(iter(found.quarantined.items()))
        count = sum(map(len, found.quarantined.values()))
        yield (
            f"{found.name}: {count:,} rows in {len(found.quarantined):,} files were set aside, for one {file}, "
            f"{rows[0].where}: {rows[0].reason}; `instil tasks check` lists all"
        )
