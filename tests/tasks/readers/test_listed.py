"""JSON lists item by item: the same items as when the file is read whole, and what stands before the damage."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.tasks.readers import listed
from instil.tasks.readers.listed import items_of
from instil.tasks.readers.source import Damage, Source

ITEMS = st.lists(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=6,
)


def _items(folder: Path, content: bytes) -> list[Any]:
    path = folder / "list.json"
    path.write_bytes(content)
    return list(items_of(Source(path)))


@given(items=ITEMS, piece=st.integers(1, 40), indent=st.sampled_from([None, 1]), plain=st.booleans())
def test_items_are_those_of_the_whole_file_however_it_is_cut_into_pieces(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any], piece: int, indent: int | None, plain: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listed, "_PIECE", piece)
        content = json.dumps(items, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass")
        assert _items(tmp_path_factory.getbasetemp(), b"\xef\xbb\xbf " + content + b"\n") == json.loads(content)


@pytest.mark.parametrize(
    ("content", "whole", "reason"),
    [
        (b'[1, {"a": 2}, {"a"', 2, "not JSON (expecting ':' delimiter)"),
        (b"[1, 2", 2, "not JSON (expecting ',' delimiter)"),
        (b"[1, 2] 3", 2, "not JSON (extra data)"),
        (b"[1 2]", 1, "not JSON (expecting ',' delimiter)"),
        (b"[1, ]", 1, "not JSON (expecting value)"),
        (b"[", 0, "not JSON (expecting value)"),
        (b"{}", 0, "not a list"),
        (b"", 0, "not a list"),
        (b'["a", "\xff"]', 0, "not UTF-8"),
        (b"[1, " + b"[" * 200_000, 1, "not usable JSON (nested too deeply)"),
        (b"[1, " + b"9" * 5000 + b"]", 1, "not usable JSON (a number is too long)"),
    ],
)
def test_what_stands_before_the_damage_is_kept(tmp_path: Path, content: bytes, whole: int, reason: str) -> None:
    *items, damage = _items(tmp_path, content)
    assert isinstance(damage, Damage)
    assert (len(items), str(damage)) == (whole, reason)


def test_damage_in_a_long_list_is_named_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_PIECE", 100)
    monkeypatch.setattr(listed, "MAX_LINE_BYTES", 1000)
    *items, damage = _items(tmp_path, b'["a", {"b" 1}, ' + b'"c", ' * 5000 + b'"d"]')
    assert (items, str(damage)) == (["a"], "not JSON (expecting ':' delimiter)")


def test_a_cut_gzip_stream_keeps_its_first_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_PIECE", 1000)
    content = gzip.compress(
        json.dumps([{"id": number, "x": f"{number * 7919:x}"} for number in range(20_000)]).encode()
    )
    *items, damage = _items(tmp_path, content[: len(content) // 2])
    assert 100 < len(items) < 20_000
    assert items == [{"id": number, "x": f"{number * 7919:x}"} for number in range(len(items))]
    assert str(damage) == "the gzip stream is damaged or ends early"


def test_an_item_beyond_the_limit_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_PIECE", 100)
    monkeypatch.setattr(listed, "MAX_LINE_BYTES", 1000)
    *items, damage = _items(tmp_path, json.dumps(["a", "b" * 5000, "c"]).encode())
    assert items == ["a"]
    assert "longer than" in str(damage)
