"""Readers of instructions, rendered prompts, evaluations, and what they share with those of talk."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.readers.rows_of_talk import HELLO, HI, NO, only, read, why_aside

from instil.records import Example
from instil.tasks.check import reading_of
from instil.tasks.registry import load_collection, open_collection


def test_model_written_evaluations_lose_the_blank_and_never_say_by_place_which_matches(data_root: Path) -> None:
    tasks = load_collection("model-written-evals", data_root)
    assert len(tasks) == 21
    assert all(task.evaluation_only for task in tasks)
    for task in tasks:
        targets: Counter[int] = Counter()
        for example in task.examples:
            made = task.templates[0].render(example, seed=0)
            assert made.target in made.options
            assert made.options == tuple(sorted(made.options))
            targets[made.options.index(made.target)] += 1
        assert set(targets) == {0, 1}, task.name
    with_statement = [task for task in tasks if "statement" in task.examples[0].fields]
    assert len(with_statement) == 20


def test_alpaca_and_gpteacher_rows_differ_in_the_answers_name(tmp_path: Path, data_root: Path) -> None:
    tasks = {task.name: task for task in load_collection("gpteacher", data_root)}
    assert sorted(tasks) == ["gpteacher/codegen-instruct", "gpteacher/roleplay-simple-deduped-roleplay-instruct"]
    task = tasks["gpteacher/codegen-instruct"]
    made = task.templates[0].render(task.examples[0], seed=0)
    assert made.input.endswith("given its width and height.\n\nwidth: 5, height: 8")
    assert made.target.startswith("#include <iostream>")
    own = only(read(tmp_path / "x.json", [{"instruction": "Greet", "input": "", "output": "Hello"}]))
    made = own.templates[0].render(own.examples[0], seed=0)
    assert (made.input, made.target) == ("Greet", "Hello")


@pytest.mark.parametrize("name", ["t0_zsopt.jsonl", "t0.parquet"])
def test_flan_sub_mixtures_make_a_task_of_each_task_name(tmp_path: Path, name: str) -> None:
    rows = [
        {"inputs": f"q {n}", "targets": "a", "task_source": "P3", "task_name": f"t{n % 2}", "template_type": kind}
        for n, kind in enumerate(("zs_opt", "zs_noopt", "fs_opt", "fs_noopt"))
    ]
    reading = read(tmp_path / name, rows)
    assert [(task.name, task.size, task.source) for task in reading.tasks] == [
        ("flan/t0", 2, "P3"),
        ("flan/t1", 2, "P3"),
    ]
    assert [one.fields["template_type"] for one in reading.tasks[1].examples] == ["zs_noopt", "fs_noopt"]
    assert reading.tasks[0].fingerprint != reading.tasks[1].fingerprint
    (found,) = open_collection("flan", tmp_path, path=name, tasks=["t1"]).tasks
    assert found.name == "flan/t1"


def test_flan_columns_go_by_other_names_too(tmp_path: Path) -> None:
    rows = [
        {"inputs": "q", "targets": "a", "_task_name": "t", "_template_type": "fs"},
        {"inputs": "q", "targets": "a", "task": "t"},
    ]
    (task,) = read(tmp_path / "x.jsonl", rows).tasks
    assert [one.fields["template_type"] for one in task.examples] == ["fs", ""]
    whole = rows[1]
    assert why_aside(tmp_path / "x.jsonl", {"inputs": "q", "targets": "", "task": "t"}, whole) == "empty target"
    assert why_aside(tmp_path / "x.jsonl", {"inputs": "q", "targets": "a"}, whole) == "no task name"


def _sample(arguments: object, target: object) -> dict[str, Any]:
    return {"doc_id": 0, "doc": {"q": "?"}, "target": target, "arguments": arguments, "resps": [], "filtered_resps": []}


def test_samples_of_the_harness_are_rows(tmp_path: Path) -> None:
    chosen = {
        f"gen_args_{n}": {"arg_0": "What melts ice?", "arg_1": f" {text}"} for n, text in enumerate(("cold", "heat"))
    }
    free = {"gen_args_0": {"arg_0": "2 + 2 =", "arg_1": {"until": ["\n"]}}}
    older = [["What melts ice?", " cold"], ["What melts ice?", " heat"]]
    rows = [_sample(chosen, "1"), _sample(free, "4"), _sample(older, 0), _sample(older, "heat"), _sample([], "x")]
    reading = read(tmp_path / "samples_arc_2024.jsonl", rows)
    assert reading.format == "lm-eval-samples"
    assert reading.reasons == {"field 'arguments' lists no request": 1}
    task = only(reading)
    assert task.evaluation_only
    assert load_collection("lm-eval", tmp_path, path=".")[0].fingerprint == task.fingerprint
    made = [task.templates[0].render(example, seed=0) for example in task.examples]
    assert [(one.input, one.target) for one in made] == [
        ("What melts ice?", "heat"),
        ("2 + 2 =", "4"),
        ("What melts ice?", "cold"),
        ("What melts ice?", "heat"),
    ]
    assert [one.options for one in made] == [("cold", "heat"), (), ("cold", "heat"), ("cold", "heat")]


def test_results_of_the_harness_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "results_2024.json"
    results = {"arc": {"alias": "arc", "acc,none": 0.5}, "boolq": {"alias": "boolq", "acc,none": 0.6}, "odd": 3}
    path.write_text(json.dumps({"results": results, "configs": {}, "versions": {}}), encoding="utf-8")
    reading = reading_of(path)
    assert (reading.format, reading.read, reading.accepted, reading.tasks) == ("lm-eval-results", 3, 2, [])
    path.write_text(json.dumps({"results": [1, 2], "configs": {}, "versions": {}}), encoding="utf-8")
    assert reading_of(path).format == "unknown"


def test_every_example_can_be_kept_as_json(data_root: Path) -> None:
    names = ("hh-rlhf", "llmbar", "taskmaster", "taskmaster-rewards", "fastchat", "gpteacher", "persona-chat", "blimp")
    for name in names:
        for task in load_collection(name, data_root):
            for example in [task.examples[0], task.examples[task.size - 1]]:
                again = Example(example.key, json.loads(json.dumps(dict(example.fields))))
                assert again == Example(example.key, dict(example.fields))


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ({"messages": HI + HELLO}, {"messages": HI + NO}),
        ({"prompt": "Hi", "chosen": "x", "rejected": "y"}, {"prompt": "Hi", "chosen": "y", "rejected": "x"}),
        ({"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}),
        ({"inputs": "a", "targets": "b"}, {"inputs": "c", "targets": "d"}),
    ],
)
def test_worked_examples_of_a_test_file_come_from_the_train_file_beside_it(
    tmp_path: Path, row: dict[str, Any], other: dict[str, Any]
) -> None:
    alone = only(read(tmp_path / "test.jsonl", [row]))
    assert alone.exemplars is None
    train = only(read(tmp_path / "train.jsonl", [other, other]))
    assert train.exemplars is None
    task = only(read(tmp_path / "test.jsonl", [row]))
    assert task.exemplars is not None
    assert [example.key for example in task.exemplars] == ["train-1", "train-2"]
    assert task.exemplars[0].fields == train.examples[0].fields
    assert [Path(file.path).name for file in task.files] == ["test.jsonl", "train.jsonl"]
    assert task.fingerprint != alone.fingerprint
