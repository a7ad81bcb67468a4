"""Walks a folder and says what every file is: format, tasks, rows read, accepted, set aside and why.

    flan_cot/creak_train.tsv.gz   flan-cot    1 task   6,915 read   6,915 accepted   0 set aside
    edge_cases/p3_..._trec1.jsonl jsonl       0 tasks    200 read       0 accepted   200 set aside: empty target
    clinc_oos/data_small.json.gz  unknown     0 tasks      1 read       0 accepted   1 set aside: no reader knows it

Rows read are rows accepted plus rows set aside, for every file, however damaged; no file is passed over. A file of no
known format counts as one thing that was read and set aside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.errors import DataError
from instil.tasks.readers.bbh import BigBenchHard
from instil.tasks.readers.bigbench import BigBench
from instil.tasks.readers.companions import COMPANIONS
from instil.tasks.readers.flan_cot import FlanCot
from instil.tasks.readers.natural_instructions import NaturalInstructions
from instil.tasks.readers.plain import Plain
from instil.tasks.readers.promptsource import Promptsource
from instil.tasks.readers.reading import Reader, Reading
from instil.tasks.readers.source import Damage, Source, parsed

#: Asked in this order; the first that recognises a file reads it.
READERS: tuple[Reader, ...] = (
    NaturalInstructions(),
    BigBench(),
    BigBenchHard(),
    Promptsource(),
    FlanCot(),
    Plain(),
    *COMPANIONS,
)


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
    for folder, folders, names in os.walk(path):
        folders.sort()
        found += [Path(folder, name) for name in sorted(names)]
        # A link to a folder is not followed, so that a walk ends; it is listed as what it is.
        found += [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
    return found


def check(path: Path) -> Iterator[Checked]:
    """What every file under a path is. Never raises for what a file holds.

    Raises:
        DataError: if there is nothing at the path.
    """
    for file in files_under(path):
        shown = file.name if file == path else file.relative_to(path).as_posix()
        # A file's name can be any bytes; what is printed or written as JSON cannot.
        yield _row(shown.encode(errors="surrogateescape").decode(errors="replace"), reading_of(file))


def reading_of(path: Path) -> Reading:
    """Read a file with the first reader that recognises it."""
    if not path.is_file():
        return _unknown("not a file (a broken link, a linked folder or a device)")
    try:
        head = Source(path).head()
        for reader in READERS:
            if reader.recognises(path, head):
                return reader.read(path)
    except (Damage, OSError) as problem:
        return _unknown(str(problem) if isinstance(problem, Damage) else f"cannot be read ({problem.strerror})")
    return _unknown(_damage_of(path, head) or "no reader knows this format")


def _damage_of(path: Path, head: bytes) -> str:
    """Why a file that nobody recognises may be none that anybody could: it is not what its name says."""
    source = Source(path)
    try:
        if source.suffix == ".json":
            source.json()
        elif source.suffix == ".jsonl":
            parsed(head.split(b"\n", 1)[0].decode())
        elif path.suffix == ".gz":
            source.text()
    except Damage as damage:
        return str(damage)
    except UnicodeDecodeError:
        return "not UTF-8"
    return ""


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


def totals(rows: list[Checked]) -> dict[str, int]:
    """The sums over all files."""
    return {
        "files": len(rows),
        **{name: sum(getattr(row, name) for row in rows) for name in ("tasks", "read", "accepted", "quarantined")},
    }
