from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.fingerprint import fingerprint, fingerprint_file, keyed_choice, keyed_int, keyed_order, keyed_unit

#: Results of the first release: they decide what every run trains on, so they must never change.
PINNED = [653, 432, 869, 399]
KEYS = st.lists(st.one_of(st.integers(), st.text()), max_size=4)


@given(KEYS, st.integers(1, 1 << 40))
def test_a_keyed_integer_is_in_range_and_repeats(key: list[int | str], n: int):
    assert 0 <= keyed_int(*key, n=n) < n
    assert keyed_int(*key, n=n) == keyed_int(*key, n=n)


def test_a_keyed_integer_is_the_same_in_every_process_and_release():
    assert [keyed_int(7, "mixture", i, n=1000) for i in range(4)] == PINNED
    code = "from instil.fingerprint import keyed_int; print([keyed_int(7, 'mixture', i, n=1000) for i in range(4)])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(PINNED)


def test_a_number_and_its_text_are_different_keys():
    assert keyed_int(1, n=1 << 60) != keyed_int("1", n=1 << 60)


def test_the_border_between_key_parts_counts():
    assert keyed_int("ab", "c", n=1 << 60) != keyed_int("a", "bc", n=1 << 60)


def test_keyed_integers_are_spread_evenly():
    counts = Counter(keyed_int("even", i, n=10) for i in range(20_000))
    assert all(abs(count - 2000) < 5 * 2000**0.5 for count in counts.values())


def test_a_keyed_integer_needs_a_positive_bound():
    with pytest.raises(ValueError, match="n > 0"):
        keyed_int("x", n=0)


@given(KEYS)
def test_a_keyed_unit_is_below_one(key: list[int | str]):
    assert 0 <= keyed_unit(*key) < 1


@given(st.integers(0, 60), KEYS)
def test_a_keyed_order_is_a_permutation(n: int, key: list[int | str]):
    assert sorted(keyed_order(n, *key)) == list(range(n))


def test_a_keyed_choice_reaches_every_item():
    assert {keyed_choice("abc", "pick", i) for i in range(100)} == set("abc")


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": (1, 2), "a": 1})


def test_a_fingerprint_changes_with_any_value():
    assert len({fingerprint({"a": value}) for value in (1, "1", 1.5, None, [1], Path("a"))}) == 6


def test_a_fingerprint_takes_text_that_is_no_unicode():
    assert len(fingerprint({"a": "\ud800"})) == 32


def test_a_files_fingerprint_is_its_sha256(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert fingerprint_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
