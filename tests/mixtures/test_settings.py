"""Settings: their names say what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.settings import Setting

PARTS = ["zero-shot", "few-shot-3", "-mixed", "-cot", "-options", "-no-options", "-inverted", "-dialogue", "-", "x"]


@given(
    shots=st.integers(0, 99),
    cot=st.booleans(),
    mixed=st.booleans(),
    options=st.sampled_from([None, True, False]),
    inverted=st.booleans(),
    dialogue=st.booleans(),
)
def test_a_name_reads_back_as_its_setting(
    shots: int, cot: bool, mixed: bool, options: bool | None, inverted: bool, dialogue: bool
) -> None:
    asked = {
        "shots": shots,
        "cot": cot,
        "mixed": mixed and shots > 0,
        "options": None if inverted else options,
        "inverted": inverted,
        "dialogue": dialogue,
    }
    setting = Setting(**asked)  # type: ignore[arg-type]
    assert Setting.parse(setting.name) == setting


@given(st.lists(st.sampled_from(PARTS), max_size=6).map("".join))
def test_a_text_is_a_setting_of_that_name_or_refused(name: str) -> None:
    try:
        setting = Setting.parse(name)
    except ValueError as error:
        said = str(error)
        assert repr(name) in said
    else:
        assert setting.name == name


def test_the_names_that_there_always_were_mean_what_they_meant() -> None:
    assert Setting.parse("zero-shot") == Setting()
    assert Setting.parse("few-shot-3") == Setting(3)
    assert Setting.parse("zero-shot-cot") == Setting(0, True)
    assert Setting(12, True).name == "few-shot-12-cot"


@pytest.mark.parametrize(
    "name", ["few-shot", "few-shot-0", "zero-shot-3", "cot", "few-shot-100", "Zero-shot", "zero-shot-cot-cot", ""]
)
def test_other_names_are_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="there are zero-shot, few-shot-K"):
        Setting.parse(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("zero-shot-options-cot", "zero-shot-cot-options"),
        ("few-shot-5-dialogue-mixed", "few-shot-5-mixed-dialogue"),
        ("Few-Shot-3-COT", "few-shot-3-cot"),
        ("cot-zero-shot", "zero-shot-cot"),
    ],
)
def test_parts_in_another_order_are_told_theirs(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        Setting.parse(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zero-shot-mixed", "mixes the templates of exemplars and has none"),
        ("zero-shot-options-inverted", "not chosen among options"),
        ("few-shot-2-no-options-inverted", "leave out -options, -no-options or -inverted"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Setting.parse(name)
