"""Rows of one's own, written as JSON lines, a JSON list or Parquet: shared by the tests of the readers of talk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from instil.tasks.check import reading_of
from instil.tasks.readers.reading import Reading
from instil.tasks.task import Task

HI = [{"role": "user", "content": "Hi"}]
HELLO = [{"role": "assistant", "content": "Hello"}]
NO = [{"role": "assistant", "content": "No"}]


def read(path: Path, rows: list[Any]) -> Reading:
    """What is made of rows, in the kind of file that the path's extension says."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reading = reading_of(path)
    assert reading.read == len(rows)
    return reading


def only(reading: Reading) -> Task:
    """The one task of a reading."""
    (task,) = reading.tasks
    return task


def why_aside(path: Path, row: dict[str, Any], whole: dict[str, Any]) -> str:
    """Why a row is set aside that stands after a whole one."""
    reading = read(path, [whole, row])
    assert reading.accepted == 1
    return reading.quarantined[0].reason
