"""Settings: their names say what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.settings import Setting


@given(st.integers(0, 99), st.booleans())
def test_a_name_reads_back_as_its_setting(shots: int, cot: bool) -> None:
    assert Setting.parse(Setting(shots, cot).name) == Setting(shots, cot)


@pytest.mark.parametrize(
    "name", ["few-shot", "few-shot-0", "zero-shot-3", "cot", "few-shot-100", "Zero-shot", "zero-shot-cot-cot"]
)
def test_other_names_are_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="there are zero-shot, few-shot-K"):
        Setting.parse(name)
