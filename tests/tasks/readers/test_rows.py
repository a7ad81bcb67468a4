"""Rows of CSV and JSON: newlines inside quotes, bytes that are no text, what becomes of a row that cannot be used."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.readers.damage import write

from instil.tasks.readers.reading import Reading, RowProblem
from instil.tasks.readers.rows import csv_rows, examples_of, first_csv_rows, keyed_rows, objects_in
from instil.tasks.readers.source import Damage


def _rows(path: Path) -> list[tuple[str, object]]:
    return [(where, str(row) if isinstance(row, Damage) else row) for where, row in csv_rows(path)]


def test_a_quoted_newline_stays_in_its_field_and_rows_are_counted_not_lines(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf"a\r\n\r\nb",1\r\n\r\n"say ""hi""",2\nlast,\xe2\x80\xa83'
    assert _rows(write(tmp_path, "x.csv", content)) == [
        ("row 1", ["a\n\nb", "1"]),
        ("row 2", ['say "hi"', "2"]),
        ("row 3", ["last", "\u20283"]),
    ]


def test_a_line_that_is_no_text_damages_its_row_alone(tmp_path: Path) -> None:
    content = b'a,1\n"b\n\xff\xfe",2\nc,\xff\nd,4\n'
    assert _rows(write(tmp_path, "x.csv", content)) == [
        ("row 1", ["a", "1"]),
        ("row 2", "not UTF-8"),
        ("row 3", "not UTF-8"),
        ("row 4", ["d", "4"]),
    ]


def test_quotes_that_do_not_close_are_no_csv(tmp_path: Path) -> None:
    found = _rows(write(tmp_path, "x.csv", b'a,1\n"b" c,2\nd,3\n"open,4\n'))
    assert [row for _, row in found if isinstance(row, list)] == [["a", "1"], ["d", "3"]]
    assert [(where, str(row).split(" (")[0]) for where, row in found if not isinstance(row, list)] == [
        ("row 2", "not CSV"),
        ("row 4", "not CSV"),
    ]


def test_a_row_that_cannot_be_used_is_set_aside_with_its_place(tmp_path: Path) -> None:
    def fields(row: str) -> dict[str, object]:
        if row == "bad":
            raise RowProblem("bad row")
        return {"id": row, "text": row}

    reading = Reading("x")
    rows = [("line 1", "a"), ("line 2", "bad"), ("line 3", Damage("not UTF-8")), ("line 4", "a")]
    examples = examples_of(rows, fields, reading, key="id")
    assert [example.key for example in examples] == ["a", "a#4"]
    assert (reading.read, reading.accepted) == (4, 2)
    assert [(row.where, row.reason) for row in reading.quarantined] == [("line 2", "bad row"), ("line 3", "not UTF-8")]
    assert [example.key for example in examples_of(rows, fields, Reading("x"))] == ["1", "4"]


def test_first_rows_are_found_in_lines_and_in_a_list_however_the_file_goes_on() -> None:
    assert list(objects_in('{"a": 1}\nnot JSON\n{"a": 2}\n{"a": ')) == [{"a": 1}, {"a": 2}]
    assert list(objects_in(' [\n {"a": {"b": "}"}},\n {"a": 2},\n {"a"')) == [{"a": {"b": "}"}}, {"a": 2}]
    for nothing in ("[" * 60_000, '{"a":' * 10_000, "[1, 2]", ""):
        assert list(objects_in(nothing)) == []
    assert first_csv_rows(b'"a\nb",c\nd,e\nf') == (["a\nb", "c"], ["d", "e"])


def test_rows_by_key_keep_their_order_and_damage(tmp_path: Path) -> None:
    path = write(tmp_path, "x.json", b'{"examples": {"2": {"a": 1}, "10": 5, "1": {"a": 3}}}')
    found = [(where, str(row) if isinstance(row, Damage) else row) for where, row in keyed_rows(path, "examples")]
    assert found == [("entry 2", ("2", {"a": 1})), ("entry 10", "not an object"), ("entry 1", ("1", {"a": 3}))]
    assert [where for where, _ in keyed_rows(path, "absent")] == ["file"]
    (found_twice,) = keyed_rows(write(tmp_path, "y.json", b'{"1": {}, "1": {}}'))
    assert str(found_twice[1]) == "key '1' stands twice"
