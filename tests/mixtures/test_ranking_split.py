"""Splits by prompt and by annotator: nothing stands on two sides, and other rows move nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mixtures.made_rankings import ranked

from instil.errors import RecipeError
from instil.fingerprint import keyed_unit
from instil.mixtures.ranking_rows import split_key
from instil.mixtures.ranking_split import SideName, alike, annotators_out, split
from instil.records import Message, Ranking

TURNS = st.lists(st.sampled_from(("Hi", "hi!", "Name a fruit.", "More", "2 + 2")), min_size=1, max_size=3)


def _talk(turns: Sequence[str], annotator: str, better: str) -> Ranking:
    roles = ("user", "assistant") * len(turns)
    said = [Message(role, text) for role, text in zip(roles, turns, strict=False)]
    if said[-1].role == "assistant":
        said.append(Message("user", "Go on"))
    return Ranking(tuple(said), (better, "worse"), (1, 2), (), annotator)


RANKINGS = st.lists(
    st.builds(_talk, TURNS, st.sampled_from(("ada", "ben", "cem", "")), st.sampled_from("abc")), max_size=14
)
OUT = st.sampled_from((frozenset(), frozenset({"cem"}), frozenset({"ben", "cem"})))


def _torn(
    rankings: Sequence[Ranking], sides: Sequence[SideName | None], *, opening: bool, together: bool = True
) -> list[str]:
    """The prompts that are trained on and stand on another side too."""
    seen: dict[str, set[SideName | None]] = defaultdict(set)
    for one, side in zip(rankings, sides, strict=True):
        seen[split_key(one, opening=opening)].add(side)
    return [key for key, found in seen.items() if "train" in found and len(found - {None}) > 1]


@given(RANKINGS, st.integers(0, 99), st.sampled_from((0.0, 0.3, 0.6)), OUT, st.sampled_from(("opening", "prompt")))
def test_no_prompt_that_is_trained_on_stands_on_another_side(
    rankings: list[Ranking], seed: int, share: float, out: frozenset[str], by: Any
) -> None:
    sides = split(rankings, seed=seed, held_out=share, annotators_out=out, by=by)
    assert not _torn(rankings, sides, opening=by == "opening")
    assert not _torn(rankings, sides, opening=False)
    for one, side in zip(rankings, sides, strict=True):
        assert (one.annotator in out) == (side in (None, "held_out_annotators"))
    if not share:
        assert "held_out" not in sides


def test_a_split_by_row_tears_prompts_and_is_found_out() -> None:
    rankings = [ranked("p", {"x": 1, f"y{number}": 2}) for number in range(40)]
    by_row: list[SideName | None] = ["held_out" if keyed_unit("row", number) < 0.3 else "train" for number in range(40)]
    assert _torn(rankings, by_row, opening=False)


@given(RANKINGS, RANKINGS, st.integers(0, 99), OUT)
def test_rows_that_come_move_no_prompt_between_training_and_held_out(
    rankings: list[Ranking], more: list[Ranking], seed: int, out: frozenset[str]
) -> None:
    few = split(rankings, seed=seed, held_out=0.4, annotators_out=out, by="opening")
    many = split([*rankings, *more], seed=seed, held_out=0.4, annotators_out=out, by="opening")[: len(rankings)]
    for before, after in zip(few, many, strict=True):
        assert before == after or (before, after) == ("held_out_annotators", None)


def test_the_share_is_one_of_prompts_and_every_seed_draws_its_own() -> None:
    rankings = [ranked(f"prompt {number}", {"x": 1, "y": 2}) for number in range(4000)]
    drawn = [split(rankings, seed=seed, held_out=0.1, annotators_out=frozenset(), by="prompt") for seed in (1, 2)]
    for sides in drawn:
        assert 0.08 < sides.count("held_out") / 4000 < 0.12
    both = sum(one == other == "held_out" for one, other in zip(*drawn, strict=True))
    assert both / 4000 < 0.02


def test_a_larger_share_holds_out_what_a_smaller_one_does() -> None:
    rankings = [ranked(f"prompt {number}", {"x": 1, "y": 2}) for number in range(300)]
    few, many = (
        split(rankings, seed=3, held_out=share, annotators_out=frozenset(), by="opening") for share in (0.1, 0.3)
    )
    assert {at for at, side in enumerate(few) if side == "held_out"} < {
        at for at, side in enumerate(many) if side == "held_out"
    }


def test_a_held_out_annotators_ranking_of_a_trained_prompt_stands_on_no_side() -> None:
    """The picture: p is trained on by Ada; q is Cem's alone; r is held out, by whomever."""
    seed = next(
        seed
        for seed in range(1000)
        if [keyed_unit(seed, "held-out prompts", f"user\x1f{prompt}") < 0.5 for prompt in "pqr"] == [False, False, True]
    )
    rankings = [
        ranked("p", {"x": 1, "y": 2}, "ada"),
        ranked("p", {"x": 1, "y": 2}, "cem"),
        ranked("q", {"x": 1, "y": 2}, "cem"),
        ranked("r", {"x": 1, "y": 2}, "ada"),
        ranked("r", {"x": 1, "y": 2}, "cem"),
    ]
    assert split(rankings, seed=seed, held_out=0.5, annotators_out=frozenset({"cem"}), by="opening") == [
        "train",
        None,
        "held_out_annotators",
        "held_out",
        "held_out_annotators",
    ]


def _by(*names: str) -> list[Ranking]:
    return [ranked(f"of {name}", {"x": 1, "y": 2}, name) for name in names]


def test_annotators_are_held_out_by_name() -> None:
    assert annotators_out(_by("ada", "ben", ""), ["ben"], seed=0) == {"ben"}
    assert annotators_out(_by("ada"), 0.0, seed=0) == frozenset()
    with pytest.raises(RecipeError, match=r"'bem' ranked nothing\. There are ada, ben"):
        annotators_out(_by("ada", "ben"), ["bem"], seed=0)
    with pytest.raises(RecipeError, match="No row names an annotator"):
        annotators_out(_by("", ""), ["ben"], seed=0)


@given(st.sets(st.text("abcdef", min_size=1), min_size=2, max_size=12), st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_share_of_annotators_is_at_least_one_and_never_all(names: set[str], share: float, seed: int) -> None:
    out = annotators_out(_by(*names), share, seed=seed)
    assert 1 <= len(out) < len(names)
    assert out <= names
    assert out == annotators_out(_by(*sorted(names, reverse=True), *names), share, seed=seed)


def test_a_share_of_annotators_needs_two() -> None:
    for names in ((), ("ada",), ("ada", "ada", "")):
        with pytest.raises(RecipeError, match="annotators cannot be held out"):
            annotators_out(_by(*names), 0.2, seed=0)


def test_a_share_of_many_annotators_is_that_share_and_newcomers_move_nobody() -> None:
    names = [f"annotator {number}" for number in range(400)]
    few, many = (annotators_out(_by(*names[:count]), 0.25, seed=5) for count in (200, 400))
    assert 0.18 < len(many) / 400 < 0.32
    assert few == many & frozenset(names[:200])


def test_conversations_that_begin_as_a_trained_one_are_counted() -> None:
    short, longer = _talk(["Hi"], "", "a"), _talk(["Hi", "Hello", "Bye"], "", "a")
    other = _talk(["Name a fruit."], "", "a")
    sides: list[tuple[SideName, Sequence[Ranking]]] = [
        ("train", [short]),
        ("held_out", [longer, other]),
        ("held_out_annotators", []),
    ]
    assert dict(alike(sides)) == {"held_out": 1, "held_out_annotators": 0}
