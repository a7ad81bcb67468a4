"""What to add next: chosen without a score, checked against chance and against more of the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.studies.made_up import made_up

from instil.errors import RecipeError
from instil.studies import advice, next_tasks
from instil.studies.spec import read_study
from instil.studies.task_pool import open_pool


def study(*assignments: str) -> Any:
    return read_study("next", "quick", ["feature=ngrams", *assignments])


def test_every_way_adds_as_many_new_tasks_to_the_same_beginning() -> None:
    spec = study()
    pool = open_pool(spec)
    for draw in range(spec.draws):
        have = set(advice.beginning(spec, pool, draw))
        for way in spec.ways:
            more = advice.chosen(spec, pool, draw, way)
            assert len(set(more) - have) == spec.add
    grid = next_tasks.grid(spec)
    assert [run.key for run in grid][:5] == [
        "base/pocket",
        "have/draw-0",
        "widest/draw-0",
        "random/draw-0",
        "same/draw-0",
    ]
    assert len({json.dumps(run.recipe["tuning"]) for run in grid if run.recipe}) == 1


def test_more_of_the_same_stays_in_the_clusters_and_the_widest_leaves_them() -> None:
    spec = study("feature=hidden")
    pool = open_pool(spec)
    clusters = {pool.parts[name].task.cluster for name in advice.beginning(spec, pool, 0)}
    same, wide = (advice.chosen(spec, pool, 0, way) for way in ("same", "widest"))
    assert {pool.parts[name].task.cluster for name in same} <= clusters
    assert not {pool.parts[name].task.cluster for name in wide} & clusters


def test_what_is_there_already_can_be_named() -> None:
    spec = study("drawn=null", "have=[spelling, facts]", "ways=[widest, random]")
    pool = open_pool(spec)
    assert set(advice.beginning(spec, pool, 0)) == {*pool.clusters["spelling"], *pool.clusters["facts"]}
    assert advice.chosen(spec, pool, 0, "random") != advice.chosen(spec, pool, 1, "random")
    report = next_tasks.analyse(spec, made_up(next_tasks.grid(spec), lambda run, _: 0.5))
    assert [table["name"] for table in report["tables"]] == ["add"]


def test_advice_that_beats_chance_is_a_yes_and_advice_that_does_not_is_none() -> None:
    spec = study("draws=3")
    grid = next_tasks.grid(spec)
    good = next_tasks.analyse(spec, made_up(grid, lambda run, _: 0.8 if run.axes["arm"] == "widest" else 0.5))
    idle = next_tasks.analyse(spec, made_up(grid, lambda run, _: 0.5))
    worse = next_tasks.analyse(spec, made_up(grid, lambda run, _: 0.3 if run.axes["arm"] == "widest" else 0.5))
    assert good["verdict"]["verdict"] == "yes"
    assert idle["verdict"]["verdict"] != "yes"
    assert worse["verdict"]["verdict"] == "no"
    assert len(good["tables"][0]["rows"]) == spec.add
    json.dumps(good)


def test_failed_runs_are_listed_and_a_report_is_made_all_the_same() -> None:
    spec = study()
    grid = next_tasks.grid(spec)
    gone = tuple(run.key for run in grid if run.axes["arm"] == "random")
    report = next_tasks.analyse(spec, made_up(grid, lambda run, _: 0.5, without=gone))
    assert report["verdict"]["verdict"] == "not shown"
    assert len(report["missing"]) == len(gone)


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (["add=70"], "clusters"),
        (["drawn=null", "have=[spelling]", "add=70", "ways=[widest, random]"], "there are 64 tasks at hand"),
        (["drawn=null", "have=[spelling]", "add=3"], "there are 0 more tasks of the clusters"),
        (["drawn=null", "have=[speling]"], "'speling' fits none"),
    ],
)
def test_too_few_tasks_are_refused_with_the_numbers(assignments: list[str], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        next_tasks.grid(study(*assignments))


@pytest.mark.parametrize("assignment", ["have=[spelling]", "ways=[same]"])
def test_a_comparison_that_is_none_is_refused(assignment: str) -> None:
    with pytest.raises(RecipeError):
        study(assignment)
