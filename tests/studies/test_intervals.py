"""Intervals over seeds, tasks and items: what they hold, what they cover, and how often they hold the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from instil.evaluation.statistics import mean_over_tasks, paired, student_t
from instil.studies.intervals import Interval, crossed, crossed_gain
from instil.studies.verdict import decide

Scores = dict[int, dict[str, list[float]]]


def drawn_gains(
    rng: np.random.Generator, *, seeds: int, tasks: int, effect: float, seed_sd: float, task_sd: float, items: int = 20
) -> tuple[Scores, Scores]:
    """A base and its tuned models: items right or wrong, tasks and seeds that gain differently."""
    before: Scores = {seed: {} for seed in range(seeds)}
    after: Scores = {seed: {} for seed in range(seeds)}
    luck = rng.normal(0, seed_sd, seeds)
    for task in range(tasks):
        difficulty, gain = rng.uniform(0.2, 0.5), effect + rng.normal(0, task_sd)
        base = (rng.random(items) < difficulty).astype(float).tolist()
        for seed in range(seeds):
            chance = np.clip(difficulty + gain + luck[seed] + rng.normal(0, task_sd / 3), 0, 1)
            before[seed][str(task)] = base
            after[seed][str(task)] = (rng.random(items) < chance).astype(float).tolist()
    return before, after


def many(times: int, **how: float) -> Iterator[Interval]:
    rng = np.random.default_rng(7)
    for _ in range(times):
        yield crossed_gain(*drawn_gains(rng, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seeds", "tasks", "seed_sd", "task_sd"),
    [(2, 6, 0.0, 0.1), (2, 6, 0.05, 0.1), (2, 24, 0.02, 0.1), (3, 12, 0.05, 0.05), (5, 12, 0.03, 0.1)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    seeds: int, tasks: int, seed_sd: float, task_sd: float
) -> None:
    found = list(many(500, seeds=seeds, tasks=tasks, effect=0.2, seed_sd=seed_sd, task_sd=task_sd))
    held = np.mean([one.low <= 0.2 <= one.high for one in found])
    assert held >= 0.93


def test_without_an_effect_yes_is_said_in_one_of_forty_studies_at_most() -> None:
    for seeds, tasks in ((2, 6), (2, 24), (3, 12)):
        said = [
            decide(one, 0.02) for one in many(600, seeds=seeds, tasks=tasks, effect=0.0, seed_sd=0.03, task_sd=0.08)
        ]
        assert said.count("yes") / len(said) <= 0.04  # 2.5%, and what 600 draws may be off by


def test_a_real_gain_is_seen() -> None:
    said = [decide(one, 0.02) for one in many(100, seeds=2, tasks=12, effect=0.4, seed_sd=0.02, task_sd=0.1)]
    assert said.count("yes") > 90


def test_seeds_that_differ_make_the_interval_wider_than_tasks_alone_would() -> None:
    rng = np.random.default_rng(0)
    scores = {seed: {str(task): [0.5 + 0.15 * seed + rng.normal(0, 0.01)] for task in range(12)} for seed in range(2)}
    both = crossed(scores)
    averaged = mean_over_tasks({task: [(scores[0][task][0] + scores[1][task][0]) / 2] for task in scores[0]})
    assert both.score == pytest.approx(averaged.score)
    assert both.high - both.low > 5 * (averaged.high - averaged.low)


def test_a_complete_table_gives_the_mean_squares_of_the_analysis_of_variance() -> None:
    table = 0.5 + 0.1 * np.random.default_rng(3).random((3, 5))
    found = crossed({row: {str(column): [table[row, column]] for column in range(5)} for row in range(3)})
    rows, columns = table.mean(1), table.mean(0)
    rest = table - rows[:, None] - columns + table.mean()
    square_rows, square_columns = 5 * rows.var(ddof=1), 3 * columns.var(ddof=1)
    square_rest = (rest**2).sum() / 8
    parts = max(0, square_rows - square_rest), max(0, square_columns - square_rest), square_rest
    variance = sum(parts) / 15
    freedom = sum(parts) ** 2 / ((parts[0] + parts[2]) ** 2 / 2 + (parts[1] + parts[2]) ** 2 / 4 + square_rest**2 / 8)
    half = student_t(int(freedom * 10) / 10) * variance**0.5
    assert found.low == pytest.approx(found.score - half, abs=1e-9)


def test_one_seed_gives_what_its_own_evaluation_gives_and_says_so() -> None:
    items = {str(task): [1.0] * task + [0.0] * (9 - task) for task in range(9)}
    found, alone = crossed({4: items}), mean_over_tasks(items)
    assert (found.score, found.low, found.high, found.n) == (alone.score, alone.low, alone.high, 81)
    assert found.words == "covers other tasks and items, not other seeds (1 seed, 9 tasks, 81 items)"
    base = {task: [0.0] * len(values) for task, values in items.items()}
    gain = paired(base, items).difference
    assert crossed_gain({4: base}, {4: items}).low == gain.low


@pytest.mark.parametrize("tasks", [2, 3, 4, 6])
def test_few_tasks_of_one_seed_do_not_say_yes_because_all_of_them_happen_to_gain(tasks: int) -> None:
    said = [decide(one, 0.02) for one in many(250, seeds=1, tasks=tasks, effect=0.0, seed_sd=0.0, task_sd=0.1)]
    assert said.count("yes") / len(said) <= 0.05


def test_three_tasks_that_gain_a_little_and_much_may_be_chance() -> None:
    found = crossed_gain(
        {0: dict.fromkeys("abc", [0.0] * 10)}, {0: {"a": [0.1] * 10, "b": [0.3] * 10, "c": [0.9] * 10}}
    )
    assert found.low < 0 < 0.9 < found.high == 1
    assert found.covers == ("tasks", "items")


def test_one_task_is_crossed_by_its_items() -> None:
    rng = np.random.default_rng(0)
    found = crossed({seed: {"a": [float(rng.random() < 0.7) for _ in range(60)]} for seed in range(3)})
    assert found.covers == ("seeds", "items")
    assert found.n == 60
    assert 0.4 < found.low < found.score < found.high < 0.9


def test_where_nothing_moves_the_interval_is_never_a_point() -> None:
    nothing = {seed: {"a": [0.0] * 30, "b": [0.0] * 30} for seed in range(2)}
    found = crossed_gain(nothing, nothing)
    assert found.score == 0
    assert found.low == -found.high
    assert 0.02 < found.high < 0.1
    assert found.covers == ("items",)


def test_runs_that_failed_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(5)
    whole = {seed: {str(task): [rng.random()] for task in range(6)} for seed in range(3)}
    part = {
        seed: {task: items for task, items in tasks.items() if (seed, task) != (1, "2")}
        for seed, tasks in whole.items()
    }
    found = crossed(part)
    assert found.missing == 1
    assert "1 of 18 runs of a task are missing" in found.words
    assert found.high - found.low == pytest.approx(crossed(whole).high - crossed(whole).low, rel=0.4)


def test_the_last_bits_of_scores_do_not_move_degrees_of_freedom() -> None:
    """Where neither seeds nor tasks differ by themselves they are whole: 2 must not be 1.9 on another machine."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        rows, columns = rng.uniform(-0.5, 0.5, 4), rng.uniform(-0.5, 0.5, 9)
        table = 0.5 + np.outer(rows - rows.mean(), columns - columns.mean())
        found = crossed({seed: {str(k): [float(x)] for k, x in enumerate(row)} for seed, row in enumerate(table)})
        variance = ((table - 0.5) ** 2).sum() / (3 * 8) / table.size
        assert found.high - found.score == pytest.approx(student_t(2) * variance**0.5, rel=1e-3)


def test_draws_that_share_no_task_can_be_averaged_too() -> None:
    rng = np.random.default_rng(5)
    found = crossed({seed: {f"{seed}/{task}": [rng.random()] for task in range(8)} for seed in range(4)})
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.6


def test_a_gain_is_paired_item_by_item() -> None:
    before = {seed: {"a": [0.0, 1.0] * 20, "b": [1.0, 0.0] * 20} for seed in range(2)}
    after = {seed: {"a": [0.0, 1.0] * 20, "b": [1.0, 0.0] * 20} for seed in range(2)}
    assert crossed_gain(before, after).high < crossed(after).high - crossed(after).score
    with pytest.raises(ValueError, match="task 'a' has 40 items before and 39 after"):
        crossed_gain(before, {0: {"a": [0.0] * 39}})
    with pytest.raises(ValueError, match="needs seeds with tasks"):
        crossed_gain(before, {0: {"c": [0.0]}})
