r"""The rows of a file, one at a time, and what becomes of each: an example, or set aside with its place and a reason.

    gsm8k/train.jsonl.gz   line 1    {"question": "Natalia sold ...", "answer": "... #### 72"}  ->  Example("1", {...})
    gsm8k/train.jsonl.gz   line 2    {"question": "Weng ...         ->  Quarantined("line 2", "not JSON (...)")
    mmlu/val/..._val.csv   row 3     a row of CSV may run over several lines: quoted newlines stay inside their field

JSON rows come from `plain.rows_of`; here stand the other shapes, and the one loop that all readers of rows share.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from instil.records import Example
from instil.tasks.readers.reading import Keys, Reading, RowProblem
from instil.tasks.readers.source import Damage, Source, as_row

R = TypeVar("R")

#: How many of a file's first rows are looked at to recognise its format.
FIRST = 20


def examples_of(
    rows: Iterable[tuple[str, R | Damage]],
    fields: Callable[[R], Mapping[str, object]],
    reading: Reading,
    *,
    key: str = "",
) -> list[Example]:
    """The rows that can be used; the others are set aside in the reading, which counts both.

    Args:
        rows: each with its place, such as `line 3`.
        fields: what an example says of a row; raises Damage or RowProblem with the reason where it cannot.
        reading: the account of the file.
        key: the field that names a row; its number in the file where empty.
    """
    examples: list[Example] = []
    keys = Keys()
    for at, (where, row) in enumerate(rows, start=1):
        try:
            if isinstance(row, Damage):
                raise row
            said = fields(row)
            number = where.rpartition(" ")[2]
            named = said.get(key) if key else None
            examples.append(Example(keys.take(named if isinstance(named, str) and named else number, at), said))
        except (Damage, RowProblem) as problem:
            reading.quarantine(where, str(problem))
    reading.accepted += len(examples)
    return examples


def objects_in(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects among the first lines of a text, or the first items of its one list."""
    if text.lstrip().startswith("["):
        yield from _first_items(text)
        return
    for line in text.split("\n")[:FIRST]:
        if line.startswith("{"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                yield row


def _first_items(text: str) -> Iterator[dict[str, Any]]:
    decoder, place = json.JSONDecoder(), text.find("{")
    for _ in range(FIRST):
        try:
            item, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return
        if not isinstance(item, dict):
            return
        yield item
        place = text.find("{", end)
        if place < 0 or text[end:place].strip() != ",":
            return


def keyed_rows(path: Path, name: str = "") -> Iterator[tuple[str, tuple[str, dict[str, Any]] | Damage]]:
    """The rows of a JSON object that holds them by key, each with its key, in the order of the file.

    Args:
        path: the file.
        name: the field in which the object lies; the file itself is the object where empty.
    """
    try:
        content = Source(path).json()
        held = as_row(content).get(name) if name else content
        entries = as_row(held)
    except Damage as damage:
        yield "file", damage
        return
    for key, value in entries.items():
        try:
            yield f"entry {key[:60]}", (key, as_row(value))
        except Damage as damage:
            yield f"entry {key[:60]}", damage


def csv_rows(path: Path, delimiter: str = ",") -> Iterator[tuple[str, list[str] | Damage]]:
    """The rows of RFC-4180 CSV. Quoted newlines stay in their field; a line of other bytes damages its row alone."""
    reader, number = csv.reader(_Lines(Source(path)), delimiter=delimiter, strict=True), 0
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"row {number}", Damage(f"not CSV ({error})")
        except Damage as damage:  # the next row starts at the next line
            yield f"row {number}", damage
        else:
            if any(field.strip() for field in row):
                yield f"row {number}", row
            else:
                number -= 1  # a blank line is no row


def headed_rows(path: Path) -> Iterator[tuple[str, dict[str, str] | Damage]]:
    """The rows of CSV or TSV whose first row names the columns; that row is none itself."""
    header: list[str] = []
    for where, row in csv_rows(path, "\t" if Source(path).suffix == ".tsv" else ","):
        if isinstance(row, Damage):
            yield where, row
        elif not header:
            header = [name.strip() for name in row]
        elif len(row) != len(header):
            yield where, Damage(f"{len(row)} columns, not {len(header)}")
        else:
            yield where, dict(zip(header, row, strict=True))


class _Lines:
    """Lines with their ends. After a damaged one has been raised, it goes on with the next."""

    def __init__(self, source: Source) -> None:
        self._lines = source.lines(blank=True)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        _, line = next(self._lines)
        if isinstance(line, Damage):
            raise line
        return f"{line}\n"


@lru_cache(maxsize=2)
def first_csv_rows(head: bytes) -> tuple[list[str], ...]:
    """The first whole rows of a CSV file."""
    lines = head.decode("utf-8-sig", "replace").split("\n")[:-1] or [head.decode("utf-8-sig", "replace")]
    reader = csv.reader(line + "\n" for line in lines)
    found: list[list[str]] = []
    while len(found) < FIRST:
        try:
            found.append(next(reader))
        except StopIteration:
            break
        except csv.Error:
            continue
    return tuple(row for row in found if row)
