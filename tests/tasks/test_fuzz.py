"""Ten thousand damaged files, mutated from heads of real ones: no reader raises, no row is lost, much is still read.

{"question": "Is ice cold?", "answer": "yes"}  ->  {"question": null, ...   {"question": "Is i\\xff...   cut, twice, ...
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.tasks.heads import Head, heads

from instil.errors import TemplateError
from instil.tasks.check import reading_of
from instil.tasks.formats import READERS

#: Damaged files made of one example that Hypothesis draws.
AT_ONCE = 10
WANTED = 10_000
SOAK = 200_000

Damaging = Callable[[bytes, int, int], bytes]


def _place(content: bytes, at: int) -> int:
    return at * len(content) >> 16


def _flip(content: bytes, at: int, what: int) -> bytes:
    place = _place(content, at)
    return content[:place] + bytes([what & 0xFF]) + content[place + 1 :]


def _cut(content: bytes, at: int, what: int) -> bytes:
    return content[: _place(content, at)]


def _lines_changed(content: bytes, at: int, what: int) -> bytes:
    """Delete, double or swap lines."""
    lines = content.split(b"\n")
    one, other = at * len(lines) >> 16, what * len(lines) >> 16
    if what % 3 == 0:
        del lines[one]
    elif what % 3 == 1:
        lines.insert(other, lines[one])
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


PIECES = (
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\0",
    b"\t",
    b"\n",
    b"\n\n",
    b"\r",
    b'"',
    b",",
    b"{",
    b"]",
    b"[" * 2000,
    b'{"a":' * 500,
    b"9" * 5000,
    "\u2028\u0085".encode(),
    b"\\ud800",
    b"{{ x }}",
    b"|||",
)


def _insert(content: bytes, at: int, what: int) -> bytes:
    place = _place(content, at)
    return content[:place] + PIECES[what % len(PIECES)] + content[place:]


VALUES = tuple(
    value.encode()
    for value in (
        *("null", "true", "7", "-1.5", "NaN", "1e999", "[]", "{}", '""', '" "', '"x"', '["x"]', "[null]", "[[]]"),
        *('{"a": 1}', '[{"role": "user"}]', '"\\ud800"', "9" * 400, "[1, 1]", '"[{\\"role\\": 1}]"'),
    )
)
#: The value of a field or an item of a list, and a whole list of plain items.
_SCALAR = re.compile(rb'[:\[,]\s*("(?:[^"\\]|\\.)*"|-?\d[\d.]*|null|true|false|\{\})(?=\s*[,}\]])')
_LIST = re.compile(rb":\s*(\[[^][{}]*\])")
_KEY = re.compile(rb'"(\w+)"\s*:')


def _retype(content: bytes, at: int, what: int) -> bytes:
    """Put a value of another type in the place of a field's; in a file without fields, of a word."""
    fields = [match.span(1) for pattern in (_SCALAR, _LIST) for match in pattern.finditer(content)]
    found = fields or [m.span() for m in re.finditer(rb"\w+", content)]
    if not found:
        return content
    start, end = found[at * len(found) >> 16]
    return content[:start] + VALUES[what % len(VALUES)] + content[end:]


def _rename(content: bytes, at: int, what: int) -> bytes:
    """Take a field away, or give one another's name."""
    found = list(_KEY.finditer(content))
    if not found:
        return content
    match, other = found[at * len(found) >> 16], found[what * len(found) >> 16]
    return content[: match.start(1)] + (other[1] if what % 2 else b"x") + content[match.end(1) :]


def _ends(content: bytes, at: int, what: int) -> bytes:
    """Another byte order mark, other ends of lines, blank lines."""
    if what % 3 == 0:
        return b"\xef\xbb\xbf" + content
    return content.replace(b"\n", b"\r\n" if what % 3 == 1 else b"\n\n")


#: What harms a single row or field stands twice: a flipped brace makes nothing of a whole JSON file.
DAMAGES: tuple[Damaging, ...] = (_flip, _cut, _lines_changed, _insert, _retype, _retype, _rename, _ends)
NUMBERS = st.integers(0, (1 << 16) - 1)
DAMAGE = st.tuples(st.sampled_from(DAMAGES), NUMBERS, NUMBERS)
DAMAGED = st.lists(
    st.tuples(st.lists(DAMAGE, min_size=1, max_size=2), st.sampled_from(("", "", "", "", "zip", "cut"))),
    min_size=AT_ONCE,
    max_size=AT_ONCE,
)


def _zipped(content: bytes, how: str) -> bytes:
    if not how:
        return content
    whole = gzip.compress(content, 1, mtime=0)
    return whole if how == "zip" else whole[: len(whole) - 4 - len(whole) // 5]


def _try(head: Head, path: Path, content: bytes, counts: Counter[str], *, further: bool) -> None:
    """Read one damaged file; sometimes as `tasks check` does, and render what is left."""
    path.write_bytes(content)
    reading = head.reader.read(path)
    assert reading.read == reading.accepted + len(reading.quarantined)
    assert sum(reading.reasons.values()) == len(reading.quarantined)
    assert all(row.where and row.reason for row in reading.quarantined)
    counts["read"] += 1
    counts["in part"] += reading.accepted > 0
    if not further:
        return
    checked = reading_of(path)
    assert not any("the reader failed" in reason for reason in checked.reasons), checked.reasons
    assert checked.read == checked.accepted + len(checked.quarantined)
    for task in reading.tasks:
        assert task.size
        for example in task.examples[:2]:
            json.dumps([example.key, dict(example.fields)])
            for template in task.templates[:2]:
                with contextlib.suppress(TemplateError):
                    made = template.render(example, seed=counts["read"])
                    assert made.target
                    # No tokenizer takes half a surrogate pair.
                    said = [made.input, made.target, *(message.content for message in made.messages)]
                    "".join(said).encode()


def test_ten_thousand_damaged_files_raise_nothing_and_lose_nothing(data_root: Path, tmp_path: Path) -> None:
    _damage_every_format(heads(data_root), tmp_path, WANTED, repeatable=True)


@pytest.mark.soak
def test_hundreds_of_thousands_of_damaged_files_raise_nothing_and_lose_nothing(data_root: Path, tmp_path: Path) -> None:
    _damage_every_format(heads(data_root), tmp_path, SOAK, repeatable=False)


def _damage_every_format(every: list[Head], folder: Path, wanted: int, *, repeatable: bool) -> None:
    readers = {head.reader.name for head in every}
    # There is nothing to damage in a file of no bytes.
    assert {reader.name for reader in READERS} - readers == {"empty"}
    rounds = -(-wanted // (len(every) * AT_ONCE))
    counts: dict[str, Counter[str]] = {}
    for number, head in enumerate(every):
        path = folder / str(number) / head.name
        path.parent.mkdir(parents=True)
        for name, content in head.beside.items():
            (path.parent / name).write_bytes(content)
        path.write_bytes(head.content)
        assert reading_of(path).accepted, f"{head.name} is not read whole"
        counted = counts.setdefault(head.reader.name, Counter())

        @settings(
            max_examples=rounds,
            deadline=None,
            derandomize=repeatable,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        )
        @given(DAMAGED)
        def damage(drawn: list[tuple[list[tuple[Damaging, int, int]], str]]) -> None:
            for place, (damages, how) in enumerate(drawn):
                content = head.content  # noqa: B023 - called before the loop goes on
                for harm, at, what in damages:
                    content = harm(content, at, what) if content else content
                _try(head, path, _zipped(content, how), counted, further=place == 0)  # noqa: B023

        damage()
    total = sum(counts.values(), Counter())
    assert total["read"] >= wanted
    assert total["in part"] >= 0.3 * total["read"]
    assert [name for name, counted in counts.items() if not counted["in part"]] == []
