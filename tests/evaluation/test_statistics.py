"""Intervals against slower, obvious computations, against known values, and by simulation of their coverage."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.evaluation import statistics
from instil.evaluation.statistics import mean, mean_over_tasks, paired, proportion, student_t


def test_wilson_interval_has_its_published_values() -> None:
    # 7 of 10 and 0 of 20: Brown, Cai & DasGupta (2001) and any table of score intervals.
    seven = proportion(7, 10)
    assert (seven.low, seven.high) == (pytest.approx(0.3968, abs=1e-4), pytest.approx(0.8922, abs=1e-4))
    none = proportion(0, 20)
    assert none.low == 0.0
    assert none.high == pytest.approx(0.1611, abs=1e-4)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_solve_the_equation_that_defines_them(case: tuple[int, int]) -> None:
    successes, n = case
    estimate = proportion(successes, n)
    assert 0 <= estimate.low <= estimate.score <= estimate.high <= 1
    for end in (estimate.low, estimate.high):
        if 0 < end < 1:
            assert abs(estimate.score - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, rel=1e-6)


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.7062), (2, 4.3027), (11, 2.2010), (30, 2.0423), (200, 1.9719)])
def test_student_quantiles_have_their_table_values(freedom: int, value: float) -> None:
    assert student_t(freedom) == pytest.approx(value, abs=2e-4)


def test_the_bootstrap_equals_a_slow_and_obvious_one() -> None:
    scores = {f"task{t}": [random.Random(t * 50 + i).random() ** (1 + t % 3) for i in range(5 + t)] for t in range(15)}
    fast = mean_over_tasks(scores)
    draw = random.Random(1)
    means = [sum(values) / len(values) for values in scores.values()]
    drawn = sorted(sum(draw.choice(means) for _ in means) / len(means) for _ in range(20_000))
    tail = statistics._expanded_tail(len(means))
    assert fast.score == pytest.approx(sum(means) / len(means))
    width = fast.high - fast.low
    assert fast.low == pytest.approx(drawn[int(tail * len(drawn))], abs=0.05 * width)
    assert fast.high == pytest.approx(drawn[int((1 - tail) * len(drawn))], abs=0.05 * width)
    assert (fast.n, fast.tasks, fast.covers) == (sum(map(len, scores.values())), 15, "tasks")


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = {str(t): [t / 30, t * t / 900] for t in range(30)}
    assert mean_over_tasks(scores, seed=4) == mean_over_tasks(scores, seed=4)
    assert mean_over_tasks(scores, seed=4) != mean_over_tasks(scores, seed=5)


@pytest.mark.parametrize("tasks", [6, 12, 40])
def test_intervals_over_tasks_cover_the_mean_of_the_population_of_tasks(
    tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tasks differ in difficulty (Beta(2, 2), mean one half), each is seen through 20 right or wrong answers.
    monkeypatch.setattr(statistics._drawn_means, "__defaults__", (1000,))
    generator = np.random.default_rng(tasks)
    trials = 400
    covered = 0
    for trial in range(trials):
        skill = generator.beta(2, 2, tasks)
        answers = generator.random((tasks, 20)) < skill[:, None]
        got = mean_over_tasks({str(t): row.astype(float).tolist() for t, row in enumerate(answers)}, seed=trial)
        covered += got.low <= 0.5 <= got.high
    # 95% of 400 trials is 380, with a standard deviation of 4.4; a plain percentile interval gives 87% at six tasks.
    assert 0.92 <= covered / trials <= 0.985


def test_intervals_of_paired_differences_cover_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics._drawn_means, "__defaults__", (1000,))
    generator = np.random.default_rng(3)
    covered = 0
    trials = 300
    for trial in range(trials):
        skill = generator.beta(2, 3, 15) * 0.7
        gain = generator.uniform(0.0, 0.3, 15)
        luck = generator.random((15, 20))
        before, after = luck < skill[:, None], luck < (skill + gain)[:, None]
        got = paired(
            {str(t): before[t].astype(float).tolist() for t in range(15)},
            {str(t): after[t].astype(float).tolist() for t in range(15)},
            seed=trial,
        )
        covered += got.difference.low <= 0.15 <= got.difference.high
    assert 0.91 <= covered / trials <= 0.99


def test_paired_counts_flips_each_way() -> None:
    got = paired({"a": [0, 1, 1, 0], "b": [0, 0]}, {"a": [1, 0, 1, 1], "b": [0, 1]})
    assert (got.gained, got.lost) == (3, 1)
    assert got.difference.score == pytest.approx((0.25 + 0.5) / 2)
    assert got.difference.n == 6


def test_pairing_narrows_the_interval() -> None:
    draw = random.Random(0)
    before = {str(t): [float(draw.random() < (t + 1) / 22) for _ in range(30)] for t in range(20)}
    after = {task: [max(value, float(draw.random() < 0.1)) for value in values] for task, values in before.items()}
    gap = paired(before, after).difference
    apart = mean_over_tasks(after)
    assert gap.high - gap.low < 0.5 * (apart.high - apart.low)


def test_where_nothing_varies_the_interval_still_has_width() -> None:
    nothing = mean_over_tasks({str(t): [0.0] * 20 for t in range(10)})
    assert (nothing.score, nothing.low, nothing.covers) == (0.0, 0.0, "items")
    assert 0.01 < nothing.high < 0.03
    same = paired({"a": [1.0] * 30}, {"a": [1.0] * 30}).difference
    assert same.low < 0 < same.high
    assert mean([0.5] * 9).low < 0.5 < mean([0.5] * 9).high


def test_scores_between_zero_and_one_get_an_interval_over_items() -> None:
    values = [random.Random(i).random() for i in range(60)]
    got = mean(values)
    error = 1.96 * float(np.std(values, ddof=1)) / 60**0.5
    assert (got.low, got.high) == (
        pytest.approx(got.score - error, abs=0.01),
        pytest.approx(got.score + error, abs=0.01),
    )
    assert mean([0.0, 1.0, 1.0]) == proportion(2, 3)


def test_nothing_to_average_is_an_error() -> None:
    for wrong in ({}, {"a": []}):
        with pytest.raises(ValueError, match="needs tasks"):
            mean_over_tasks(wrong)
    with pytest.raises(ValueError, match="no items"):
        proportion(0, 0)
    with pytest.raises(ValueError, match="same items"):
        paired({"a": [1.0]}, {"a": [1.0, 0.0]})
