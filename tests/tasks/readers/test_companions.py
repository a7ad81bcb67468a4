"""Files beside tasks are named as what they are, with their own counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tasks.readers.damage import write

from instil.tasks.check import reading_of


@pytest.mark.parametrize(
    ("name", "content", "format_", "rows"),
    [
        ("empty.jsonl", b"", "empty", 0),
        ("train_tasks.txt", b"task1_a\ntask2_b\n\n", "split-list", 2),
        ("LICENSE", b"Permission is hereby granted\n\nto all\n", "licence", 3),
        ("x_MIT.txt", b"MIT License\n\nPermission is hereby granted, free of charge\n", "licence", 3),
        ("book.txt", b"Call me Ishmael.\n\nSome years ago", "prose", 3),
        ("README.md", b"# Tasks\n", "prose", 1),
        ("info.csv", b"Source,Dataset,Languages\nCoT,cot_gsm8k,English\n", "catalogue", 1),
        (
            "prompt.txt",
            b"canary\n-----\nSay it.\n\nQ: a\nA: Let's think step by step.\nSo the answer is b.\n",
            "prompt-file",
            7,
        ),
    ],
)
def test_a_companion_is_named_and_counted(tmp_path: Path, name: str, content: bytes, format_: str, rows: int) -> None:
    reading = reading_of(write(tmp_path, name, content))
    assert (reading.format, reading.read, reading.accepted, reading.tasks) == (format_, rows, rows, [])


def test_broken_lines_of_prose_are_set_aside(tmp_path: Path) -> None:
    reading = reading_of(write(tmp_path, "book.txt", b"Call me\n\xff\xfe Ishmael\nSome years ago\n"))
    assert (reading.format, reading.accepted, reading.reasons) == ("prose", 2, {"not UTF-8": 1})


def test_a_lone_carriage_return_in_a_header_is_no_failure(tmp_path: Path) -> None:
    assert reading_of(write(tmp_path, "x.csv", b"dataset,a\rb,licence\n1,2,3\n")).format == "catalogue"
    assert reading_of(write(tmp_path, "y.csv", b"one,a\rb,two\n1,2,3\n")).format == "unknown"
