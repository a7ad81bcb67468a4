"""What the best of n is worth, beside a slow count over every choice of answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from instil.experiments.align_best_of_n import Sampled, points_of, sizes
from instil.experiments.monitor import Written


def written(text: str, proxy: float, gold: float) -> Written:
    return Written(text, (1, 2), True, 0.0, 0.0, 3, proxy=proxy, gold=gold)


def prompt(seed: int, n: int = 5) -> Sampled:
    generator = np.random.default_rng(seed)
    rows = [written(str(k), *generator.normal(0, 1, 2)) for k in range(n)]
    return Sampled(tuple(rows), tuple(row.proxy for row in rows))


def test_sizes_are_powers_of_two_and_the_whole() -> None:
    assert sizes(16) == [1, 2, 4, 8, 16]
    assert sizes(6) == [1, 2, 4, 6]
    assert sizes(1) == [1]


def test_every_figure_is_that_of_a_slow_count() -> None:
    prompts = [prompt(seed) for seed in range(6)]
    start = [written("start", 0.0, 0.1 * seed) for seed in range(6)]
    for point in points_of(prompts, start, n=5, judged_by="gold", kl_budget=None):
        n = point["step"]
        golds, wins = [], []
        for one, before in zip(prompts, start, strict=True):
            best = [max(chosen, key=lambda row: row.proxy) for chosen in itertools.combinations(one.answers, n)]
            golds.append(np.mean([row.gold for row in best]))
            wins.append(np.mean([row.gold > before.gold for row in best]))
        assert point["gold_reward"] == pytest.approx(np.mean(golds))
        assert point["win_rate"] == pytest.approx(np.mean(wins))
        assert point["kl"] == pytest.approx(math.log(n) - (n - 1) / n)
        assert point["score"] == point["gold_reward"]


def test_the_proxy_never_falls_as_n_grows() -> None:
    prompts = [prompt(seed) for seed in range(6)]
    points = points_of(prompts, [written("", 0, 0)] * 6, n=5, judged_by="proxy", kl_budget=None)
    proxies = [point["proxy_reward"] for point in points]
    assert proxies == sorted(proxies)


def test_beyond_the_budget_there_is_no_score() -> None:
    points = points_of([prompt(0)] * 2, [written("", 0, 0)] * 2, n=5, judged_by="gold", kl_budget=0.3)
    assert [point["score"] is None for point in points] == [False, False, True, True]


def test_the_best_of_the_first_n_is_what_a_test_prompt_gets() -> None:
    one = Sampled((written("a", 0.1, 0), written("b", 0.9, 0), written("c", 0.9, 0)), (0.1, 0.9, 0.9))
    assert [answer.text for n in (1, 2, 3, 8) if (answer := one.best(n))] == ["a", "b", "b", "b"]
    assert Sampled((), ()).best(3) is None
    assert math.isnan(one.expected([1.0, 1.0, 1.0], 4))
