"""Rows of one's own: JSONL, JSON lists and Parquet, with columns mapped where they need to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tasks.readers.damage import P3, ROWS, write

from instil.tasks.check import reading_of
from instil.tasks.readers.plain import Plain


def test_inputs_targets_and_options_are_read(tmp_path: Path) -> None:
    (task,) = Plain().read(write(tmp_path, "rows.jsonl", ROWS)).tasks
    made = task.templates[0].render(task.examples[0], seed=0)
    assert (made.input, made.target, made.options) == ("q 0", "a", ("a", "b"))
    assert task.examples[3].key == "4"


def test_the_end_mark_of_p3_rows_goes(data_root: Path) -> None:
    (task,) = Plain(collection="p3").read(data_root / "p3" / "quarel_do_not_use.jsonl").tasks
    made = task.templates[0].render(task.examples[0], seed=0)
    assert made.target == "snow"
    assert not made.input.endswith("\n")
    assert task.name == "p3/quarel_do_not_use"


def test_columns_can_be_mapped(tmp_path: Path) -> None:
    rows = b'{"question": "1+1?", "answer": 2, "choices": ["2", "3"]}\n{"question": "1+2?"}\n'
    reader = Plain(map={"inputs": "question", "targets": "answer", "options": "choices"})
    reading = reader.read(write(tmp_path, "rows.jsonl", rows))
    assert reading.reasons == {"no columns 'question' and 'answer'": 1}
    made = reading.tasks[0].templates[0].render(reading.tasks[0].examples[0], seed=0)
    assert (made.input, made.target, made.options) == ("1+1?", "2", ("2", "3"))


def test_a_json_list_is_read_item_by_item(tmp_path: Path) -> None:
    content = (
        b'[\n {"inputs": "a", "targets": "b"},\n {"inputs": "c"},\n 3,\n {"inputs": "d", "targets": ["e", "f"]}\n]'
    )
    reading = reading_of(write(tmp_path, "rows.json", content))
    assert (reading.format, reading.read, reading.accepted) == ("jsonl", 4, 2)
    assert reading.tasks[0].templates[0].render(reading.tasks[0].examples[1], seed=0).references == ("e", "f")


def test_parquet_is_read_and_a_damaged_one_set_aside(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    table = pa.table({"inputs": ["a", "b", None], "targets": ["x", "", "z"], "options": [["x", "y"], [], None]})
    pq.write_table(table, path)
    reading = reading_of(path)
    assert (reading.format, reading.read, reading.accepted) == ("parquet", 3, 1)
    assert reading.reasons == {"empty target": 1, "field 'inputs' is null, not text": 1}
    for cut in (4, 20, 100, path.stat().st_size - 1):
        damaged = tmp_path / "cut.parquet"
        damaged.write_bytes(path.read_bytes()[:cut])
        reading = reading_of(damaged)
        assert (reading.read, reading.accepted, len(reading.quarantined)) == (1, 0, 1)


def test_preferences_are_not_taken_for_something_to_imitate() -> None:
    assert Plain().recognises(Path("x.jsonl.absent.json"), P3)
    assert not Plain().recognises(
        Path("x.json"), b'{"prompt": "a", "completion": "b", "label": true}\n{"prompt": "a"}\n'
    )


@pytest.mark.parametrize(
    "row", ['{"inputs": [{"role": "user"}], "targets": "a"}', '{"inputs": "a", "targets": {"b": 1}}']
)
def test_structured_columns_are_set_aside(tmp_path: Path, row: str) -> None:
    reading = Plain().read(write(tmp_path, "rows.jsonl", row.encode()))
    assert (reading.read, reading.accepted) == (1, 0)


def test_the_first_row_of_csv_and_tsv_names_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffinputs,targets\r\n"2, 2","4\n!"\r\n1,2,3\r\n,x\r\n', encoding="utf-8")
    (tmp_path / "a.tsv").write_text("question\tanswer\n2 + 2\t4\n", encoding="utf-8")
    reading = Plain().read(tmp_path / "a.csv")
    (task,) = reading.tasks
    assert [row.fields["targets"] for row in task.examples] == [["4\n!"]]
    assert [(row.where, row.reason) for row in reading.quarantined] == [
        ("row 3", "3 columns, not 2"),
        ("row 4", "empty input"),
    ]
    (task,) = Plain(map={"inputs": "question", "targets": "answer"}).read(tmp_path / "a.tsv").tasks
    assert task.examples[0].fields["inputs"] == "2 + 2"
