r"""Alpaca and GPTeacher: an instruction, sometimes an input, and the answer, called `output` or `response`.

    {"instruction": "Write a C++ program that calculates the area of a rectangle, ...",
     "input": "width: 5, height: 8", "response": "#include <iostream>..."}
    ->  "Write a C++ program ...\n\nwidth: 5, height: 8"  ->  "#include <iostream>..."

An empty input leaves no blank lines behind. Both names of the answer are kept, so that templates of either kind fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.splits import read_split
from instil.tasks.task import Task

TEMPLATE = direct("instruction", "{{ instruction }}{% if input %}\n\n{{ input }}{% endif %}", "{{ output }}")
ANSWERS = ("output", "response")


@dataclass(frozen=True)
class Alpaca:
    """Reads one file of instructions."""

    name: str = "alpaca"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with an instruction and an answer, each a text."""
        return any(fits(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every instruction that has an answer."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="alpaca",
            cluster="Open-ended instructions",
            templates=(TEMPLATE,),
            metrics=("rouge_l",),
            licence="not stated",
            language="not stated",
            source=path.name,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(rows_of(path), fields_of, reading)


def fits(row: Mapping[str, Any]) -> bool:
    """Whether a row is an instruction with its answer."""
    return isinstance(row.get("instruction"), str) and any(isinstance(row.get(name), str) for name in ANSWERS)


def fields_of(row: Mapping[str, Any]) -> dict[str, object]:
    """What a row holds.

    Raises:
        RowProblem: if it has no instruction or no answer.
    """
    name = next((name for name in ANSWERS if name in row), "output")
    instruction, answer = text_in(row, "instruction").strip(), text_in(row, name).strip()
    given = text_in(row, "input").strip() if row.get("input") is not None else ""
    if not answer:
        raise RowProblem("empty target")
    if not instruction:
        raise RowProblem("empty input")
    return {"instruction": instruction, "input": given, "output": answer, "response": answer}


def _described(task: Task) -> Task:
    name = f"gpteacher/{task.name.partition('/')[2]}"
    licence = "MIT (written by GPT-4: OpenAI's terms may apply)"
    return replace(task, name=name, collection="gpteacher", licence=licence, language="English", source="GPTeacher")


READERS = (Alpaca(),)
_SUFFIXES = (".json", ".jsonl", ".parquet")
COLLECTIONS = (
    Declared("alpaca", "alpaca", Alpaca(), _SUFFIXES, "instruction, input, output: rows of one's own"),
    Declared("gpteacher", "gpteacher", Alpaca(), (".json",), "GPTeacher: role play and code", describe=_described),
)
