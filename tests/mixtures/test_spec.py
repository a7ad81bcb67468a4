"""The spec: weights by size, cap, temperature and share; wrong keys named."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from instil.errors import RecipeError
from instil.mixtures.settings import Setting
from instil.mixtures.spec import MixtureSpec
from instil.recipe import parse


def spec(*sources: dict[str, Any], **keys: Any) -> MixtureSpec:
    return MixtureSpec.model_validate({"sources": [{"collection": "x", **source} for source in sources], **keys})


def test_shares_that_leave_nothing_over_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sum to 1\.5"):
        spec({"share": 1.5}, {})


def test_a_source_takes_the_settings_of_the_mixture_unless_it_has_its_own() -> None:
    both = spec({}, {"settings": {"few-shot-2": 1}}, settings={"zero-shot": 0.1, "zero-shot-cot": 0.9})
    assert both.settings_of(both.sources[0]) == {Setting(): Fraction(1, 10), Setting(cot=True): Fraction(9, 10)}
    assert both.settings_of(both.sources[1]) == {Setting(shots=2): Fraction(1)}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"sources": [{"collection": "ni", "shar": 1}]}, "did you mean 'share'"),
        ({"sources": []}, "sources"),
        ({}, "key 'sources' is missing"),
        ({"sources": [{"collection": "ni"}], "settings": {"fewshot": 1}}, "no setting is called 'fewshot'"),
        ({"sources": [{"collection": "ni", "settings": {}}]}, "settings is empty"),
        ({"sources": [{"collection": "ni"}], "settings": {"zero-shot": -1}}, "positive weight"),
        ({"sources": [{"collection": "ni", "cap": 0}]}, "sources.0.cap"),
        ({"sources": [{"collection": "ni"}], "temperature": 0}, "temperature"),
        ({"sources": [{"share": 1}]}, "give a `collection`, or the recipe file of a `mixture`"),
        ({"sources": [{"mixture": "cot.yaml", "cap": 5}]}, "a nested mixture takes no 'cap': write it in cot.yaml"),
        ({"sources": [{"collection": "ni", "weights": {"task*": 0}}]}, "'task*' needs a positive weight"),
        ({"sources": [{"collection": "ni", "option_styles": ["letterd"]}]}, "no option style 'letterd'"),
        ({"sources": [{"collection": "ni"}], "cap": 10, "large_set": 20}, "two rules for the same"),
        ({"sources": [{"mixture": "cot.yaml"}], "balance": "clusters"}, "give it a share"),
        ({"sources": [{"collection": "ni"}], "minimum": 1}, "minimum"),
        ({"sources": [{"collection": "ni"}], "licence": ["free"]}, "licence"),
        ({"sources": [{"collection": "ni"}], "hold_out": {"cluster": ["x"]}}, "did you mean 'clusters'"),
        ({"sources": [{"collection": "ni"}], "subset": {"draw": 1}}, "key 'subset.tasks' is missing"),
    ],
)
def test_a_wrong_section_is_one_line_that_names_the_key(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(MixtureSpec, raw, origin="r.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_key_of_the_sections_says_what_it_is() -> None:
    from instil.mixtures.spec import HoldOut, SourceSpec, Subset

    for section in (MixtureSpec, SourceSpec, HoldOut, Subset):
        assert all(field.description for field in section.model_fields.values())
