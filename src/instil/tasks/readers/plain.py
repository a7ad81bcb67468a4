r"""Rows of one's own: JSONL (or a JSON list), CSV, TSV and Parquet with `inputs`, `targets`, or columns mapped to them.

    {"inputs": "2 + 2 =", "targets": "4"}
    {"inputs": "Is ice cold?", "targets": ["yes", "Yes"], "options": ["yes", "no"]}    references, options
    {"question": "2 + 2 =", "answer": 4}             with --map inputs=question --map targets=answer
    {"prompt": "...\n", "completion": "ice<|endoftext|>"}    P3 as GPT-3 fine-tuning rows: the end mark goes

The first row of CSV and TSV names the columns. One file is one task with one template, `plain`: the input as it stands,
the target as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.listed import items_of
from instil.tasks.readers.reading import Reading, RowProblem, as_text, text_in, texts_in
from instil.tasks.readers.rows import examples_of, headed_rows, objects_in
from instil.tasks.readers.source import HEAD_BYTES, Damage, Source, as_row, parsed
from instil.tasks.readers.splits import read_split
from instil.tasks.template import Template

TEMPLATE = Template(
    "plain",
    "{{ inputs }}",
    "{{ targets | choice }}",
    answer_choices="{{ options | join('|||') }}",
    references="targets",
)

#: Columns that are understood without a map: input, target.
PAIRS = (("inputs", "targets"), ("inputs_pretokenized", "targets_pretokenized"), ("prompt", "completion"))
OPTIONS = ("options", "answer_choices")
END_OF_TEXT = "<|endoftext|>"
#: A `label` beside prompt and completion makes them a preference, not something to imitate.
_NOT_IMITATED = frozenset({"label", "chosen", "rejected"})

#: What files of rows are called, `.gz` aside.
ROWS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_TABLES = (".csv", ".tsv")
_PARQUET = b"PAR1"
#: How many rows are looked at to tell what a file holds, and how long the first item of a list may be for that.
_LOOKED_AT = 20
_LONG_ITEM = 4 << 20


@dataclass(frozen=True)
class Plain:
    """Reads one JSONL, JSON, CSV, TSV or Parquet file."""

    map: Mapping[str, str] = field(default_factory=dict)
    """Which column stands for `inputs`, `targets` and `options`."""
    collection: str = "jsonl"
    name: str = "jsonl"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Parquet by its mark; JSON lines whose first whole row has a pair of known columns."""
        return is_parquet(head) or any(_pair(row, self.map) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every whole row."""
        parquet = is_parquet(Source(path).head()) if path.stat().st_size else False
        return read_split(
            "parquet" if parquet else self.name,
            path,
            self._examples,
            collection=self.collection,
            also=json.dumps(dict(self.map), sort_keys=True),
            cluster=Source(path).stem,
            templates=(TEMPLATE,),
            metrics=("exact_match", "rouge_l"),
            licence="not stated",
            language="not stated",
            source=path.name,
        )

    def _examples(self, path: Path, reading: Reading) -> list[Example]:
        return examples_of(rows_of(path), self.fields_of, reading)

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has the columns of input and target."""
        return _pair(row, self.map) is not None

    def fields_of(self, row: Mapping[str, Any]) -> dict[str, object]:
        """What a row holds: inputs, targets, options.

        Raises:
            RowProblem: if it has no input or no target.
        """
        pair = _pair(row, self.map)
        if pair is None:
            wanted = self.map.get("inputs", "inputs"), self.map.get("targets", "targets")
            raise RowProblem(f"no columns {wanted[0]!r} and {wanted[1]!r}")
        inputs = text_in(row, pair[0])
        targets = [text.removesuffix(END_OF_TEXT) for text in texts_in(row, pair[1])]
        if not any(text.strip() for text in targets):
            raise RowProblem("empty target")
        if not inputs.strip():
            raise RowProblem("empty input")
        return {"inputs": inputs, "targets": [text for text in targets if text.strip()], "options": self._options(row)}

    def _options(self, row: Mapping[str, Any]) -> list[str]:
        named = self.map.get("options")
        for name in (named,) if named else OPTIONS:
            listed = row.get(name)
            if isinstance(listed, (list, tuple)):
                return [as_text(option, name).strip() for option in listed]
            if listed is not None:
                raise RowProblem(f"field {name!r} is no list")
        if named:
            raise RowProblem(f"no field {named!r}")
        return []


def _pair(row: Mapping[str, Any], columns: Mapping[str, str]) -> tuple[str, str] | None:
    """The columns of input and target, if the row has them."""
    if columns:
        wanted = columns.get("inputs", "inputs"), columns.get("targets", "targets")
        return wanted if set(wanted) <= set(row) else None
    for pair in PAIRS:
        if set(pair) <= set(row) and not (pair[0] == "prompt" and _NOT_IMITATED & set(row)):
            return pair
    return None


def is_parquet(head: bytes) -> bool:
    """Whether a file with this head is Parquet."""
    return head.startswith(_PARQUET)


def first_rows(path: Path, head: bytes) -> tuple[dict[str, Any], ...]:
    """The rows among the first lines (or items of a list, or the first of Parquet) that can be parsed."""
    try:
        status = path.stat()
    except OSError:  # judged by its head alone
        return tuple(_first_rows(path, head))
    return _remembered(path, head, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # every reader asks about the same file in turn
def _remembered(path: Path, head: bytes, size: int, modified: int) -> tuple[dict[str, Any], ...]:
    return tuple(_first_rows(path, head))


def _first_rows(path: Path, head: bytes) -> Iterator[dict[str, Any]]:
    source = Source(path)
    if is_parquet(head):
        rows = islice(_parquet_rows(path, batch=_LOOKED_AT), _LOOKED_AT)
        yield from (row for _, row in rows if not isinstance(row, Damage))
        return
    if source.suffix in _TABLES:
        yield from (row for _, row in islice(headed_rows(path), _LOOKED_AT) if not isinstance(row, Damage))
        return
    text = head.decode("utf-8-sig", "ignore").lstrip()
    if source.suffix == ".jsonl" and not text.startswith("["):
        # By lines of the file, not of the head: a first row may be longer than the head.
        for _, line in islice(source.lines(), _LOOKED_AT):
            row = line if isinstance(line, Damage) else _row(line)
            if not isinstance(row, Damage):
                yield row
        return
    # A file of one object is no rows: there is more after it, be it a line or another item.
    if text.startswith("{") and "\n{" in text:
        yield from objects_in(text)
    elif text.startswith("["):
        found = list(objects_in(text))
        if not found and len(head) >= HEAD_BYTES:  # so may a first item
            found = list(objects_in(source.head(_LONG_ITEM).decode("utf-8-sig", "ignore").lstrip()))
        yield from found


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any] | Damage]]:
    """Every row of a JSONL, JSON-list, CSV, TSV or Parquet file, with where it stands; damaged ones as their Damage."""
    source = Source(path)
    try:
        head = source.head()
    except Damage as damage:
        yield "file", damage
        return
    if is_parquet(head):
        yield from _parquet_rows(path)
    elif source.suffix in _TABLES:
        yield from headed_rows(path)
    elif head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        yield from _listed_rows(source)
    else:
        for number, line in source.lines():
            yield f"line {number}", line if isinstance(line, Damage) else _row(line)


def _row(line: str) -> dict[str, Any] | Damage:
    try:
        return as_row(parsed(line))
    except Damage as damage:
        return damage


def _listed_rows(source: Source) -> Iterator[tuple[str, dict[str, Any] | Damage]]:
    for number, item in enumerate(items_of(source), start=1):
        try:
            yield f"item {number}", item if isinstance(item, Damage) else as_row(item)
        except Damage as damage:
            yield f"item {number}", damage


def json_value(value: Any) -> Any:
    """A value of Arrow as JSON would hold it: dates, decimals and bytes as their text."""
    if isinstance(value, list):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)


def _parquet_rows(path: Path, batch: int = 1024) -> Iterator[tuple[str, dict[str, Any] | Damage]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for some in file.iter_batches(batch_size=batch):
                for row in some.to_pylist():
                    number += 1
                    yield f"row {number}", {name: json_value(value) for name, value in row.items()}
    except (pa.ArrowException, OSError, ValueError) as error:
        yield f"row {number + 1}", Damage(f"not usable Parquet ({type(error).__name__})")


#: Asked after every format that says more about itself.
RANK = 1
READERS = (Plain(),)
