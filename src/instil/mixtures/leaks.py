"""Test items that stand in what is trained on: word for word, nearly, or in part.

    item      "A train leaves Leeds at nine and reaches York at ten. How far is it if it does 40 miles an hour?"
    exact     all of it stands in a row, whatever its case, marks, white space and template
    near      a text of the row is nearly it: Jaccard similarity of 3-word runs 0.5 or more, and the same numbers
    13-gram   a run of 13 words of its own stands in the row                                       (GPT-3's rule)
    8-gram    half of its words or more stand in shared runs of 8 words of its own                 (Tulu 3's rule)

Only what is an item's own counts: parts and runs of words that many items of the same test have (its template, its
answer options, the opening of all its questions) are left aside for all but `exact`. An item of fewer than 8 words is
found where its words are a text of the row by themselves, or stand in a row with the same answer; of fewer than 4, the
row must have the same answer in any case.

    Leaks(questions)   8-word runs of the items, sorted -> which items share some with a row -> each pair is looked at

Memory: about 50 bytes a word of the test, whatever the size of what is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from instil.mixtures.questions import Question, is_common, without_common_parts
from instil.mixtures.written import RUN, Written
from instil.overlap import SHINGLE, Hashes, NearIndex, ngram_hashes, run_hashes, similarity, word_hashes, words

Kind = Literal["exact", "near", "13-gram", "8-gram"]
#: From the surest to the least sure.
KINDS: tuple[Kind, ...] = ("exact", "near", "13-gram", "8-gram")

#: Consecutive runs of 8 words that make up 13.
_STREAK = 13 - RUN + 1
#: The share of an item's words that must stand in shared runs.
COVERED = 0.5
#: The Jaccard similarity from which a text is nearly an item: one word in eleven may be another.
NEAR = 0.5
#: A text of fewer words is said by chance.
_SAYS_LITTLE = 4


@dataclass(frozen=True, slots=True)
class Leak:
    """An item that stands in a text."""

    question: int
    """Number of the item."""
    kind: Kind
    share: float
    """Of the item's own words: how many stand in the text, in runs of 8 words (1 where it is exact)."""

    @property
    def rank(self) -> tuple[int, float]:
        """What is sorted by: the surest first."""
        return KINDS.index(self.kind), -self.share


@dataclass(frozen=True, slots=True)
class _Part:
    """Eight words or more of an item that stand together."""

    runs: Hashes
    """In order."""
    own: NDArray[np.bool_]
    """Which of the runs are not common to the test's items."""
    coverable: int
    """Words that stand in runs of its own."""


@dataclass(slots=True)
class _Item:
    question: Question
    parts: list[_Part] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    """Parts of fewer than 8 words, with a blank at each end."""
    words: int = 0
    own: int = 0
    """Words that tell it apart: those of its short parts, and those in runs of its own."""


class Leaks:
    """Which items of a test stand in a text.

    Args:
        questions: the items, named by their number.
        near: whether `near` ones are looked for as well, which takes a third of the time.
    """

    def __init__(self, questions: Sequence[Question], *, near: bool = True) -> None:
        self.questions = questions
        self._items = _items(without_common_parts(questions))
        self._tiny: dict[str, list[int]] = {}
        """Items of so few words that only whole texts are compared."""
        self._widths = {RUN}
        runs, owners = self._gathered()
        order = np.argsort(runs, kind="stable")
        self._runs, self._owners = runs[order], owners[order]
        # Most runs of a text are nobody's: a table of bits says so faster than a search.
        size = max(16, int(len(runs) * 16).bit_length())
        self._mask = np.uint64((1 << size) - 1)
        self._known = np.zeros(1 << size, np.bool_)
        self._known[(runs & self._mask).astype(np.int64)] = True
        self._least = np.array([max(1, min(_STREAK, item.own // (2 * RUN))) for item in self._items], np.int64)
        self._near = NearIndex([_shingles(item.question.parts) for item in self._items], NEAR) if near else None

    def _gathered(self) -> tuple[Hashes, NDArray[np.int32]]:
        """The runs that items are found by, with the number of their item."""
        pieces: list[Hashes] = [np.empty(0, np.uint64)]
        counts: list[int] = []
        times = _Times([part.runs for item in self._items for part in item.parts])
        for number, item in enumerate(self._items):
            mine = np.empty(0, np.uint64)
            if item.parts:
                mine = np.unique(np.concatenate([part.runs[part.own] for part in item.parts]))
                if not len(mine):  # nothing of it is its own: it can be found as a whole, by its rarest run
                    mine = times.rarest(np.concatenate([part.runs for part in item.parts]))
            elif item.short:
                longest = max(item.short, key=len).split()
                if len(longest) < _SAYS_LITTLE:
                    self._tiny.setdefault(" ".join(longest), []).append(number)
                else:
                    self._widths.add(len(longest))
                    mine = run_hashes(word_hashes(longest), len(longest))
            pieces.append(mine)
            counts.append(len(mine))
        return np.concatenate(pieces), np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def find(self, texts: Sequence[Written]) -> list[list[Leak]]:
        """The items that stand in each of some texts, the surest first."""
        found = [self._standing_in(*pair) for pair in zip(texts, self._sharing(texts), strict=True)]
        for place, number in self._near_ones(texts):
            kinds = {leak.question: leak.kind for leak in found[place]}
            if kinds.get(number) != "exact":
                others = [leak for leak in found[place] if leak.question != number]
                share = self._share(self._items[number], texts[place])
                found[place] = [*others, Leak(number, "near", share)]
        return [sorted(leaks, key=lambda leak: (leak.rank, leak.question)) for leaks in found]

    def _standing_in(self, text: Written, numbers: list[int]) -> list[Leak]:
        if self._tiny:
            numbers = numbers + [number for piece in text.short for number in self._tiny.get(piece, ())]
        return [leak for number in dict.fromkeys(numbers) if (leak := self._judged(number, text)) is not None]

    def _sharing(self, texts: Sequence[Written]) -> list[list[int]]:
        """For each text: the items that share so many runs with it that it is worth looking.

        All texts are hashed as one, as a call for each text and width would cost more than the hashing.
        """
        numbers: list[list[int]] = [[] for _ in texts]
        pieces = [text.hashed for text in texts]
        words_of_all = np.concatenate([np.empty(0, np.uint64), *pieces])
        place = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        shared: dict[int, list[Hashes]] = {}
        for width in sorted(self._widths):
            if len(words_of_all) < width:
                continue
            runs = run_hashes(words_of_all, width)
            known = self._known[(runs & self._mask).astype(np.int64)]
            known &= place[: len(runs)] == place[width - 1 :]  # a run does not reach over the end of its text
            found = np.flatnonzero(known)
            if not len(found):
                continue
            where, starts = np.unique(place[found], return_index=True)
            for number, some in zip(where.tolist(), np.split(runs[found], starts[1:]), strict=True):
                shared.setdefault(number, []).append(some)
        for number, some_runs in shared.items():
            runs = np.unique(np.concatenate(some_runs))
            first, last = (np.searchsorted(self._runs, runs, side) for side in ("left", "right"))
            spans = [self._owners[start:stop] for start, stop in zip(first, last, strict=True) if stop > start]
            if spans:
                owners, counts = np.unique(np.concatenate(spans), return_counts=True)
                numbers[number] = owners[counts >= self._least[owners]].tolist()
        return numbers

    def _judged(self, number: int, text: Written) -> Leak | None:
        """How an item stands in a text; None where it does not."""
        item = self._items[number]
        whole = all(part in text.joined for part in item.short) and all(
            np.isin(part.runs, text.runs).all() for part in item.parts
        )
        if whole and (item.words >= RUN or self._is_said(item, text)):
            return Leak(number, "exact", 1.0)
        if not item.parts:
            return None
        shared = [part.own & np.isin(part.runs, text.runs) for part in item.parts]
        share = self._share(item, text)
        if max(map(_streak, shared)) >= _STREAK:
            return Leak(number, "13-gram", share)
        return Leak(number, "8-gram", share) if share >= COVERED else None

    def _share(self, item: _Item, text: Written) -> float:
        covered = sum(_covered(part.own & np.isin(part.runs, text.runs)) for part in item.parts)
        covered += sum(_told(part) for part in item.short if part in text.joined)
        return min(1.0, covered / item.own) if item.own else 0.0

    def _is_said(self, item: _Item, text: Written) -> bool:
        """Whether few words mean this item: they are a text by themselves, or have its answer beside them."""
        answer = item.question.answer
        if item.words < _SAYS_LITTLE:  # `march`, `april` stand in a row about the month before as well
            asked = all(part in text.read for part in item.short)  # not just among options that the row lists
            return asked and bool(answer) and answer == text.answer
        alone = len(item.short) == 1 and item.short[0].strip() in text.short
        return alone or (bool(answer) and answer in text.short)

    def _near_ones(self, texts: Sequence[Written]) -> Iterator[tuple[int, int]]:
        """Texts that are nearly an item, with its number."""
        if self._near is None:
            return
        places: list[int] = []
        said: list[list[str]] = []
        for place, written in enumerate(texts):
            for text in dict.fromkeys((*written.texts[:1], *written.fields)):
                if len(text) > RUN and len(tokens := words(text)) >= RUN:
                    places.append(place)
                    said.append(tokens)
        hashed = [ngram_hashes(tokens, SHINGLE) for tokens in said]
        for piece, number in self._near.candidates(hashed):
            parts = self._items[number].question.parts
            alike = similarity(hashed[piece], _shingles(parts)) >= NEAR
            if alike and _numbers(said[piece]) == _numbers(" ".join(parts).split()):
                yield places[piece], number


class _Times:
    """How often each run stands in a test."""

    def __init__(self, runs: Sequence[Hashes]) -> None:
        every = np.concatenate([np.empty(0, np.uint64), *runs])
        self._values, self._counts = np.unique(every, return_counts=True)

    def rarest(self, runs: Hashes) -> Hashes:
        """The one of some runs that stands least often, as a list of one."""
        counts = self._counts[np.searchsorted(self._values, runs)]
        return runs[[int(np.argmin(counts))]]


def _shingles(parts: Sequence[str]) -> Hashes:
    return ngram_hashes(" ".join(parts).split(), SHINGLE)


def _numbers(tokens: Sequence[str]) -> list[str]:
    return sorted(word for word in tokens if any(map(str.isdigit, word)))


def _items(questions: Sequence[Question]) -> list[_Item]:
    """The questions by their runs of words, task by task."""
    items = [_Item(question) for question in questions]
    by_task: dict[str, list[_Item]] = {}
    for item in items:
        by_task.setdefault(item.question.task, []).append(item)
    for held in by_task.values():
        runs: dict[int, list[Hashes]] = {id(item): [] for item in held}
        for item in held:
            for part in item.question.parts:
                tokens = part.split()
                item.words += len(tokens)
                if len(tokens) >= RUN:
                    runs[id(item)].append(run_hashes(word_hashes(tokens), RUN))
                elif tokens:
                    item.short.append(f" {part} ")
        common = _common([runs[id(item)] for item in held])
        for item in held:
            for part_runs in runs[id(item)]:
                own = ~np.isin(part_runs, common)
                item.parts.append(_Part(part_runs, own, _covered(own)))
            item.own = sum(part.coverable for part in item.parts) + sum(len(part.split()) for part in item.short)
    return items


def _common(runs: Sequence[Sequence[Hashes]]) -> Hashes:
    """The runs that tell no item of a task apart from the others."""
    each = [np.unique(np.concatenate(parts)) for parts in runs if parts]
    if not each:
        return np.empty(0, np.uint64)
    values, counts = np.unique(np.concatenate(each), return_counts=True)
    least = next(count for count in range(len(runs) + 2) if is_common(count, len(runs)) or count > len(runs))
    return values[counts >= least]


def _told(part: str) -> int:
    """The words of a short part, where they are enough to say something."""
    count = len(part.split())
    return count if count >= _SAYS_LITTLE else 0


def _covered(runs: NDArray[np.bool_]) -> int:
    """Words that stand in some of the marked runs of 8 words."""
    places = np.flatnonzero(runs)
    return int(np.minimum(np.diff(places), RUN).sum()) + RUN if len(places) else 0


def _streak(runs: NDArray[np.bool_]) -> int:
    """The longest row of marked runs: k of them in a row are a run of k + 7 words."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], runs, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0
