"""The rule of the verdict, on intervals whose answer is plain."""

from __future__ import annotations

import pytest

from instil.studies.intervals import Interval
from instil.studies.verdict import because, decide, verdict_row


def interval(score: float, low: float, high: float) -> Interval:
    return Interval(score, low, high, 200, 10, 2, ("seeds", "tasks", "items"))


@pytest.mark.parametrize(
    ("gain", "verdict", "why"),
    [
        (interval(0.31, 0.22, 0.40), "yes", "+31.0 points [22.0, 40.0], and the interval lies above zero"),
        (interval(0.05, -0.04, 0.14), "not shown", "holds both zero and gains that would matter"),
        (interval(-0.01, -0.03, 0.01), "no", "lies below the 2 points that would matter"),
        (interval(-0.3, -0.4, -0.2), "no", "lies below the 2 points that would matter"),
        (interval(0.01, 0.005, 0.015), "no", "there is a gain, and less than the 2 points that would matter"),
        (interval(0.02, 0.0, 0.04), "not shown", "holds both zero and gains"),
    ],
)
def test_the_verdict_follows_from_the_interval_alone(gain: Interval, verdict: str, why: str) -> None:
    assert decide(gain, 0.02) == verdict
    assert why in because(gain, 0.02)


def test_the_verdict_file_says_gain_interval_and_what_it_covers() -> None:
    assert verdict_row(interval(0.31, 0.22, 0.40), 0.02) == {
        "verdict": "yes",
        "gain": 0.31,
        "ci95": [0.22, 0.40],
        "n": 200,
        "smallest_gain": 0.02,
        "covers": "covers other seeds, tasks and items (2 seeds, 10 tasks, 200 items)",
    }
