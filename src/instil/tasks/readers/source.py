"""A file on disk, gzipped or not, as bytes, lines or JSON; damage is a `Damage` with a reason, never a surprise.

Source(path).head()     the first 64 KiB, decompressed, however damaged the rest is
Source(path).lines()    (1, "first row"), (2, Damage("not UTF-8")), (3, "third row"), ...
Source(path).json()     the whole file; an object that repeats a key becomes a `Repeating`
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

#: A row, or a whole JSON file, that is larger than this is set aside instead of read into memory.
MAX_LINE_BYTES = 16 << 20
MAX_FILE_BYTES = 512 << 20
HEAD_BYTES = 64 << 10

_GZIP = b"\x1f\x8b"


class Damage(Exception):  # noqa: N818 - not an error of the program: it ends in a Quarantined
    """What is wrong with a file or a line; the message is the reason."""


class Repeating(dict[str, Any]):
    """A JSON object in which a key stands twice, so that one of its values would be lost."""

    key = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One file."""

    path: Path

    @property
    def stem(self) -> str:
        """The file's name without `.gz` and its extension."""
        return Path(self.path.name.removesuffix(".gz")).stem

    @property
    def suffix(self) -> str:
        """The extension, without `.gz`: `.json`, `.tsv`, ..."""
        return Path(self.path.name.removesuffix(".gz")).suffix.lower()

    def head(self, size: int = HEAD_BYTES) -> bytes:
        """The first 64 KiB (or `size` bytes), decompressed; less where the file is shorter or damaged.

        Raises:
            Damage: if the file cannot be opened.
        """
        head = b""
        try:
            with self._open() as file:
                while len(head) < size:
                    piece = file.read(min(4096, size - len(head)))
                    if not piece:
                        break
                    head += piece
        except (EOFError, zlib.error, gzip.BadGzipFile):
            pass
        except OSError as error:
            raise Damage(f"cannot be opened ({error.strerror or type(error).__name__})") from None
        return head

    def sha256(self) -> str:
        """Names the file's content."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def lines(self, *, blank: bool = False) -> Iterator[tuple[int, str | Damage]]:
        r"""Numbered lines without their ends, cut at `\n` alone: U+2028 and the like stay inside a line.

        Damage that ends the file comes as the last item. Blank lines are no rows and are left out, unless `blank`.
        """
        number = 0
        try:
            with self._open() as file:
                while line := file.readline(MAX_LINE_BYTES):
                    number += 1
                    if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                        while (line := file.readline(MAX_LINE_BYTES)) and not line.endswith(b"\n"):
                            pass
                        yield number, Damage(f"longer than {MAX_LINE_BYTES >> 20} MiB")
                        continue
                    content = line.removesuffix(b"\n").removesuffix(b"\r")
                    if number == 1:
                        content = content.removeprefix(b"\xef\xbb\xbf")
                    if not blank and (not content or content.isspace()):
                        continue
                    try:
                        yield number, content.decode()
                    except UnicodeDecodeError:
                        yield number, Damage("not UTF-8")
        except (EOFError, zlib.error, gzip.BadGzipFile):
            yield number + 1, Damage("the gzip stream is damaged or ends early")
        except OSError as error:
            yield number + 1, Damage(f"cannot be read ({error.strerror or type(error).__name__})")

    def pieces(self, size: int) -> Iterator[bytes]:
        """The whole file, decompressed, in pieces.

        Raises:
            Damage: where it cannot be read any further.
        """
        try:
            with self._open() as file:
                while piece := file.read(size):
                    yield piece
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise Damage("the gzip stream is damaged or ends early") from None
        except OSError as error:
            raise Damage(f"cannot be read ({error.strerror or type(error).__name__})") from None

    def text(self) -> str:
        """The whole file as text.

        Raises:
            Damage: if it cannot be read, is no UTF-8, or is too large.
        """
        try:
            with self._open() as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise Damage("the gzip stream is damaged or ends early") from None
        except OSError as error:
            raise Damage(f"cannot be read ({error.strerror or type(error).__name__})") from None
        if len(content) > MAX_FILE_BYTES:
            raise Damage(f"larger than {MAX_FILE_BYTES >> 20} MiB")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise Damage("not UTF-8") from None

    def json(self) -> Any:
        """The whole file as JSON.

        Raises:
            Damage: if it is no JSON, or cannot be read.
        """
        return parsed(self.text())

    def _open(self) -> IO[bytes]:
        with self.path.open("rb") as file:
            zipped = file.read(2) == _GZIP
        return cast(IO[bytes], gzip.open(self.path, "rb")) if zipped else self.path.open("rb")


def parsed(text: str) -> Any:
    """The JSON in a text. `NaN` is accepted, because real files hold it; fields that should be text refuse it.

    Raises:
        Damage: if it is none.
    """
    try:
        return json.loads(text, object_pairs_hook=no_repeats)
    except json.JSONDecodeError as error:
        raise Damage(f"not JSON ({error.msg.lower()})") from None
    except RecursionError:
        raise Damage("not usable JSON (nested too deeply)") from None
    except ValueError:  # an integer of more than 4,300 digits
        raise Damage("not usable JSON (a number is too long)") from None


def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object that the pairs make; a `Repeating` where a key stands twice."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeating = Repeating(found)
    seen: set[str] = set()
    repeating.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return repeating


def as_row(value: object) -> dict[str, Any]:
    """The value as a row.

    Raises:
        Damage: if it is no object, or an object in which a key stands twice.
    """
    if isinstance(value, Repeating):
        raise Damage(f"key {value.key[:60]!r} stands twice")
    if not isinstance(value, dict):
        raise Damage("not an object")
    for key, inner in value.items():
        if isinstance(inner, Repeating):
            raise Damage(f"key {inner.key[:60]!r} stands twice in field {key[:60]!r}")
    return value
