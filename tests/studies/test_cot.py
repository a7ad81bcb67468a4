"""The study of chains of thought: its arms, what it refuses, and what it says of scores that are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from instil.errors import RecipeError
from instil.fingerprint import keyed_unit
from instil.reports.study_report import Claim, StudyReport
from instil.studies.cot import Spec, analyse, grid, sources_of
from instil.studies.grid import Grid, Run
from instil.studies.spec import read_study
from instil.studies.table import Missing, Results, Scored

COMPOSED = {"collection": "pocket", "tasks": ["compositions/*"], "settings": {"zero-shot": 0.4, "zero-shot-cot": 0.6}}
SKILLS = {"collection": "pocket", "tasks": ["skills/*"], "share": 0.6}

#: How often each arm is right, by what it is asked: the answer, the steps, free and told to think; and other tasks.
LIKELY: Mapping[str, tuple[float, float, float, float, float]] = {
    "base": (0.0, 0.0, 0.0, 0.0, 0.0),
    "direct": (0.3, 0.05, 0.3, 0.2, 0.8),
    "cot": (0.0, 0.7, 0.2, 0.7, 0.1),
    "both": (0.3, 0.7, 0.3, 0.7, 0.8),
}


@pytest.fixture(scope="module")
def spec() -> Spec:
    found = read_study("cot", "quick", ["seeds=[0,1,2]"])
    assert isinstance(found, Spec)
    return found


@pytest.fixture(scope="module")
def runs(spec: Spec) -> Grid:
    return grid(spec)


def scored(run: Run, likely: tuple[float, ...]) -> list[Scored]:
    found = []
    asks = (("pocket", "zero-shot"), ("pocket", "zero-shot-cot"), ("pocket-free", "zero-shot"),
            ("pocket-step-by-step", "zero-shot"))  # fmt: skip
    for group in ("held_in", "unseen_compositions", "unseen_skills"):
        for number in range(12):
            task = f"pocket/{group}/{number}"
            asked = [("pocket", "zero-shot", likely[4])]
            if group != "unseen_skills":
                asked = [(suite, setting, chance) for (suite, setting), chance in zip(asks, likely, strict=False)]
            for suite, setting, chance in asked:
                items = tuple(f"{task}-{item}" for item in range(10))
                scores = tuple(float(keyed_unit("luck", run.key, suite, setting, item) < chance) for item in items)
                named = (suite, task, "x", (group,), setting, "generate", "exact_match", True)
                found.append(Scored(run.key, *named, items, scores))
    return found


def report(spec: Spec, runs: Grid, without: tuple[str, ...] = (), **changed: tuple[float, ...]) -> StudyReport:
    likely = {**LIKELY, **changed}
    rows = [
        row for run in runs if run.key not in without for row in scored(run, likely[str(run.axes["arm"])])
    ]  # fmt: skip
    return analyse(spec, Results(runs.runs, rows, {}, [Missing(key, "failed", "it broke") for key in without]))


def claim(found: StudyReport, words: str) -> Claim:
    return next(one for one in found["claims"] if words in one["claim"])


def test_an_arm_keeps_its_settings_and_the_sources_that_have_any() -> None:
    recipe = {"mixture": {"sources": [SKILLS, COMPOSED]}}
    assert sources_of(recipe, "cot") == [{**COMPOSED, "settings": {"zero-shot-cot": 0.6}}]
    assert [source["settings"] for source in sources_of(recipe, "direct")] == [{"zero-shot": 1.0}, {"zero-shot": 0.4}]
    assert [source["settings"] for source in sources_of(recipe, "both")] == [{"zero-shot": 1.0}, COMPOSED["settings"]]


def test_a_recipe_without_chains_of_thought_is_refused_with_the_numbers() -> None:
    with pytest.raises(RecipeError, match="none of the 1 sources of the recipe has a setting with -cot"):
        sources_of({"mixture": {"sources": [SKILLS]}}, "cot")
    with pytest.raises(RecipeError, match="nested mixture other"):
        sources_of({"mixture": {"sources": [{"mixture": "other.yaml"}]}}, "cot")


def test_groups_and_suites_that_cannot_be_asked_are_refused() -> None:
    unknown = read_study("cot", "quick", ["held_out=[nobody]"])
    with pytest.raises(RecipeError, match="no suite of the study has a group 'nobody'"):
        grid(unknown)
    shallow = read_study("cot", "quick", ["held_in=[negative_control]", "held_out=[unseen_skills]", "also=[]"])
    with pytest.raises(RecipeError, match="both for the answer and for its steps"):
        grid(shallow)


def test_every_arm_reads_as_many_tokens_a_step_in_as_many_steps(runs: Grid) -> None:
    assert [run.key for run in runs] == ["base/pocket", *(f"{arm}/pocket/seed-{seed}"
        for arm in ("direct", "cot", "both") for seed in (0, 1, 2))]  # fmt: skip
    tuning = {str(run.axes["arm"]): run.recipe["tuning"] for run in runs if run.recipe is not None}
    sizes = {arm: one["prompts_per_step"] for arm, one in tuning.items()}
    assert sizes["cot"] < sizes["both"] == 32 < sizes["direct"]
    assert len({one["max_steps"] for one in tuning.values()}) == 1
    seeds = {run.recipe["seed"] for run in runs if run.recipe is not None}
    assert seeds == {0, 1, 2}


def test_a_real_gain_is_found_and_the_claims_with_it(spec: Spec, runs: Grid) -> None:
    found = report(spec, runs)
    verdict: Any = found["verdict"]
    assert verdict["verdict"] == "yes"
    assert 0.25 < verdict["gain"] < 0.55
    assert verdict["ci95"][0] < 0.4 < verdict["ci95"][1]
    assert verdict["score_with_steps"] == pytest.approx(0.7, abs=0.1)
    assert claim(found, "Saying to think")["shown"] == "yes"
    assert claim(found, "worse at chains")["shown"] == "not shown"  # the base has nothing to lose
    assert "nothing to lose" in claim(found, "worse at chains")["why"]


def test_words_that_help_as_much_without_chains_of_thought_do_not_show_the_claim(spec: Spec, runs: Grid) -> None:
    found = report(spec, runs, direct=(0.3, 0.05, 0.3, 0.7, 0.8))
    assert claim(found, "Saying to think")["shown"] == "not shown"


def test_no_gain_is_not_sold_as_one(spec: Spec, runs: Grid) -> None:
    alike = (0.5, 0.5, 0.5, 0.5, 0.8)
    assert report(spec, runs, direct=alike, both=alike)["verdict"]["verdict"] != "yes"
    worse = report(spec, runs, direct=(0.7, 0.7, 0.7, 0.7, 0.8), both=(0.3, 0.3, 0.3, 0.3, 0.8))
    assert worse["verdict"]["verdict"] == "no"
    assert worse["verdict"]["sentence"].startswith("No:")


def test_what_both_lose_to_chains_of_thought_alone_refutes_the_claim(spec: Spec, runs: Grid) -> None:
    found = report(spec, runs, cot=(0.0, 0.95, 0.2, 0.95, 0.1))
    assert claim(found, "Both together are best")["shown"] == "no"
    lossy = report(spec, runs, both=(0.02, 0.7, 0.02, 0.7, 0.4))
    assert claim(lossy, "costs nothing")["shown"] == "no"


def test_an_arm_that_failed_leaves_holes_and_no_numbers(spec: Spec, runs: Grid) -> None:
    found = report(spec, runs, without=tuple(f"both/pocket/seed-{seed}" for seed in (0, 1, 2)))
    assert found["verdict"]["verdict"] == "not shown"
    assert found["verdict"]["gain"] is None
    assert claim(found, "Both together are best")["shown"] == "not tested"
    arms: Any = next(figure for figure in found["figures"] if figure["name"] == "arms")
    assert {one["value"] for row in arms["rows"] for one in row["marks"] if one["name"] == "both"} == {None}


def test_the_base_stands_at_its_best_way_of_being_asked(spec: Spec, runs: Grid) -> None:
    found: Any = report(spec, runs, base=(0.1, 0.4, 0.0, 0.0, 0.2))
    arms = next(figure for figure in found["figures"] if figure["name"] == "arms")
    row = next(row for row in arms["rows"] if row["label"] == "held-out: reasoning tasks, asked for the answer")
    assert row["marks"][0]["value"] == pytest.approx(0.4, abs=0.12)
