"""distinct-n, repetition and sameness, counted by hand and beside a slow count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.experiments.variety import distinct, repeated, unique


def test_distinct_n_is_what_is_counted_by_hand() -> None:
    texts = [[1, 2, 1, 2], [1, 3]]
    assert distinct(texts, 1) == 3 / 6
    assert distinct(texts, 2) == 3 / 4  # 12 21 12 | 13
    assert distinct(texts, 3) == 2 / 2  # 121 212 and none of the second
    assert distinct(texts, 5) == 0.0
    assert distinct([], 1) == 0.0


def test_n_grams_never_reach_over_the_end_of_a_completion() -> None:
    assert distinct([[1, 2], [1, 2]], 2) == 1 / 2


def test_repetition_is_what_an_answer_said_before() -> None:
    assert repeated([5, 6, 7, 5, 6, 7], 3) == 1 / 4
    assert repeated([7] * 10, 4) == 6 / 7
    assert repeated([1, 2, 3], 4) == 0.0


def test_sameness_does_not_see_blanks_around_an_answer() -> None:
    assert unique(["Yes.", " Yes.\n", "No."]) == 2 / 3
    assert unique([]) == 0.0


@given(st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=5), st.integers(1, 4))
def test_distinct_n_is_a_share_and_agrees_with_a_slow_count(texts: list[list[int]], n: int) -> None:
    seen: list[str] = []
    for ids in texts:
        seen += [",".join(map(str, ids[start : start + n])) for start in range(len(ids)) if start + n <= len(ids)]
    assert distinct(texts, n) == (len(set(seen)) / len(seen) if seen else 0.0)


@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 4))
def test_repetition_is_one_less_distinctness_of_the_answer_alone(ids: list[int], n: int) -> None:
    grams = max(0, len(ids) - n + 1)
    assert repeated(ids, n) == pytest.approx(1 - distinct([ids], n) if grams else 0.0)
