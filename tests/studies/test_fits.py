"""Curves through scores: known ones are found again, and intervals hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from instil.studies.fits import Fit, Means, fit, fits, means_apart, means_of

AT = (1, 4, 16, 64)


def exact(curve: dict[float, float], error: float = 0.01) -> Means:
    return means_apart({float(n): (score, error) for n, score in curve.items()})


def saturating(n: float) -> float:
    return 0.7 - 0.6 * float(n**-0.7)


def straight(n: float) -> float:
    return 0.1 + 0.12 * float(np.log2(n))


@pytest.mark.parametrize(("a", "b", "c"), [(0.7, 0.6, 0.7), (0.9, 0.85, 0.2), (0.5, 0.4, 1.5), (0.6, -0.2, 0.5)])
def test_a_known_saturating_curve_is_found_again(a: float, b: float, c: float) -> None:
    found = fit("saturating", exact({n: a - b * n**-c for n in (1, 2, 4, 8, 16, 64)}))
    assert found.curve.parameters == pytest.approx((a, b, c), rel=0.03, abs=0.005)
    assert found.error < 1e-3
    assert found.next_doubling.value == pytest.approx(b * (64**-c - 128**-c), abs=5e-4)


def test_a_known_line_over_the_logarithm_is_found_again() -> None:
    found = fit("log-linear", exact({n: straight(n) for n in AT}))
    assert found.curve.parameters == pytest.approx((0.1, 0.12))
    assert found.doubling.value == pytest.approx(0.12)
    assert found.knee(0.02).value is None, "a doubling always gains twelve points"
    assert found.knee(0.2).value == 1.0, "and never twenty"


def test_the_form_that_predicts_what_was_left_out_is_read_first() -> None:
    assert [one.curve.form for one in fits(exact({n: saturating(n) for n in AT}))] == ["saturating", "log-linear"]
    assert fits(exact({n: straight(n) for n in AT}))[0].curve.form == "log-linear"


def test_the_knee_is_where_a_doubling_stops_to_gain_what_matters() -> None:
    knee = fit("saturating", exact({n: saturating(n) for n in AT})).knee(0.02)
    assert knee.value is not None
    assert saturating(2 * knee.value) - saturating(knee.value) == pytest.approx(0.02, rel=0.03)
    assert knee.low is not None
    assert knee.low < knee.value


def test_no_curve_passes_one_or_falls_below_zero() -> None:
    steep = fit("log-linear", exact({1: 0.2, 4: 0.6, 16: 0.98}))
    assert steep.curve(1e6) == 1.0
    assert all(0 <= low <= high <= 1 for _, low, high in steep.band([1, 16, 1e6]))
    assert fit("saturating", exact({1: 0.1, 4: 0.5, 16: 0.9})).curve.parameters[0] <= 1.0


def test_too_few_amounts_are_refused_or_passed_over() -> None:
    two = exact({1: 0.1, 4: 0.3})
    with pytest.raises(ValueError, match="needs 3 different n"):
        fit("saturating", two)
    assert [one.curve.form for one in fits(two)] == ["log-linear"]
    assert fits(exact({0: 0.1, 4: 0.3, 8: 0.5})) == [], "no logarithm of nothing"


def drawn(seed: int, draws: int = 2, tasks: int = 30) -> Means:
    """Scores of a saturating curve: draws differ at each n and as a whole, tasks and cells too."""
    dice = np.random.default_rng(seed)
    table = np.array([saturating(n) for n in AT]) + dice.normal(0, 0.2, (1, tasks, 1))
    table = table + dice.normal(0, 0.03, (draws, 1, len(AT))) + dice.normal(0, 0.1, (draws, tasks, len(AT)))
    return means_of({
        float(n): {draw: {str(task): table[draw, task, place] for task in range(tasks)} for draw in range(draws)}
        for place, n in enumerate(AT)
    })  # fmt: skip


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = np.zeros(3)
    for seed in range(40):
        found = fit("saturating", drawn(seed))
        (_, low, high), gain, knee = found.band([16])[0], found.next_doubling, found.knee(0.02)
        true_gain, true_knee = saturating(128) - saturating(64), (0.6 * (1 - 2**-0.7) / 0.02) ** (1 / 0.7)
        assert gain.low is not None
        assert gain.high is not None
        held += [
            low <= saturating(16) <= high,
            gain.low <= true_gain <= gain.high,
            (knee.low or 0) <= true_knee <= (knee.high or float("inf")),
        ]
    assert (held / 40 > 0.85).all(), held


def test_a_slope_between_two_draws_is_not_as_sure_as_forty_tasks_are() -> None:
    means = drawn(3)
    slope, height = means.noise @ np.array([-1, 0, 0, 1.0]), means.noise.mean(1)
    assert means.stretch(slope) > means.stretch(height) > 0.99


def test_what_is_not_there_at_every_amount_is_left_out() -> None:
    whole = {0: {"a": 0.1, "b": 0.3}, 1: {"a": 0.3, "b": 0.5}}
    means = means_of({1.0: whole, 2.0: {0: {"a": 0.4}}})
    assert means.values.tolist() == pytest.approx([0.1, 0.4])
    with pytest.raises(ValueError, match="there at every n"):
        means_of({1.0: {0: {"a": 0.1}}, 2.0: {1: {"a": 0.1}}})


def test_the_same_means_give_the_same_interval() -> None:
    one, other = fit("saturating", drawn(5)), fit("saturating", drawn(5))
    assert isinstance(one, Fit)
    assert one.next_doubling == other.next_doubling
