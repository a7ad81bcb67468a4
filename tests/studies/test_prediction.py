"""Prediction of draws that the fit has not seen: where the make-up of scores is known, and where it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from instil.studies import prediction
from instil.studies.prediction import TaskSet, forecasts, left_out
from instil.studies.set_prediction import prediction_table

DESIGNS = [(2, 4), (4, 2), (8, 1), (4, 4), (8, 2), (16, 1), (8, 4), (16, 2)]


def sets(seed: int, *, count: float, diversity: float, noise: float, of_draws: float = 0.0) -> list[TaskSet]:
    """Four draws of sets whose score is made of their count, their diversity, their draw and noise."""
    generator = np.random.default_rng(seed)
    found = []
    for draw in range(4):
        shift, wider = of_draws * generator.normal(), of_draws * generator.normal()
        for clusters, each in DESIGNS:
            makeup = {"count": float(np.log2(clusters * each)), "spread": float(generator.normal()) + 5 * wider}
            score = 0.3 + count * makeup["count"] + diversity * makeup["spread"] + shift
            score += noise * float(generator.normal())
            found.append(TaskSet(draw, f"{clusters} x {each}", clusters * each, makeup, score))
    return found


def test_what_makes_the_score_tells_it() -> None:
    mean, by_count, by_both = forecasts(sets(0, count=0.05, diversity=0.03, noise=0.0), {"spread": "spread"})
    assert by_both.error == pytest.approx(0, abs=1e-9)
    assert by_both.removed == pytest.approx(1)
    assert by_both.p == pytest.approx(1 / (1 + prediction.SHUFFLES))
    assert mean.error > by_count.error > by_both.error
    assert by_count.removed == pytest.approx(0)


def test_the_count_which_shares_are_of_has_no_interval_and_no_share_is_more_than_all() -> None:
    """Each draw lies apart, so the count misses much, and the interval of what is removed is wide at both ends."""
    made = sets(3, count=0.05, diversity=0.03, noise=0.0)
    made = [replace(one, score=one.score + 0.2 * (one.draw == 0)) for one in made]
    made = [replace(one, makeup={**one.makeup, "same": 1.0}) for one in made]
    mean, by_count, by_both, by_same = forecasts(made, {"spread": "spread", "same": "same"})
    assert (by_count.removed, by_count.low, by_count.high) == (0, None, None)
    assert (by_same.low, by_same.high) == (None, None), "what is equal for all sets tells nothing beside the count"
    for one in (mean, by_both):
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.removed <= one.high <= 1
    shown = [row[2] for row in prediction_table([mean, by_count, by_both])["rows"]]
    assert shown[1] == "0%"
    assert all("[" in str(cell) for cell in (shown[0], shown[2]))
    whole = forecasts(sets(0, count=0.05, diversity=0.03, noise=0.0), {"spread": "spread"})[-1]
    assert (whole.removed, whole.high) == (pytest.approx(1), 1.0)


def test_noise_for_a_diversity_removes_no_more_than_noise_dealt_out_anew() -> None:
    *_, found = forecasts(sets(1, count=0.05, diversity=0.0, noise=0.02), {"spread": "spread"})
    assert found.low is not None
    assert found.low < 0
    assert found.removed < 0.2
    assert found.p is not None
    assert found.p > 0.05


def test_a_draw_is_predicted_without_its_own_scores() -> None:
    before = sets(2, count=0.05, diversity=0.03, noise=0.02)
    after = [replace(one, score=one.score + 5) if one.draw == 0 else one for one in before]
    own = np.array([one.draw == 0 for one in before])
    one, two = (left_out(each, ["count", "spread"]) for each in (before, after))
    assert np.array_equal(one[own], two[own])
    assert not np.isclose(one[~own], two[~own]).any()


def test_one_draw_predicts_nothing() -> None:
    alone = [one for one in sets(0, count=0.05, diversity=0.0, noise=0.0) if one.draw == 0]
    with pytest.raises(ValueError, match="one draw"):
        forecasts(alone, {"spread": "spread"})


@pytest.mark.parametrize("of_draws", [0.0, 0.05])
def test_p_is_small_as_rarely_as_it_says_where_diversity_tells_nothing(
    of_draws: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where draws differ in score and in diversity at once, as sets that nest do."""
    monkeypatch.setattr(prediction, "SHUFFLES", 79)
    small = 0
    for seed in range(150):
        made = sets(seed, count=0.05, diversity=0.0, noise=0.02, of_draws=of_draws)
        small += forecasts(made, {"spread": "spread"})[-1].p <= 0.05  # type: ignore[operator]
    assert small <= 15  # 7.5 expected; more than 15 in fewer than 3 of 1,000 tries
