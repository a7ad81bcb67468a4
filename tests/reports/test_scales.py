"""Axes: where values stand, and which places are named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.reports.scales import Scale, round_step, say_number, scale_of

SCALES = ("linear", "log", "symlog")


def labels(scale: Scale) -> list[str]:
    return [tick.label for tick in scale.ticks]


def test_zero_stands_apart_on_a_symlog_axis_and_equal_factors_are_equal_lengths():
    scale = scale_of({"scale": "symlog"}, [0, 16, 64, 256])
    places = [scale.at(value) or 0 for value in (0, 16, 64, 256)]
    assert places == sorted(places)
    assert places[2] - places[1] == pytest.approx(places[3] - places[2])
    assert labels(scale) == ["0", "16", "64", "256"]


def test_a_log_axis_cannot_show_zero():
    assert scale_of({"scale": "log"}, [1, 10]).at(0) is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 2000, ["1", "10", "100", "1,000"]),
        (1.9, 32, ["2", "5", "10", "20"]),
        (2.9, 7.6, ["4", "6"]),
        (4.3, 5.9, ["4.5", "5", "5.5"]),
    ],
)
def test_a_log_axis_of_many_values_names_round_places_between_its_ends(low: float, high: float, expected: list[str]):
    values = [low * (high / low) ** (k / 15) for k in range(16)]
    scale = scale_of({"scale": "log"}, values)
    assert labels(scale) == expected
    assert all(0 < tick.at < 1 for tick in scale.ticks)


def test_names_make_a_category_axis_whatever_was_asked_for():
    scale = scale_of({"scale": "symlog"}, [0, 16, "all"])
    assert labels(scale) == ["0", "16", "all"]
    assert scale.at("all") == pytest.approx(5 / 6)
    assert scale.at("none such") is None


def test_the_order_of_categories_is_that_of_the_ticks():
    assert labels(scale_of({"scale": "category", "ticks": ["a", "b", "c"]}, ["c", "a"])) == ["a", "b", "c"]


def test_scores_are_written_as_percent_and_never_pass_their_ends():
    scale = scale_of({"percent": True}, [0.04, 0.97], zero=True)
    assert labels(scale) == ["0%", "20%", "40%", "60%", "80%", "100%"]
    assert (scale.low, scale.high) == (0, 1)


def test_a_little_more_than_a_round_place_needs_no_empty_step():
    scale = scale_of({"percent": True}, [-0.01, 0.62], zero=True)
    assert scale.low == -0.01
    assert labels(scale) == ["0%", "20%", "40%", "60%"]


@pytest.mark.parametrize(
    ("value", "words"), [(1836, "1,836"), (2.5e6, "2.5M"), (3e9, "3B"), (0.0625, "0.0625"), (-2, "−2"), (0, "0")]
)
def test_numbers_are_as_short_as_they_can_be_read(value: float, words: str):
    assert say_number(value) == words


@given(st.lists(st.floats(-1e9, 1e9), max_size=12), st.sampled_from(SCALES), st.booleans())
def test_every_value_stands_inside_its_axis_in_order(values: list[float], kind: str, zero: bool):
    scale = scale_of({"scale": kind}, values, zero=zero)
    shown = sorted(value for value in values if kind == "linear" or value > 0)
    places = [scale.at(value) for value in shown]
    assert all(place is not None and -1e-6 <= place <= 1 + 1e-6 for place in places)
    assert places == sorted(places)  # type: ignore[type-var]
    assert all(0 <= tick.at <= 1 + 1e-9 for tick in scale.ticks)


@given(st.floats(1e-9, 1e9))
def test_a_round_step_is_no_smaller_and_not_much_larger(least: float):
    assert least * (1 - 1e-9) <= round_step(least) <= least * 2.5 * (1 + 1e-9)
    assert math.isfinite(round_step(least))
