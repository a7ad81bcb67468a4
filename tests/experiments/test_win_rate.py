"""Win rates and gains: worked by hand, and their intervals held against simulated models whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.experiments.win_rate import average, gain, win_rate


def test_the_worked_example() -> None:
    start, now = [0.1, 0.4, 0.2, 0.9], [0.5, 0.4, 0.1, 1.2]
    assert win_rate(start, now).value == 0.625
    assert gain(start, now).value == pytest.approx(0.15)


def test_a_model_beside_itself_wins_half_and_gains_nothing() -> None:
    rewards = [0.3, -1.0, 2.5, 7.0]
    found = win_rate(rewards, rewards)
    assert (found.value, found.n) == (0.5, 4)
    assert found.low < 0.5 < found.high
    assert gain(rewards, rewards).value == 0


def test_the_last_digit_of_a_reward_is_no_win() -> None:
    assert win_rate([0.123456], [0.123457]).value == 0.5


def test_what_is_no_number_is_left_out_on_both_sides() -> None:
    found = win_rate([0.0, math.nan, 0.0, 1.0], [1.0, 1.0, math.nan, 0.0])
    assert (found.value, found.n) == (0.5, 2)
    assert gain([0.0, math.nan], [1.0, 5.0]).n == 1
    assert win_rate([math.nan], [math.nan]).n == 0
    assert math.isnan(average([math.nan]).value)


def test_an_interval_of_one_value_holds_everything() -> None:
    assert average([3.0]) == pytest.approx(average([3.0]))
    assert (average([3.0]).low, average([3.0]).high) == (-math.inf, math.inf)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=30))
def test_both_sides_together_win_always(pairs: list[tuple[float, float]]) -> None:
    start, now = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = win_rate(start, now), win_rate(now, start)
    assert there.value + back.value == pytest.approx(1)
    assert there.low - 1e-9 <= there.value <= there.high + 1e-9


@pytest.mark.parametrize(
    ("wins", "ties", "n"), [(0.5, 0.0, 64), (0.3, 0.4, 64), (0.6, 0.2, 100), (0.05, 0.9, 64), (0.8, 0.1, 32)]
)
def test_the_interval_holds_the_true_win_rate_about_as_often_as_it_says(wins: float, ties: float, n: int) -> None:
    """Simulated: prompts that are won, tied or lost with known chances."""
    generator, truth, draws = np.random.default_rng(7), wins + ties / 2, 250
    held = 0
    for _ in range(draws):
        now = generator.choice([1.0, 0.0, -1.0], size=n, p=[wins, ties, 1 - wins - ties])
        found = win_rate([0.0] * n, now.tolist())
        held += found.low <= truth <= found.high
    assert held / draws >= 0.9


def test_an_interval_half_as_wide_would_be_caught_by_this_simulation() -> None:
    """The negative control."""
    generator, n, draws = np.random.default_rng(7), 64, 400
    held = 0
    for _ in range(draws):
        found = win_rate([0.0] * n, generator.choice([1.0, -1.0], size=n).tolist())
        held += abs(found.value - 0.5) <= (found.high - found.low) / 4
    assert held / draws < 0.8


def test_pairing_takes_out_what_prompts_have_in_common() -> None:
    generator = np.random.default_rng(3)
    hardness = generator.normal(0, 5, 100)
    start = hardness + generator.normal(0, 0.1, 100)
    now = hardness + 0.2 + generator.normal(0, 0.1, 100)
    found = gain(start.tolist(), now.tolist())
    assert found.low > 0.1
    assert average(now.tolist()).low < average(start.tolist()).high


def test_the_interval_of_a_mean_reward_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    held = [(found := average(generator.normal(2.0, 3.0, 12).tolist())).low <= 2.0 <= found.high for _ in range(1000)]
    assert 0.93 <= np.mean(held) <= 0.97
