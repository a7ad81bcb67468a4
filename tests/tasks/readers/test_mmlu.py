"""MMLU: rows are not lines, `None` is a choice like any other, dev is the pool of worked examples."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.readers.damage import write

from instil.tasks.check import reading_of
from instil.tasks.readers.mmlu import Mmlu
from instil.tasks.readers.source import Source

READER = Mmlu()


def test_every_real_file_is_read_whole(data_root: Path) -> None:
    rows = 0
    for path in sorted((data_root / "mmlu").rglob("*.csv")):
        assert READER.recognises(path, Source(path).head())
        reading = READER.read(path)
        assert reading.quarantined == []
        rows += reading.read
        (task,) = reading.tasks
        for example in task.examples:
            for template in task.templates:
                made = template.render(example, seed=0)
                assert made.target in made.options or template.inverted
                assert "\r" not in made.input
    assert rows == 814


def test_newlines_in_quotes_and_crlf_are_not_ends_of_rows(data_root: Path) -> None:
    (task,) = READER.read(data_root / "mmlu" / "dev" / "high_school_european_history_dev.csv").tasks
    assert task.size == 5
    question = str(task.examples[0].fields["question"])
    assert question.startswith("This question refers to the following information.\nThe following excerpt")
    crlf = [path for path in (data_root / "mmlu").rglob("*.csv") if b"\r\n" in path.read_bytes()]
    assert len(crlf) >= 20
    for path in crlf:
        for example in READER.read(path).tasks[0].examples:
            assert "\r" not in "".join(str(value) for value in example.fields.values())


def test_dev_is_the_pool_of_the_other_splits(data_root: Path) -> None:
    (task,) = READER.read(data_root / "mmlu" / "val" / "anatomy_val.csv").tasks
    assert (task.name, task.size) == ("mmlu/anatomy_val", 14)
    assert task.exemplars is not None
    assert [row.key for row in task.exemplars] == ["dev-1", "dev-2", "dev-3", "dev-4", "dev-5"]
    assert [Path(file.path).name for file in task.files] == ["anatomy_val.csv", "anatomy_dev.csv"]
    (alone,) = READER.read(data_root / "mmlu" / "dev" / "anatomy_dev.csv").tasks
    assert (alone.name, alone.exemplars) == ("mmlu/anatomy_dev", None)


def test_letters_are_asked_with_the_choices_and_texts_without(data_root: Path) -> None:
    (task,) = READER.read(data_root / "mmlu" / "val" / "abstract_algebra_val.csv").tasks
    made = {template.name: template.render(task.examples[0], seed=0) for template in task.templates}
    assert made["letter"].input.endswith("has order\nA. 4\nB. 8\nC. 12\nD. 6\nAnswer:")
    assert made["letter"].instruction.endswith("(with answers) about abstract algebra.")
    assert (made["letter"].target, made["text"].target, made["text"].options) == ("A", "4", ("4", "8", "12", "6"))
    assert [template.shows_options for template in task.templates] == [True, True, False, False, None, None]
    assert made["ask"].target == task.examples[0].fields["question"]
    assert made["ask-with-choices"].target.endswith("has order\nA. 4\nB. 8\nC. 12\nD. 6")


def test_none_na_and_nothing_are_choices_but_nothing_is_no_answer(tmp_path: Path) -> None:
    whole = b"Q?,a,b,c,d,A\r\n" * 3
    content = (
        b'Q1?,None,NA,,nan,B\r\nQ2?,a,,b,a,B\r\nQ3?,a,b,c,d,E\r\nQ4?,a,b,c,A\r\n,a,b,c,d,A\r\nQ6?,a,b,c,d, d\r\n"x'
    )
    reading = reading_of(write(tmp_path, "made_up_test.csv", whole + content))
    assert (reading.format, reading.read, reading.accepted) == ("mmlu", 10, 4)
    (task,) = reading.tasks
    assert task.name == "mmlu/made_up"
    fields = task.examples[3].fields
    assert (fields["answer"], fields["choices"]) == ("NA", ["None", "NA", "", "nan"])
    assert fields["options"] == ["None", "NA", "nan"]
    assert [(row.where, row.reason) for row in reading.quarantined] == [
        ("row 5", "empty target"),
        ("row 6", "the answer is no letter from A to D"),
        ("row 7", "5 columns, not 6"),
        ("row 8", "empty question"),
        ("row 9", "the answer is no letter from A to D"),
        ("row 10", "not CSV (unexpected end of data)"),
    ]
