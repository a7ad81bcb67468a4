"""Prompts survive being written as JSON, whatever they hold and whatever fields records have."""

from __future__ import annotations

import json
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass

from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.mixture import Hole
from instil.mixtures.prompt_json import FIELDS, _record, read_place, records_in, write_place
from instil.records import Exemplar, Prompt

# Half a surrogate pair is in there: JSON files can bring one.
TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(["", "\ud800", "a\u2028b", '"', "\\", "\x00"])


def anything(annotation: typing.Any) -> st.SearchStrategy[typing.Any]:
    """Values of a field, by its type: fields that records gain later are tested without a word here."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return st.lists(anything(arguments[0]), max_size=3).map(tuple)
    if origin is not None and arguments and arguments[0] is str:
        return st.dictionaries(TEXT, TEXT, max_size=2)
    if is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        return st.builds(annotation, **{item.name: anything(hints[item.name]) for item in fields(annotation)})
    return {str: TEXT, int: st.integers(0, 1 << 40), bool: st.booleans(), float: st.floats(0, 1)}[annotation]


@given(anything(Prompt))
def test_every_prompt_comes_back_equal(prompt: Prompt) -> None:
    assert read_place(write_place(prompt), FIELDS) == prompt


@given(st.builds(Hole, st.integers(0, 1 << 40), TEXT, TEXT, st.lists(TEXT).map(tuple)))
def test_every_hole_comes_back_equal(hole: Hole) -> None:
    assert read_place(write_place(hole), FIELDS) == hole


def test_the_fields_are_those_of_the_records_inside_too() -> None:
    assert FIELDS["Prompt"][:2] == ["input", "target"]
    assert FIELDS["Exemplar"] == ["input", "target", "example"]
    assert records_in(Exemplar) == {"Exemplar": ["input", "target", "example"]}


def test_a_prompt_written_before_a_field_was_added_is_read_with_its_default() -> None:
    prompt = Prompt("2 + 3?", "5", options=("5", "6"), exemplars=(Exemplar("1 + 1?", "2"),))
    values = json.loads(write_place(prompt))
    kept = [name for name in FIELDS["Prompt"] if name not in ("cluster", "metadata")]
    old = [value for name, value in zip(FIELDS["Prompt"], values, strict=True) if name in kept]
    assert read_place(json.dumps(old).encode(), {**FIELDS, "Prompt": kept}) == prompt


def test_a_field_that_this_version_does_not_know_is_passed_over() -> None:
    values = [*json.loads(write_place(Prompt("a", "b"))), "from the future"]
    layout = {**FIELDS, "Prompt": [*FIELDS["Prompt"], "mood"]}
    assert read_place(json.dumps(values).encode(), layout) == Prompt("a", "b")


@dataclass(frozen=True)
class Optional:
    name: str
    inner: Exemplar | None = None
    count: int = 0


def test_optional_records_are_read_as_well() -> None:
    layout = records_in(Optional)
    assert _record(["x", None, 2], Optional, layout) == Optional("x", None, 2)
    assert _record(["x", ["a", "b", "k"], 0], Optional, layout) == Optional("x", Exemplar("a", "b", "k"))
    assert fields(Optional)[0].default is MISSING
