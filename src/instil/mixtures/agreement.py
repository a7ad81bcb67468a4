"""How often two people who ranked the same completions of a prompt put a pair of them in the same order.

    "Name a fruit."   Ada   Apple < Pear < A chair      Ben   Pear < Apple < A chair       (best first)
    pairs             Apple, Pear: no   Apple, A chair: yes   Pear, A chair: yes           2 of 3 agree: 67%

What is counted are comparisons: a prompt, two of its completions, and two people who ranked both. A comparison in which
one of them saw a tie says nothing about order and is counted apart (`tied`); `with_ties` counts all, a tie as a third
answer that the two may share. InstructGPT's labellers agreed in 72.6 +- 1.5% of cases; the paper does not say what
became of ties.

The interval is about other prompts and the same people. Comparisons of one prompt hang together, so the prompts are the
sample: the variance of the ratio over prompts says how many independent comparisons these are worth (Kish's design
effect), and Wilson's interval is taken at that number, with Student's t in place of the normal where prompts are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from statistics import NormalDist

import numpy as np

from instil.mixtures.ranking_rows import exact_key
from instil.records import Ranking

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Agreed:
    """A share of comparisons."""

    rate: float
    """Of comparisons in which both prefer one of the two."""
    n: int
    """How many those are."""
    ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Agreement(Agreed):
    """How far those who rank agree. See the module."""

    prompts: int
    """Prompts that those comparisons come from."""
    tied: int
    """Further comparisons, in which one or both see a tie."""
    with_ties: float
    """The share of all comparisons in which both say the same: better, worse or tied."""
    by_annotator: Mapping[str, Agreed] = field(default_factory=dict)
    """Of each, with all others. Absent where someone shares no ordered pair."""


def agreement(rankings: Iterable[Ranking]) -> Agreement | None:
    """How far the annotators of these rankings agree; None where no two of them order the same two completions.

    Rankings without an annotator are passed over: who gave them cannot be told apart. Of several rankings of a pair by
    one person the first counts.
    """
    seen = _orders(rankings)
    all_of = _Tally()
    by: dict[str, _Tally] = {}
    for prompt, pairs in seen.items():
        for orders in pairs.values():
            for (one, first), (other, second) in combinations(sorted(orders.items()), 2):
                for tally in (all_of, by.setdefault(one, _Tally()), by.setdefault(other, _Tally())):
                    tally.add(prompt, first, second)
    if not all_of.n:
        return None
    total = all_of.agreed()
    return Agreement(
        total.rate,
        total.n,
        total.ci95,
        prompts=len(all_of.counts),
        tied=all_of.tied,
        with_ties=(all_of.same_ties + sum(same for same, _ in all_of.counts.values())) / (all_of.n + all_of.tied),
        by_annotator={who: tally.agreed() for who, tally in sorted(by.items()) if tally.n},
    )


def _orders(rankings: Iterable[Ranking]) -> dict[str, dict[tuple[str, str], dict[str, int]]]:
    """For every prompt and pair of completions what each annotator says: -1 the first is better, 1 worse, 0 tied."""
    named: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        if ranking.annotator and ranking.ranks:
            named.setdefault(exact_key(ranking.messages), []).append(ranking)
    several = (one for given in named.values() if len({one.annotator for one in given}) > 1 for one in given)
    found: dict[str, dict[tuple[str, str], dict[str, int]]] = {}
    for ranking in several:
        pairs = found.setdefault(exact_key(ranking.messages), {})
        said = sorted(zip(ranking.completions, ranking.ranks, strict=True))
        for (one, first), (other, second) in combinations(said, 2):
            order = (first > second) - (first < second)
            pairs.setdefault((one, other), {}).setdefault(ranking.annotator, order)
    return found


@dataclass(slots=True)
class _Tally:
    """Comparisons by prompt."""

    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """For each prompt: comparisons that agree, and all in which both prefer one."""
    tied: int = 0
    same_ties: int = 0
    """Of those, in which both see a tie."""

    @property
    def n(self) -> int:
        return sum(total for _, total in self.counts.values())

    def add(self, prompt: str, first: int, second: int) -> None:
        if not (first and second):
            self.tied += 1
            self.same_ties += first == second
            return
        same, total = self.counts.get(prompt, (0, 0))
        self.counts[prompt] = same + (first == second), total + 1

    def agreed(self) -> Agreed:
        same, totals = zip(*self.counts.values(), strict=True)
        return Agreed(sum(same) / sum(totals), sum(totals), interval(same, totals))


def interval(successes: Sequence[int], totals: Sequence[int]) -> tuple[float, float]:
    """A 95% interval for the share of successes, where those of one cluster hang together.

    Args:
        successes: in each cluster.
        totals: of each cluster, 1 or more.
    """
    hits, sizes = np.asarray(successes, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    clusters, n = len(sizes), float(sizes.sum())
    share = float(hits.sum()) / n
    worth = float(clusters)  # where all agree, or none, no comparison tells how far those of a prompt hang together
    if clusters > 1 and 0 < share < 1:
        spread = float(((hits - share * sizes) ** 2).sum()) * clusters / (clusters - 1) / n**2
        worth = min(n, share * (1 - share) / spread) if spread else n
    if clusters > 1:
        worth *= (_Z / student_t(clusters - 1)) ** 2
    half = _Z * (share * (1 - share) / worth + _Z**2 / (4 * worth**2)) ** 0.5
    centre, scale = share + _Z**2 / (2 * worth), 1 + _Z**2 / worth
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@cache
def student_t(freedom: int) -> float:
    """The 97.5% quantile of Student's t, from its density after t = sqrt(freedom) * tan(angle)."""
    angles = np.linspace(0.0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(freedom**0.5 * np.tan(np.interp(0.95, mass / mass[-1], angles)))
