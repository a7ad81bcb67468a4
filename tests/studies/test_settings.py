"""The study of prompt settings: what each level changes, what is refused, and what is said of known scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from instil.errors import RecipeError
from instil.fingerprint import keyed_unit
from instil.reports.study_report import Claim, StudyReport
from instil.studies.grid import Grid, Run
from instil.studies.settings import REFERENCE, Spec, analyse, grid, levels
from instil.studies.spec import read_study
from instil.studies.table import Missing, Results, Scored

GRID = [
    "seeds=[0,1,2]", "few_shot=[0,0.5,1]", "options=[0,0.5]", "inversion=[0,0.3]", "templates=[1,all]",
    "balancing=[as given,by size]",
]  # fmt: skip


def study(*assignments: str) -> Spec:
    found = read_study("settings", "quick", assignments)
    assert isinstance(found, Spec)
    return found


@pytest.fixture(scope="module")
def spec() -> Spec:
    return study(*GRID)


@pytest.fixture(scope="module")
def runs(spec: Spec) -> Grid:
    return grid(spec)


def changed(spec: Spec, arm: str) -> Mapping[str, Any]:
    return next(level.changes for level in levels(spec) if level.arm == arm)


def settings_of(spec: Spec, arm: str) -> list[dict[str, float]]:
    return [source["settings"] for source in changed(spec, arm)["mixture.sources"]]


def test_a_share_of_few_shot_prompts_splits_every_setting() -> None:
    spec = study("few_shot=[0.1,1]", "shots=3")
    assert settings_of(spec, "few-shot 10%") == [
        {"zero-shot": 0.9, "few-shot-3": 0.1},
        {"zero-shot": 0.36, "few-shot-3": 0.04, "zero-shot-cot": 0.54, "few-shot-3-cot": 0.06},
    ]
    assert settings_of(spec, "few-shot 100%") == [{"few-shot-3": 1.0}, {"few-shot-3": 0.4, "few-shot-3-cot": 0.6}]


def test_options_are_listed_where_an_answer_is_asked_for() -> None:
    assert settings_of(study("options=[0.5]"), "options 50%") == [
        {"zero-shot": 0.5, "zero-shot-options": 0.5},
        {"zero-shot": 0.2, "zero-shot-options": 0.2, "zero-shot-cot": 0.6},
    ]


def test_inverted_prompts_stand_beside_all_others() -> None:
    turned = settings_of(study("inversion=[0.5]"), "inversion 0.5")
    assert turned[0] == {"zero-shot": 1.0, "zero-shot-inverted": 0.5}
    assert turned[1]["zero-shot-cot-inverted"] == pytest.approx(0.3)


def test_balancing_rules_take_the_place_of_shares() -> None:
    spec = study("balancing=[by size,equal,clusters]")
    for rule, balance, cap in (("by size", "tasks", None), ("equal", "tasks", 1), ("clusters", "clusters", None)):
        changes = changed(spec, f"balancing {rule}")
        assert not any("share" in source for source in changes["mixture.sources"])
        assert (changes["mixture.balance"], changes.get("mixture.cap")) == (balance, cap)


def test_the_recipe_as_written_is_one_run_for_every_factor(spec: Spec, runs: Grid) -> None:
    assert [level.name for level in levels(spec) if level.arm == REFERENCE] == ["0%", "0%", "off", "as given", "all"]
    arms = [run.axes["arm"] for run in runs if run.axes.get("seed") == 0]
    assert arms == ["reference", "few-shot 50%", "few-shot 100%", "options 50%", "inversion 0.3", "balancing by size",
                    "templates 1"]  # fmt: skip
    assert len(runs) == 1 + 3 * len(arms)


def test_longer_prompts_come_in_smaller_steps(runs: Grid) -> None:
    size = {str(run.axes["arm"]): run.recipe["tuning"]["prompts_per_step"] for run in runs if run.recipe is not None}
    assert size["few-shot 100%"] < size["few-shot 50%"] < size["reference"] == size["templates 1"] == 32
    assert size["options 50%"] < 32


def test_a_recipe_that_varies_what_the_study_varies_is_refused() -> None:
    with pytest.raises(RecipeError, match="setting few-shot-2, which the study is to vary"):
        levels(study("recipe.mixture.sources=[{collection: pocket, settings: {few-shot-2: 1}}]"))
    with pytest.raises(RecipeError, match="every level of the study is the recipe as written"):
        grid(study("few_shot=[0]", "balancing=[as given]", "templates=[all]"))


def test_tasks_without_options_are_refused_for_the_factor_options() -> None:
    bare = study("options=[0,0.5]", "recipe.mixture.sources=[{collection: pocket, tasks: [skills/*]}]")
    with pytest.raises(RecipeError, match="no task of the recipe can list its options"):
        grid(bare)


def test_a_group_that_no_suite_has_is_refused() -> None:
    with pytest.raises(RecipeError, match="no suite of the study has a group 'nobody'"):
        grid(study("held_out=[nobody]"))


Chance = Callable[[str, str], float]


def answers(run: Run, chance: Chance) -> list[Scored]:
    found = []
    for group in ("held_in", "unseen_skills"):
        for number in range(16):
            task = f"pocket/{group}/{number}"
            items = tuple(f"{task}-{item}" for item in range(12))
            for suite, setting in (("pocket", "zero-shot"), ("pocket-few-shot", "few-shot-2")):
                likely = chance(str(run.axes["arm"]), setting)
                scores = tuple(float(keyed_unit(run.axes.get("seed", 9), setting, item) < likely) for item in items)
                named = (suite, task, "x", (group,), setting, "generate", "exact_match", True)
                found.append(Scored(run.key, *named, items, scores))
    return found


def report(spec: Spec, runs: Grid, chance: Chance, without: str = "no arm") -> StudyReport:
    gone = [run.key for run in runs if run.axes["arm"] == without]
    rows = [row for run in runs if run.key not in gone for row in answers(run, chance)]
    return analyse(spec, Results(runs.runs, rows, {}, [Missing(key, "failed", "it broke") for key in gone]))


def claim(found: StudyReport, words: str) -> Claim:
    return next(one for one in found["claims"] if words in one["claim"])


def test_a_gain_of_mixing_is_found(spec: Spec, runs: Grid) -> None:
    found = report(spec, runs, lambda arm, setting: 0.8 if arm == "few-shot 50%" else 0.5)
    verdict: Any = found["verdict"]
    assert verdict["verdict"] == "yes"
    assert verdict["ci95"][0] < 0.3 < verdict["ci95"][1]
    assert verdict["few_shot_share"] == 0.5
    assert claim(found, "Any share of few-shot")["shown"] == "yes"
    assert claim(found, "Inverted prompts")["shown"] == "not shown"


def test_no_gain_and_a_loss_are_told_apart(spec: Spec, runs: Grid) -> None:
    alike = report(spec, runs, lambda arm, setting: 0.5)
    assert alike["verdict"]["verdict"] == "no"
    assert claim(alike, "Any share of few-shot")["shown"] == "not shown"
    worse = report(spec, runs, lambda arm, setting: 0.1 if arm == "few-shot 50%" else 0.6)
    assert worse["verdict"]["verdict"] == "no"
    assert claim(worse, "Any share of few-shot")["shown"] == "no"
    assert "The lowest and the highest: " in claim(worse, "Any share of few-shot")["here"]


def test_more_templates_and_shares_are_compared_the_right_way_round(spec: Spec, runs: Grid) -> None:
    likely = {"templates 1": 0.2, "balancing by size": 0.9}
    found = report(spec, runs, lambda arm, setting: likely.get(arm, 0.5))
    assert claim(found, "More templates")["shown"] == "yes"
    assert claim(found, "Balancing the sources")["shown"] == "no"
    row: Any = next(one for one in found["figures"] if one["name"] == "levels-held-out")
    marks = {one["label"]: one["marks"][0]["value"] for one in row["rows"]}
    assert marks["templates 1"] == pytest.approx(-0.3, abs=0.1)
    assert marks["balancing by size"] == pytest.approx(0.4, abs=0.1)


def test_what_failed_has_no_number_and_no_claim(spec: Spec, runs: Grid) -> None:
    found = report(spec, runs, lambda arm, setting: 0.5, without="few-shot 50%")
    assert found["verdict"]["verdict"] == "not shown"
    assert found["verdict"]["gain"] is None
    assert claim(found, "Any share of few-shot")["shown"] == "not tested"
    line: Any = next(one for one in found["figures"] if one["name"] == "few-shot")
    assert [one["y"] is None for one in line["series"][0]["points"]] == [False, True, False]
