"""Shares: every aligned block of 2**k prompts is within one prompt per task of the exact shares."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.shares import CIRCLE, Schedule, apportion, permuted

weights = st.lists(st.integers(1, 10**6), min_size=1, max_size=12)


@given(weights, st.integers(0, 2**40), st.integers(0, 9), st.integers(0, 2**50))
def test_every_aligned_block_is_within_one_prompt_of_the_shares(w: list[int], seed: int, k: int, block: int) -> None:
    schedule = Schedule(w, seed=seed)
    start = block << k
    counts = Counter(schedule.at(i)[0] for i in range(start, start + (1 << k)))
    for task, share in enumerate(schedule.shares):
        assert abs(counts[task] - share * 2**k) < 1


@given(weights, st.integers(0, 99), st.integers(0, 400))
def test_the_number_before_is_what_counting_gives(w: list[int], seed: int, stop: int) -> None:
    schedule = Schedule(w, seed=seed)
    counts = Counter(schedule.at(i)[0] for i in range(stop))
    assert [schedule.before(stop, task) for task in range(len(w))] == [counts[task] for task in range(len(w))]


@given(weights, st.integers(0, 2**40), st.integers(0, 2**70) | st.integers(CIRCLE - 40, CIRCLE), st.integers(0, 90))
def test_a_run_of_places_is_what_each_place_is(w: list[int], seed: int, start: int, length: int) -> None:
    schedule = Schedule(w, seed=seed)
    one_by_one = [(*schedule.at(i), schedule.before(i, schedule.at(i)[0])) for i in range(start, start + length)]
    assert list(schedule.places(start, start + length)) == one_by_one


def test_a_long_run_of_places_goes_on_over_its_parts() -> None:
    schedule = Schedule(range(1, 400), seed=3)
    places = list(schedule.places(CIRCLE - 9_000, CIRCLE + 50))
    for place in (0, 1, 4095, 4096, 8191, 8192, 8999, 9000, 9049):
        index = CIRCLE - 9_000 + place
        task, offset = schedule.at(index)
        assert places[place] == (task, offset, schedule.before(index, task))


@given(weights, st.integers(0, 3 * CIRCLE))
def test_the_number_before_grows_by_one_at_each_place_of_the_task(w: list[int], index: int) -> None:
    schedule = Schedule(w, seed=1)
    here, _ = schedule.at(index)
    for task in range(len(w)):
        assert schedule.before(index + 1, task) - schedule.before(index, task) == (task == here)


def test_shares_are_the_weights_to_a_part_in_four_billion() -> None:
    assert Schedule([1, 1, 2], seed=0).shares == (Fraction(1, 4), Fraction(1, 4), Fraction(1, 2))
    assert sum(Schedule([3, 5, 10**9, 1], seed=0).shares) == 1


def test_two_equal_tasks_do_not_alternate_like_a_clock() -> None:
    schedule = Schedule([1, 1], seed=5)
    first_of_pair = [schedule.at(i)[0] for i in range(0, 2000, 2)]
    assert 400 < sum(first_of_pair) < 600


def test_another_seed_gives_another_order() -> None:
    orders = {tuple(Schedule([1] * 5, seed=seed).at(i)[0] for i in range(40)) for seed in range(10)}
    assert len(orders) == 10


@given(weights, st.integers(20, 10**6))
def test_apportioned_units_sum_and_stay_near(w: list[int], total: int) -> None:
    parts = apportion(w, total)
    assert sum(parts) == total
    assert min(parts) >= 1
    if all(Fraction(weight * total, sum(w)) >= 1 for weight in w):
        assert all(abs(part - Fraction(weight * total, sum(w))) < 1 for part, weight in zip(parts, w, strict=True))


@pytest.mark.parametrize("w", [[], [1, 0], [1, -1]])
def test_weights_that_are_no_weights_are_refused(w: list[int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        apportion(w, 100)


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_a_permutation_reaches_every_place_once(n: int, key: int) -> None:
    assert sorted(permuted(k, n, key=key) for k in range(n)) == list(range(n))


def test_permutations_of_three_are_all_drawn_about_equally_often() -> None:
    drawn = Counter(
        tuple(permuted(k, 3, key=key * 0x9E3779B97F4A7C15 % 2**64) for k in range(3)) for key in range(6000)
    )
    assert len(drawn) == 6
    assert min(drawn.values()) > 700
