"""Rankings as rows that a reward model learns from: one row a prompt, whoever ranked it, each completion once.

    Ada: "Name a fruit." -> Apple, A chair, Plum: 1, 3, 1          Ben: "Name a fruit." -> Plum, Apple: 1, 2

    row      [Apple, A chair, Plum]                                one prompt, read once, with three completions
    pairs    Ada: (Apple, A chair) (Plum, A chair)  Ben: (Plum, Apple)          mean over the three
             Ada: (Apple, Plum) tied                                            dropped, unless `ties` says otherwise

Two people who disagree give a pair both ways round, which is least where the reward says how often each is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from instil.errors import DataError
from instil.mixtures.encode import Encoder
from instil.mixtures.encoding_report import EncodingReport
from instil.mixtures.groups import encode_groups
from instil.mixtures.ranking_rows import exact_key
from instil.records import Group, Ranking
from instil.tuning.ranking_loss import Ties


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of a prompt, by their number in the row, as one person ranked them."""

    better: int
    worse: int
    levels: int
    """By how many ranks; 0 is a tie."""
    margin: float
    """The better one's score less the worse one's, where they were scored; else 0."""
    annotator: str


@dataclass(frozen=True, slots=True)
class RewardRow:
    """A prompt with all that was ranked of it."""

    group: Group
    pairs: tuple[Pair, ...]
    best: tuple[int, ...]
    """Completions that somebody put first, by number."""
    prompt: str
    """What was asked, as a key."""
    ranking: Ranking
    """All completions; the ranks are those of the first who ranked, 0 for what they did not."""
    rankings: int
    """How many people's, or sources', it is made of."""


@dataclass
class _Joined:
    """Rankings of one prompt, as they are met."""

    first: Ranking
    places: dict[str, int] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    best: dict[int, None] = field(default_factory=dict)
    rankings: int = 0

    def add(self, ranking: Ranking, ties: Ties) -> None:
        numbers = [self.places.setdefault(text, len(self.places)) for text in ranking.completions]
        scores, ranks = ranking.scores, ranking.ranks
        for i, j in combinations(range(len(ranks)), 2):
            better, worse = (i, j) if ranks[i] <= ranks[j] else (j, i)
            levels = ranks[worse] - ranks[better]
            if levels or ties != "drop":
                margin = scores[better] - scores[worse] if scores else 0.0
                self.pairs.append(Pair(numbers[better], numbers[worse], levels, margin, ranking.annotator))
        self.best |= {numbers[place]: None for place, rank in enumerate(ranks) if rank == min(ranks)}
        self.rankings += 1

    def whole(self) -> Ranking:
        ranks = dict(zip(self.first.completions, self.first.ranks, strict=True))
        texts = tuple(self.places)
        return replace(self.first, completions=texts, ranks=tuple(ranks.get(text, 0) for text in texts), scores=())


def reward_rows(
    rankings: Sequence[Ranking],
    encoder: Encoder,
    *,
    ties: Ties = "drop",
    most_tokens: int | None = None,
    report: EncodingReport | None = None,
) -> list[RewardRow]:
    """A row for every prompt that has a pair and can be encoded, in the order in which prompts are first met.

    Args:
        rankings: with ranks; those that are only scored are passed over.
        encoder: of the model.
        ties: what completions of one rank are; dropped pairs are in no row.
        most_tokens: see `encode_groups`; so is `report`.
        report: see there.

    Raises:
        DataError: if there is none.
    """
    joined: dict[str, _Joined] = {}
    for ranking in rankings:
        if ranking.ranks:
            joined.setdefault(prompt_key(ranking), _Joined(ranking)).add(ranking, ties)
    kept = {key: one for key, one in joined.items() if one.pairs}
    groups = encode_groups(encoder, [one.whole() for one in kept.values()], most_tokens=most_tokens, report=report)
    rows = [
        RewardRow(group, tuple(one.pairs), tuple(one.best), key, one.whole(), one.rankings)
        for (key, one), group in zip(kept.items(), groups, strict=True)
        if group is not None
    ]
    if not rows:
        refused = f"; the chat template refuses all of {len(kept):,}" if kept else ""
        raise DataError(
            f"none of {len(rankings):,} rankings has two completions of which one is better{refused}",
            remedy="Give rankings of at least two levels",
        )
    return rows


def prompt_key(ranking: Ranking) -> str:
    """What was asked; completions without a prompt stand for it themselves, in any order."""
    return exact_key(ranking.messages) if ranking.messages else "\x1e".join(sorted(ranking.completions))
