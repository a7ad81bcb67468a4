"""Rows of a mixture that repeat another row: counted by pair of tasks and, where the recipe says so, left out.

    kept     ni/task1 row 4    "Is it toxic? You are great"   -> "no"
    exact    ni/task1 row 9    "Is it toxic?  you are GREAT!" -> "No"       equal but for case, marks, white space
    near     ni/task1 row 12   "Is it toxic? You are so great" -> "no"      alike, and with the same answer
    conflict ni/task1 row 15   "Is it toxic? You are great"   -> "yes"      the same question, another answer

What is compared is what a model would read and write: instruction, input and target by the task's first template.
Near duplicates are compared by what is their own: runs of words that more than half of a task's rows have (the
phrasing of the template) are left aside, and rows of two tasks are duplicates only if the tasks ask in the same words.
A contrast pair, nearly the same input with another answer, is none, nor are two sums with other numbers. A long passage
with two questions and one answer is one: look at `instil mix duplicates` before leaving near duplicates out.

Of rows that repeat each other the first counts as kept, in the order of the mixture's sources. What is found is a pure
function of the tasks. Hashes are held in memory, texts are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from instil.errors import TemplateError
from instil.overlap import (
    SHINGLE,
    Bands,
    Clusters,
    Hashes,
    merge,
    ngram_hashes,
    normal_hash,
    normalise,
    similarity,
)

if TYPE_CHECKING:
    from instil.tasks.task import Task
    from instil.tasks.template import Rendered

Kind = Literal["exact", "near", "conflict"]

#: From this Jaccard similarity on, rows are near duplicates.
NEAR = 0.8
#: Rows that are looked at to learn how a task phrases all of them.
_SAMPLE = 64
_BATCH = 2048
#: Tasks ask alike if so much of what all their rows say is the same; one word may turn a question into another.
_ASKED_ALIKE = 0.95


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a task."""

    task: int
    """Number of the task."""
    row: int


@dataclass(frozen=True, slots=True)
class Twin:
    """A row that repeats an earlier one."""

    kind: Kind
    kept: Row
    """The first of them."""
    other: Row


@dataclass(frozen=True, slots=True)
class TaskPair:
    """How many rows of one task repeat rows of another, or of the same."""

    first: str
    second: str
    """The task whose rows come later."""
    exact: int
    near: int
    conflict: int
    sample: Twin


@dataclass(frozen=True)
class Duplicates:
    """What was found. See the module's picture."""

    tasks: Sequence[Task]
    examples: int
    refused: int
    """Rows that no template can phrase; they repeat nothing."""
    threshold: float | None
    """From which similarity rows are near duplicates; None: not looked for."""
    twins: tuple[Twin, ...]

    def count(self, kind: Kind) -> int:
        """How many rows repeat an earlier one in this way."""
        return sum(twin.kind == kind for twin in self.twins)

    def pairs(self) -> list[TaskPair]:
        """The pairs of tasks with repeated rows, those with most first."""
        counts: dict[tuple[int, int], Counter[Kind]] = {}
        samples: dict[tuple[int, int], Twin] = {}
        for twin in self.twins:
            pair = twin.kept.task, twin.other.task
            counts.setdefault(pair, Counter())[twin.kind] += 1
            # Equal texts side by side show little: a pair's sample is a near duplicate where it has one.
            if pair not in samples or (twin.kind == "near" and samples[pair].kind != "near"):
                samples[pair] = twin
        ordered = sorted(counts, key=lambda pair: (-counts[pair].total(), pair))
        return [
            TaskPair(
                self.tasks[pair[0]].name,
                self.tasks[pair[1]].name,
                counts[pair]["exact"],
                counts[pair]["near"],
                counts[pair]["conflict"],
                samples[pair],
            )
            for pair in ordered
        ]

    def repeated(self) -> dict[str, list[int]]:
        """Rows of each task that repeat an earlier row exactly or nearly, in order. Conflicts are no repetition."""
        rows: dict[str, list[int]] = {}
        for twin in self.twins:
            if twin.kind != "conflict":
                rows.setdefault(self.tasks[twin.other.task].name, []).append(twin.other.row)
        return {name: sorted(found) for name, found in rows.items()}


def find_duplicates(
    tasks: Sequence[Task], *, near: float | None = None, progress: Callable[[int], None] = lambda _: None
) -> Duplicates:
    """Look for rows that repeat another row of these tasks.

    Args:
        tasks: in the order in which their rows are kept.
        near: the Jaccard similarity (0 to 1) from which rows are near duplicates; only exact ones if None.
        progress: is told how many rows were looked at, now and then.
    """
    look = _Look(tasks, near)
    for number in range(len(tasks)):
        look.take(number, progress)
    twins = [*look.exact(), *look.conflicts(), *(look.near() if near is not None else ())]
    twins.sort(key=lambda twin: (twin.other.task, twin.other.row))
    return Duplicates(tasks, look.total, look.refused, near, tuple(twins))


@dataclass(frozen=True, slots=True)
class _Said:
    """A phrased row, normalised."""

    instruction: str
    input: str
    target: str

    def shingles(self) -> Hashes:
        """Of what is read."""
        return ngram_hashes([*self.instruction.split(), *self.input.split()], SHINGLE)


@dataclass(frozen=True, slots=True)
class _Content:
    """What is compared of a row."""

    own: Hashes
    """Shingles of instruction and input that are not its task's phrasing."""
    target: Hashes
    fixed: int
    """Hash of what may not differ at all: the instruction, and the numbers of the input."""


class _Look:
    """One look over all rows: 24 bytes a row, and 4 a row and band where near duplicates are looked for."""

    def __init__(self, tasks: Sequence[Task], near: float | None) -> None:
        self.tasks, self.threshold = tasks, near
        self.refused = 0
        self._starts = np.cumsum([0, *(len(task.examples) for task in tasks)])
        self.total = int(self._starts[-1])
        self._questions = np.zeros(self.total, np.int64)
        self._whole = np.zeros(self.total, np.int64)
        self._bands = Bands(near) if near is not None else None
        self._distinct: list[int] = []
        """Places of the rows that repeat no other exactly, as they were put into the bands."""
        self._seen: set[int] = set()
        self._common = lru_cache(maxsize=len(tasks) or 1)(self._find_common)
        self._asks_alike = lru_cache(maxsize=1 << 16)(self._tasks_alike)
        self._recent = lru_cache(maxsize=1 << 12)(self._own)

    def take(self, number: int, progress: Callable[[int], None]) -> None:
        """Hash the rows of a task."""
        task, start = self.tasks[number], int(self._starts[number])
        own: list[Hashes] = []
        for row in range(len(task.examples)):
            said = self._said(number, row)
            place = start + row
            if said is None:
                self.refused += 1
                self._questions[place] = self._whole[place] = -1 - place  # like no other
            else:
                self._questions[place] = normal_hash(said.instruction, said.input)
                self._whole[place] = normal_hash(said.instruction, said.input, said.target)
                if self._bands is not None and int(self._whole[place]) not in self._seen:
                    self._seen.add(int(self._whole[place]))
                    self._distinct.append(place)
                    own.append(self._of_its_own(number, said))
            if len(own) == _BATCH and self._bands is not None:
                self._bands.add(own)
                own = []
            if row % 256 == 255:
                progress(256)
        progress(len(task.examples) % 256)
        if self._bands is not None:
            self._bands.add(own)

    def exact(self) -> Iterator[Twin]:
        """Rows that are equal to an earlier one."""
        firsts, others = _repeats(self._whole)
        for first, other in zip(firsts, others, strict=True):
            yield Twin("exact", self._row(first), self._row(other))

    def conflicts(self) -> Iterator[Twin]:
        """Rows that ask what an earlier one asks and give another answer; each answer once."""
        _, firsts = np.unique(self._whole, return_index=True)
        places = np.sort(firsts)
        for first, other in zip(*_repeats(self._questions[places]), strict=True):
            yield Twin("conflict", self._row(int(places[first])), self._row(int(places[other])))

    def near(self) -> Iterator[Twin]:
        """Rows that are like an earlier one and have its answer."""
        if self._bands is None:
            return
        clusters = Clusters(len(self._distinct))
        merge(self._bands, clusters, lambda one, other: self._alike(self._distinct[one], self._distinct[other]))
        for other, first in clusters.others():
            yield Twin("near", self._row(self._distinct[first]), self._row(self._distinct[other]))

    def _alike(self, one: int, other: int) -> bool:
        first, second = self._row(one), self._row(other)
        if first.task != second.task and not self._asks_alike(first.task, second.task):
            return False
        one_row, other_row = self._recent(first), self._recent(second)
        return (
            one_row.fixed == other_row.fixed
            and similarity(one_row.own, other_row.own) >= self._least
            and similarity(one_row.target, other_row.target) >= self._least
        )

    @property
    def _least(self) -> float:
        return NEAR if self.threshold is None else self.threshold

    def _row(self, place: int) -> Row:
        task = int(np.searchsorted(self._starts, place, "right")) - 1
        return Row(task, place - int(self._starts[task]))

    def _said(self, number: int, row: int) -> _Said | None:
        rendered = phrase(self.tasks[number], row)
        if rendered is None:
            return None
        return _Said(_normal(rendered.instruction), normalise(rendered.input), normalise(rendered.target))

    def _own(self, row: Row) -> _Content:
        said = self._said(row.task, row.row)
        assert said is not None, "a row that was phrased once is phrased again"
        numbers = sorted(word for word in said.input.split() if any(map(str.isdigit, word)))
        return _Content(
            self._of_its_own(row.task, said),
            ngram_hashes(said.target.split(), SHINGLE),
            normal_hash(said.instruction, " ".join(numbers)),
        )

    def _of_its_own(self, number: int, said: _Said) -> Hashes:
        everything = said.shingles()
        own = np.setdiff1d(everything, self._common(number), assume_unique=True)
        return own if len(own) else everything

    def _find_common(self, number: int) -> Hashes:
        """The shingles that more than half of the task's rows have."""
        rows = np.unique(np.linspace(0, len(self.tasks[number].examples) - 1, _SAMPLE).astype(int)).tolist()
        shown = [said for row in rows if (said := self._said(number, row)) is not None]
        if len(shown) < 4:  # too few to say what is common
            return np.empty(0, np.uint64)
        found, counts = np.unique(np.concatenate([said.shingles() for said in shown]), return_counts=True)
        return found[counts * 2 > len(shown)]

    def _tasks_alike(self, one: int, other: int) -> bool:
        return similarity(self._common(one), self._common(other)) >= _ASKED_ALIKE


#: Tasks say their instruction before every row.
_normal = lru_cache(maxsize=1 << 12)(normalise)


def _repeats(hashes: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """For every value that stands earlier in the list: where it stood first, and where it stands again."""
    _, firsts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    first = firsts[inverse]
    again = np.flatnonzero(first != np.arange(len(hashes)))
    return first[again].tolist(), again.tolist()


def phrase(task: Task, row: int) -> Rendered | None:
    """A row as the first of the task's templates that can phrase it does; None where none can."""
    example = task.examples[row]
    for template in task.templates:
        try:
            return template.render(example, seed=0)
        except TemplateError:
            continue
    return None


def summary(found: Duplicates) -> Mapping[str, int | float | None]:
    """The counts alone, for machines."""
    return {
        "tasks": len(found.tasks),
        "rows": found.examples,
        "exact": found.count("exact"),
        "near": found.count("near"),
        "conflicting": found.count("conflict"),
        "not_phrased": found.refused,
        "near_from": found.threshold,
    }
