"""Natural Instructions: definition, worked examples, instances, and the schema's drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.readers.damage import NI, write

from instil.records import Prompt, PromptFormat
from instil.tasks.readers.natural_instructions import ENCODINGS, NaturalInstructions
from instil.tasks.registry import load_collection
from instil.tasks.template import Rendered, RenderRefused

READER = NaturalInstructions()


def test_the_encoding_is_definition_examples_query(tmp_path: Path) -> None:
    (task,) = READER.read(write(tmp_path, "task1_cold.json", NI)).tasks
    (template,) = task.templates
    assert task.exemplars is not None
    made = template.render(task.examples[2], seed=0)
    shown = template.render_exemplar(task.exemplars[0], number=1, seed=0)
    prompt = Prompt(made.input, made.target, instruction=made.instruction, exemplars=(shown,))
    assert prompt.text(PromptFormat(separator=" ")) == (
        "Definition: Say whether it is cold.\n\n"
        "Positive Example 1 -\nInput: ice.\nOutput: cold\n\n"
        "Now complete the following example -\nInput: thing 2.\nOutput:"
    )
    assert set(made.references) == {"cold", "Cold"}
    assert {template.render(task.examples[0], seed=seed).target for seed in range(40)} == {"cold", "Cold"}


def test_the_task_says_where_it_comes_from(tmp_path: Path) -> None:
    (task,) = READER.read(write(tmp_path, "task1_cold.json", NI)).tasks
    assert (task.name, task.cluster, task.collection) == ("ni/task1_cold", "Text Categorization", "ni")
    assert (task.licence, task.language, task.source) == ("MIT", "English", "made up")
    assert task.metrics == ("exact_match", "rouge_l")
    assert not task.evaluation_only


def test_single_texts_in_place_of_lists_are_read(data_root: Path) -> None:
    path = data_root / "natural_instructions" / "drift" / "task363_sst2_polarity_classification_dev.json"
    (task,) = READER.read(path).tasks
    assert (task.size, task.cluster, task.licence) == (100, "Basic Sentiment Analysis", "not stated")
    assert task.metrics[0] == "exact_match"
    assert {task.templates[0].render(example, seed=0).target for example in task.examples} == {"POS", "NEG"}


def test_every_real_instance_renders(data_root: Path) -> None:
    paths = sorted((data_root / "natural_instructions").glob("tasks*/*.json*"))
    assert len(paths) == 252
    for path in paths[::12]:
        (task,) = READER.read(path).tasks
        for example in task.examples:
            made = task.templates[0].render(example, seed=1)
            assert made.instruction.startswith("Definition: ")
            assert made.target in made.references


def test_repeated_and_absent_ids_give_keys_of_their_own(tmp_path: Path) -> None:
    content = json.loads(NI)
    for instance in content["Instances"]:
        instance["id"] = "same"
    del content["Instances"][3]["id"]
    (task,) = READER.read(write(tmp_path, "t.json", json.dumps(content).encode())).tasks
    assert len({example.key for example in task.examples}) == 6


def test_an_empty_reference_is_dropped_and_an_empty_list_set_aside(tmp_path: Path) -> None:
    content = json.loads(NI)
    content["Instances"][0]["output"] = ["", "cold", " "]
    content["Instances"][1]["output"] = [""]
    content["Instances"][2]["output"] = []
    content["Instances"][3]["output"] = "warm"
    content["Instances"][4]["output"] = {"a": 1}
    content["Instances"][5] = "not an object"
    reading = READER.read(write(tmp_path, "t.json", json.dumps(content).encode()))
    assert (reading.read, reading.accepted) == (6, 2)
    assert reading.reasons == {
        "empty target": 2,
        "field 'output' is an object, not text": 1,
        "not an object": 1,
    }
    assert [example.fields["outputs"] for example in reading.tasks[0].examples] == [["cold"], ["warm"]]


def test_a_file_without_a_definition_makes_no_task(tmp_path: Path) -> None:
    content = json.loads(NI)
    content["Definition"] = [""]
    reading = READER.read(write(tmp_path, "t.json", json.dumps(content).encode()))
    assert (reading.tasks, reading.reasons) == ([], {"no Definition": 6})


def test_version_1_is_not_taken_for_version_2(data_root: Path) -> None:
    for path in (data_root / "natural_instructions_v1").iterdir():
        from instil.tasks.readers.source import Source

        assert not READER.recognises(path, Source(path).head())


def encoded(content: dict[str, Any], name: str, tmp_path: Path) -> Rendered:
    (task,) = READER.read(write(tmp_path, "t.json", json.dumps(content).encode())).tasks
    (template,) = (one for one in ENCODINGS if one.name == name)
    return template.render(task.examples[0], seed=0)


EXAMPLES = {
    "Positive Examples": [
        {"input": "ice", "output": "cold", "explanation": "Ice is cold."},
        {"input": " THING 0 ", "output": "cold", "explanation": "The query itself."},
        {"input": "fire?", "output": "hot", "explanation": ""},
        {"input": "snow", "output": "cold", "explanation": "third"},
    ],
    "Negative Examples": [{"input": "tea", "output": "cold", "explanation": "Tea is hot"}],
}


def test_an_encoding_shows_examples_and_explanations_in_the_published_form(tmp_path: Path) -> None:
    made = encoded(json.loads(NI) | EXAMPLES, "definition+pos+neg+explanation", tmp_path)
    assert made.instruction == (
        "Definition: Say whether it is cold.\n\n"
        "Positive Example 1 -\nInput: ice.\nOutput: cold.\nExplanation: Ice is cold.\n\n"
        "Positive Example 2 -\nInput: fire?\nOutput: hot.\n\n"
        "Negative Example 1 -\nInput: tea.\nOutput: cold.\nExplanation: Tea is hot."
    )
    assert made.input == "Now complete the following example -\nInput: thing 0.\nOutput:"


@pytest.mark.parametrize(
    ("name", "said", "unsaid"),
    [
        ("definition+pos", ["Definition:", "Positive Example 2 -"], ["Negative", "Explanation", "third"]),
        ("definition+pos+neg", ["Negative Example 1 -"], ["Explanation", "Negative Example 2"]),
        ("definition+pos+explanation", ["Explanation: Ice is cold."], ["Negative"]),
        ("pos", ["Positive Example 1 -"], ["Definition", "Negative"]),
    ],
)
def test_each_encoding_holds_what_its_name_says(name: str, said: list[str], unsaid: list[str], tmp_path: Path) -> None:
    made = encoded(json.loads(NI) | EXAMPLES, name, tmp_path)
    for word in said:
        assert word in made.instruction
    for word in unsaid:
        assert word not in made.instruction


def test_few_shot_prompts_go_on_after_the_examples_of_the_instruction(tmp_path: Path) -> None:
    (task,) = READER.read(write(tmp_path, "t.json", json.dumps(json.loads(NI) | EXAMPLES).encode())).tasks
    (template,) = (one for one in ENCODINGS if one.name == "definition+pos")
    assert task.exemplars is not None
    with pytest.raises(RenderRefused):
        template.render_exemplar(task.exemplars[1], number=1, seed=0)
    assert template.render_exemplar(task.exemplars[3], number=1, seed=0).input.startswith("Positive Example 3 -\n")


def test_a_recipe_chooses_encodings(data_root: Path) -> None:
    names = ["task1565_triviaqa_classification"]
    (plain,) = load_collection("ni", data_root, tasks=names)
    (chosen,) = load_collection("ni", data_root, tasks=names, phrasings=["definition", "definition+pos*"])
    assert [template.name for template in plain.templates] == ["definition"]
    assert [template.name for template in chosen.templates] == [
        "definition",
        "definition+pos",
        "definition+pos+neg",
        "definition+pos+explanation",
        "definition+pos+neg+explanation",
    ]
    for template in chosen.templates:
        assert template.render(chosen.examples[0], seed=0).instruction.startswith("Definition: ")
