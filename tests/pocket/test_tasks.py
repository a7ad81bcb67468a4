"""Pocket tasks: rows by number, options that hold the answer, frames with and without steps."""

from __future__ import annotations

import pytest

from instil.mixtures.load import load_mixture
from instil.pocket.chains import Chain, single
from instil.pocket.skills import SKILLS
from instil.pocket.split import split
from instil.pocket.tasks import EVALUATE, EXEMPLARS, TUNE, Rows, collection, held_out_collection, task
from instil.tasks.registry import load_collection

REVERSE_FIRST = Chain((SKILLS["reverse"], SKILLS["first"]))


def test_a_row_is_a_function_of_its_number() -> None:
    rows = Rows(single("reverse"), TUNE, 50)
    assert [rows[i].fields for i in (7, 3, 7)] == [rows[7].fields, rows[3].fields, rows[7].fields]
    assert rows[-1].key == rows[49].key
    assert [row.key for row in rows[2:4]] == ["tune-2", "tune-3"]
    with pytest.raises(IndexError):
        rows[50]


def test_the_answer_is_what_the_skills_say() -> None:
    for row in Rows(REVERSE_FIRST, TUNE, 30):
        words = str(row.fields["x"]).split()
        assert row.fields["y"] == words[-1]
        assert row.fields["rationale"] == " ".join(words[::-1])


def test_options_hold_the_answer_once_and_stand_in_no_fixed_place() -> None:
    places = set()
    for chain in (single("reverse"), single("spell"), single("follows"), REVERSE_FIRST):
        for row in Rows(chain, EVALUATE, 25):
            choices = row.fields["choices"]
            assert isinstance(choices, list)
            assert choices.count(row.fields["y"]) == 1
            assert len(set(choices)) == len(choices) >= 2
            places.add(choices.index(row.fields["y"]))
    assert len(places) > 3


def test_tuning_evaluation_and_exemplars_draw_from_different_rows() -> None:
    parts = {
        part: [row.fields["x"] for row in Rows(single("mirror"), part, 40)] for part in (TUNE, EVALUATE, EXEMPLARS)
    }
    assert not set(parts[TUNE]) & set(parts[EVALUATE])
    assert not set(parts[EXEMPLARS]) & set(parts[EVALUATE])


def test_a_composition_is_also_asked_for_with_its_steps() -> None:
    made = task(REVERSE_FIRST, side="compositions", part=TUNE)
    steps = [template for template in made.templates if template.cot]
    assert len(steps) == len(made.templates) / 2 >= 5
    rendered = steps[0].render(made.examples[0], seed=0)
    answer = made.examples[0].fields["y"]
    assert rendered.target.endswith(f". So the answer is {answer}.")
    assert rendered.answer == answer
    assert not [template for template in task(single("reverse"), side="skills", part=TUNE).templates if template.cot]


def test_the_collections_are_installed_and_the_held_out_one_is_for_evaluation_only() -> None:
    assert {t.name for t in load_collection("pocket", None)} == {t.name for t in collection()}
    held_out = held_out_collection()
    assert all(t.evaluation_only for t in held_out)
    assert not {t.name for t in held_out} & {t.name for t in collection()}


def test_a_mixture_of_the_held_out_side_is_refused() -> None:
    from instil.errors import InstilError

    with pytest.raises(InstilError, match="evaluat"):
        load_mixture({"sources": [{"collection": "pocket-held-out"}]})


def test_a_mixture_asks_for_tuned_chains_in_tuned_frames_alone() -> None:
    mixture = load_mixture({"sources": [{"collection": "pocket"}], "settings": {"zero-shot": 1, "zero-shot-cot": 1}})
    names = {chain.name for chain in split().tuned}
    for index in range(300):
        prompt = mixture[index]
        assert prompt.task.rpartition("/")[2] in names
        assert prompt.template.startswith("tuned-")


def test_targets_hold_the_rows_of_the_collection_and_unseen_rows_that_no_suite_asks() -> None:
    targets = {one.name: one for one in load_collection("pocket-targets", None)}
    for one in collection()[::40]:
        other = targets[one.name]
        assert other.size == one.size
        for mine, theirs in zip(one.examples[:5], other.examples[:5], strict=True):
            assert mine.key == theirs.key
            assert {**mine.fields, "choices": theirs.fields["choices"]} == theirs.fields
    for one in held_out_collection()[::20]:
        rows = targets[one.name].examples[:12]
        assert not targets[one.name].evaluation_only
        assert [row.fields["x"] for row in rows] != [row.fields["x"] for row in one.examples[:12]]
        assert all(row.fields["y"] in row.fields["choices"] for row in rows)  # type: ignore[operator]
