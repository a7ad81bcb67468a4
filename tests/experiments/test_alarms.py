"""Each alarm goes off by its rule, with numbers and advice; what is normal sets none off, and noise rarely does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from instil.experiments.alarms import AlarmSpec, alarms, since_best
from instil.experiments.win_rate import average

START: Mapping[str, float] = {
    "kl": 0.0, "entropy": 1.2, "length": 20.0, "ended": 0.95, "repeated": 0.02, "unique": 0.9, "invalid": 0.0,
}  # fmt: skip


def kinds(now: Mapping[str, float], **more: object) -> list[str]:
    found = alarms(40, {**START, **now}, START, AlarmSpec(), kl_budget=5.0, **more)  # type: ignore[arg-type]
    assert all(alarm.step == 40 and alarm.message and alarm.advice for alarm in found)
    assert all("\n" not in alarm.told for alarm in found)
    return [alarm.kind for alarm in found]


def test_the_start_sets_off_nothing() -> None:
    assert kinds({}) == []


@pytest.mark.parametrize(
    ("kind", "calm", "alarming"),
    [
        ("kl", {"kl": 5.0}, {"kl": 5.1}),
        ("entropy", {"entropy": 0.31}, {"entropy": 0.29}),
        ("length", {"length": 40.0}, {"length": 41.0}),
        ("unended", {"ended": 0.76}, {"ended": 0.74}),
        ("repeated", {"repeated": 0.2}, {"repeated": 0.21}),
        ("one answer", {"unique": 0.46}, {"unique": 0.44}),
        ("invalid", {"invalid": 0.0}, {"invalid": 0.01}),
    ],
)
def test_each_figure_sets_off_its_own_alarm_beyond_its_bound(
    kind: str, calm: dict[str, float], alarming: dict[str, float]
) -> None:
    assert kinds(calm) == []
    assert kinds(alarming) == [kind]


def test_a_start_that_was_sure_or_repeats_itself_is_not_held_against_the_policy() -> None:
    sure = {**START, "entropy": 0.01, "repeated": 0.3}
    assert alarms(5, {**sure, "entropy": 0.001, "repeated": 0.5}, sure, AlarmSpec()) == []


def test_without_a_budget_no_distance_is_too_far() -> None:
    assert alarms(5, {**START, "kl": 900.0}, START, AlarmSpec()) == []


def test_the_advice_names_the_key_that_holds_the_policy() -> None:
    (found,) = alarms(5, {**START, "kl": 9.0}, START, AlarmSpec(), kl_budget=5.0, strength="alignment.kl_weight")
    assert "Raise alignment.kl_weight" in found.advice
    (found,) = alarms(5, {**START, "kl": 9.0}, START, AlarmSpec(), kl_budget=5.0, strength="")
    assert found.advice.startswith("Take fewer steps")


def runs(means: Mapping[int, float], seed: int, noise: float = 1.0, n: int = 64) -> dict[int, list[float]]:
    generator = np.random.default_rng(seed)
    prompts = generator.normal(0, 2, n)
    return {step: (prompts + mean + generator.normal(0, noise, n)).tolist() for step, mean in means.items()}


def test_a_proxy_that_rises_while_gold_falls_is_reward_hacking() -> None:
    proxy = runs({0: 0.0, 20: 1.0, 40: 2.0, 60: 3.0}, 1)
    gold = runs({0: 0.0, 20: 1.5, 40: 1.0, 60: -0.5}, 2)
    found = since_best(proxy, gold)
    assert found is not None
    assert found.step == 20
    assert found.gold.high < 0 < found.proxy.low
    assert kinds({}, since_best=found) == ["reward hacking"]


def test_gold_that_falls_with_the_proxy_is_no_hacking_but_harm() -> None:
    falling = {0: 1.0, 20: 0.0}
    assert kinds({}, since_best=since_best(runs(falling, 1, 0.1), runs(falling, 2, 0.1))) == []


def test_gold_that_is_best_now_is_compared_with_nothing() -> None:
    rising = runs({0: 0.0, 20: 5.0}, 1)
    assert since_best(rising, rising) is None
    assert since_best({0: [1.0]}, {0: [1.0]}) is None


def test_noise_alone_rarely_looks_like_hacking() -> None:
    """Ten evaluations of a gold that does not change: the best of them was lucky, and the rule knows it."""
    false = 0
    for seed in range(200):
        proxy = runs({step: step / 10 for step in range(0, 100, 10)}, seed)
        gold = runs(dict.fromkeys(range(0, 100, 10), 0.0), 1000 + seed)
        found = since_best(proxy, gold)
        false += found is not None and found.gold.high < 0
    assert false / 200 <= 0.06


def test_without_the_correction_noise_would_look_like_hacking() -> None:
    """The negative control: the plain interval of now less the best."""
    false = 0
    for seed in range(200):
        gold = runs(dict.fromkeys(range(0, 100, 10), 0.0), 1000 + seed)
        best = max(gold, key=lambda step: average(gold[step]).value)
        false += average([b - a for a, b in zip(gold[best], gold[90], strict=True)]).high < 0
    assert false / 200 > 0.1
