"""Suites of held-out rows: which rows are asked, in which ways, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instil.errors import DataError, RecipeError
from instil.mixtures.load import assemble
from instil.mixtures.spec import MixtureSpec
from instil.records import Prompt
from instil.studies import target_suite as suites
from instil.studies.target_suite import target_suite

TARGET = {"collection": "pocket-targets", "tasks": ["skills/reverse"]}


def held(*sources: dict[str, Any], examples: int = 20) -> dict[str, Any]:
    return {"sources": list(sources or [TARGET]), "hold_out": {"examples": examples}}


def rows(path: Path, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    path.write_text("".join(json.dumps({"inputs": one, "targets": other}) + "\n" for one, other in pairs))
    return {"collection": "jsonl", "path": str(path)}


def test_the_rows_that_are_asked_are_the_ones_that_no_mixture_with_that_hold_out_trains_on() -> None:
    suite = target_suite({"mixture": held(), "groups": {"held_in": ["skills/reverse"]}})
    (cell,) = suite.cells
    assert (cell.task.name, cell.groups, cell.count()) == ("pocket/skills/reverse", ("held_in",), 20)
    tested = {example.key for example in cell.task.examples}
    tuned = assemble(
        MixtureSpec.model_validate(held({"collection": "pocket", "tasks": ["skills/reverse", "skills/first"]}))
    )
    trained = {place.example for place in tuned[:4000] if isinstance(place, Prompt) and place.task == cell.task.name}
    assert len(trained) > 1000
    assert not trained & tested


def test_probes_ask_the_same_rows_few_shot_and_ranked() -> None:
    plain, probes = (target_suite({"mixture": held(), "asked": way}) for way in ("zero-shot", "probes"))
    assert [(cell.setting.name, cell.method) for cell in probes.cells] == [
        ("few-shot-3", "generate"),
        ("zero-shot", "rank"),
    ]
    asked = [[item.key.rpartition("|")[2] for item in cell.asked(seed=0)] for cell in (*plain.cells, *probes.cells)]
    assert asked[0] == asked[1] == asked[2]


def test_probes_of_a_suite_are_its_own_or_made_of_its_zero_shot_questions(tmp_path: Path) -> None:
    assert target_suite({"probes_of": "pocket"}).name == "pocket/probes"
    source = rows(tmp_path / "own.jsonl", [(f"{k} + 1?", str(k + 1)) for k in range(20)])
    file = tmp_path / "own.yaml"
    file.write_text(json.dumps({"name": "own", "sources": [source]}))
    made = target_suite({"probes_of": str(file), "shots": 2})
    assert [(cell.setting.name, cell.method) for cell in made.cells] == [("few-shot-2", "generate")]


def test_a_test_row_that_a_training_row_repeats_is_not_asked(tmp_path: Path) -> None:
    pairs = [(f"number {k}", f"it is {k}") for k in range(60)]
    source = rows(tmp_path / "t.jsonl", pairs)
    before = target_suite({"mixture": held(source)}).cells[0].task
    assert before.size == 20
    twice = [str(example.fields["inputs"]) for example in before.examples][:5]
    # the same number of rows, so that the same places are held out: five others now repeat five test rows
    kept = [one for one, _ in pairs if one not in {str(row.fields["inputs"]) for row in before.examples}][:5]
    again = dict(zip(kept, twice, strict=True))
    repeated = [(again.get(one, one), f"it is {again.get(one, one).split()[1]}") for one, _ in pairs]
    after = target_suite({"mixture": held(rows(tmp_path / "t.jsonl", repeated))}).cells[0].task
    assert after.size == 15
    assert not {str(example.fields["inputs"]) for example in after.examples} & set(twice)


def test_what_tells_test_rows_apart_is_kept_for_other_processes_and_looked_at_anew_for_other_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))
    twice = [(f"number {k % 50}", f"it is {k % 50}") for k in range(60)]

    def another_process() -> None:
        monkeypatch.setattr(suites, "_telling", {})
        monkeypatch.setattr(suites, "_seen", {})

    def size(pairs: list[tuple[str, str]]) -> int:
        another_process()
        return target_suite({"mixture": held(rows(tmp_path / "t.jsonl", pairs))}).cells[0].task.size

    first = size(twice)
    assert first < 20
    (place,) = (tmp_path / "cache").glob("apart-*.json")
    assert len(json.loads(place.read_text())["places"]) == first
    with monkeypatch.context() as patched:
        patched.setattr(suites, "_told_apart", lambda *_: pytest.fail("it was looked at already"))
        assert size(twice) == first
    place.write_text('{"places": 3}')
    assert size(twice) == first, "what is damaged is looked at anew"
    assert size([(f"number {k}", f"it is {k}") for k in range(60)]) == 20
    monkeypatch.setenv("INSTIL_CACHE", "off")
    assert size(twice) == first


def test_a_task_whose_rows_all_repeat_is_refused_with_the_numbers(tmp_path: Path) -> None:
    source = rows(tmp_path / "t.jsonl", [(f"number {k % 10}", f"it is {k % 10}") for k in range(60)])
    with pytest.raises(DataError, match="20 of its 20 test rows say what one of its 40 training rows says"):
        target_suite({"mixture": held(source)})


@pytest.mark.parametrize(("count", "fits"), [(60, True), (59, False), (30, False)])
def test_more_test_rows_than_a_task_can_give_are_refused_with_the_numbers(
    tmp_path: Path, count: int, fits: bool
) -> None:
    source = rows(tmp_path / "t.jsonl", [(f"number {k}", f"it is {k}") for k in range(count)])
    arguments = {"mixture": held(source, examples=30)}
    if fits:
        assert target_suite(arguments).cells[0].task.size == 30
        return
    with pytest.raises(DataError) as refused:
        target_suite(arguments)
    told = f"'jsonl/t' has {count} rows, of which {count // 2} can be tested on (as many stay to train on), fewer than"
    assert told in str(refused.value)
    assert "the 30 that are asked for" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_budget_larger_than_the_rows_is_refused_with_the_numbers() -> None:
    with pytest.raises(DataError, match=r"has 1,980 rows besides the 20 that are tested on, fewer .* 5,000"):
        target_suite({"mixture": held(), "rows_needed": 5000})


@pytest.mark.parametrize(
    ("group", "mixture", "told"),
    [
        ("held_out", held({"collection": "pocket", "tasks": ["skills/*"]}), "is held out, and is one of the 68 tasks"),
        ("held_in", held({"collection": "pocket", "tasks": ["skills/first"]}), "is held in, and none of the 1 tasks"),
        ("held_in", held({"collection": "pocket", "tasks": ["skills/reverse"]}, examples=8), "trains on 12 of the 20"),
    ],
)
def test_a_target_on_the_wrong_side_of_the_mixture_is_refused(group: str, mixture: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        target_suite({"mixture": held(), "groups": {group: ["skills/reverse"]}, "trained_on": mixture})


def test_arguments_that_name_nothing_to_ask_are_refused() -> None:
    with pytest.raises(RecipeError, match="need a mixture, or `probes_of`"):
        target_suite({})
    with pytest.raises(RecipeError, match="probes_off"):
        target_suite({"probes_off": "pocket"})
    with pytest.raises(DataError, match="no rows of the target task"):
        target_suite({"mixture": {"sources": [TARGET]}})
