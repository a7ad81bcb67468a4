"""Which completions of a ranking are compared, which rows a step reads, and who is whose partner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import encoder_of, rankings

from instil.errors import DataError
from instil.records import Message, Ranking
from instil.tuning.preference_rows import EpochOrder, mismatched, paired_rows, rated_rows

ENCODER = encoder_of(tiny_loaded())
FRUIT = Ranking((Message("user", "w1 w2"),), ("w3", "w4 w5", "w6"), (1, 3, 1))


def test_the_worked_example_all_untied_pairs_are_one_element() -> None:
    (row,) = paired_rows([FRUIT], ENCODER)
    assert row.pairs == ((0, 1), (2, 1))
    assert row.best == (0, 2)
    assert [len(ids) for ids in row.group.completions] == [2, 3, 2]


def test_the_worked_example_the_extremes_are_one_pair_of_two_completions() -> None:
    (row,) = paired_rows([FRUIT], ENCODER, ranked_as="extremes")
    assert row.pairs == ((0, 1),)
    assert row.best == (0,)
    assert [len(ids) for ids in row.group.completions] == [2, 3]


def test_the_worked_example_levels_above_the_middle_are_good() -> None:
    other = Ranking((Message("user", "w7"),), ("w1", "w2", "w3", "w4"), (2, 1, 3, 2))
    first, second = rated_rows([FRUIT, other], ENCODER)
    assert first.desirable == (True, False, True)
    assert second.desirable == (True, False)  # the two of the middle level are left out
    assert [len(row.group.completions) for row in (first, second)] == [3, 2]


def test_scores_alone_say_what_is_good() -> None:
    scored = [Ranking((Message("user", f"w{k}"),), ("w8", "w9"), scores=(0.4, float(k))) for k in range(3)]
    rows = rated_rows(scored, ENCODER, desirable_from=1.0)
    assert [row.desirable for row in rows] == [(False, False), (False, True), (False, True)]


def test_scores_of_another_scale_say_less_than_ranks() -> None:
    asked = [(Message("user", f"w{k}"),) for k in range(2)]
    likert = [Ranking(one, ("w8", "w9"), ranks=(2, 1), scores=(4.0, 7.0)) for one in asked]
    assert [row.desirable for row in rated_rows(likert, ENCODER)] == [(False, True)] * 2
    assert [row.desirable for row in rated_rows(likert, ENCODER, desirable_from=6.0)] == [(False, True)] * 2
    binary = [Ranking(one, ("w8", "w9"), ranks=(1, 1), scores=(1.0, 1.0)) for one in asked]
    assert [row.desirable for row in rated_rows(binary, ENCODER)] == [(True, True)] * 2


def test_rankings_without_two_levels_are_left_out_and_sources_keep_their_numbers() -> None:
    tie = Ranking((Message("user", "w1"),), ("w3", "w4"), (1, 1))
    rows = paired_rows([tie, FRUIT, tie, FRUIT], ENCODER)
    assert [row.source for row in rows] == [1, 3]
    assert rows[0].prompt == rows[1].prompt
    with pytest.raises(DataError, match="none of 1 rankings"):
        paired_rows([tie], ENCODER)


def test_completions_are_cut_at_their_end() -> None:
    long = Ranking((Message("user", "w1"),), ("w3 w4 w5 w6", "w7"), (1, 2))
    (row,) = paired_rows([long], ENCODER, most_tokens=3)
    assert row.group.completions[0].tolist() == ENCODER.encode_continuation("w3 w4 w5")
    assert row.group.completions[1][-1] == ENCODER.eos_id


@given(rows=st.integers(1, 40), size=st.integers(1, 17), seed=st.integers(0, 9))
def test_every_epoch_reads_every_row_once_wherever_a_step_is_asked_for(rows: int, size: int, seed: int) -> None:
    order = EpochOrder(rows, seed=seed, size=size)
    steps = -(-3 * rows // size)
    read = [place for step in range(steps) for place in order.window(step)]
    for epoch in range(3):
        assert sorted(read[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    again = EpochOrder(rows, seed=seed, size=size)
    for step in reversed(range(steps)):  # as no run would ask
        assert again.window(step) == read[step * size : (step + 1) * size]


@given(rows=st.integers(1, 40), size=st.integers(1, 17), steps=st.integers(1, 9))
def test_the_rows_that_a_run_meets_come_in_the_order_in_which_it_meets_them(rows: int, size: int, steps: int) -> None:
    order = EpochOrder(rows, seed=1, size=size)
    met = [place for step in range(steps) for place in order.window(step)]
    assert order.met(steps) == list(dict.fromkeys(met))


def test_epochs_have_orders_of_their_own() -> None:
    order = EpochOrder(50, seed=0, size=50)
    assert order.window(0) != order.window(1)
    assert order.window(0) != EpochOrder(50, seed=1, size=50).window(0)


@given(seed=st.integers(0, 99), alike=st.integers(0, 6), others=st.integers(1, 4))
def test_mismatched_completions_stand_behind_a_prompt_that_asks_otherwise(seed: int, alike: int, others: int) -> None:
    """Also where several people ranked completions of the same prompt."""
    given_rankings = [FRUIT] * (alike + 1) + rankings(others, seed=seed)
    rows = paired_rows(given_rankings, ENCODER)
    found = mismatched(rows, seed=seed, longest=128)
    for row, group in zip(rows, found, strict=True):
        assert group.prompt.tobytes() != row.group.prompt.tobytes()
        assert all(np.array_equal(a, b) for a, b in zip(group.completions, row.group.completions, strict=True))
    assert [group.prompt.tobytes() for group in mismatched(rows, seed=seed, longest=128)] == [
        group.prompt.tobytes() for group in found
    ]


def test_mismatched_completions_are_cut_to_the_row() -> None:
    rows = paired_rows([FRUIT, Ranking((Message("user", " ".join(["w9"] * 14)),), ("w3", "w4"), (1, 2))], ENCODER)
    read = len(rows[1].group.prompt)
    for longest, sizes in ((read + 3, [2, 3, 2]), (read + 2, [2, 2, 2]), (read - 5, [1, 1, 1])):
        found = mismatched(rows, seed=0, longest=longest)
        assert [len(ids) for ids in found[0].completions] == sizes
    assert [len(ids) for ids in mismatched(rows, seed=0, longest=None)[0].completions] == [2, 3, 2]
