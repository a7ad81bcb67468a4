"""Rankings as rows: one a prompt, each completion once, pairs as each person saw them."""

from __future__ import annotations

import pytest
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import rankings

from instil.errors import DataError
from instil.records import Message, Ranking
from instil.tuning.reward_model import encoder_for
from instil.tuning.reward_rows import Pair, reward_rows

ASKED = (Message("user", "w1 w2 w3"),)
ADA = Ranking(ASKED, ("w4", "w5 w6", "w7"), (1, 2, 1), (), "ada")
BEN = Ranking(ASKED, ("w7", "w4", "w8"), (1, 2, 3), (0.9, 0.4, 0.1), "ben")


def test_one_row_a_prompt_with_each_completion_once_and_everybodys_pairs() -> None:
    encoder = encoder_for(tiny_loaded())
    (row,) = reward_rows([ADA, BEN], encoder)
    assert row.ranking.completions == ("w4", "w5 w6", "w7", "w8")
    assert [ids.tolist() for ids in row.group.completions] == [[7, 1], [8, 9, 1], [10, 1], [11, 1]]
    assert [(pair.better, pair.worse, pair.levels, pair.annotator) for pair in row.pairs] == [
        (0, 1, 1, "ada"),
        (2, 1, 1, "ada"),
        (2, 0, 1, "ben"),
        (2, 3, 2, "ben"),
        (0, 3, 1, "ben"),
    ]
    assert [pair.margin for pair in row.pairs] == pytest.approx([0, 0, 0.5, 0.8, 0.3])
    assert row.best == (0, 2)
    assert row.rankings == 2


def test_ties_are_in_no_pair_unless_they_are_asked_for() -> None:
    encoder = encoder_for(tiny_loaded())
    (row,) = reward_rows([ADA], encoder, ties="half")
    assert row.pairs[1] == Pair(0, 2, 0, 0.0, "ada")
    assert len(row.pairs) == 3
    assert len(reward_rows([ADA], encoder)[0].pairs) == 2


def test_completions_without_a_prompt_belong_together_only_where_they_are_the_same() -> None:
    encoder = encoder_for(tiny_loaded())
    alone = [Ranking((), ("w4", "w5"), (1, 2)), Ranking((), ("w6", "w5"), (1, 2)), Ranking((), ("w5", "w4"), (1, 2))]
    rows = reward_rows(alone, encoder)
    assert [row.rankings for row in rows] == [2, 1]
    assert [(pair.better, pair.worse) for pair in rows[0].pairs] == [(0, 1), (1, 0)]


def test_rankings_of_one_level_or_none_give_no_row_and_nothing_else_is_an_error() -> None:
    encoder = encoder_for(tiny_loaded())
    tied = Ranking(ASKED, ("w4", "w5"), (1, 1))
    scored = Ranking((Message("user", "w9"),), ("w4",), (), (1.0,))
    other = Ranking((Message("user", "w8"),), ("w4", "w5"), (2, 1))
    assert [row.prompt for row in reward_rows([tied, scored, other], encoder)] == ["user\x1fw8"]
    with pytest.raises(DataError, match="none of 2 rankings has two completions of which one is better"):
        reward_rows([tied, scored], encoder)


def test_rows_say_what_their_rankings_say() -> None:
    made = rankings(40, seed=3, completions=(2, 6))
    rows = reward_rows(made, encoder_for(tiny_loaded()))
    for ranking, row in zip(made, rows, strict=True):
        assert tuple((pair.better, pair.worse) for pair in row.pairs) == tuple(
            (i, j) if ranking.ranks[i] < ranking.ranks[j] else (j, i)
            for i in range(len(ranking.ranks))
            for j in range(i + 1, len(ranking.ranks))
            if ranking.ranks[i] != ranking.ranks[j]
        )
        assert sorted((pair.better, pair.worse) for pair in row.pairs) == sorted(ranking.pairs)
