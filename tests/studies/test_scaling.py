"""The study of scaling: which runs it asks for, what it refuses, and what it says of made-up answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instil.errors import RecipeError
from instil.mixtures.load import load_mixture
from instil.studies.equal_tokens import Lengths, lengths
from instil.studies.grid import Grid
from instil.studies.scaling import Spec, analyse, grid
from instil.studies.spec import presets, read_study
from instil.studies.study import study_fingerprint
from instil.studies.table import Missing, Results, Scored


@pytest.fixture(scope="module")
def spec() -> Spec:
    found = read_study("scaling", "pocket", ["draws=[0,1]"])
    assert isinstance(found, Spec)
    return found


@pytest.fixture(scope="module")
def runs(spec: Spec) -> Grid:
    return with_lengths(spec)


def with_lengths(spec: Spec) -> Grid:
    """Its grid, for tests that do not look at tokens: lengths take a second a run to measure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("instil.studies.scaling.lengths", lambda recipe, data: Lengths(30.0, 5.0, {}))
        return grid(spec)


@pytest.fixture(scope="module")
def wide() -> tuple[Spec, Grid]:
    """With four draws, which is enough to be sure of something."""
    found = read_study("scaling", "pocket")
    assert isinstance(found, Spec)
    return found, with_lengths(found)


def quick(*assignments: str) -> Spec:
    found = read_study("scaling", "quick", assignments)
    assert isinstance(found, Spec)
    return found


def test_the_pocket_preset_is_two_sizes_by_four_counts_by_four_draws(wide: tuple[Spec, Grid]) -> None:
    _, runs = wide
    tuned = [run for run in runs if run.recipe is not None]
    assert len(tuned) == 2 * 4 * 4
    assert len(runs) == len(tuned) + 2
    assert {run.axes["seed"] for run in tuned if run.axes["draw"] == 1} == {1}, "a draw has a seed of its own"
    assert len({run.recipe["tuning"]["max_steps"] for run in tuned if run.recipe}) == 1


def test_parts_lie_within_each_other_in_a_draw_and_differ_between_draws(runs: Grid) -> None:
    def names(count: int, draw: int) -> set[str]:
        recipe = runs[f"tasks-{count}/pocket/draw-{draw}"].recipe
        assert recipe is not None
        return {task.name for task in load_mixture(recipe["mixture"]).tasks}

    for draw in (0, 1):
        assert names(1, draw) < names(4, draw) < names(16, draw) < names(64, draw)
    assert names(4, 0) != names(4, 1)


def test_a_step_has_as_many_tokens_whatever_the_count() -> None:
    sizes = [
        lengths(run.recipe).tokens * run.recipe["tuning"]["prompts_per_step"]
        for run in grid(quick("counts=[1,4,64]"))
        if run.recipe is not None
    ]
    assert max(sizes) / min(sizes) < 1.03


def test_every_preset_is_a_study_of_scaling() -> None:
    assert set(presets("scaling")) >= {"quick", "pocket", "full"}
    assert set(quick("instances=[8,64]", "templates=[1,12]").axes) == {"tasks", "instances", "templates"}


def test_rows_and_templates_are_axes_too() -> None:
    found = with_lengths(quick("counts=[]", "instances=[8,64]", "templates=[1,12]"))
    mixtures = {run.key: run.recipe["mixture"] for run in found if run.recipe is not None}
    assert mixtures["instances-8/pocket-0.3m/draw-1"]["limit"] == 8
    assert mixtures["instances-8/pocket-0.3m/draw-1"]["limit_draw"] == 1
    assert mixtures["templates-1/pocket-0.3m/draw-0"]["templates_per_task"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("counts=[4,500]", "500 are asked for, and the mixture has 68 tasks"),
        ("instances=[4,5000]", "5,000 are asked for, and the largest of 68 tasks has 2,000 rows"),
        ("templates=[1,40]", "40 are asked for, and no task has more than 12 templates"),
        ("held_out=[unseen_skils]", "no suite of the study has a group 'unseen_skils'"),
        ("held_out=[]", "has no held_out, so nothing would tell"),
        ("recipe.mixture.subset={tasks: 4}", "has a subset of its own"),
    ],
)
def test_a_plan_that_cannot_be_met_is_refused_with_its_numbers(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        grid(quick(change))


@pytest.mark.parametrize("change", ["counts=[4]", "counts=[16,4]", "counts=[0,4]", "draws=[1,1]", "counts=[]"])
def test_amounts_that_make_no_axis_are_refused(change: str) -> None:
    with pytest.raises(RecipeError, match=r"counts|draws"):
        quick(change)


def answered(spec: Spec, runs: Grid, score: Callable[[str, int], float], *, without: tuple[str, ...] = ()) -> Results:
    """Made-up answers: 24 held-out tasks of 10 items, and as many held-in ones as were trained on."""
    dice = np.random.default_rng(7)
    scored: list[Scored] = []
    hard = dice.normal(0, 0.05, 24)
    for run in runs:
        amount = int(run.axes.get("amount", 0))
        chance = score(str(run.axes["model"]), amount) if run.recipe is not None else 0.02
        if run.key in without:
            continue
        for place in range(24):
            for group, name in (("unseen_skills", f"out/{place}"), ("held_in", f"in/{place}")):
                right = dice.random(10) < chance + hard[place]
                scored.append(
                    Scored(
                        run.key, "pocket", name, "c", (group,), "zero-shot", "generate", "exact_match", True,
                        tuple(map(str, range(10))), tuple(map(float, right)),
                    )
                )  # fmt: skip
    facts = {
        run.key: {
            "parameters": 300_000 if "0.3m" in run.key else 1_500_000,
            "tasks": [f"in/{place}" for place in range(int(run.axes.get("amount", 0)))],
            "steps": 400,
        }
        for run in runs
    }
    missing = [Missing(key, "failed", "the disk is full") for key in without]
    return Results(tuple(runs), scored, facts, missing)


def rising(model: str, amount: int) -> float:
    return (0.5 if "0.3m" in model else 0.75) - 0.4 * float(amount**-0.6)


def claim(report: Any, words: str) -> dict[str, str]:
    return next(one for one in report["claims"] if words in one["claim"])


def test_a_rising_curve_is_a_yes_with_its_knee_and_next_doubling(wide: tuple[Spec, Grid]) -> None:
    report = analyse(wide[0], answered(*wide, rising))
    verdict: Any = report["verdict"]
    assert verdict["verdict"] == "yes"
    assert verdict["model"] == "pocket", "the largest"
    low, high = verdict["ci95"]
    assert low < rising("pocket", 64) - rising("pocket", 1) < high
    large = verdict["by_model"]["pocket"]
    assert large["curve"] == "saturating"
    assert large["next_doubling"]["value"] < large["gain_per_doubling"]["value"]
    assert claim(report, "More tasks raise")["shown"] == "yes"
    assert claim(report, "knee")["shown"] == "yes"
    assert claim(report, "logarithm")["shown"] == "no"
    assert claim(report, "larger model")["shown"] == "yes"
    assert claim(report, "rows of each task")["shown"] == "not tested"
    assert claim(report, "peak")["shown"] == "not tested"


def test_a_flat_curve_is_no_yes(spec: Spec, runs: Grid) -> None:
    report = analyse(spec, answered(spec, runs, lambda model, amount: 0.4))
    assert report["verdict"]["verdict"] != "yes"
    assert claim(report, "More tasks raise")["shown"] != "yes"


def test_a_line_that_is_straight_and_flat_does_not_rise_by_the_logarithm(wide: tuple[Spec, Grid]) -> None:
    sure = wide[0].model_copy(update={"smallest_gain": 0.2})  # so that the halves differ by less, interval and all
    report = analyse(sure, answered(*wide, lambda model, amount: 0.4))
    assert claim(report, "logarithm")["shown"] != "yes"
    assert claim(report, "knee")["shown"] != "yes"


def test_both_forms_tell_the_next_doubling(wide: tuple[Spec, Grid]) -> None:
    verdict: Any = analyse(wide[0], answered(*wide, rising))["verdict"]
    assert "by the saturating curve" in verdict["sentence"]
    assert "by the log-linear curve" in verdict["sentence"]
    assert set(verdict["by_model"]["pocket"]["next_doubling_by_form"]) == {"saturating", "log-linear"}
    assert "other draws" in verdict["covers"]


def test_the_page_says_how_far_apart_the_draws_are(wide: tuple[Spec, Grid]) -> None:
    report = analyse(wide[0], answered(*wide, rising))
    table = next(table for table in report["tables"] if table["name"] == "draws")
    assert [row[:4] for row in table["rows"]] == [[1, 4, 1, 1], [4, 4, 4, 4], [16, 4, 16, 16], [64, 4, 64, 64]]
    assert any("stratified" in paragraph for paragraph in report["method"])


def test_runs_that_are_missing_are_not_an_axis_that_was_not_varied(spec: Spec, runs: Grid) -> None:
    gone = tuple(run.key for run in runs if run.axes.get("amount") == 64)
    report = analyse(spec, answered(spec, runs, rising, without=gone))
    assert claim(report, "More tasks raise")["here"] == "The runs that it needs are missing."


def test_notes_of_a_study_file_decide_nothing(spec: Spec) -> None:
    assert any("fixed at four after a trial with two" in note for note in spec.notes)
    assert study_fingerprint(spec) == study_fingerprint(spec.model_copy(update={"notes": []}))


def test_the_report_is_plain_json_with_every_figure(spec: Spec, runs: Grid) -> None:
    report = analyse(spec, answered(spec, runs, rising))
    again = json.loads(json.dumps(report, allow_nan=False))
    assert [figure["name"] for figure in again["figures"]] == [
        "tasks-held-out", "tasks-held-in", "tasks-runs", "doublings", "sizes"
    ]  # fmt: skip
    lines = again["figures"][0]
    sizes = next(figure for figure in again["figures"] if figure["name"] == "sizes")
    assert [one["name"] for one in sizes["series"]] == ["1 task", "4 tasks", "16 tasks", "64 tasks"]
    assert [len(series["points"]) for series in lines["series"]] == [4, 4]
    assert all(series["band"] for series in lines["series"])
    assert len(again["figures"][2]["points"]) == 16


def test_held_in_scores_are_those_of_the_tasks_that_a_run_was_trained_on(spec: Spec, runs: Grid) -> None:
    report = analyse(spec, answered(spec, runs, rising))
    table = next(table for table in report["tables"] if table["name"] == "scores")
    rows = {(row[0], row[2], row[3]): row for row in table["rows"]}
    assert [rows["pocket", count, "held-in"][7] for count in (1, 4, 16, 64)] == [1, 4, 16, 24]
    assert {rows["pocket", count, "held-out"][7] for count in (1, 4, 16, 64)} == {24}


def test_failed_runs_leave_gaps_that_the_page_names(spec: Spec, runs: Grid) -> None:
    gone = ("tasks-16/pocket/draw-0", "tasks-16/pocket/draw-1", "tasks-64/pocket-0.3m/draw-1")
    report = analyse(spec, answered(spec, runs, rising, without=gone))
    assert "tasks-held-out: pocket has no score at 16 tasks trained on" in report["missing"]
    assert "tasks-held-out: pocket-0.3m has 1 of 2 draws at 64 tasks trained on" in report["missing"]
    held_out: Any = report["figures"][0]
    points = {series["name"]: [point["y"] for point in series["points"]] for series in held_out["series"]}
    assert points["pocket"][2] is None
    assert None not in points["pocket-0.3m"]
    assert report["verdict"]["gain"] == pytest.approx(0.34, abs=0.06)


def test_nothing_at_the_ends_is_said_to_be_unknown(spec: Spec, runs: Grid) -> None:
    gone = tuple(run.key for run in runs if run.axes.get("amount") == 64)
    verdict = analyse(spec, answered(spec, runs, rising, without=gone))["verdict"]
    assert (verdict["verdict"], verdict["gain"]) == ("not shown", None)
