"""Walks a folder and says what every file is: format, tasks, rows read, accepted, set aside and why.

    flan_cot/creak_train.tsv.gz   flan-cot    1 task   6,915 read   6,915 accepted   0 set aside
    edge_cases/p3_..._trec1.jsonl jsonl       0 tasks    200 read       0 accepted   200 set aside: empty target
    clinc_oos/data_small.json.gz  unknown     0 tasks      1 read       0 accepted   1 set aside: no reader knows it

Rows read are rows accepted plus rows set aside, for every file, however damaged; no file is passed over. A file of no
known format counts as one thing that was read and set aside.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from instil.errors import DataError
from instil.tasks.formats import READERS
from instil.tasks.readers.reading import Reading
from instil.tasks.readers.source import Damage, Source, parsed

#: Said of a file that is sound and fits no reader.
NO_READER = "no reader knows this format"


@dataclass(frozen=True, slots=True)
class Checked:
    """One file, as `instil tasks check` shows it."""

    path: str
    format: str
    tasks: int
    read: int
    accepted: int
    quarantined: int
    reasons: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The row of `--json`."""
        return {name: getattr(self, name) for name in self.__slots__}


def files_under(path: Path) -> list[Path]:
    """Every file under a folder, in order of name; the file itself where the path is one.

    Raises:
        DataError: if there is nothing at the path.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"nothing to check at {path}", remedy="Give a folder or a file")
    found: list[Path] = []
    closed: list[Path] = []
    # A folder that cannot be opened is listed as what it is, too.
    for folder, folders, names in os.walk(path, onerror=lambda error: closed.append(Path(error.filename))):
        folders.sort()
        found += [Path(folder, name) for name in sorted(names)]
        # A link to a folder is not followed, so that a walk ends; it is listed as what it is.
        found += [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
    return found + closed


def check(path: Path, *, strict: bool = False) -> Iterator[Checked]:
    """What every file under a path is. Never raises for what a file holds, unless `strict`.

    Raises:
        DataError: if there is nothing at the path; where strict, for the first row (or file) that is set aside.
    """
    for file in files_under(path):
        shown = file.name if file == path else file.relative_to(path).as_posix()
        # A file's name can be any bytes; what is printed or written as JSON cannot.
        shown = shown.encode(errors="surrogateescape").decode(errors="replace")
        reading = reading_of(file)
        if strict and reading.quarantined:
            first = reading.quarantined[0]
            raise DataError(f"{shown}, {first.where}: {first.reason}", remedy="Correct it, or check without --strict")
        yield _row(shown, reading)


def reading_of(path: Path) -> Reading:
    """Read a file with the first reader that recognises it."""
    if not path.is_file():
        return _unknown("not a readable file (a broken link, a linked or closed folder, a device)")
    try:
        head = Source(path).head()
        for reader in READERS:
            if reader.recognises(path, head):
                return reader.read(path)
    except Damage as damage:
        return _unknown(str(damage))
    except OSError as error:
        return _unknown(f"cannot be read ({error.strerror or type(error).__name__})")
    except Exception as error:  # noqa: BLE001 - one file must not end the walk, whatever a library makes of it
        return _unknown(f"the reader failed ({type(error).__name__})")
    return _unknown(_damage_of(path, head) or NO_READER)


def _damage_of(path: Path, head: bytes) -> str:
    """Why a file that nobody recognises may be none that anybody could: it is not what its name says."""
    source = Source(path)
    try:
        if source.suffix == ".json":
            source.json()
        elif source.suffix == ".jsonl":
            for _, line in islice(source.lines(), 1):
                parsed(_whole(line))
        elif path.suffix == ".gz" and not head:
            source.text()
    except Damage as damage:
        return str(damage)
    return ""


def _whole(line: str | Damage) -> str:
    if isinstance(line, Damage):
        raise line
    return line


def _unknown(reason: str) -> Reading:
    reading = Reading("unknown")
    reading.quarantine("file", reason)
    return reading


def _row(shown: str, reading: Reading) -> Checked:
    return Checked(
        path=shown,
        format=reading.format,
        tasks=len(reading.tasks),
        read=reading.read,
        accepted=reading.accepted,
        quarantined=len(reading.quarantined),
        reasons=reading.reasons,
    )


def reasons(rows: list[Checked]) -> list[tuple[str, int, int]]:
    """Why rows were set aside: reason, rows, files; the commonest first."""
    count: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for row in rows:
        count.update(row.reasons)
        files.update(row.reasons.keys())
    return [(reason, number, files[reason]) for reason, number in count.most_common()]


def totals(rows: list[Checked]) -> dict[str, int]:
    """The sums over all files."""
    return {
        "files": len(rows),
        **{name: sum(getattr(row, name) for row in rows) for name in ("tasks", "read", "accepted", "quarantined")},
    }
