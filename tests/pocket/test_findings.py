"""The rule of the report: the base is credited with its best, and gains are differences task by task."""

from __future__ import annotations

import pytest

from instil.evaluation.results import Answered, SuiteResult
from instil.evaluation.scoring import OptionScore, SampleScore
from instil.evaluation.suite import Cell, Suite
from instil.mixtures.settings import Setting
from instil.pocket.findings import Answers, clusters, compositions_by_form, difference, score
from instil.pocket.split import split
from instil.pocket.tasks import EVALUATE, task
from instil.records import Prompt


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


def test_a_difference_that_is_the_same_for_every_task_has_an_interval_on_both_sides() -> None:
    tasks = {str(number): [0.0] for number in range(20)}
    assert difference(tasks, tasks)["ci95"] == pytest.approx([-0.161, 0.161], abs=1e-3)
    lost = difference({name: [1.0] for name in tasks}, tasks)
    assert (lost["score"], lost["ci95"][0]) == (-1.0, -1.0)


def answered(cell: Cell, scores: list[float], *metrics: str) -> Answered:
    named, options = metrics or ("exact_match",), (OptionScore("!", -1.0, 1), OptionScore("?", -2.0, 1))
    samples = {
        f"{cell.name}|{place}": SampleScore(
            Prompt("?", "!"), "?", cell.method, "", "", ("!",), dict.fromkeys(named, value), options=options
        )
        for place, value in enumerate(scores)
    }
    return Answered(cell, samples, {})


def test_the_frames_of_one_composition_count_as_one_task() -> None:
    """An interval over other compositions must not take a composition in other words for another one."""
    parts = []
    for number, chain in enumerate(split().unseen_compositions[:4]):
        for held_out in (False, True):
            made = task(chain, side="unseen-compositions", part=EVALUATE, held_out_frames=held_out)
            for cot in (False, True):
                named = tuple(one.name for one in made.templates if one.cot is cot)
                cell = Cell(made, Setting(cot=cot), groups=("unseen_compositions",), templates=named)
                parts.append(answered(cell, [float(number > 1)] * 3))
    answers = Answers(SuiteResult(Suite("s", tuple(part.cell for part in parts)), tuple(parts), {}))
    found = compositions_by_form(answers, answers)["with_steps"]["base"]
    assert found["n"] == 24
    assert found == score({str(number): [float(number > 1)] * 6 for number in range(4)})


def test_the_base_may_choose_by_the_likelihood_per_token_as_well() -> None:
    """Summed, the short wrong option wins; per token, the long right one."""
    options = (OptionScore("a", -3.0, 1), OptionScore("a b c d", -4.0, 4))
    made = task(split().unseen_skills[0], side="unseen-skills", part=EVALUATE)
    cell = Cell(made, method="rank", groups=("unseen_skills",), metrics=("accuracy",))
    sample = SampleScore(
        Prompt("?", "a b c d"), "?", "rank", "a", "a", ("a b c d",), {"accuracy": 0.0}, options=options
    )
    suite = Suite("s", (cell,))
    probes = SuiteResult(suite, (Answered(cell, {"k": sample}, {}),), {})
    ways = Answers(SuiteResult(suite, (), {}), probes).ways(("unseen_skills",))
    assert ways == {"rank": {made.name: [0.0]}, "rank_per_token": {made.name: [1.0]}}


def test_the_table_of_clusters_shows_the_base_at_its_best() -> None:
    every = ("held_in", "unseen_skills", "unseen_cluster", "unseen_compositions")
    cells = [
        Cell(task(chain, side="unseen-skills", part=EVALUATE), groups=every) for chain in split().unseen_skills[:6]
    ]
    zero = [answered(cell, [0.0, 0.0], "exact_match", "starts_with") for cell in cells]
    ranked = [
        answered(Cell(cell.task, method="rank", groups=cell.groups, metrics=("accuracy",)), [1.0, 1.0], "accuracy")
        for cell in cells
    ]
    suite, probes = (
        SuiteResult(Suite("s", tuple(part.cell for part in parts)), tuple(parts), {}) for parts in (zero, ranked)
    )
    rows = clusters(Answers(suite, probes), Answers(suite))
    assert len(rows) >= 4
    assert all(row["base"]["score"] == 1.0 and row["tuned"]["score"] == 0.0 for row in rows)
