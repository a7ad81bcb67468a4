r"""E2E NLG: a CSV of meaning representation and sentence; all sentences of one meaning are references of one example.

    mr,ref
    "name[Alimentum], area[city centre], familyFriendly[no]","There is a place in the city centre, Alimentum, that ..."
    "name[Alimentum], area[city centre], familyFriendly[no]","In the city centre there is a venue name Alimentum, ..."
    ->  Example(mr="name[Alimentum], ...", references=[both])       two rows read, one example

The header stands with quotes or without, lines end in `\r\n` or `\n`, both as published. Every row counts as read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text
from instil.tasks.readers.rows import csv_rows, examples_of, first_csv_rows
from instil.tasks.readers.source import Damage, Source
from instil.tasks.readers.splits import beside, read_split

HEADER = ["mr", "ref"]
TARGET = "{{ references | choice }}"
TEMPLATES = (
    direct("describe", "Describe this restaurant in a sentence or two.\n{{ mr }}", TARGET, references="references"),
    direct("data-to-text", "Data: {{ mr }}\nText:", TARGET, references="references"),
    direct(
        "attributes",
        "Write a text that says all of this:\n{% for slot in slots %}- {{ slot.name }}: {{ slot.value }}\n{% endfor %}",
        TARGET,
        references="references",
    ),
)
CITATION = "Novikova et al. 2017, The E2E Dataset: New Challenges for End-to-End Generation, arXiv:1706.09254"

_SLOT = re.compile(r"([^\[\],]+)\[([^\]]*)\]")


@dataclass(frozen=True)
class E2eNlg:
    """Reads one split."""

    name: str = "e2e-nlg"

    def recognises(self, path: Path, head: bytes) -> bool:
        """CSV with the header mr,ref."""
        rows = first_csv_rows(head) if Source(path).suffix == ".csv" else ()
        return bool(rows) and _is_header(rows[0])

    def read(self, path: Path) -> Reading:
        """One task with an example a meaning; its worked examples are the train split's."""
        train = None if path.name.startswith("train") else beside(path, "trainset.csv")
        return read_split(
            self.name,
            path,
            _examples,
            collection="e2e_nlg",
            train=train,
            cluster="structure to text",
            templates=TEMPLATES,
            metrics=("rouge_l", "exact_match"),
            licence="CC BY-SA 4.0",
            source="E2E NLG",
            citation=CITATION,
        )


def _is_header(row: list[str]) -> bool:
    return [column.strip().lower() for column in row] == HEADER


def _examples(path: Path, reading: Reading) -> list[Example]:
    """The meanings in the order in which they first stand, each with all its sentences."""
    sentences: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for row in examples_of(_rows(path), _fields, reading):
        meaning = str(row.fields["mr"])
        first.setdefault(meaning, row.key)
        sentences.setdefault(meaning, []).append(str(row.fields["ref"]))
    return [
        Example(
            first[meaning],
            {
                "mr": meaning,
                "slots": [{"name": name.strip(), "value": value} for name, value in _SLOT.findall(meaning)],
                "references": list(dict.fromkeys(found)),
            },
        )
        for meaning, found in sentences.items()
    ]


def _rows(path: Path) -> Iterator[tuple[str, list[str] | Damage]]:
    """The rows below the header."""
    rows = csv_rows(path)
    for where, row in islice(rows, 1):
        if isinstance(row, Damage) or not _is_header(row):
            yield where, row
    yield from rows


def _fields(row: list[str]) -> dict[str, object]:
    if len(row) != 2:
        raise RowProblem(f"{len(row)} {'column' if len(row) == 1 else 'columns'}, not 2")
    meaning, sentence = as_text(row[0].strip(), "mr"), as_text(row[1].strip(), "ref")
    if not meaning:
        raise RowProblem("empty input")
    if not sentence:
        raise RowProblem("empty target")
    return {"mr": meaning, "ref": sentence}


READERS = (E2eNlg(),)
COLLECTIONS = (Declared("e2e_nlg", "e2e_nlg", E2eNlg(), (".csv",), "E2E NLG, restaurants described from their data"),)
