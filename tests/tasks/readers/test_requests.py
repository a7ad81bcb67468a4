"""CLINC, NLU++ and RESTAURANTS-8K: intents and slots of what people ask for."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tasks.readers.damage import write

from instil.tasks.check import reading_of


def test_clinc_has_a_task_a_split_with_what_is_out_of_scope(data_root: Path) -> None:
    reading = reading_of(data_root / "clinc_oos" / "data_small.json.gz")
    assert (reading.format, reading.read, reading.quarantined) == ("clinc", 16200, [])
    tasks = {task.name: task for task in reading.tasks}
    assert {name: task.size for name, task in tasks.items()} == {
        "clinc/data_small_train": 7600,
        "clinc/data_small_val": 3100,
        "clinc/data_small_test": 5500,
    }
    test = tasks["clinc/data_small_test"]
    assert test.exemplars is not None
    assert len(test.exemplars) == 7600
    assert tasks["clinc/data_small_train"].exemplars is None
    for task in reading.tasks:
        for example in task.examples:
            options = example.fields["options"]
            assert isinstance(options, list)
            assert len(options) == 151
            assert example.fields["answer"] in options
    assert sum(row.fields["answer"] == "oos" for row in test.examples) == 1000


def test_damaged_rows_of_clinc(tmp_path: Path) -> None:
    content = {
        "train": [["a", "x"], ["b", "y"], ["", "x"], ["a"], ["a", " "], 5, ["a", None]],
        "test": {},
        "val": [["c", "x"]],
    }
    reading = reading_of(write(tmp_path, "mine.json", json.dumps(content).encode()))
    assert (reading.format, reading.read, reading.accepted) == ("clinc", 9, 3)
    assert [(row.where, row.reason) for row in reading.quarantined] == [
        ("row train-3", "empty input"),
        ("row train-4", "not a text with an intent"),
        ("row train-5", "empty target"),
        ("row train-6", "not a text with an intent"),
        ("row train-7", "field 'intent' is null, not text"),
        ("split 'test'", "no list of texts with intents"),
    ]
    assert [task.name for task in reading.tasks] == ["clinc/mine_train", "clinc/mine_val"]
    assert reading.tasks[0].examples[0].fields["options"] == ["x", "y"]


def test_intents_and_slots_of_nlupp_may_both_be_left_out(data_root: Path) -> None:
    rows, seen = 0, []
    for path in sorted((data_root / "nlupp" / "hotels").iterdir()):
        reading = reading_of(path)
        assert (reading.format, reading.quarantined) == ("nlupp", [])
        intents, slots = reading.tasks
        assert (intents.name, slots.name) == tuple(f"nlupp/hotels_{path.stem}_{kind}" for kind in ("intents", "slots"))
        assert intents.cluster != slots.cluster
        assert intents.fingerprint != slots.fingerprint
        rows += reading.read
        for task in reading.tasks:
            for example in task.examples:
                made = task.templates[0].render(example, seed=0)
                seen.append((example.fields["text"], task.name.rpartition("_")[2], made.target))
    assert rows == 197
    assert ("I want to come tonight", "intents", "none") in seen
    assert ("I want to come tonight", "slots", "none") in seen
    asked = "how do i cancel my restaurant booking of the 20th of April"
    assert (asked, "intents", "how, cancel_close_leave_freeze, restaurant, booking") in seen
    assert (asked, "slots", "date: 20th of April") in seen


def test_damaged_rows_of_nlupp(tmp_path: Path) -> None:
    content = [
        {"text": "a", "intents": ["x"]},
        {"text": "b"},
        {"text": " ", "intents": []},
        {"text": "c", "intents": "x"},
        {"text": "d", "slots": {"s": "x"}},
        {"text": "e", "slots": {"s": {"span": [0, 1]}}},
        {"intents": []},
        7,
    ]
    reading = reading_of(write(tmp_path, "fold0.json", json.dumps(content).encode()))
    assert (reading.format, reading.read, reading.accepted) == ("nlupp", 8, 2)
    assert [row.reason for row in reading.quarantined] == [
        "empty input",
        "field 'intents' is no list",
        "field 'slots' is no object of slots",
        "no field 'text'",
        "no field 'text'",
        "not an object",
    ]


def test_what_protobuf_leaves_out_is_empty_or_zero(data_root: Path) -> None:
    reading = reading_of(data_root / "restaurant8k" / "test.json.gz")
    assert (reading.format, reading.read, reading.quarantined) == ("restaurant8k", 3731, [])
    (task,) = reading.tasks
    first = task.examples[0]
    assert dict(first.fields) == {"text": "13", "requested": ["time"], "slots": ["time: 13"]}
    assert sum(not row.fields["slots"] for row in task.examples) == 1323 + 29
    assert sum(bool(row.fields["requested"]) for row in task.examples) == 897
    shown = task.templates[0].render(first, seed=0)
    assert shown.input.startswith("The caller was asked for: time.")
    (booked,) = [row for row in task.examples if "Davina Freedman" in str(row.fields["text"])][:1]
    assert booked.fields["slots"] == ["first_name: Davina", "last_name: Freedman", "date: Sunday, December 30"]
    nothing = next(row for row in task.examples if not row.fields["slots"])
    assert task.templates[0].render(nothing, seed=0).target == "none"


def test_damaged_spans(tmp_path: Path) -> None:
    def row(*spans: object, **more: object) -> dict[str, object]:
        labels = [{"slot": "time", "valueSpan": span} for span in spans]
        return {"userInput": {"text": "at 13"}, "labels": labels, **more}

    content = [
        row({"startIndex": 3, "endIndex": 5}),
        row({"startIndex": 3, "endIndex": 6}),
        row({"startIndex": -2, "endIndex": 5}),
        row({}),
        row({"endIndex": "5"}),
        row({"endIndex": True}),
        row(7),
        row(context={"requestedSlots": "time"}),
        {"userInput": {}},
        {"userInput": {"text": "at 13"}, "labels": [{"valueSpan": {"endIndex": 2}}]},
        {"userInput": {"text": "at 13"}, "labels": ["x"]},
    ]
    reading = reading_of(write(tmp_path, "test.json", json.dumps(content).encode()))
    assert (reading.format, reading.read, reading.accepted) == ("restaurant8k", 11, 1)
    assert reading.reasons == {
        "a span is empty or lies outside the text": 3,
        "a span is no pair of whole numbers": 3,
        "labels or requested slots are no list": 1,
        "empty input": 1,
        "no field 'slot'": 1,
        "a label is no object": 1,
    }
    train = write(tmp_path, "train_0.json", json.dumps(content[:1]).encode())
    (task,) = reading_of(tmp_path / "test.json").tasks
    assert task.exemplars is not None
    assert (task.exemplars[0].key, Path(task.files[1].path)) == ("train-1", train)
