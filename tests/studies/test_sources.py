"""Sources and diversity: the plan of a preset, and what is said of answers that are made up to be known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.studies.made_up import made_up

from instil.errors import RecipeError
from instil.studies import sources
from instil.studies.grid import Run
from instil.studies.spec import read_study


def study(*assignments: str) -> Any:
    return read_study("sources", "quick", ["diversity.features=[ngrams]", *assignments])


def test_every_arm_has_the_same_steps_and_no_arm_more_prompts() -> None:
    grid = sources.grid(read_study("sources", "pocket"))
    tunings = {json.dumps(run.recipe["tuning"], sort_keys=True) for run in grid if run.recipe}
    assert len(tunings) == 1
    counts = {arm: sum(run.axes["arm"] == arm for run in grid) for arm in ("base", "all", "without", "added", "alone")}
    assert counts == {"base": 1, "all": 2, "without": 12, "added": 10, "alone": 17}
    assert sum(run.axes["arm"] == "set" for run in grid) == 36


def test_more_clusters_that_help_are_a_yes_and_clusters_that_do_nothing_are_not() -> None:
    spec = study("diversity.draws=3")
    grid = sources.grid(spec)
    helps = sources.analyse(spec, made_up(grid, lambda run, _: 0.3 + 0.05 * int(run.axes.get("of_clusters", 0))))
    nothing = sources.analyse(spec, made_up(grid, lambda run, _: 0.5))
    assert helps["verdict"]["verdict"] == "yes"
    assert helps["verdict"]["gain"] == pytest.approx(0.3, abs=0.06)
    assert "draws" in helps["verdict"]["covers"]
    assert helps["verdict"]["n"] == 12 * 20, "12 held-out tasks of 20 items, each counted once whatever the pairs"
    assert nothing["verdict"]["verdict"] != "yes"
    assert next(claim["shown"] for claim in nothing["claims"]) != "yes"
    json.dumps(helps)


def test_a_part_that_matters_to_its_own_tasks_is_told_apart_from_one_that_does_not() -> None:
    def chance(run: Run, cluster: str) -> float:
        return 0.2 if run.axes.get("part") == "compositions" and cluster == "compositions" else 0.8

    spec = study()
    report = sources.analyse(spec, made_up(sources.grid(spec), chance))
    table = next(table for table in report["tables"] if table["name"] == "left-out")
    own = {row[0]: row[2] for row in table["rows"]}
    assert own["compositions"].startswith("+")
    assert own["language"].startswith(("+0.0", "-0.0"))


def test_the_matrix_has_a_row_for_each_cluster_alone_and_the_base_at_its_foot() -> None:
    spec = study("transfer=clusters")
    report = sources.analyse(
        spec,
        made_up(sources.grid(spec), lambda run, cluster: 0.9 if run.axes.get("part") == cluster else 0.1),
    )
    matrix: Any = next(figure for figure in report["figures"] if figure["name"] == "transfer")
    row, column = matrix["rows"].index("facts"), matrix["columns"].index("facts")
    assert matrix["values"][row][column] > 0.7 > 0.4 > matrix["values"][row][column - 1]
    assert matrix["rows"][-2:] == ["base, zero-shot", "base at its best"]
    assert any("clusters alone scores" in finding for finding in report["findings"])


def test_runs_that_failed_are_listed_and_the_rest_is_told() -> None:
    spec = study()
    gone = ("without/lists/seed-0", "set/2x2/draw-0", "set/2x2/draw-1")
    report = sources.analyse(spec, made_up(sources.grid(spec), lambda run, _: 0.5, without=gone))
    assert report["missing"] == [f"{key}: failed, it broke" for key in gone]
    figures: dict[str, Any] = {figure["name"]: figure for figure in report["figures"]}
    assert figures["left-out"]["rows"][0]["note"] == "its runs are missing"
    assert figures["count-and-clusters"]["series"][0]["points"][0]["y"] is None


def test_nothing_but_failures_still_gives_a_report() -> None:
    spec = study()
    grid = sources.grid(spec)
    report = sources.analyse(spec, made_up(grid, lambda run, _: 0.5, without=tuple(run.key for run in grid)))
    assert report["verdict"]["verdict"] == "not shown"
    assert len(report["missing"]) == len(grid)


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("parts={a: [spelling], b: [spelling, facts]}", "is in two parts: 'a' and 'b'"),
        ("parts={a: [pocket]}", "all 188 tasks are one part"),
        ("parts={a: [speling], b: [facts]}", "'speling' fits none of the 188 tasks"),
        ("add_to=[nowhere]", "'nowhere' is no part"),
        ("add_to=[lists, language, knowledge, compositions]", "nothing is left to add"),
        ("diversity.sets=[[30, 2], [4, 2]]", "30 clusters of 2 tasks each are asked for"),
        ("suites=[]", "asks nothing"),
        ("held_out=[]", "has no held_out"),
        ("held_out=[unseen_skils]", "no suite of the study has a group 'unseen_skils'"),
        ("models=[pocket,pocket-0.3m]", "asks of one model at a time, and models lists 2"),
    ],
)
def test_a_plan_that_cannot_be_met_is_refused(assignment: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        sources.grid(study(assignment))


@pytest.mark.parametrize(
    ("sets", "told"), [("[[0, 2], [4, 2]]", "is no set"), ("[[4, 2], [4, 2]]", "stands there twice")]
)
def test_sets_that_are_none_are_refused_by_the_file(sets: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        study(f"diversity.sets={sets}")


def test_the_short_suite_asks_for_no_steps() -> None:
    from instil.evaluation.spec import load_suite

    suite = load_suite("pocket/direct")
    assert not any(cell.setting.cot for cell in suite.cells)
    groups = {group for cell in suite.cells for group in cell.groups}
    assert groups == {"held_in", "unseen_skills", "unseen_cluster", "unseen_compositions"}
