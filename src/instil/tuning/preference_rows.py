"""Rankings as rows that preference losses learn from, and which rows a step reads.

    Ranking "Name a fruit." -> Apple, A chair, Plum: 1, 3, 1        a tie of the first and the last
    rankings: pairs       group of 3 completions, pairs (0, 1) (2, 1), best 0 2      all untied pairs, one element
    rankings: extremes    group of 2 completions, pair (0, 1), best 0                the first best, the first worst
    kto                   good: 0 2, bad: 1          levels below the middle one are good, those above it bad

    rows      0 1 2 3 4       in a keyed order an epoch: 3 0 4 1 2 | 1 4 2 0 3 | ...
    step 0    3 0             step 1    4 1         step 2    2 1         rows of a step are a function of its number

KTO's baseline needs completions behind prompts that are not theirs. Each row has a partner, which is the same in every
epoch, so that the reference reads the two together once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from instil.errors import DataError
from instil.fingerprint import keyed_order
from instil.mixtures.encode import Encoder
from instil.mixtures.encoding_report import EncodingReport
from instil.mixtures.groups import encode_groups
from instil.mixtures.ranking_rows import exact_key
from instil.records import Group, Ranking

T = TypeVar("T")

RankedAs = Literal["pairs", "extremes"]
"""All untied pairs of a prompt, or its best completion against its worst."""


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A prompt, completions of it, and what is known of them; completions go by their number in the group."""

    group: Group
    pairs: tuple[tuple[int, int], ...]
    """(better, worse)."""
    best: tuple[int, ...]
    """Those that no other is better than."""
    desirable: tuple[bool, ...]
    """For each completion, in rows of KTO alone: whether it is good."""
    source: int
    """The number of its ranking."""
    prompt: str
    """What was asked, as a key: rankings of one prompt by several people have the same."""


def paired_rows(
    rankings: Sequence[Ranking],
    encoder: Encoder,
    *,
    ranked_as: RankedAs = "pairs",
    most_tokens: int | None = None,
    report: EncodingReport | None = None,
) -> list[PreferenceRow]:
    """A row for every ranking that has an untied pair and can be encoded.

    Args:
        rankings: those that are compared.
        encoder: of the model.
        ranked_as: which pairs are taken.
        most_tokens: see `encode_groups`; so is `report`.
        report: see there.

    Raises:
        DataError: if there is none.
    """
    kept = [(number, _used(ranking, ranked_as)) for number, ranking in enumerate(rankings) if ranking.pairs]
    groups = encode_groups(encoder, [one for _, one in kept], most_tokens=most_tokens, report=report)
    rows = [
        PreferenceRow(group, ranking.pairs, _best(ranking), (), number, exact_key(ranking.messages))
        for (number, ranking), group in zip(kept, groups, strict=True)
        if group is not None
    ]
    if not rows:
        raise DataError(
            f"none of {len(rankings):,} rankings has two completions of which one is better",
            remedy="Give rankings of at least two levels, or train on good and bad completions with method kto",
        )
    return rows


def _used(ranking: Ranking, ranked_as: RankedAs) -> Ranking:
    """The ranking with the completions that are used."""
    if ranked_as == "pairs":
        return ranking
    places = [ranking.ranks.index(min(ranking.ranks)), ranking.ranks.index(max(ranking.ranks))]
    return _chosen(ranking, places)


def _chosen(ranking: Ranking, places: Sequence[int]) -> Ranking:
    def of(values: Sequence[T]) -> tuple[T, ...]:
        return tuple(values[place] for place in places) if values else ()

    return replace(
        ranking,
        completions=of(ranking.completions),
        ranks=of(ranking.ranks),
        scores=of(ranking.scores),
    )


def _best(ranking: Ranking) -> tuple[int, ...]:
    return tuple(place for place, rank in enumerate(ranking.ranks) if rank == min(ranking.ranks))


def rated_rows(
    rankings: Sequence[Ranking],
    encoder: Encoder,
    *,
    desirable_from: float = 0.5,
    most_tokens: int | None = None,
    report: EncodingReport | None = None,
) -> list[PreferenceRow]:
    """A row of good and bad completions for every ranking that has any and can be encoded.

    Scored completions are good from `desirable_from` on. Ranked ones are good above the middle level, bad below it; a
    level in the very middle says neither, and is left out.

    Args:
        rankings: those that are scored or ranked.
        encoder: of the model.
        desirable_from: the lowest score of a good completion.
        most_tokens: see `encode_groups`; so is `report`.
        report: see there.

    Raises:
        DataError: if there is none, or all have the same prompt.
    """
    rated = [(number, ranking, _ratings(ranking, desirable_from)) for number, ranking in enumerate(rankings)]
    kept = [
        (number, _chosen(ranking, list(ratings)), tuple(ratings.values()))
        for number, ranking, ratings in rated
        if ratings
    ]
    groups = encode_groups(encoder, [one for _, one, _ in kept], most_tokens=most_tokens, report=report)
    rows = [
        PreferenceRow(group, (), (), ratings, number, exact_key(ranking.messages))
        for (number, ranking, ratings), group in zip(kept, groups, strict=True)
        if group is not None
    ]
    if len({row.group.prompt.tobytes() for row in rows}) < 2:
        raise DataError(
            f"of {len(rankings):,} rankings, those with good or bad completions have {min(1, len(rows))} prompt",
            remedy="Give completions of two prompts at least: kto's baseline puts completions behind other prompts",
        )
    return rows


def _ratings(ranking: Ranking, desirable_from: float) -> dict[int, bool]:
    """Whether each completion is good, by its number; those of which nobody can say are left out.

    By its score, where scores are 0 and 1, or nothing else is known, or they lie on both sides of the bound; else they
    are of another scale, of which every completion would seem good, and ranks say more.
    """
    scores = ranking.scores
    if scores and (not ranking.ranks or set(scores) <= {0.0, 1.0} or min(scores) < desirable_from <= max(scores)):
        return {place: score >= desirable_from for place, score in enumerate(ranking.scores)}
    levels = sorted(set(ranking.ranks))
    middle = (len(levels) - 1) / 2
    found = {place: levels.index(rank) for place, rank in enumerate(ranking.ranks)}
    return {place: level < middle for place, level in found.items() if level != middle}


class EpochOrder:
    """An endless list of rows: every epoch has all of them, in an order of its own.

    Args:
        rows: how many there are.
        seed: decides the order.
        size: rows of a step.
    """

    def __init__(self, rows: int, *, seed: int, size: int) -> None:
        self.rows, self.seed, self.size = rows, seed, size
        self._epochs: dict[int, list[int]] = {}

    def window(self, step: int) -> list[int]:
        """The rows of a step: places [step * size, (step + 1) * size) of the list."""
        places = range(step * self.size, (step + 1) * self.size)
        return [self._epoch(place // self.rows)[place % self.rows] for place in places]

    def met(self, steps: int) -> list[int]:
        """The rows of the first so many steps, each once, in the order in which they are first met."""
        return self._epoch(0)[: steps * self.size]

    def _epoch(self, number: int) -> list[int]:
        if number not in self._epochs:  # the one before stays: a step may need both
            self._epochs = {known: order for known, order in self._epochs.items() if known == number - 1}
            self._epochs[number] = keyed_order(self.rows, self.seed, "preferences", number)
        return self._epochs[number]


def mismatched(rows: Sequence[PreferenceRow], *, seed: int, longest: int | None) -> list[Group]:
    """For every row its completions behind the prompt of another row, the next in a keyed order that asks otherwise.

    Args:
        rows: with two different prompts at least.
        seed: decides who is whose partner.
        longest: the most tokens that prompt and completion may have together, where they stand in one row; completions
            are cut at their end.
    """
    order = keyed_order(len(rows), seed, "mismatched")
    asked = [rows[number].group.prompt.tobytes() for number in order]
    partner = [0] * len(rows)
    following = 0
    for place in reversed(range(2 * len(rows))):  # twice around, so that the last ones find the first
        here, after = place % len(rows), (place + 1) % len(rows)
        following = after if asked[here] != asked[after] else following
        partner[order[here]] = order[following]
    return [_behind(row.group, rows[other].group, longest) for row, other in zip(rows, partner, strict=True)]


def _behind(said: Group, asked: Group, longest: int | None) -> Group:
    room = None if longest is None else max(1, longest - len(asked.prompt))
    return Group(asked.prompt, tuple(np.ascontiguousarray(completion[:room]) for completion in said.completions))
