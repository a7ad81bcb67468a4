"""Rows in a memory-mapped Arrow file: read one at a time, however many there are; no row is in memory before.

    file    one binary column, cut into pieces of about 256 KiB; the last one is the head: what the rows are
    piece   one task's rows: what they share, once, then each its own    {"definition": "In this task, ..."}
                                                                         ["id-7", "Who was ...?", ["A"]]
    head    names: [definition, input, outputs]

`MappedRows` puts the three together again: Example("id-7", {definition: ..., input: ..., outputs: [...]}), the same
fields in the same order as the reader gave. Every piece has a checksum that is compared when it is first touched.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload
from weakref import WeakValueDictionary

from instil.errors import DataError
from instil.records import Example

#: Bytes of a piece: read and checked as a whole the first time that one of its rows is wanted.
PIECE_BYTES = 256 << 10
#: Pieces that stay open; opening one again takes some 20 microseconds.
_OPEN_PIECES = 1024


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class NotPlainError(Exception):
    """A value that JSON would not give back as it was (a tuple, a date, a number as key): it cannot be kept."""


class DamagedError(Exception):
    """A file that is not what was written."""


def plain(value: object) -> str:
    """The value as JSON that reads back as exactly the same.

    Raises:
        NotPlainError: if there is none.
    """
    _refuse_others(value)
    return _ENCODE(value)


def _refuse_others(value: object) -> None:
    kind = type(value)
    if kind is str or value is None or kind in (int, float, bool):
        return
    if kind is list:
        for item in value:  # type: ignore[attr-defined]
            _refuse_others(item)
    elif kind is dict and all(type(key) is str for key in value):  # type: ignore[attr-defined]
        for item in value.values():  # type: ignore[attr-defined]
            _refuse_others(item)
    else:
        raise NotPlainError(f"a value of type {kind.__name__}")


class Writer:
    """Writes pieces, then the head. The file is whole once `close` has returned.

    Args:
        path: where to write; what stands there is overwritten.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._sink = pa.OSFile(str(path), "wb")
        self._file = pa.ipc.new_file(self._sink, pa.schema([("json", pa.binary())]))
        self._checks: list[int] = []

    def add(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Write the rows of one task.

        Returns:
            What `MappedFile.rows` needs to find them again, as plain data.

        Raises:
            NotPlainError: if a row holds what JSON does not.
        """
        rows = list(_spelled(examples))
        names = list(rows[0][1]) if rows else []
        alike = all(list(fields) == names for _, fields in rows)
        shared = {
            name: rows[0][1][name]
            for name in (names if alike else ())
            if len(rows) > 1 and all(fields[name] == rows[0][1][name] for _, fields in rows)
        }
        texts = ["{" + ",".join(f"{plain(name)}:{text}" for name, text in shared.items()) + "}"]
        texts += [_line(key, fields, shared if alike else None) for key, fields in rows]
        lines = [text.encode("utf-8", "surrogatepass") for text in texts]
        per_piece = max(1, len(lines) * PIECE_BYTES // sum(map(len, lines)))
        first = len(self._checks)
        for start in range(0, len(lines), per_piece):
            self._checks.append(self._write(lines[start : start + per_piece]))
        return {"first": first, "per_piece": per_piece, "size": len(rows), "names": names if alike else None}

    def close(self, head: Iterable[str]) -> None:
        """Write the head, text by text, and the end of the file."""
        texts = [json.dumps(self._checks).encode(), *(text.encode("utf-8", "surrogatepass") for text in head)]
        self._write([b"%08x" % _check_of(texts), *texts])
        self.abandon()

    def abandon(self) -> None:
        """Close without a head."""
        self._file.close()
        self._sink.close()

    def _write(self, texts: list[bytes]) -> int:
        import pyarrow as pa

        batch = pa.record_batch([pa.array(texts, pa.binary())], names=["json"])
        self._file.write_batch(batch)
        return _check(batch)


def _spelled(examples: Iterable[Example]) -> Iterator[tuple[str, dict[str, str]]]:
    """Keys and fields as JSON. A value that stands in many rows (a definition) is spelled once."""
    last: dict[str, tuple[object, str]] = {}
    for example in examples:
        texts = {}
        for name, value in example.fields.items():
            before = last.get(name)
            if before is None or before[0] is not value:
                before = last[name] = value, plain(value)
            texts[name] = before[1]
        yield example.key, texts


def _line(key: str, fields: Mapping[str, str], shared: Mapping[str, str] | None) -> str:
    """A row as JSON: its key, then its own values, or all fields where rows differ in their names."""
    if shared is None:
        rest = ["{" + ",".join(f"{plain(name)}:{text}" for name, text in fields.items()) + "}"]
    else:
        rest = [text for name, text in fields.items() if name not in shared]
    return f"[{','.join([plain(key), *rest])}]"


def _check_of(texts: Iterable[bytes]) -> int:
    """The checksum of the head."""
    check = 0
    for text in texts:
        check = zlib.crc32(b"%d:" % len(text) + text, check)
    return check


def _check(batch: Any) -> int:
    """The checksum of a piece: of where every row ends, and of every byte."""
    column = batch.column(0)
    _, ends, data = column.buffers()
    if column.null_count or column.offset or ends is None:
        return -1  # never written
    ends = memoryview(ends)[: 4 * (batch.num_rows + 1)]
    total = int.from_bytes(ends[-4:], "little")
    return zlib.crc32(memoryview(data)[:total] if data is not None else b"", zlib.crc32(ends))


class MappedFile:
    """A file of rows, mapped. See `open_mapped`.

    Raises:
        DamagedError: if it is not whole.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        try:
            self._map = pa.memory_map(str(path), "r")
            self._file = pa.ipc.open_file(self._map)
            head = self._file.get_batch(self._file.num_record_batches - 1)
            head.validate(full=True)  # a text that ends beyond the buffer would end the process
            self._head = head.column(0)
            self.stamp = self._head[0].as_py().decode()
            if int(self.stamp, 16) != _check_of(text.as_py() for text in self._head[1:]):
                raise DamagedError("its head is damaged")
            self._checks: list[int] = json.loads(self._head[1].as_py())
        except (pa.ArrowException, OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"not a whole file of rows ({type(error).__name__})") from None
        if len(self._checks) != self._file.num_record_batches - 1:
            raise DamagedError("pieces are missing")
        self._checked = bytearray(len(self._checks))
        self._pieces: dict[int, Any] = {}
        self._shared: dict[int, Mapping[str, Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return open_mapped, (self.path, self.stamp)

    def head(self) -> Iterator[str]:
        """The texts of the head."""
        return (text.as_py().decode("utf-8", "surrogatepass") for text in self._head[2:])

    def rows(self, place: Mapping[str, Any], words: dict[Any, Any] | None = None) -> MappedRows:
        """The rows of a task.

        Args:
            place: what `Writer.add` said of them.
            words: texts and names that were met before, each kept once.
        """
        known = {} if words is None else words
        names = None if place["names"] is None else tuple(known.setdefault(name, name) for name in place["names"])
        return MappedRows(self, place["first"], place["per_piece"], place["size"], known.setdefault(names, names))

    def line(self, first: int, per_piece: int, number: int) -> Any:
        """What a line of a task's pieces holds: number 0 what its rows share, number i + 1 row i."""
        piece, line = divmod(number, per_piece)
        text: bytes = self.piece(first + piece)[line].as_py()
        return json.loads(text.decode("utf-8", "surrogatepass"))

    def shared(self, first: int, per_piece: int) -> Mapping[str, Any]:
        """The fields that all rows of a task share."""
        found = self._shared.get(first)
        if found is None:
            if len(self._shared) >= _OPEN_PIECES:
                self._shared.clear()
            found = self._shared[first] = self.line(first, per_piece, 0)
        return found

    def check_all(self) -> None:
        """Compare every piece with its checksum, through buffers that are given back: nothing stays resident.

        Raises:
            DamagedError: if one differs.
        """
        import pyarrow as pa

        try:
            with pa.OSFile(str(self.path), "rb") as source:
                file = pa.ipc.open_file(source)
                for number, expected in enumerate(self._checks):
                    if _check(file.get_batch(number)) != expected:
                        raise DamagedError(f"piece {number} is damaged")
                    self._checked[number] = 1
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DamagedError(f"not a whole file of rows ({type(error).__name__})") from None

    def piece(self, number: int) -> Any:
        """The column of a piece.

        Raises:
            DataError: if it is damaged; the file is removed, so that the next opening makes it anew.
        """
        column = self._pieces.get(number)
        if column is None:
            import pyarrow as pa

            try:
                batch = self._file.get_batch(number)
                if not self._checked[number]:
                    if _check(batch) != self._checks[number]:
                        raise DamagedError("its checksum differs")
                    self._checked[number] = 1
            except (pa.ArrowException, DamagedError, OSError) as error:
                self.path.unlink(missing_ok=True)
                raise DataError(
                    f"{self.path} is damaged ({error}) and was removed", remedy="Run again: it is built anew"
                ) from None
            if len(self._pieces) >= _OPEN_PIECES:
                self._pieces.clear()
            column = self._pieces[number] = batch.column(0)
        return column


_OPENED: WeakValueDictionary[tuple[Path, str], MappedFile] = WeakValueDictionary()


def open_mapped(path: Path, stamp: str = "") -> MappedFile:
    """The file at a path; in one process, one file is opened once.

    Args:
        path: where it lies.
        stamp: for rows that were handed to another process: which state of the file they come from.

    Raises:
        DamagedError: if it is not whole.
        DataError: if it is another state than `stamp` names.
    """
    found = _OPENED.get((path, stamp)) if stamp else None
    if found is None:
        try:
            found = MappedFile(path)
        except DamagedError as error:
            if not stamp:
                raise
            raise DataError(f"{path} is gone or damaged ({error})", remedy="Run again: it is built anew") from None
        if stamp and found.stamp != stamp:
            raise DataError(f"{path} was rebuilt while it was in use", remedy="Run again")
        found = _OPENED.setdefault((path, found.stamp), found)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class MappedRows(Sequence[Example]):
    """The rows of a task in a mapped file."""

    file: MappedFile
    first: int
    """Number of the first piece."""
    per_piece: int
    size: int
    names: tuple[str, ...] | None
    """The fields of every row, in order; None where rows differ, and each says its own."""

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self.size))]
        if not -self.size <= index < self.size:
            raise IndexError(index)
        key, *values = self.file.line(self.first, self.per_piece, index % self.size + 1)
        if self.names is None:
            return Example(key, values[0])
        shared, own = self.file.shared(self.first, self.per_piece), iter(values)
        return Example(key, {name: shared[name] if name in shared else next(own) for name in self.names})

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(self.size))
