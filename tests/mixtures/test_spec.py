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


def shares(weights: list[list[Fraction]]) -> list[list[float]]:
    total = sum(sum(inner) for inner in weights)
    return [[round(float(weight / total), 6) for weight in inner] for inner in weights]


def test_tasks_weigh_as_many_examples_as_they_have() -> None:
    assert shares(spec({}, {}).task_weights([[10, 30], [60]])) == [[0.1, 0.3], [0.6]]


def test_a_cap_limits_the_weight_and_a_source_may_have_its_own() -> None:
    assert shares(spec({}, {"cap": 50}, cap=10).task_weights([[10, 30], [60]])) == [[0.142857, 0.142857], [0.714286]]


def test_temperature_two_takes_square_roots() -> None:
    assert shares(spec({}, temperature=2).task_weights([[100, 400]])) == [[0.333333, 0.666667]]


def test_shares_of_all_sources_are_a_ratio() -> None:
    assert shares(spec({"share": 3}, {"share": 1}).task_weights([[1, 9], [5]])) == [[0.075, 0.675], [0.25]]


def test_what_shares_leave_over_goes_to_the_other_sources_by_size() -> None:
    assert shares(spec({"share": 0.4}, {}, {}).task_weights([[7], [1], [2]])) == [[0.4], [0.2], [0.4]]


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
    ],
)
def test_a_wrong_section_is_one_line_that_names_the_key(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(MixtureSpec, raw, origin="r.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_key_of_the_sections_says_what_it_is() -> None:
    from instil.mixtures.spec import SourceSpec

    for section in (MixtureSpec, SourceSpec):
        assert all(field.description for field in section.model_fields.values())
