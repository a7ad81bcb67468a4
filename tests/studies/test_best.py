"""The base at its best: which way is chosen, and how a gain is split."""

from __future__ import annotations

import pytest

from instil.studies.best import PROBES, ask_name, base_asks, best, gain, gains, ways
from instil.studies.grid import Run
from instil.studies.table import PER_TOKEN, Results, Scored


def scored(suite: str, task: str, method: str, metric: str, scores: list[float], *, headline: bool = True) -> Scored:
    items = tuple(str(number) for number in range(len(scores)))
    return Scored("base", suite, task, "c", ("g",), "zero-shot", method, metric, headline, items, tuple(scores))


@pytest.fixture
def results() -> Results:
    probes = "s" + PROBES
    return Results(
        [Run("base", {"arm": "base"}, model="m")],
        [
            scored("s", "a", "generate", "exact_match", [0, 0]),
            scored("s", "a", "generate", "starts_with", [1, 0], headline=False),
            scored("s", "b", "generate", "exact_match", [0, 1]),
            scored("s", "b", "generate", "starts_with", [0, 1], headline=False),
            scored(probes, "a", "generate", "exact_match", [0]),
            scored(probes, "a", "rank", "accuracy", [1, 0]),
            scored(probes, "a", "rank", PER_TOKEN, [1, 1], headline=False),
        ],
    )


def test_a_base_is_asked_the_suite_and_its_probes() -> None:
    plain, probes = base_asks("pocket", limit=3)
    assert (plain.name, plain.suite, plain.limit) == ("pocket", "pocket", 3)
    assert (probes.name, probes.held_out) == ("pocket-probes", {"probes_of": "pocket", "shots": 3})
    assert (ask_name("pocket/probes"), ask_name("suites/mine.yaml")) == ("pocket-probes", "mine")


def test_a_task_that_a_way_cannot_ask_stands_in_it_with_its_zero_shot_score(results: Results) -> None:
    found = ways(results, "s")
    assert found["zero_shot"] == {"a": [0, 0], "b": [0, 1]}
    assert found["rank_per_token"] == {"a": [1, 1], "b": [0, 1]}
    assert found["few_shot"] == {"a": [0], "b": [0, 1]}
    assert "few_shot_lenient" not in found


def test_the_best_way_is_the_one_with_the_highest_mean_over_tasks(results: Results) -> None:
    found = best(results, "s", arm="base")
    assert (found.way, found.units) == ("rank_per_token", {"a": [1, 1], "b": [0, 1]})
    assert found.ways == {
        "zero_shot": 0.25, "lenient": 0.5, "few_shot": 0.25, "rank": 0.5, "rank_per_token": 0.75,
    }  # fmt: skip


def test_where_nothing_was_asked_there_is_no_best(results: Results) -> None:
    assert best(results, "s", groups="other").units == {}


def test_format_and_skill_make_up_the_total() -> None:
    base, at_best = {"a": [0.0, 0.0], "b": [0.0, 1.0]}, {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    tuned = {0: {"a": [1.0, 1.0], "b": [0.0, 1.0]}, 1: {"a": [1.0, 0.0], "b": [1.0, 1.0]}}
    found = gains(base, at_best, tuned)
    assert (found.total.score, found.format.score, found.skill.score) == (0.5, 0.25, 0.25)
    assert (found.total.seeds, found.format.seeds) == (2, 1)


def test_ways_with_other_items_are_paired_by_task() -> None:
    found = gain({0: {"a": [0.0], "b": [1.0]}}, {0: {"a": [1.0, 0.0], "b": [1.0, 1.0], "c": [1.0]}})
    assert (found.score, found.n, found.tasks) == (0.25, 4, 2)
