"""Which tasks are trained on, and which are kept out so that they can be asked about afterwards.

    hold_out: {clusters: [entailment], siblings: flan-v1}
    held in   sentiment, translation, ...        entailment    held out
                                                 paraphrase    neither: too close to entailment to be trained on

    subset: {tasks: 64, draw: 1}    64 tasks at random; within the 128 of the same draw

    hold_out: {examples: 50}         50 rows of each task are asked while training, and never trained on

    limit: 16, limit_draw: 3         16 of its other rows at random; among the 64 of the same draw

Every pattern must fit something: a misspelt one would train on what it was to keep out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from instil.errors import DataError, RecipeError
from instil.fingerprint import fingerprint, keyed_int
from instil.mixtures.shares import permuted
from instil.mixtures.spec import HoldOut, Subset
from instil.mixtures.weights import fits
from instil.tasks.some_rows import SomeRows

if TYPE_CHECKING:
    from instil.tasks.task import Task

#: Sets of sibling rules by name: which clusters are too close to one that is held out.
SIBLINGS: Mapping[str, Mapping[str, Sequence[str]]] = {
    # FLAN v1 (Wei et al. 2022, arXiv:2109.01652, and google-research/FLAN, flan/task_splits.py), by the names of its
    # clusters; entailment and paraphrase also by what Natural Instructions and P3 call them.
    "flan-v1": {
        "*entailment*": ("*paraphras*",),
        "*natural language inference*": ("*paraphras*",),
        "nli": ("*paraphras*",),
        "*paraphras*": ("*entailment*", "*natural language inference*", "nli"),
        "reading_comprehension": ("read_comp_and_common_sense",),
        "common_sense": ("read_comp_and_common_sense",),
        "read_comp_and_common_sense": ("reading_comprehension", "common_sense"),
    },
}


def split(tasks: Sequence[Task], design: HoldOut, *, skip_absent: bool = False) -> tuple[list[Task], list[Task]]:
    """The tasks that are held in and those that are held out; siblings of a held-out cluster are neither.

    Args:
        tasks: all there are.
        design: what is held out.
        skip_absent: pass over names and patterns that fit nothing.

    Raises:
        DataError: if a name or pattern fits no task or cluster.
    """
    clusters = sorted({task.cluster for task in tasks})
    names = {name for task in tasks for name in (task.name, task.name.partition("/")[2])}
    globs = [pattern for pattern in design.tasks if pattern not in names]
    for pattern in () if skip_absent else globs:
        if not any(fits(task.name, pattern) for task in tasks):
            raise DataError(f"hold_out.tasks: {pattern!r} fits none of the {len(tasks):,} tasks", remedy="Correct it")
    listed = set(design.tasks)
    for pattern in () if skip_absent else design.clusters:
        if not any(_of(cluster, pattern) for cluster in clusters):
            named = ", ".join(clusters[:12]) + (", ..." if len(clusters) > 12 else "")
            raise DataError(f"hold_out.clusters: {pattern!r} fits no cluster", remedy=f"There are {named}")
    held = {cluster for cluster in clusters if any(_of(cluster, pattern) for pattern in design.clusters)}
    near = _siblings(held, clusters, design) - held
    out = [
        task
        for task in tasks
        if task.cluster in held
        or not listed.isdisjoint((task.name, task.name.partition("/")[2]))
        or any(fits(task.name, pattern) for pattern in globs)
    ]
    gone = {task.name for task in out}
    return [task for task in tasks if task.name not in gone and task.cluster not in near], out


def _siblings(held: Iterable[str], clusters: Sequence[str], design: HoldOut) -> set[str]:
    """The clusters that the rules put beside the held-out ones."""
    rules = SIBLINGS[design.siblings] if isinstance(design.siblings, str) else design.siblings
    patterns = [sibling for name, listed in rules.items() if any(_of(one, name) for one in held) for sibling in listed]
    return {cluster for cluster in clusters if any(_of(cluster, pattern) for pattern in patterns)}


def _of(cluster: str, pattern: str) -> bool:
    return fnmatchcase(cluster.casefold(), pattern.casefold())


def subset(tasks: Sequence[Task], design: Subset) -> list[Task]:
    """A random part of the tasks, in their order. A task's place in the draw depends on its name alone, so tasks that
    are added change no more than they must.

    Args:
        tasks: all there are.
        design: how many, which draw, and whether every cluster gives its share.

    Raises:
        RecipeError: if there are fewer.
    """
    if design.tasks > len(tasks):
        raise RecipeError(
            f"subset: {design.tasks:,} tasks are asked for, and there are {len(tasks):,}", remedy="Ask for fewer"
        )
    dice = {task.name: keyed_int("subset", design.draw, task.name, n=1 << 64) for task in tasks}
    turn: dict[str, Fraction] = dict.fromkeys(dice, Fraction(0))
    if design.stratified:
        # The k-th task of a cluster of n comes when (2k + 1) / 2n of all have come: every beginning keeps the shares.
        sizes, seen = Counter(task.cluster for task in tasks), defaultdict[str, int](int)
        for task in sorted(tasks, key=lambda task: (dice[task.name], task.name)):
            turn[task.name] = Fraction(2 * seen[task.cluster] + 1, 2 * sizes[task.cluster])
            seen[task.cluster] += 1
    ordered = sorted(tasks, key=lambda task: (turn[task.name], dice[task.name], task.name))
    chosen = {task.name for task in ordered[: design.tasks]}
    return [task for task in tasks if task.name in chosen]


def without_examples(task: Task, count: int) -> tuple[Task, Task]:
    """A task without some of its examples, and those as a task of the same name: what validation asks.

    Args:
        task: with two examples or more.
        count: how many are held out; at most half are.
    """
    count = min(count, task.size // 2)
    key = keyed_int("held-out examples", task.name, n=1 << 64)
    drawn = np.array(sorted(permuted(place, task.size, key=key) for place in range(count)), dtype=np.int64)
    rest = np.delete(np.arange(task.size, dtype=np.int64), drawn)
    # a task whose rows are named by its file's content says here which of them it has
    kept, out = (fingerprint([task.content, side, count]) if task.content else "" for side in ("kept", "held out"))
    return (
        replace(task, examples=SomeRows(task.examples, rest), content=kept),
        replace(task, examples=SomeRows(task.examples, drawn), content=out),
    )


def some_examples(task: Task, count: int, *, draw: int | None = None) -> Task:
    """A task with at most so many of its examples: what a budget of labelled rows leaves.

    Args:
        task: whose examples.
        count: how many.
        draw: the keyed draw that they come from, in which fewer are among more; None takes the first.
    """
    if task.size <= count:
        return task
    if draw is None:
        return replace(task, examples=SomeRows(task.examples, range(count)))
    key = keyed_int("examples", draw, task.name, n=1 << 64)
    drawn = np.array(sorted(permuted(place, task.size, key=key) for place in range(count)), dtype=np.int64)
    content = fingerprint([task.content, "drawn", count, draw]) if task.content else ""
    return replace(task, examples=SomeRows(task.examples, drawn), content=content)


def with_lists(design: HoldOut, tasks: Iterable[Task], data: Path | None, *, skip_absent: bool = False) -> HoldOut:
    """The design with the names in its list files in place of the files; names that are not among the tasks fall away.

    Args:
        design: whose `tasks` may name files that list a name a line.
        tasks: all there are.
        data: the folder that paths are looked for in, before the working folder.
        skip_absent: pass over files that list none of the tasks.

    Raises:
        DataError: if a file is not there, or lists none of the tasks.
    """
    from instil.tasks.selection import names_listed

    there = {task.name for task in tasks}
    short = {name.partition("/")[2]: name for name in there}
    named: list[str] = []
    for entry in design.tasks:
        if not entry.endswith((".txt", ".list")):
            named.append(entry)
            continue
        listed = [short.get(name, name) for name in names_listed(entry, data or Path())]
        found = [name for name in listed if name in there]
        if not found and not skip_absent:
            raise DataError(f"hold_out.tasks: {entry} lists none of the {len(there):,} tasks", remedy="Correct it")
        named += found
    return design.model_copy(update={"tasks": named})
