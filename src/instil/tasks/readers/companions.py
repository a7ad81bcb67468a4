"""Files that lie beside tasks and are none: named as what they are and counted, so that nothing is passed over.

split-list    one task name a line             prompt-file  worked examples for BIG-Bench Hard
licence       LICENSE files and folders        prose        text and Markdown
catalogue     tables and JSON about data sets  empty        no bytes at all
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from instil.tasks.readers.reading import Reading
from instil.tasks.readers.source import Damage, Source

_PROSE = frozenset({".txt", ".md", ".markdown", ".rst"})
_TASK_NAME = re.compile(rb"^[A-Za-z0-9][\w.\-]*$")
_LICENCE_NAME = re.compile(r"(^|[_\-.])(licen[sc]es?|copying|notice)([_\-.]|$)", re.IGNORECASE)
_LICENCE_TEXT = re.compile(
    rb"(Permission is hereby granted|Apache License|Redistribution and use in source|Creative Commons Legal Code"
    rb"|GNU [A-Z ]*GENERAL PUBLIC LICENSE)",
    re.IGNORECASE,
)
_CATALOGUE_JSON = re.compile(rb'"(Dataset Name|Licenses|License URL|Dataset Filter IDs)"\s*:')
_CATALOGUE_COLUMNS = frozenset(
    {"dataset", "licence", "license", "lic", "task_name", "task name", "source commit", "sha"}
)


@dataclass(frozen=True)
class Companion:
    """A kind of file that is no task; its rows are its lines (or, for a catalogue in JSON, its entries)."""

    name: str
    rule: Callable[[Path, bytes], bool]

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether the file is of this kind."""
        return self.rule(path, head)

    def read(self, path: Path) -> Reading:
        """Count its lines; damaged ones are set aside."""
        source, reading = Source(path), Reading(self.name)
        if self.name == "catalogue" and source.suffix == ".json":
            return _count_entries(source, reading)
        blank_counts = self.name in ("prose", "licence", "prompt-file")
        try:
            reading.accepted = _count_lines(source.text(), blank=blank_counts)
        except Damage:
            for number, line in source.lines():
                if isinstance(line, Damage):
                    reading.quarantine(f"line {number}", str(line))
                else:
                    reading.accepted += 1
        if self.name == "catalogue" and reading.accepted:
            reading.accepted -= 1  # the header
        return reading


def _count_lines(text: str, *, blank: bool) -> int:
    if blank:
        return text.count("\n") + (not text.endswith("\n") and bool(text))
    return sum(bool(line.strip()) for line in text.split("\n"))


def _count_entries(source: Source, reading: Reading) -> Reading:
    try:
        content = source.json()
    except Damage as damage:
        reading.quarantine("file", str(damage))
        return reading
    reading.accepted = len(content) if isinstance(content, (dict, list)) else 1
    return reading


def _is_empty(path: Path, head: bytes) -> bool:
    return not head and path.stat().st_size == 0


def _is_prompt_file(path: Path, head: bytes) -> bool:
    return Source(path).suffix == ".txt" and b"\n-----\n" in head[:2000] and b"\nQ: " in head


def _is_list(path: Path, head: bytes) -> bool:
    if Source(path).suffix != ".txt":
        return False
    lines = [line.strip() for line in head.split(b"\n")[:-1] or [head] if line.strip()]
    return bool(lines) and all(_TASK_NAME.match(line) for line in lines)


def _is_licence(path: Path, head: bytes) -> bool:
    plain = Source(path).suffix in _PROSE or not Source(path).suffix
    named = _LICENCE_NAME.search(path.name) or path.parent.name.lower() in ("licenses", "licences")
    return plain and bool(named or _LICENCE_TEXT.search(head[:3000]))


def _is_catalogue(path: Path, head: bytes) -> bool:
    suffix = Source(path).suffix
    if suffix == ".json":
        return len(set(_CATALOGUE_JSON.findall(head))) >= 2
    if suffix not in (".csv", ".tsv"):
        return False
    # A line may be of old ends, or broken: a lone \r ends no row here, and csv refuses one inside a field.
    header = head.split(b"\n", 1)[0].decode("utf-8", "replace").replace("\r", " ").strip().lower()
    columns = next(csv.reader([header], delimiter="\t" if suffix == ".tsv" else ","), [])
    return len(columns) >= 3 and len(_CATALOGUE_COLUMNS & {column.strip() for column in columns}) >= 1


def _is_prose(path: Path, head: bytes) -> bool:
    return Source(path).suffix in _PROSE and b"\0" not in head


#: Asked after every format of tasks.
RANK = 2
READERS = (
    Companion("empty", _is_empty),
    Companion("prompt-file", _is_prompt_file),
    Companion("licence", _is_licence),
    Companion("split-list", _is_list),
    Companion("catalogue", _is_catalogue),
    Companion("prose", _is_prose),
)
