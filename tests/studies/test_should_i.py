"""should-i: its grid, its numbers on scores that are known, and that it can say no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from instil.errors import RecipeError
from instil.fingerprint import keyed_unit
from instil.recipe import parse
from instil.reports.study import render_study
from instil.studies.grid import Grid, Run
from instil.studies.should_i import Spec, analyse, grid
from instil.studies.should_i_curves import Pair, sooner, speed
from instil.studies.should_i_scores import FourArms, averaged, differences, sides
from instil.studies.spec import presets, read_study
from instil.studies.table import PER_TOKEN, Missing, Results, Scored

ITEMS = 60
PLAIN: dict[str, Any] = {
    "name": "mine",
    "question": "should-i",
    "models": ["pocket"],
    "seeds": [0, 1],
    "recipe": {"replay": "pocket", "mixture": {"sources": [{"collection": "pocket"}]}, "tuning": {"max_steps": 10}},
    "targets": {
        "held_in": [{"collection": "pocket-targets", "tasks": ["skills/a", "skills/b", "skills/c"]}],
        "held_out": [{"collection": "pocket-targets", "tasks": ["unseen/d", "unseen/e", "unseen/f"]}],
    },
    "budgets": [16, "all"],
    "fine_tuning": {"max_steps": 4, "evaluate_every": 2},
    "controls": ["shuffled-targets"],
}


def spec_of(**changes: Any) -> Spec:
    return parse(Spec, {**PLAIN, **changes}, origin="mine.yaml")


Chance = Callable[[str, str], float]
"""(arm, budget) -> how likely an answer is right."""


def made_up(spec: Spec, chance: Chance, *, without: tuple[str, ...] = ()) -> Results:
    """Answers that are right with a known chance; luck differs between items and seeds."""
    runs = grid(spec)
    scored: list[Scored] = []
    for run in runs:
        if run.key not in without:
            scored += [one for part, name, _ in spec.sources() for one in _scores(run, part, name, chance)]
    curve = [{"step": step, "evaluation": {"validation": step / 4}} for step in (2, 4)]
    facts = {run.key: {"tokens": 1000, "answer_tokens": 100, "steps": 4, "curve": curve} for run in runs}
    return Results(runs.runs, scored, facts, [Missing(key, "failed", "it broke") for key in without])


def _scores(run: Run, part: str, name: str, chance: Chance) -> list[Scored]:
    if run.axes.get("target", name) != name:
        return []
    arm, budget = str(run.axes["arm"]), str(run.axes["budget"])
    items = tuple(f"{name}-{item}" for item in range(ITEMS))
    luck = [keyed_unit("luck", str(run.axes.get("seed", 0)), arm, budget, key) for key in items]
    right = tuple(float(one < chance(arm, budget)) for one in luck)
    about = (f"pocket/{name}", "c", (part,), "zero-shot")
    found = [Scored(run.key, "targets", *about, "generate", "exact_match", True, items, right)]
    if arm == "base" and budget == "0":
        ranked = tuple(float(one < chance("rank", "0")) for one in luck)
        found.append(Scored(run.key, "targets-probes", *about, "rank", "accuracy", True, items, ranked))
        found.append(Scored(run.key, "targets-probes", *about, "rank", PER_TOKEN, False, items, (0.0,) * ITEMS))
    return found


def helps(arm: str, budget: str) -> float:
    table = {("base", "0"): 0.0, ("rank", "0"): 0.3, ("base", "16"): 0.5, ("base", "all"): 0.8, ("tuned", "0"): 0.6,
             ("tuned", "16"): 0.7, ("tuned", "all"): 0.95, ("shuffled-targets", "0"): 0.0}  # fmt: skip
    return table[arm, budget]


def test_the_grid_has_four_arms_over_tasks_budgets_and_seeds() -> None:
    runs = grid(spec_of())
    assert isinstance(runs, Grid)
    assert len(runs) == 1 + 2 + 1 + 6 * 2 * 2 * 2
    fine = runs["fine/tuned/pocket/seed-1/unseen/d/16"]
    assert fine.start == "tuned/pocket/seed-1"
    assert fine.axes == {"model": "pocket", "budget": "16", "arm": "tuned", "seed": 1, "target": "unseen/d"}
    base = runs["fine/base/pocket/seed-1/unseen/d/16"]
    assert base.start == ""
    assert base.recipe == fine.recipe, "the arms differ in what they begin from, and in nothing else"
    assert base.asks == fine.asks


def test_a_recipe_of_plain_text_alone_has_no_control_of_plain_text_and_the_page_says_so() -> None:
    recipe = {**PLAIN["recipe"], "tuning": {"max_steps": 10, "replay_share": 1}}
    spec = spec_of(recipe=recipe, controls=["plain-text", "shuffled-targets"])
    assert {run.key.split("/")[1] for run in grid(spec) if run.key.startswith("control/")} == {"shuffled-targets"}
    (told,) = analyse(spec, made_up(spec, helps))["missing"]
    assert told.startswith("pocket, as many tokens of plain text: not made, because the base recipe is plain text")


def test_a_budget_draws_rows_by_seed_and_all_rows_are_drawn_alike() -> None:
    runs = grid(spec_of())
    mixtures = [runs[f"fine/base/pocket/seed-{seed}/unseen/d/{budget}"].recipe["mixture"]  # type: ignore[index]
                for seed, budget in ((0, "16"), (1, "16"), (1, "all"))]  # fmt: skip
    assert [(one.get("limit"), one.get("limit_draw")) for one in mixtures] == [(16, 0), (16, 1), (None, None)]
    assert all(one["hold_out"] == {"examples": 40} for one in mixtures)
    tuned = runs["tuned/pocket/seed-0"].recipe
    assert tuned is not None
    assert tuned["mixture"]["hold_out"] == {"examples": 40}
    assert tuned["validation"] == {"held_out": False}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"budgets": [64, 16]}, "from few to many"),
        ({"budgets": ["all", 16]}, "from few to many"),
        ({"controls": ["nothing"]}, "no control is called 'nothing'"),
        ({"targets": {"held_out": [{"collection": "pocket-targets"}]}}, "named one by one"),
        ({"targets": {"held_in": PLAIN["targets"]["held_in"], "held_out": PLAIN["targets"]["held_in"]}}, "there twice"),
        ({"fine_tunning": {}}, "fine_tuning"),
    ],
)
def test_a_study_file_that_makes_no_sense_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        spec_of(**changes)


@pytest.mark.parametrize("name", sorted(presets("should-i")))
def test_presets_are_valid_and_plan_their_runs(name: str) -> None:
    spec = read_study("should-i", name)
    assert isinstance(spec, Spec)
    arms = {str(run.axes["arm"]) for run in grid(spec)}
    assert {"base", "tuned", "shuffled-targets"} <= arms


def test_a_gain_at_every_budget_is_a_yes_with_its_parts() -> None:
    spec = spec_of()
    report = analyse(spec, made_up(spec, helps))
    verdict = report["verdict"]
    assert verdict["verdict"] == "yes"
    low, high = verdict["ci95"] or (0, 0)
    assert low < (0.3 + 0.2 + 0.15) / 3 < high
    pocket = verdict["models"]["pocket"]["held_out"]
    assert pocket["base_way"] == "rank"
    assert pocket["format_gain"]["score"] == pytest.approx(0.3, abs=0.12)
    assert pocket["skill_gain"]["score"] == pytest.approx(0.3, abs=0.12)
    assert verdict["format_gain"] == pocket["format_gain"]
    assert verdict["models"]["pocket"]["gain"] == verdict["gain"]
    assert verdict["sentence"].startswith("Yes, for both uses taken together: +")
    for part, told in (("without_fine_tuning", "skill_gain"), ("after_fine_tuning", "gain_after_fine_tuning")):
        assert verdict[part] == {
            "verdict": "not shown",
            "gain": verdict[told]["score"],
            "ci95": verdict[told]["ci95"],
            "n": verdict[told]["n"],
        }
    assert pocket["tuned_alone_wins_up_to"] == "16"
    assert verdict["tuned_alone_wins_up_to"] == {"pocket": "16"}
    assert verdict["tuned_alone_surely_wins_up_to"] == {"pocket": None}
    assert verdict["n"] == 3 * ITEMS
    assert verdict["tasks"]["gained"] + verdict["tasks"]["unchanged"] == 3


@pytest.mark.parametrize(
    ("as_it_is", "fine_tuned", "parts", "told"),
    [
        (0.9, 0.5, (True, False), "Yes, for use without fine-tuning, where it is +"),
        (0.1, 0.9, (False, True), "Yes, for use after fine-tuning, where it is +"),
        (0.9, 0.9, (True, True), "Yes, without fine-tuning and after it: +"),
    ],
)
def test_a_yes_says_of_which_use_it_speaks(
    as_it_is: float, fine_tuned: float, parts: tuple[bool, bool], told: str
) -> None:
    """A script that reads `verdict` alone can ask for the part that it means."""
    spec = spec_of(seeds=[0, 1, 2])
    chances = {("rank", "0"): 0.1, ("tuned", "0"): as_it_is, ("tuned", "16"): fine_tuned, ("tuned", "all"): fine_tuned}
    chances |= {("base", "16"): 0.5, ("base", "all"): 0.5}
    verdict = analyse(spec, made_up(spec, lambda arm, budget: chances.get((arm, budget), 0.0)))["verdict"]
    assert verdict["verdict"] == "yes"
    each = [verdict[part]["verdict"] == "yes" for part in ("without_fine_tuning", "after_fine_tuning")]
    assert tuple(each) == parts
    assert verdict["sentence"].startswith(told)
    for figure in ("skill_gain", "gain_after_fine_tuning"):
        assert f"{100 * verdict[figure]['score']:+.1f} points" in verdict["sentence"]


def test_learning_the_format_alone_is_no_gain() -> None:
    """Zero-shot from 0 to 30%, which the base has by ranking; nothing once both are fine-tuned."""
    same = {"0": 0.3, "16": 0.5, "all": 0.8}
    spec = spec_of()

    def chance(arm: str, budget: str) -> float:
        return 0.0 if (arm, budget) == ("base", "0") or arm == "shuffled-targets" else same[budget]

    verdict = analyse(spec, made_up(spec, chance))["verdict"]
    assert verdict["verdict"] != "yes"
    assert verdict["models"]["pocket"]["held_out"]["format_gain"]["score"] > 0.2


def test_a_base_that_fine_tuning_teaches_less_than_it_can_stands_as_it_is() -> None:
    """16 rows do not teach the form of the answers, which ranking gives the base: no gain of who has learned it."""
    right = {"0": 0.5, "16": 0.5, "all": 0.8}
    chances = {("rank", "0"): 0.5, ("base", "all"): 0.8, **{("tuned", rows): right[rows] for rows in right}}
    spec = spec_of()
    results = made_up(spec, lambda arm, budget: chances.get((arm, budget), 0.0))
    arms = FourArms(results, "pocket", "held_out", spec.seeds, ["0", "16", "all"])
    assert [arms.is_not_helped(budget) for budget in ("16", "all")] == [True, False]
    assert arms.scores("base", "16") == dict.fromkeys(spec.seeds, arms.base.units)
    report = analyse(spec, results)
    assert report["verdict"]["verdict"] == "not shown"
    assert report["verdict"]["models"]["pocket"]["held_out"]["fine_tuning_does_not_help_the_base"] == ["16"]


def test_a_model_whose_runs_failed_is_left_out_and_named() -> None:
    spec = spec_of(models=["pocket", "pocket-seq2seq"], controls=[])
    gone = tuple(run.key for run in grid(spec) if run.axes["model"] == "pocket-seq2seq")
    verdict = analyse(spec, made_up(spec, helps, without=gone))["verdict"]
    assert (verdict["verdict"], verdict["n"]) == ("yes", 3 * ITEMS)
    assert verdict["sentence"].endswith(" Nothing is known of pocket-seq2seq.")


def test_the_tuned_model_wins_alone_up_to_a_budget_by_its_mean_or_by_its_interval() -> None:
    table = {("rank", "0"): 0.1, ("base", "16"): 0.1, ("base", "all"): 0.55, ("tuned", "0"): 0.6}
    spec = spec_of(seeds=[0, 1, 2])
    results = made_up(spec, lambda arm, budget: table.get((arm, budget), 0.0))
    arms = FourArms(results, "pocket", "held_out", spec.seeds, ["0", "16", "all"])
    assert (arms.wins_alone(), arms.wins_alone(surely=True)) == ("all", "16")
    findings = " ".join(analyse(spec, results)["findings"])
    assert "is ahead of the base with all rows to fine-tune on" in findings
    assert "the interval shows it up to 16 rows" in findings


def test_a_control_is_compared_with_the_base_at_its_best() -> None:
    spec = spec_of()
    harmless = analyse(spec, made_up(spec, helps))["findings"]
    assert any("tuned on shuffled targets: -" in said and "needs no more" not in said for said in harmless)
    table = {("rank", "0"): 0.1, ("shuffled-targets", "0"): 0.9}
    telling = analyse(spec, made_up(spec, lambda arm, budget: table.get((arm, budget), 0.5)))["findings"]
    assert any("tuned on shuffled targets: +" in said and "needs no more than that" in said for said in telling)


def test_harm_is_a_no() -> None:
    spec = spec_of(seeds=[0, 1, 2])

    def chance(arm: str, budget: str) -> float:
        return {"base": 0.7, "rank": 0.7, "tuned": 0.2, "shuffled-targets": 0.0}[arm]

    verdict = analyse(spec, made_up(spec, chance))["verdict"]
    assert verdict["verdict"] == "no"
    assert verdict["sentence"].startswith("No: ")


def test_every_figure_claim_and_table_has_its_values() -> None:
    spec = spec_of()
    report = analyse(spec, made_up(spec, helps))
    assert [figure["name"] for figure in report["figures"]] == [
        "budget-held-out-pocket", "budget-held-in-pocket", "pareto-pocket", "tasks", "curves-pocket", "controls",
    ]  # fmt: skip
    pareto = next(figure for figure in report["figures"] if figure["kind"] == "arrows")
    assert len(pareto["items"]) == 6
    assert all(value is not None for item in pareto["items"] for value in (*item["from"], *item["to"]))
    assert len(report["claims"]) == 5
    assert {claim["shown"] for claim in report["claims"]} <= {"yes", "no", "not shown", "not tested"}
    arms = next(table for table in report["tables"] if table["name"] == "arms")
    assert len(arms["rows"]) == 2 * 3


def test_failed_runs_leave_their_task_out_and_figures_stand() -> None:
    spec = spec_of()
    gone = tuple(f"fine/base/pocket/seed-{seed}/unseen/d/16" for seed in spec.seeds)
    results = made_up(spec, helps, without=gone)
    arms = FourArms(results, "pocket", "held_out", spec.seeds, ["0", "16", "all"])
    found = arms.gain()
    assert found is not None
    assert found.tasks == 2
    assert (arms.gain(["all"]) or found).tasks == 3
    report = analyse(spec, results)
    assert report["verdict"]["n"] == 2 * ITEMS
    assert "1 of 3 tasks missing" in report["verdict"]["covers"]
    assert report["verdict"]["tasks"]["missing"] == 1
    for arm in ("base", "tuned"):  # both over the tasks that both have
        both = [
            units[task] for units in arms.scores(arm, "16").values() for task in ("pocket/unseen/e", "pocket/unseen/f")
        ]
        score = arms.mean(arm, "16")
        assert score is not None
        assert (score.tasks, score.score) == (2, pytest.approx(sum(map(sum, both)) / (4 * ITEMS)))
    figures = {figure["name"]: figure for figure in report["figures"]}
    points = {
        (one["name"], point["x"]): point
        for one in figures["budget-held-out-pocket"]["series"]
        for point in one["points"]
    }
    notes = {place: point.get("note", "") for place, point in points.items() if place[1] != "16"}
    assert set(notes.values()) == {""}
    assert {points[place]["note"] for place in points if place[1] == "16"} == {"1 of 3 tasks missing"}
    gain = arms.gain(["16"])
    assert gain is not None
    base, tuned = (points[name, "16"]["y"] for name in ("base, fine-tuned", "instruction-tuned, fine-tuned"))
    assert tuned - base == pytest.approx(gain.score)
    assert figures["budget-held-out-pocket"]["caption"].endswith(
        "averaged over what both have: at 16, 1 of 3 tasks missing."
    )
    assert "missing" not in figures["budget-held-in-pocket"]["caption"]
    rows = {row["label"]: row["marks"][0]["value"] for row in figures["tasks"]["rows"]}
    assert rows["unseen/d"] is None
    assert len([value for value in rows.values() if value is not None]) == 5
    items = {item["label"]: (*item["from"], *item["to"]) for item in figures["pareto-pocket"]["items"]}
    assert len(items) == 6
    assert items["unseen/d"][1] is None
    page = render_study(report)
    assert "Not measured: unseen/d" in page
    table = next(table for table in report["tables"] if table["name"] == "arms")
    assert "at 16, 1 of 3 tasks missing" in table["note"]


def test_a_seed_that_failed_in_one_arm_is_in_neither() -> None:
    """Seeds differ: the tuned arm's other seed must not be set against a base without it."""
    spec = spec_of()
    results = made_up(spec, helps, without=("fine/tuned/pocket/seed-1/unseen/d/16", "tuned/pocket/seed-1"))
    arms = FourArms(results, "pocket", "held_out", spec.seeds, ["0", "16", "all"])
    base, tuned = (arms.compared(arm, "16") for arm in ("base", "tuned"))
    assert {seed: list(units) for seed, units in base.items()} == {seed: list(units) for seed, units in tuned.items()}
    assert "pocket/unseen/d" not in base[1]
    found, as_it_is = arms.mean("base", "16"), arms.mean("tuned", "0")
    assert found is not None
    assert found.lacks == "1 of 6 runs of a task are missing"
    assert as_it_is is not None
    assert as_it_is.lacks == "1 of 2 seeds missing"


def test_an_arm_without_any_run_leaves_the_other_in_its_figure() -> None:
    spec = spec_of()
    gone = tuple(run.key for run in grid(spec) if run.axes["arm"] == "tuned")
    arms = FourArms(made_up(spec, helps, without=gone), "pocket", "held_out", spec.seeds, ["0", "16", "all"])
    assert arms.mean("tuned", "16") is None
    assert arms.mean("base", "16") is not None


def test_a_study_of_which_one_arm_failed_is_not_shown() -> None:
    spec = spec_of(controls=[])
    gone = tuple(run.key for run in grid(spec) if run.axes["arm"] == "tuned")
    report = analyse(spec, made_up(spec, helps, without=gone))
    assert (report["verdict"]["verdict"], report["verdict"]["n"]) == ("not shown", 0)


def test_differences_are_item_by_item_and_averaged_over_budgets() -> None:
    few = differences({0: {"a": [0.0, 1.0], "b": [1.0]}}, {0: {"a": [1.0, 1.0], "c": [1.0]}})
    assert few == {0: {"a": [1.0, 0.0]}}
    assert averaged([few, {0: {"a": [0.0, 0.0], "b": [1.0]}}]) == {0: {"a": [0.5, 0.0]}}
    assert differences({0: {"a": [0.0]}}, {0: {"a": [1.0, 0.0]}}) == {0: {"a": [0.5, 0.5]}}


def test_a_task_gained_or_lost_where_its_own_interval_leaves_out_zero() -> None:
    spec = spec_of()
    tasks = FourArms(made_up(spec, helps), "pocket", "held_out", spec.seeds, ["0", "16", "all"]).tasks()
    assert list(tasks) == ["pocket/unseen/d", "pocket/unseen/e", "pocket/unseen/f"]
    assert sum(sides(tasks).values()) == 3


def test_curves_say_when_the_best_of_the_base_arm_is_reached() -> None:
    base = {0: 0.0, 10: 0.5, 20: 0.8, 30: 0.8}
    pairs = [Pair("a", 0, base, {0: 0.6, 10: 0.9}), Pair("b", 0, base, {0: 0.1, 10: 0.2, 30: 0.7})]
    assert (pairs[0].reached_by_base, pairs[0].reached_by_tuned, pairs[1].reached_by_tuned) == (20, 10, None)
    found = speed(pairs)
    assert found is not None
    assert (found.pairs, found.reached, found.base_steps, found.tuned_steps) == (2, 1, 20, None)
    assert [pair.sooner for pair in pairs] == [1, -1]
    assert sooner(pairs).score == 0  # type: ignore[union-attr]
    assert Pair("c", 0, base, {0: 0.1, 20: 0.8}).sooner == 0
    assert speed([]) is None
    assert sooner([]) is None
