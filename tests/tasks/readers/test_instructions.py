"""Self-Instruct, instruction induction, BIG-Bench-Mistake and Natural Instructions v1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tasks.readers.damage import write

from instil.tasks.check import reading_of
from instil.tasks.readers.source import Source


def test_seeds_have_one_instruction_each(data_root: Path) -> None:
    reading = reading_of(data_root / "self_instruct" / "seed_tasks.jsonl")
    assert (reading.format, reading.read, reading.quarantined) == ("self-instruct", 175, [])
    (task,) = reading.tasks
    assert len({row.fields["instruction"] for row in task.examples}) >= 170
    assert sum(row.fields["is_classification"] is True for row in task.examples) == 26
    assert sum(row.fields["input"] == "" for row in task.examples) == 50
    plain, asked, _ = task.templates
    assert plain.render(task.examples[1], seed=0).input == (
        "What is the relation between the given pairs?\nNight : Day :: Right : Left"
    )
    without = asked.render(task.examples[0], seed=0).input
    assert "Input:" not in without
    assert without.endswith("\n\nOutput:")


def test_user_oriented_rows_and_rows_of_several_instances(tmp_path: Path) -> None:
    rows = [
        {
            "id": "u0",
            "motivation_app": "Grammarly",
            "instruction": "Fix.",
            "instances": [{"input": "a", "output": "b"}],
        },
        {"id": "u1", "instruction": "Two.", "instances": [{"input": "", "output": "x"}, {"input": "q", "output": "y"}]},
        {"id": "u1", "instruction": "Again.", "instances": [{"input": "", "output": "z"}]},
        {"id": "u2", "instruction": "Bad.", "instances": [{"input": "", "output": "x"}, {"input": "q", "output": " "}]},
        {"id": "u3", "instruction": "None.", "instances": []},
        {"id": "u4", "instruction": "", "instances": [{"input": "", "output": "x"}]},
        {"id": "u5", "instruction": "Odd.", "instances": ["x"]},
    ]
    reading = reading_of(write(tmp_path, "user_oriented_instructions.jsonl", "\n".join(map(json.dumps, rows)).encode()))
    assert (reading.format, reading.read, reading.accepted) == ("self-instruct", 7, 3)
    assert reading.reasons == {
        "empty target": 1,
        "no list of instances": 1,
        "empty instruction": 1,
        "not an object": 1,
    }
    (task,) = reading.tasks
    assert [row.key for row in task.examples] == ["u0", "u1-1", "u1-2", "u1#3"]
    assert task.examples[0].fields["motivation_app"] == "Grammarly"


def test_induction_tasks_have_people_s_words_and_their_own_pool(data_root: Path) -> None:
    folder = data_root / "instruction_induction"
    rows = 0
    for path in sorted((folder / "execute").iterdir()):
        reading = reading_of(path)
        assert (reading.format, reading.quarantined) == ("instruction-induction", [])
        (task,) = reading.tasks
        instructions = json.loads(Source(folder / "annotations" / f"{Source(path).stem}.json").text())["annotations"]
        made = [template.render(task.examples[0], seed=0) for template in task.templates]
        assert [one.instruction for one in made] == [text.strip() for text in instructions]
        assert task.exemplars is not None
        assert [row.key for row in task.examples] == [str(number) for number in range(1, task.size + 1)]
        assert [Path(file.path).parent.name for file in task.files] == ["execute", "induce", "annotations"]
        assert task.evaluation_only == (Source(path).stem == "common_concept")
        rows += reading.read
    for path in sorted((folder / "induce").iterdir()) + sorted((folder / "annotations").iterdir()):
        reading = reading_of(path)
        assert reading.quarantined == []
        rows += reading.read
    assert rows == 37792


def test_fields_of_their_own_and_further_references(data_root: Path) -> None:
    folder = data_root / "instruction_induction" / "execute"
    (concept,) = reading_of(folder / "common_concept.json").tasks
    assert concept.examples[0].fields["input"] == "rock climbing, elevators, helicopters"
    assert concept.examples[0].fields["references"] == ["involve vertical movement.", "involve going up."]
    (german,) = reading_of(folder / "translation_en-de.json").tasks
    made = german.templates[0].render(german.examples[0], seed=0)
    assert (made.target, german.language) == ("Platz", "German")
    assert {"Platz", "Position", "Ort"} <= set(made.references)


def test_keys_are_taken_as_numbers_and_causes_are_asked_for(tmp_path: Path) -> None:
    rows = {str(n): {"cause": f"It rained {n}.", "effect": f"It is wet {n}."} for n in (10, 1, 2)}
    rows |= {"3": {"cause": "", "effect": "x"}, "4": {"input": "a"}, "x": {"input": "a", "output": "b"}}
    content = json.dumps({"metadata": {}, "examples": {**rows, "5": 7}}).encode()
    reading = reading_of(write(tmp_path, "cause_and_effect.json", content))
    assert (reading.read, reading.accepted) == (7, 4)
    assert [row.where for row in reading.quarantined] == ["entry 3", "entry 4", "entry 5"]
    (task,) = reading.tasks
    assert [row.key for row in task.examples] == ["1", "2", "10", "x"]
    assert task.evaluation_only
    for row in task.examples[:3]:
        assert row.fields["output"] == f"It rained {row.key}."
        assert str(row.fields["input"]).startswith("Sentence 1: It ")
    assert [template.name for template in task.templates] == ["rows"]


@pytest.mark.parametrize(("content", "read", "reasons"), [
    (b'{"annotations": ["a", "", 5, null]}', 4, {"empty instruction": 1, "field 'annotations' is null, not text": 1}),
    (b'{"annotations": ["a"', 1, {"not JSON (expecting ',' delimiter)": 1}),
])  # fmt: skip
def test_annotations_are_counted(tmp_path: Path, content: bytes, read: int, reasons: dict[str, int]) -> None:
    reading = reading_of(write(tmp_path, "sum.json", content))
    assert (reading.format, reading.read, reading.reasons) == ("instruction-annotations", read, reasons)


@pytest.mark.parametrize(
    ("name", "rows", "right"), [("word_sorting", 300, 34), ("dyck_languages", 986, 336), ("logical_deduction", 300, 6)]
)
def test_traces_with_their_first_mistake(data_root: Path, name: str, rows: int, right: int) -> None:
    reading = reading_of(data_root / "bbh_mistake" / f"{name}.jsonl.gz")
    assert (reading.format, reading.read, reading.quarantined) == ("bbh-mistake", rows, [])
    (task,) = reading.tasks
    assert task.evaluation_only
    assert sum(row.fields["first_mistake"] == "none" for row in task.examples) == right
    for row in task.examples:
        made = [template.render(row, seed=0) for template in task.templates]
        assert all(one.target in one.options for one in made)
        assert (made[2].target == "yes") == (made[0].target == "none")


def test_mistakes_are_counted_from_one_in_the_text(data_root: Path, tmp_path: Path) -> None:
    (task,) = reading_of(data_root / "bbh_mistake" / "dyck_languages.jsonl.gz").tasks
    made = task.templates[0].render(task.examples[0], seed=0)
    assert made.target == "13"  # index 12 in the file
    assert "\nStep 13: ] ; stack: {\n" in made.input
    whole = {"input": "q", "steps": ["a", "b"], "target": "t", "answer": "t", "mistake_index": None}
    changes = [{}, {"mistake_index": 2}, {"mistake_index": True}, {"steps": []}, {"steps": ["a", None]}, {"input": ""}]
    rows = [json.dumps({**whole, **change}) for change in changes] + ['{"input": "q", "steps": ["a"]}']
    reading = reading_of(write(tmp_path, "x.jsonl", "\n".join(rows).encode()))
    assert (reading.read, reading.accepted) == (7, 1)
    assert reading.reasons == {
        "the mistake is at none of the steps": 2,
        "no list of steps": 1,
        "field 'steps' is null, not text": 1,
        "empty input": 1,
        "no field 'mistake_index'": 1,
    }


@pytest.mark.parametrize("number", ["059_ropes_story", "060_ropes_question"])
def test_version_1_has_plain_texts_and_cautions(data_root: Path, number: str) -> None:
    reading = reading_of(data_root / "natural_instructions_v1" / f"subtask{number}_generation.json.gz")
    assert (reading.format, reading.read, reading.quarantined) == ("natural-instructions-v1", 300, [])
    (task,) = reading.tasks
    assert "ROPES" in task.licence
    full = task.templates[2].render(task.examples[0], seed=0)
    for part in (
        "Prompt: Write a",
        "Definition: You are",
        "Things to Avoid: ",
        "Emphasis & Caution: 1. ",
        "Suggestion: ",
    ):
        assert part in full.instruction
    assert task.exemplars is not None
    assert next(row.key for row in task.exemplars) == "positive-1"
    assert str(task.exemplars[0].fields["explanation"]).startswith("This is a good")
    several = next(row for row in task.examples if len(row.fields["outputs"]) > 1)  # type: ignore[arg-type]
    assert len(task.templates[0].render(several, seed=0).references) > 1


def test_a_dash_is_none_and_damage_is_set_aside(tmp_path: Path) -> None:
    content = {
        "Title": "T",
        "Prompt": "-",
        "Definition": "Say it.",
        "Things to Avoid": "-",
        "Emphasis & Caution": "Take care.",
        "Instances": [
            {"input": "a", "output": ["b"]},
            {"input": "a", "output": "b"},
            {"input": "a", "output": []},
            {"input": " ", "output": ["b"]},
            {"output": ["b"]},
            "x",
        ],
        "Examples": {"Positive Examples": [{"input": "p"}], "Negative Examples": ["-"]},
    }
    reading = reading_of(write(tmp_path, "subtask001_x.json", json.dumps(content).encode()))
    assert (reading.format, reading.read, reading.accepted) == ("natural-instructions-v1", 6, 2)
    assert [row.reason for row in reading.quarantined] == [
        "empty target",
        "empty input",
        "no field 'input'",
        "not an object",
    ]
    (task,) = reading.tasks
    assert task.exemplars is None
    made = {template.name: template.render(task.examples[0], seed=0) for template in task.templates}
    assert made["prompt"].instruction == "Say it."
    assert made["full"].instruction == "T\nDefinition: Say it.\nEmphasis & Caution: Take care."
    nameless = reading_of(write(tmp_path, "y.json", json.dumps({**content, "Definition": "-"}).encode()))
    assert nameless.reasons["no Definition"] == 5
    broken = reading_of(write(tmp_path, "z.json", json.dumps({**content, "Instances": {}}).encode()))
    assert broken.reasons == {"no list of Instances": 1}
