"""Best of n, measured: what choosing among n answers is worth, and how far it goes, without any training.

    n       1     2     4     8     16        16 answers are sampled to each prompt; the best of fewer is computed
    KL      0     0.19  0.64  1.2   1.8       log n - (n - 1) / n, at most
    proxy   0.1   0.5   0.8   1.1   1.3
    gold    0.3   0.5   0.6   0.55  0.4       over-optimisation: here n = 4 is recommended

A cheap control for every other method: what training gains over it is what training is for. The numbers on top are of
the test prompts, with the n that was recommended on the watched ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from instil.experiments.align_prepare import AlignPrepared
from instil.experiments.align_training import sampler_of
from instil.experiments.monitor import SCORE, Monitor, Written, known
from instil.experiments.win_rate import average
from instil.records import Prompt
from instil.tuning.best_of_n import Best, BestOfNSpec, best_of_n, best_of_n_kl, expected_best


@dataclass(frozen=True, slots=True)
class Sampled:
    """All answers to one prompt that have a proxy reward, judged."""

    answers: tuple[Written, ...]
    worth: tuple[float, ...]
    """What they are chosen by: the proxy reward, less the penalty where a length limit cut the answer."""

    def best(self, n: int) -> Written | None:
        """The best of the first n; None where there are none."""
        among = range(min(n, len(self.answers)))
        return self.answers[max(among, key=lambda place: (self.worth[place], -place))] if among else None

    def expected(self, values: Sequence[float], n: int) -> float:
        """The mean of values over all choices of n answers, each of the answer that is best; NaN where they are few."""
        return expected_best(self.worth, values, best_of=n) if n <= len(self.worth) else math.nan


def sampled(
    prepared: AlignPrepared, monitor: Monitor, prompts: Sequence[Prompt], on_done: Callable[[int], None]
) -> list[Sampled]:
    """The start's answers to prompts, by proxy and gold.

    Args:
        prepared: the start, its rewards, and how many answers.
        monitor: of the same prompts; it has the gold reward.
        prompts: what is answered.
        on_done: called with the number of prompts that were just answered.
    """
    spec = prepared.recipe.alignment
    assert isinstance(spec, BestOfNSpec)
    assert prepared.proxy is not None
    found = best_of_n(
        prepared.start,
        prompts,
        spec,
        encoder=prepared.encoder,
        rewards=prepared.proxy.rewards,
        sampler=sampler_of(prepared, prepared.start),
        on_done=on_done,
    )
    gold = _gold(monitor, prompts, found)
    return [_judged(best, gold[place], spec) for place, best in enumerate(found)]


def _gold(monitor: Monitor, prompts: Sequence[Prompt], found: Sequence[Best]) -> list[list[float]]:
    """The gold reward of every answer; NaN where there is no gold."""
    if monitor.gold is None:
        return [[math.nan] * len(best.answers) for best in found]
    every = [(prompt, one) for prompt, best in zip(prompts, found, strict=True) for one in best.answers]
    total, _ = monitor.gold(
        [prompt for prompt, _ in every],
        [one.text for _, one in every],
        [one.ids for _, one in every],
        [one.finished for _, one in every],
    )
    values = iter(total)
    return [[next(values) for _ in best.answers] for best in found]


def _judged(best: Best, gold: Sequence[float], spec: BestOfNSpec) -> Sampled:
    rows = [
        (
            Written(one.text, tuple(one.ids), one.finished, 0.0, 0.0, len(one.ids), proxy=reward, gold=real),
            reward - (0.0 if one.finished else spec.missing_end_penalty),
        )
        for one, reward, real in zip(best.answers, best.rewards, gold, strict=True)
        if math.isfinite(reward)
    ]
    return Sampled(tuple(row for row, _ in rows), tuple(worth for _, worth in rows))


def sizes(n: int) -> list[int]:
    """The numbers of answers that are looked at: 16 -> 1, 2, 4, 8, 16."""
    powers = [2**k for k in range(n.bit_length()) if 2**k < n]
    return [*powers, n]


def points_of(
    watched: Sequence[Sampled], start: Sequence[Written], *, n: int, judged_by: str, kl_budget: float | None
) -> list[dict[str, Any]]:
    """What the best of 1, 2, 4, ... answers are worth, as the figures of an evaluation; `step` is their number.

    Args:
        watched: the answers to the watched prompts.
        start: the answer that the start gave to each, which wins are counted over.
        n: how many answers were sampled.
        judged_by: `gold` or `proxy`.
        kl_budget: beyond it there is no score.
    """
    return [_point(watched, start, size, judged_by, kl_budget) for size in sizes(n)]


def _point(
    watched: Sequence[Sampled], start: Sequence[Written], n: int, judged_by: str, kl_budget: float | None
) -> dict[str, Any]:
    kl = best_of_n_kl(n)
    figures: dict[str, float] = {"kl": kl}
    for name in ("proxy", "gold"):
        found = average([one.expected([getattr(row, name) for row in one.answers], n) for one in watched])
        if found.n:
            figures |= {f"{name}_reward": found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    wins = average(
        [
            one.expected([_wins(getattr(row, judged_by), getattr(before, judged_by)) for row in one.answers], n)
            for one, before in zip(watched, start, strict=True)
        ]
    )
    figures |= {"win_rate": wins.value, "win_low": max(0.0, wins.low), "win_high": min(1.0, wins.high)}
    figures["length"] = average([one.expected([float(row.tokens) for row in one.answers], n) for one in watched]).value
    within = kl_budget is None or kl <= kl_budget
    figures = {SCORE: figures.get(f"{judged_by}_reward", math.nan) if within else math.nan, **figures}
    return {"step": n, **{name: known(value) for name, value in figures.items()}}


def _wins(now: float, before: float) -> float:
    if not (math.isfinite(now) and math.isfinite(before)):
        return math.nan
    return 0.5 if now == before else float(now > before)
