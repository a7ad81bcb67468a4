"""Which tasks of a collection are meant: names, patterns, and files that list a name a line.

["task12*", "splits/default/train_tasks.txt"]  ->  {task120_..., task121_..., ...}, and the listed names not there
"""

from __future__ import annotations

import difflib
import fnmatch
import logging
from collections.abc import Sequence
from pathlib import Path

from instil.errors import AbsentError, DataError
from instil.tasks.readers.source import Damage, Source
from instil.tasks.task import Task

log = logging.getLogger("instil")


def selected(
    found: list[Task], tasks: Sequence[str] | None, name: str, base: Path, skip: bool
) -> tuple[list[Task], tuple[str, ...]]:
    """The tasks that are asked for, and the names that fit none of them. See `chosen_titles`."""
    titles = [task.name.partition("/")[2] for task in found]
    wanted, absent = chosen_titles(titles, tasks, name, base, base, skip)
    return [task for task, title in zip(found, titles, strict=True) if title in wanted], absent


def chosen_titles(
    titles: Sequence[str], tasks: Sequence[str] | None, name: str, place: Path, base: Path, skip: bool
) -> tuple[set[str], tuple[str, ...]]:
    """Which titles are asked for, and which names of list files are not there.

    Args:
        titles: what there is.
        tasks: names, patterns and list files; all titles if None.
        name: of the collection, for messages.
        place: where the tasks lie.
        base: the data root.
        skip: pass over names and patterns that fit nothing, as long as others do.

    Raises:
        AbsentError: if one fits nothing, or none is there.
    """
    if tasks is None:
        return set(titles), ()
    there = set(titles)
    wanted: set[str] = set()
    absent: list[str] = []
    for asked in [tasks] if isinstance(tasks, str) else tasks:
        bare = asked.removeprefix(f"{name}/")
        listing = _list_file(asked, place, base)
        if listing is not None:
            listed = [line.strip().removeprefix(f"{name}/") for line in _lines_of(listing)]
            wanted.update(there.intersection(listed))
            absent += [title for title in listed if title not in there]
        elif matches := fnmatch.filter(titles, bare):
            wanted.update(matches)
        elif skip:
            absent.append(bare)
        else:
            close = difflib.get_close_matches(bare, titles, n=1)
            hint = (
                f"Did you mean {close[0]!r}?" if close else f"There are {len(titles)} tasks; `instil tasks list {name}`"
            )
            where = "" if place == base else f" at {place}"  # tasks of one's own and of plug-ins lie in no folder
            raise AbsentError(f"collection {name!r} has no task {asked!r}{where}", remedy=hint)
    if not wanted:
        raise AbsentError(
            f"none of the {len(absent)} listed tasks is at {place}", remedy="Give a list of tasks that are there"
        )
    if absent:
        log.info("%s: %d listed tasks are not at %s", name, len(absent), place)
    return wanted, tuple(absent)


def _list_file(asked: str, place: Path, base: Path) -> Path | None:
    """The file that an entry names, looked for from the root, the collection's folder and the folder above it."""
    if not asked.endswith((".txt", ".list")):
        return None
    for folder in (base, place, place.parent):
        if (folder / asked).is_file():
            return folder / asked
    raise AbsentError(f"no list of tasks at {base / asked}", remedy="Give its path from the data root")


def names_listed(file: str, root: Path) -> list[str]:
    """The lines of a file that lists tasks, looked for from the root, then from the working folder.

    Raises:
        AbsentError: if it is not there.
        DataError: if it is no text.
    """
    listing = _list_file(file, Path(), root)
    return [] if listing is None else [line.strip() for line in _lines_of(listing)]


def _lines_of(listing: Path) -> list[str]:
    lines = []
    for number, line in Source(listing).lines():
        if isinstance(line, Damage):
            raise DataError(f"{listing}, line {number}: {line}", remedy="Give a UTF-8 text with a task name a line")
        lines.append(line)
    return lines
