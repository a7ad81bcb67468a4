"""Held-out items that are trained on are refused before anything starts, with their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.studies.tiny_grid import write_rows, write_suite

from instil.errors import DataError, RecipeError
from instil.recipe import parse
from instil.studies.check import overlaps, refuse_overlap
from instil.studies.spec import StudySpec

#: Questions long enough that no other holds them by chance.
ROWS = [
    {"inputs": f"Which of the {k} lighthouses on the {k}th island was painted first?", "targets": f"tower {k}"}
    for k in range(40)
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty rows to train on, and a suite of eight others."""
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))
    write_rows(tmp_path / "my.jsonl", ROWS)
    ask(tmp_path, leaked=0)
    return tmp_path


def ask(folder: Path, *, leaked: int) -> None:
    """A suite of eight items, so many of which stand in the training rows."""
    others = [
        {"inputs": f"How many bridges cross the {k}th river of the northern valley?", "targets": f"{k} of wood"}
        for k in range(8 - leaked)
    ]
    write_rows(folder / "test.jsonl", [*ROWS[:leaked], *others])
    write_suite(folder, "bridges")


def study(folder: Path, **keys: Any) -> StudySpec:
    mixture = {"sources": [{"collection": "jsonl", "path": str(folder / "my.jsonl")}], **keys.pop("mixture", {})}
    raw = {
        "name": "mine",
        "question": "scaling",
        "models": ["pocket"],
        "recipe": {"mixture": mixture, "tuning": {"max_steps": 2}},
        "suites": [str(folder / "bridges.yaml")],
        "held_out": ["unseen"],
        **keys,
    }
    return parse(StudySpec, raw, origin="mine.yaml")


def test_without_overlap_a_study_begins(world: Path) -> None:
    said: list[str] = []
    found = refuse_overlap(study(world), said.append)
    assert [(one.suite, one.items, one.rows, one.found) for one in found] == [("bridges", 8, 40, {})]
    assert found[0].told().startswith("0 of 8 held-out items of bridges (0.0%)")
    assert said == []


def test_items_that_are_trained_on_are_refused_with_their_numbers_and_a_remedy(world: Path) -> None:
    ask(world, leaked=3)
    with pytest.raises(DataError) as caught:
        refuse_overlap(study(world))
    told = str(caught.value)
    assert "3 of 8 held-out items of bridges (37.5%) stand word for word in the 40 rows that are trained on" in told
    assert "the study allows 10.0%" in told
    assert "\n" not in told
    assert "recipe.mixture.decontaminate" in str(caught.value.remedy)


def test_what_the_study_allows_is_said_and_goes_on_the_page(world: Path) -> None:
    ask(world, leaked=3)
    said: list[str] = []
    found = refuse_overlap(study(world, overlap=1), said.append)
    assert [sum(one.found.values()) for one in found] == [3]
    assert len(said) == 1
    assert "3 of 8 held-out items" in said[0]
    assert said[0].endswith("the study allows 100.0%")


def test_the_remedy_works_as_it_is_written(world: Path) -> None:
    ask(world, leaked=3)
    with pytest.raises(DataError) as caught:
        refuse_overlap(study(world))
    named = str(caught.value.remedy).partition("decontaminate: [")[2].partition("]")[0]
    cleaned = overlaps(study(world, mixture={"decontaminate": [named]}))
    assert [(one.rows, one.found) for one in cleaned] == [(37, {})]


def test_a_group_cannot_be_held_in_and_held_out(world: Path) -> None:
    with pytest.raises(RecipeError, match="held_out: group 'unseen' stands under held_in too") as caught:
        study(world, held_in=["unseen"], overlap=1)
    assert "\n" not in str(caught.value)


def test_a_held_out_task_that_the_mixture_holds_by_name_is_said_and_goes_on_the_page(world: Path) -> None:
    """Its rows are others, so no item is found; a suite of unseen templates may mean it so."""
    elsewhere = world / "elsewhere"
    elsewhere.mkdir()
    (world / "test.jsonl").rename(elsewhere / "my.jsonl")
    source = {"collection": "jsonl", "path": str(elsewhere / "my.jsonl"), "group": "unseen"}
    write_suite(world, "bridges", sources=[source])
    said: list[str] = []
    (found,) = refuse_overlap(study(world), said.append)
    assert (found.found, found.tasks, found.trained) == ({}, 1, ("jsonl/my",))
    assert found.told().endswith("; of its 1 held-out tasks the mixture holds 1 by name")
    assert len(said) == 1


def test_another_suite_or_other_rows_are_looked_at_anew(world: Path) -> None:
    assert overlaps(study(world))[0].found == {}
    assert overlaps(study(world))[0].found == {}, "what was kept says the same"
    ask(world, leaked=2)
    assert sum(overlaps(study(world))[0].found.values()) == 2
    write_rows(world / "my.jsonl", ROWS[1:])
    assert sum(overlaps(study(world))[0].found.values()) == 1


def test_groups_that_are_trained_on_by_design_are_not_looked_for(world: Path) -> None:
    ask(world, leaked=3)
    assert overlaps(study(world, held_out=["others"], held_in=["unseen"])) == []
    assert overlaps(study(world, held_out=[])) == []


def test_the_command_refuses_in_one_line_and_writes_nothing(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from instil.cli.app import run

    ask(world, leaked=3)
    words = study(world).model_dump(mode="json", exclude_unset=True)
    # one task cannot be counted, so rows of it are
    file = world / "mine.yaml"
    file.write_text(json.dumps(words | {"instances": [4, 8], "draws": [0]}))
    for how in (["--out", str(world / "out")], ["--plan"]):
        assert run(["study", "scaling", str(file), *how]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: 3 of 8 held-out items of bridges (37.5%)")
        assert shown.count("\n") == 1
    assert not (world / "out").exists()


@pytest.mark.parametrize("leaked", [True, False])
def test_test_rows_that_another_task_trains_on_are_found(world: Path, leaked: bool) -> None:
    from instil.studies.should_i import Spec

    others = [
        {"inputs": f"How many bridges cross the {k}th river of the northern valley?", "targets": f"{k} of wood"}
        for k in range(40)
    ]
    write_rows(world / "mine.jsonl", ROWS if leaked else others)
    target = {"collection": "jsonl", "path": str(world / "mine.jsonl"), "tasks": ["mine"]}
    raw = study(world).model_dump(mode="json", exclude_unset=True) | {
        "question": "should-i",
        "suites": [],
        "held_out": [],
        "targets": {"held_out": [target]},
        "budgets": [16],
        "test_rows": 8,
        "fine_tuning": {"max_steps": 2},
    }
    spec = parse(Spec, raw, origin="mine.yaml")
    (found,) = overlaps(spec)
    assert (found.items, sum(found.found.values())) == (8, 8 if leaked else 0)
    if leaked:
        with pytest.raises(DataError, match="8 of 8 held-out items of targets") as caught:
            refuse_overlap(spec)
        assert caught.value.remedy == "Take other targets, or allow more with `overlap`"
