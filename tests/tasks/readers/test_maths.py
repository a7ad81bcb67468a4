"""GSM8K and AQuA: final numbers without commas, calculations out of the text, options with their letters."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tasks.readers.damage import write

from instil.tasks.check import reading_of
from instil.tasks.metrics import final_answer
from instil.tasks.readers.aqua import Aqua
from instil.tasks.readers.gsm8k import Gsm8k
from instil.tasks.readers.promptsource import task_of, template_file


def test_every_real_row_of_gsm8k_ends_in_its_number(data_root: Path) -> None:
    reading = Gsm8k().read(data_root / "gsm8k" / "train.jsonl.gz")
    assert (reading.read, reading.quarantined) == (7473, [])
    (task,) = reading.tasks
    with_commas = 0
    for example in task.examples:
        answer, rationale = str(example.fields["answer"]), str(example.fields["rationale"])
        float(answer)  # every final is a number, its commas taken out
        with_commas += len(answer.lstrip("-").partition(".")[0]) > 3
        assert "<<" not in rationale
        assert "####" not in rationale
    assert with_commas >= 79
    for number in range(0, task.size, 100):
        for template in task.templates:
            made = template.render(task.examples[number], seed=0)
            assert final_answer(made.target) == task.examples[number].fields["answer"]
            assert template.cot == bool(made.rationale)


def test_calculations_and_commas_of_gsm8k(tmp_path: Path) -> None:
    rows = [
        {"question": "Q?", "answer": "It is 3*400 = <<3*400=1200>>1,200 dollars.\n#### 1,200"},
        {"question": "Q?", "answer": "It is cold <today>.\n#### -3"},
        {"question": "Q?", "answer": "Five to three.\n#### 5:3, or so"},
        {"question": "Q?", "answer": "no end"},
        {"question": "Q?", "answer": "...\n#### "},
        {"question": "Q?", "answer": "#### 7"},
        {"question": "Q?", "ground_truth": "So.\n#### 7", "175b_finetuning": {"solution": "...", "is_correct": False}},
    ]
    reading = reading_of(write(tmp_path, "train.jsonl", "\n".join(map(json.dumps, rows)).encode()))
    assert (reading.format, reading.read) == ("gsm8k", 7)
    (task,) = reading.tasks
    assert [(row.fields["answer"], row.fields["rationale"]) for row in task.examples] == [
        ("1200", "It is 3*400 = 1,200 dollars."),
        ("-3", "It is cold <today>."),
        ("5:3, or so", "Five to three."),
        ("7", "So."),
    ]
    assert reading.reasons == {"no final answer after ####": 1, "empty target": 1, "empty rationale": 1}


def test_the_train_split_is_the_pool_of_the_test_split(tmp_path: Path) -> None:
    row = json.dumps({"question": "Q?", "answer": "So.\n#### 7"}).encode()
    write(tmp_path, "train.jsonl", row, zipped=True)
    (task,) = reading_of(write(tmp_path, "test.jsonl", row)).tasks
    assert task.exemplars is not None
    assert [row.key for row in task.exemplars] == ["train-1"]
    assert [Path(file.path).name for file in task.files] == ["test.jsonl", "train.jsonl.gz"]


def test_a_first_row_longer_than_the_head_is_recognised(tmp_path: Path) -> None:
    row = json.dumps({"question": "Q" * 100_000, "answer": "So.\n#### 7"}).encode()
    reading = reading_of(write(tmp_path, "train.jsonl", row))
    assert (reading.format, reading.accepted) == ("gsm8k", 1)


def test_aqua_is_json_lines_and_its_options_lose_their_letters(data_root: Path) -> None:
    reading = Aqua().read(data_root / "aqua" / "dev.json.gz")
    assert (reading.read, reading.quarantined) == (254, [])
    (task,) = reading.tasks
    fields = task.examples[0].fields
    assert fields["options"] == ["A)32400", "B)6000", "C)600", "D)60000", "E)10"]
    assert fields["choices"] == ["32400", "6000", "600", "60000", "10"]
    assert (fields["correct"], fields["answer"]) == ("A", "32400")
    for example in task.examples:
        for template in task.templates:
            made = template.render(example, seed=0)
            assert made.target in made.options or template.cot or template.inverted
            assert template.shows_options == ("(A) " in made.input) or template.inverted


def test_promptsource_templates_of_aqua_render_on_its_rows(data_root: Path) -> None:
    (task,) = Aqua().read(data_root / "aqua" / "dev.json.gz").tasks
    rows = [dict(example.fields) for example in task.examples]
    phrased = task_of(template_file(data_root / "promptsource/templates/aqua_rat/raw/templates.yaml"), rows)
    made = {template.name: template.render(phrased.examples[0], seed=0) for template in phrased.templates}
    assert len(made) == 6
    assert "A) 32400\n" in made["select_the_best_option"].input
    assert made["select_the_best_option"].target == "A"


def test_options_say_the_same_once_and_end_without_a_full_stop(tmp_path: Path) -> None:
    row = {"question": "Q?", "options": ["A)6 km.", "B)5", "C)5", "D)"], "rationale": "So.", "correct": "A"}
    (task,) = reading_of(write(tmp_path, "mine.json", f"{json.dumps(row)}\n{json.dumps(row)}".encode())).tasks
    made = {template.name: template.render(task.examples[0], seed=0) for template in task.templates}
    assert (made["text"].target, made["text"].options) == ("6 km", ("6 km", "5"))
    assert made["cot"].target == "So. So the answer is 6 km."
    assert "(B) 5\n(C) 5\n(D)" in made["letter"].input


def test_damaged_rows_of_aqua(tmp_path: Path) -> None:
    whole = {"question": "Q?", "options": ["A)1", "B) 2"], "rationale": "So B.", "correct": "B"}
    changes = [{}, {"correct": "C"}, {"options": ["1", "2"]}, {"options": ["A)1", "A)2"]}, {"options": ["A)1", "B)"]}]
    changes += [{"question": " "}, {"rationale": None}, {"options": "A)1"}]
    rows = [json.dumps({**whole, **change}) for change in changes] + ["{", "[]"]
    reading = reading_of(write(tmp_path, "mine.json", "\n".join(rows).encode()))
    assert (reading.format, reading.read, reading.accepted) == ("aqua", 10, 1)
    assert [row.reason.partition(" (")[0] for row in reading.quarantined] == [
        "the answer is none of the options",
        "the options are not a text after each letter",
        "the options are not a text after each letter",
        "empty target",
        "empty question",
        "field 'rationale' is null, not text",
        "the options are not a text after each letter",
        "not JSON",
        "not an object",
    ]
