"""The rule of the report: the base is credited with its best, and gains are differences task by task."""

from __future__ import annotations

import pytest

from instil.pocket.findings import Answers, difference, score


class Fixed(Answers):
    """Answers with given scores by way of asking."""

    def __init__(self, ways: dict[str, dict[str, list[float]]]) -> None:
        object.__setattr__(self, "_ways", ways)

    def ways(self, groups: object) -> dict[str, dict[str, list[float]]]:
        found: dict[str, dict[str, list[float]]] = object.__getattribute__(self, "_ways")
        return found


def test_the_best_way_of_asking_is_the_one_with_the_highest_mean_over_tasks() -> None:
    base = Fixed({"zero_shot": {"a": [0, 0], "b": [1, 1]}, "rank": {"a": [1, 1], "b": [0, 1]}})
    assert base.best(("held_in",))[0] == "rank"


def test_a_score_weighs_tasks_alike_however_many_items_they_have() -> None:
    found = score({"a": [1.0] * 9, "b": [0.0]})
    assert found["score"] == pytest.approx(0.5)
    assert found["n"] == 10
    assert found["ci95"][0] < 0.5 < found["ci95"][1]


def test_a_difference_pairs_tasks_and_leaves_out_what_one_side_lacks() -> None:
    gap = difference({"a": [0.0], "b": [0.5, 0.5], "z": [1.0]}, {"a": [1.0], "b": [1.0, 1.0], "c": [0.0]})
    assert gap["score"] == pytest.approx(0.75)
    assert gap["n"] == 3
