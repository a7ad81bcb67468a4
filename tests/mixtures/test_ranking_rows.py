"""From a row to a ranking: what says nothing is left out, and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mixtures.made_rankings import ranked

from instil.mixtures.ranking_rows import (
    CONTRADICTED,
    EMPTY,
    NO_LEVELS,
    NOT_A_RANKING,
    REPEATED,
    Dropped,
    clean,
    dense,
    part_of,
    ranking_of,
    same_key,
    some_completions,
    split_key,
)
from instil.records import Example, Message, Ranking

HI = [{"role": "user", "content": "Hi"}]


def _made(completions: list[str], ranks: list[int], scores: list[float] | None = None) -> tuple[object, Counter[str]]:
    gone: Counter[str] = Counter()
    fields = {"messages": HI, "completions": completions, "ranks": ranks, "scores": scores, "annotator": "ada"}
    found = ranking_of(Example("7", fields), "comparisons/x", gone)
    return found, +gone


def test_the_picture_an_empty_and_a_repeated_completion_are_left_out() -> None:
    found, gone = _made(["Pear", "", "Apple", "Pear", "A chair"], [1, 3, 1, 1, 2])
    assert found == Ranking(
        (Message("user", "Hi"),), ("Pear", "Apple", "A chair"), (1, 1, 2), (), "ada", "comparisons/x", "7"
    )
    assert gone == {EMPTY: 1, REPEATED: 1}


def test_a_completion_in_two_ranks_contradicts_itself_and_goes_with_all_its_copies() -> None:
    found, gone = _made(["x", "y", "x", "z", "x"], [1, 2, 3, 3, 1])
    assert isinstance(found, Ranking)
    assert (found.completions, found.ranks) == (("y", "z"), (1, 2))
    assert gone == {CONTRADICTED: 3}


@pytest.mark.parametrize(
    ("completions", "ranks", "reason"),
    [
        (["x", "x"], [1, 2], CONTRADICTED),
        (["x", "x"], [1, 1], REPEATED),
        (["x", ""], [1, 2], EMPTY),
        (["", "  "], [1, 2], EMPTY),
        (["x", "y"], [1, 1], NO_LEVELS),
        (["x", "y", "z"], [4, 4, 4], NO_LEVELS),
        (["x", "y", ""], [1, 1, 2], NO_LEVELS),
        (["x", "y"], [1], NOT_A_RANKING),
        ([], [], NOT_A_RANKING),
    ],
)
def test_what_ranks_nothing_is_dropped_with_its_reason(completions: list[str], ranks: list[int], reason: str) -> None:
    found, gone = _made(completions, ranks)
    assert found == Dropped(reason)
    assert not gone


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"inputs": "2 + 2", "targets": ["4"]},
        {"messages": HI},
        {"messages": HI, "completions": ["x", "y"]},
        {"messages": HI, "completions": "xy", "ranks": [1, 2]},
        {"messages": HI, "completions": ["x", 7], "ranks": [1, 2]},
        {"messages": HI, "completions": ["x", "y"], "ranks": [1, float("nan")]},
        {"messages": HI, "completions": ["x", "y"], "ranks": [1, True]},
        {"messages": [{"role": "user"}], "completions": ["x", "y"], "ranks": [1, 2]},
        {"messages": ["Hi"], "completions": ["x", "y"], "ranks": [1, 2]},
        {"messages": None, "completions": ["x", "y"], "ranks": [1, 2]},
    ],
)
def test_rows_of_other_kinds_are_no_rankings(fields: dict[str, object]) -> None:
    assert ranking_of(Example("1", fields), "t", Counter()) == Dropped(NOT_A_RANKING)


def test_the_reason_of_a_row_of_the_hub_that_its_reader_refused_is_kept() -> None:
    assert ranking_of(Example("1", {"set_aside": "empty reply"}), "t", Counter()) == Dropped("empty reply")


def test_a_prompt_that_the_assistant_ends_is_not_answered() -> None:
    said = [*HI, {"role": "assistant", "content": "Hello"}]
    found = ranking_of(Example("1", {"messages": said, "completions": ["x", "y"], "ranks": [1, 2]}), "t", Counter())
    assert found == Dropped("the assistant speaks last before the completions")


def test_completions_that_score_alike_stay_scored_and_lose_their_ranks() -> None:
    found, _ = _made(["x", "y"], [1, 1], [0.0, 0.0])
    assert isinstance(found, Ranking)
    assert (found.completions, found.ranks, found.scores) == (("x", "y"), (), (0.0, 0.0))


def test_calls_of_tools_stay_in_the_messages() -> None:
    given = {"content": "", "tool_calls": [{"function": {"name": "clock"}}]}
    said = [*HI, {"role": "assistant", "content": "[...]", "given": given}, {"role": "tool", "content": "noon"}]
    found = ranking_of(Example("1", {"messages": said, "completions": ["x", "y"], "ranks": [1, 2]}), "t", Counter())
    assert isinstance(found, Ranking)
    assert found.messages[1].given == given


TEXTS = st.sampled_from(("a", "b", "c", "d", "", " "))
ROWS = st.lists(st.tuples(TEXTS, st.integers(1, 4)), max_size=7)


@given(ROWS, st.booleans())
def test_what_is_left_has_different_completions_and_two_levels_or_scores(
    rows: list[tuple[str, int]], scored: bool
) -> None:
    ranking = Ranking(
        (),
        tuple(text.strip() for text, _ in rows),
        tuple(rank for _, rank in rows),
        tuple(-float(rank) for _, rank in rows) if scored else (),
    )
    gone: Counter[str] = Counter()
    found = clean(ranking, gone)
    if isinstance(found, Dropped):
        assert not gone
        return
    assert len(set(found.completions)) == len(found.completions) == len(rows) - gone.total()
    assert all(found.completions)
    assert found.ranks == dense(found.ranks)
    assert len(set(found.ranks)) > 1 or (scored and not found.ranks)
    assert len(found.scores) == (len(found.completions) if scored else 0)
    order = dict(zip(ranking.completions, ranking.ranks, strict=True))
    for better, worse in found.pairs:  # nobody is put above another who was not
        assert order[found.completions[better]] < order[found.completions[worse]]


@given(ROWS, st.integers(2, 5), st.integers(0, 9), st.randoms())
def test_some_completions_keep_a_best_and_a_worst_whatever_order_they_stand_in(
    rows: list[tuple[str, int]], count: int, seed: int, chance: object
) -> None:
    named = {f"{text}{place}": rank for place, (text, rank) in enumerate(rows)}
    ranking = ranked("p", named)
    if len(set(ranking.ranks)) < 2:
        return
    ranking = part_of(ranking, range(len(rows)))
    few = some_completions(ranking, count, seed=seed)
    assert len(few.completions) == min(count, len(rows))
    by_text = dict(zip(ranking.completions, ranking.ranks, strict=True))
    levels = [by_text[text] for text in few.completions]
    assert {1, max(ranking.ranks)} <= set(levels)
    assert few.ranks == dense(levels)
    backwards = part_of(ranking, range(len(rows))[::-1])
    assert set(some_completions(backwards, count, seed=seed).completions) == set(few.completions)


def test_rankings_that_say_the_same_have_the_same_key_in_whatever_order_they_stand() -> None:
    one = ranked("p", {"x": 1, "y": 2}, "ada")
    assert same_key(one) == same_key(ranked("p", {"y": 2, "x": 1}, "ada"))
    for other in (
        ranked("p", {"x": 2, "y": 1}, "ada"),
        ranked("p", {"x": 1, "y": 2}, "ben"),
        ranked("q", {"x": 1, "y": 2}, "ada"),
        ranked("p", {"x": 1, "y": 1}, "ada"),
        ranked("p", {"x": 1, "z": 2}, "ada"),
    ):
        assert same_key(one) != same_key(other)


def test_a_prompt_is_the_same_without_regard_to_case_marks_and_white_space() -> None:
    asked = ranked("Name a  fruit.", {"x": 1, "y": 2})
    assert split_key(asked, opening=False) == split_key(ranked("name a fruit!", {"z": 1, "y": 2}), opening=False)
    assert split_key(asked, opening=False) != split_key(ranked("name a fruit tree", {"x": 1, "y": 2}), opening=False)
    turns = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello")]
    longer = Ranking((*turns, Message("user", "Bye")), ("x", "y"), (1, 2))
    shorter = Ranking(tuple(turns[:2]), ("x", "y"), (1, 2))
    assert split_key(longer, opening=True) == split_key(shorter, opening=True)
    assert split_key(longer, opening=False) != split_key(shorter, opening=False)
    assert split_key(shorter, opening=True) != split_key(Ranking(tuple(turns[1:2]), ("x", "y"), (1, 2)), opening=True)


def test_completions_without_a_prompt_stand_for_it() -> None:
    one, other = ranked("", {"x": 1, "y": 2}), ranked("", {"y": 1, "x": 2})
    assert split_key(one, opening=True) == split_key(other, opening=True)
    assert split_key(one, opening=True) != split_key(ranked("", {"x": 1, "z": 2}), opening=True)
