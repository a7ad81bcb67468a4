"""What is told of rankings before training."""

from __future__ import annotations

import json

from tests.mixtures.made_rankings import ranked, scored

from instil.mixtures.rankings import arrange
from instil.mixtures.rankings_report import side_of


def test_pairs_ties_and_sizes_are_counted() -> None:
    side = side_of(
        [ranked("p", {"x": 1, "y": 1, "z": 2}), ranked("p", {"x": 1, "y": 2}), ranked("q", {"x": 1, "y": 2})]
    )
    assert (side.rankings, side.prompts, side.completions) == (3, 2, 7)
    assert (side.pairs, side.tied) == (4, 1)
    assert side.sizes == {2: 2, 3: 1}


def test_a_person_is_told_what_was_used_and_what_was_not() -> None:
    rankings = [
        ranked(f"p{number}", {"x": 1, "y": 1 + (number + at) % 2, "z": 3}, who)
        for number in range(20)
        for at, who in enumerate(("ada", "ben"))
    ]
    extra = [ranked("q", {"x": 1, "z": 2, "y": 2}, "cem"), ranked("r", {"x": 1, "y": 1}), scored("s", "x", 1.0)]
    found = arrange([*rankings, *extra], held_out=0.0, held_out_annotators=["cem"], source="made up")
    agreed = (
        "annotators: 3 (20 prompts were ranked by several), held out cem; two of them agree on 100.0% [82.0%, 100.0%] "
        "of 40 pairs that both order (20 prompts)"
    )
    assert found.lines() == [
        "42 of 43 rows are used; left out: 1 (fewer than two levels)",
        "rankings: 40 to train on (20 prompts), 0 held out (0 prompts), 1 of held-out annotators (1 prompts)",
        "completions of a ranking (and how many have so many): 3 (41); 17.1% of their pairs are tied",
        "scored alone: 1 completions of 1 prompts to train on, 0 held out",
        agreed,
        "licences: not stated (43 rows)",
    ]


def test_who_names_no_annotator_is_told_so() -> None:
    said = arrange([ranked("p", {"x": 1, "y": 2}), ranked("q", {"x": 1, "y": 2})], held_out=0.0).lines()
    assert "annotators: none is named" in said
    said = arrange([ranked("p", {"x": 1, "y": 2}, "ada")], held_out=0.0).lines()
    assert "annotators: 1; no two ordered the same pair, so nobody can say how far they agree" in said


def test_the_card_is_plain_json_with_all_counts() -> None:
    found = arrange([ranked("p", {"x": 1, "y": 2}, "ada"), ranked("p", {"x": 2, "y": 1}, "ben")], held_out=0.0)
    card = json.loads(json.dumps(found.card()))
    assert card["rows"] == {"read": 2, "kept": 2, "dropped": {}}
    assert card["completions"] == {"2": 2}
    assert card["annotators"] == {"ada": 1, "ben": 1}
    assert card["agreement"]["rate"] == 0.0
    assert card["agreement"]["n"] == 1
    assert card["tied_share"] == 0.0
    assert card["sides"]["train"]["pairs"] == 2
    assert card["fingerprint"] == found.fingerprint


def test_scores_on_a_scale_of_their_own_are_told() -> None:
    def lines(*scores: float) -> list[str]:
        made = [scored("p", f"said {number}", score) for number, score in enumerate(scores)]
        return arrange(made, held_out=0.0).lines()

    assert "scores: from 1 to 7, not good (1) or bad (0)" in lines(1, 4, 7)
    assert "scores: from 0.2 to 0.9, not good (1) or bad (0)" in lines(0.2, 0.9)
    assert not [line for line in lines(0, 1, 1) if line.startswith("scores")]
