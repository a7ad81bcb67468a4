"""FLAN's chain-of-thought sets: tabs and newlines alone, direct and reasoned templates."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tasks.readers.damage import write

from instil.tasks.metrics import final_answer
from instil.tasks.readers.flan_cot import TEMPLATES, FlanCot, listed_options

READER = FlanCot()
ROWS = {"gsm8k": 7473, "ecqa": 7112, "creak": 6915, "aqua": 2728, "strategyqa": 2061}


@pytest.mark.parametrize("name", ROWS)
def test_every_real_row_renders_with_every_template(data_root: Path, name: str) -> None:
    (task,) = READER.read(data_root / "flan_cot" / f"{name}_train.tsv.gz").tasks
    assert (task.name, task.size) == (f"cot/{name}", ROWS[name])
    for number in range(0, task.size, 40):
        row = task.examples[number]
        for template in task.templates:
            made = template.render(row, seed=0)
            assert "\\n" not in made.input
            if template.inverted:
                assert "Options:" not in made.input + made.target
            elif template.cot:
                assert final_answer(made.target) == made.answer.removesuffix(".")
                assert made.rationale in made.target
                assert made.options == ()
            else:
                assert made.target == row.fields["choice" if "open" in template.name else "answer"]
                assert not made.options or made.target in made.options


def test_there_are_at_least_five_templates_of_each_kind_and_no_two_read_alike() -> None:
    assert sum(template.cot for template in TEMPLATES) >= 5
    assert sum(not template.cot for template in TEMPLATES) >= 5
    assert (
        len({template.input for template in TEMPLATES})
        == len({template.name for template in TEMPLATES})
        == len(TEMPLATES)
    )


def test_files_that_list_options_have_templates_that_hide_them(data_root: Path) -> None:
    (aqua,) = READER.read(data_root / "flan_cot" / "aqua_train.tsv.gz").tasks
    row = aqua.examples[0]
    made = {template.name: template.render(row, seed=0) for template in aqua.templates}
    assert "Options:\n(A) 300\n" in made["direct-plain"].input
    assert (made["direct-plain"].target, made["direct-plain"].options[:2]) == ("(C)", ("(A)", "(B)"))
    assert "Options" not in made["direct-open"].input
    assert (made["direct-open"].target, made["direct-open"].options[:3]) == ("1120", ("300", "992", "1120"))
    assert made["cot-open"].target.endswith("So the answer is 1120.")
    straight = [template for template in aqua.templates if not template.inverted]
    assert {template.shows_options for template in straight} == {True, False}
    assert made["inverse-ask"].input == "Write a question whose answer is: 1120"
    assert made["inverse-ask"].target == row.fields["bare_question"]
    (gsm8k,) = READER.read(data_root / "flan_cot" / "gsm8k_train.tsv.gz").tasks
    assert gsm8k.templates == TEMPLATES
    assert {template.shows_options for template in gsm8k.templates} == {None}


def test_an_option_that_stands_twice_is_one_answer(data_root: Path) -> None:
    (ecqa,) = READER.read(data_root / "flan_cot" / "ecqa_train.tsv.gz").tasks
    (row,) = [
        row for row in ecqa.examples if str(row.fields["question"]).startswith("What must someone do before they")
    ]
    assert str(row.fields["question"]).count("- bring cash") == 2
    assert row.fields["options"] == ["get money", "have money", "bring cash", "go to market"]
    assert row.fields["bare_question"] == "What must someone do before they shop?"


def test_a_tsv_whose_rows_are_mostly_of_the_wrong_width_is_counted_row_by_row(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.tsv", b"one\nq\ta\tr\na\tb\nfour\tare\ttoo\tmany\n")
    assert READER.recognises(path, path.read_bytes())
    reading = READER.read(path)
    assert (reading.read, reading.accepted) == (4, 1)
    assert not READER.recognises(path, b"no\ttabs enough\nat all\n")


def test_unicode_line_ends_and_quotes_stay_inside_a_row(tmp_path: Path) -> None:
    content = 'He said "hi\u2028there\u0085 you\\nOptions:\\n- yes\\n- no\tyes\tBecause\\n"so\r\n'.encode()
    (task,) = READER.read(write(tmp_path, "x_train.tsv", content)).tasks
    fields = task.examples[0].fields
    assert fields["question"] == 'He said "hi\u2028there\u0085 you\nOptions:\n- yes\n- no'
    assert fields["rationale"] == 'Because\n"so'
    assert fields["options"] == ["yes", "no"]


def test_rows_with_a_wrong_number_of_columns_are_set_aside(tmp_path: Path) -> None:
    content = b"q\ta\tr\none\nq\ta\nq\ta\tr\tmore\n\ta\tr\nq\t\tr\nq\ta\t\n\nq\ta\tr"
    reading = READER.read(write(tmp_path, "x.tsv", content))
    assert (reading.read, reading.accepted) == (8, 2)
    assert [(row.where, row.reason) for row in reading.quarantined] == [
        ("line 2", "1 column, not 3"),
        ("line 3", "2 columns, not 3"),
        ("line 4", "4 columns, not 3"),
        ("line 5", "empty question"),
        ("line 6", "empty target"),
        ("line 7", "empty rationale"),
    ]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Q?\nOptions:\n- yes\n- no", ["yes", "no"]),
        ("Q?\nOptions:\n(A) 21\n(B) 22", ["(A)", "(B)"]),
        ("Q?\nOptions:\n- yes\n- yes", []),
        ("Q?\nOptions:\n- yes\nand more", []),
        ("Q?", []),
        ("Options:\n", []),
    ],
)
def test_listed_options_are_found(text: str, options: list[str]) -> None:
    assert listed_options(text) == options
