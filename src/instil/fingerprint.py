"""Names for content and keyed choices: the same words give the same number on every machine.

    fingerprint({"a": 1})            -> "f1f5..." (32 hex digits), equal for equal content
    keyed_int(7, "mixture", 12, n=5) -> 0..4, a pure function of its arguments

Randomness in instil is an argument with a name: no global generator decides what is trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: One key part: its type is hashed with it, so that 1 and "1" are different keys.
KeyPart = str | int


def _digest(parts: tuple[KeyPart, ...]) -> int:
    hasher = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = str(part).encode("utf-8", "surrogatepass")
        hasher.update(b"%c%d:" % (b"i" if isinstance(part, int) else b"s", len(data)))
        hasher.update(data)
    return int.from_bytes(hasher.digest(), "big")


def keyed_int(*parts: KeyPart, n: int) -> int:
    """A uniform integer in [0, n), decided by `parts` alone.

    The bias is below n / 2**64, which no experiment can see for n < 2**32.

    Raises:
        ValueError: if n is not positive.
    """
    if n <= 0:
        raise ValueError(f"keyed_int needs n > 0, got {n}")
    return _digest(parts) * n >> 64


def keyed_unit(*parts: KeyPart) -> float:
    """A uniform float in [0, 1), decided by `parts` alone (53 bits)."""
    return (_digest(parts) >> 11) / (1 << 53)


def keyed_choice(items: Sequence[T], *parts: KeyPart) -> T:
    """One of `items`, decided by `parts` alone."""
    return items[keyed_int(*parts, n=len(items))]


def keyed_order(n: int, *parts: KeyPart) -> list[int]:
    """A permutation of range(n), decided by `parts` alone: the order of n keyed hashes."""
    return sorted(range(n), key=lambda index: (_digest((*parts, index)), index))


def fingerprint(content: object) -> str:
    """32 hex digits that name JSON-like content (mappings in any key order, sequences, scalars).

    Raises:
        TypeError: if the content has a value that JSON cannot hold.
    """
    text = json.dumps(_plain(content), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _plain(content: object) -> object:
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, Path):
        return content.as_posix()
    return content


def fingerprint_file(path: Path) -> str:
    """64 hex digits: the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
