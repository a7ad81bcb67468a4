"""Answers written token by token, many rows at once: rows that ended make room for those that wait.

    prompts   A A A B C            three samples of A, each with a seed of its own
    read      A B C                equal prompts once, copied to a row for each answer
    written   A1 ......|E....      E waits; it is read when a quarter of the rows ended, and goes on in their places
              A2 ..|F........
              A3 .....|.           a row whose place nobody takes leaves the batch

What an answer is does not depend on the rows beside it: each row sees itself alone, and its draws come from its own
seed. So rows may come and go, and what comes out is what one prompt alone gives.

Shape legend: B rows, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from instil.models.completion import Completion, Reason, Writing
from instil.models.sampling import Sampling, next_tokens, token_log_probs

#: Rows that ended are dropped, or their places taken, once they are this share of a batch.
MOVE_AT = 0.25


class Batch(Protocol):
    """Rows that were read."""

    logits: Tensor
    """(B, V): what comes next."""


R = TypeVar("R", bound=Batch)
R_contra = TypeVar("R_contra", bound=Batch, contravariant=True)


class Rows(Protocol[R]):
    """What reads prompts and goes on from there."""

    def step(self, read: R, tokens: Tensor) -> None:
        """Feed one token to every row."""

    def chosen(self, read: R, index_B: Tensor, more: int) -> R:
        """A copy with the chosen rows, each as often as it is named, and room for `more` tokens."""


@dataclass(slots=True, eq=False)
class Answer:
    """What is written after one prompt, so far."""

    budget: int
    """The most tokens."""
    seed: int
    ids: list[int] = field(default_factory=list)
    reason: Reason | None = None
    """What ended it; None while it goes on."""
    end: int | None = None
    """The end token that ended it."""
    log_probs: list[float] = field(default_factory=list)
    """Of each token that was drawn, the end token included; empty where nobody asks."""


@dataclass(slots=True, eq=False)
class Ask:
    """A prompt and the answers that are written to it."""

    row: list[int]
    answers: list[Answer]


def asks_of(
    rows: Sequence[list[int]],
    budgets: Sequence[int],
    seeds: Sequence[int] | None,
    most: Callable[[int], int],
) -> tuple[list[Ask], list[Answer]]:
    """Each prompt once, with its answers; and the answer to every prompt in the order given.

    Args:
        rows: the prompts.
        budgets: the most tokens of each answer.
        seeds: a number for each answer; None where equal prompts have equal answers, which are written once.
        most: how many answers to a row (by its number) may stand together; more make further asks.
    """
    asks: list[Ask] = []
    open_asks: dict[tuple[int, ...], Ask] = {}
    answers: list[Answer] = []
    for number, row in enumerate(rows):
        ask = open_asks.get(tuple(row))
        if ask is None or (seeds is not None and len(ask.answers) >= most(number)):
            ask = open_asks[tuple(row)] = Ask(row, [])
            asks.append(ask)
        if seeds is not None or not ask.answers:
            budget = budgets[number]
            seed = seeds[number] if seeds is not None else 0
            ask.answers.append(Answer(budget, seed, reason=None if budget > 0 else "length"))
        answers.append(ask.answers[-1])
    return asks, answers


def unfinished(asks: Sequence[Ask]) -> list[Ask]:
    """The prompts whose answers are not written yet, with those answers alone; they begin anew."""
    fresh = []
    for ask in asks:
        answers = [answer for answer in ask.answers if answer.reason is None]
        for answer in answers:
            answer.ids.clear()
            answer.log_probs.clear()
        if answers:
            fresh.append(Ask(ask.row, answers))
    return fresh


class Told:
    """Tells how many prompts were finished, as their answers end.

    Args:
        answers: the answer to every prompt; some may be the same.
        on_done: called with the number of prompts that were just finished.
    """

    def __init__(self, answers: Sequence[Answer], on_done: Callable[[int], None] | None) -> None:
        self.on_done = on_done
        self.prompts = Counter(map(id, answers))
        for answer in {id(answer): answer for answer in answers if answer.reason}.values():
            self.ended(answer)

    def ended(self, answer: Answer) -> None:
        """Take note of an answer that ended."""
        if self.on_done:
            self.on_done(self.prompts[id(answer)])


class Waiting(Protocol[R_contra]):
    """Prompts that are read when rows of a batch have ended."""

    def join(self, read: R_contra, places: list[int]) -> list[Answer]:
        """Read some of them into rows of a batch, at most as many as there are places; their answers, in order."""

    def __bool__(self) -> bool:
        """Whether any are left."""


class Decoder:
    """How the answers of one call are written.

    Args:
        writing: takes in tokens.
        sampling: how tokens are drawn; None takes the likeliest.
        stop: strings that end an answer.
        on_end: called with every answer that ended.
        log_probs: whether the log-probability of every token that is drawn is kept: under the temperature it is drawn
            at, before top k and top p.
    """

    def __init__(
        self,
        writing: Writing,
        sampling: Sampling | None,
        stop: Sequence[str],
        on_end: Callable[[Answer], None],
        *,
        log_probs: bool = False,
    ) -> None:
        self.writing = writing
        self.sampling = sampling
        self.stop = tuple(stop)
        self.on_end = on_end
        self.log_probs = log_probs

    def write(self, reader: Rows[R], read: R, answers: Sequence[Answer], waiting: Waiting[R] | None = None) -> None:
        """Write answers until each has ended; those that wait and find no place are left.

        Args:
            reader: goes on from what was read.
            read: a row for each answer.
            answers: their number and order are those of the rows.
            waiting: what may take the places of rows that ended.
        """
        rows: list[Answer | None] = list(answers)
        while True:
            tokens = self._take(read.logits, rows)
            kept = [place for place, answer in enumerate(rows) if answer is not None]
            if not kept:
                return
            free = [place for place, answer in enumerate(rows) if answer is None]
            moving = len(free) >= MOVE_AT * len(rows)
            if moving and not waiting:
                index_B = torch.tensor(kept, device=tokens.device)
                rows = [rows[place] for place in kept]
                read, tokens = reader.chosen(read, index_B, left(rows)), tokens.index_select(0, index_B)
            reader.step(read, tokens)
            if moving and waiting:
                for place, answer in zip(free, waiting.join(read, free), strict=False):
                    rows[place] = answer

    def _take(self, logits_BV: Tensor, rows: list[Answer | None]) -> Tensor:
        """The next token (B,) of every row, added to its answer; answers that ended leave `rows`."""
        if self.sampling is None:
            tokens = next_tokens(logits_BV)
        else:
            seeds = [answer.seed if answer else 0 for answer in rows]
            tokens = next_tokens(logits_BV, self.sampling, seeds, [len(answer.ids) if answer else 0 for answer in rows])
        said = token_log_probs(logits_BV, tokens, self.sampling).tolist() if self.log_probs else []
        for place, (answer, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
            if answer is None:
                continue
            if said:
                answer.log_probs.append(said[place])
            answer.reason = self.writing.take(answer.ids, token, self.stop, answer.budget)
            if answer.reason:
                answer.end = token if answer.reason == "end" else None
                self.on_end(answer)
                rows[place] = None
        return tokens


def completion_of(answer: Answer, writing: Writing, stop: Sequence[str]) -> Completion:
    """An answer with its text."""
    whole = writing.completion(answer.ids, stop, answer.reason or "length")
    return replace(whole, end=answer.end, log_probs=tuple(answer.log_probs))


def left(answers: Sequence[Answer | None]) -> int:
    """How many tokens may yet be fed: those that the longest answer may still get."""
    return max((answer.budget - len(answer.ids) for answer in answers if answer), default=0)
