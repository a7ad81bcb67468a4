"""What is said about a reward model: every number by hand or by a slow reference, intervals by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import rankings

from instil.experiments.reward_scores import (
    accuracy,
    by,
    by_levels,
    calibration,
    difference,
    distribution,
    figures,
    length_correlation,
    length_rule,
    longer_is_better,
    pairs_of,
    share,
)
from instil.records import Group, Message, Ranking
from instil.tuning.reward_model import encoder_for
from instil.tuning.reward_rows import Pair, RewardRow, reward_rows


def row(sizes: list[int], pairs: list[tuple[int, int, int]], *, prompt: str = "p", who: str = "ada") -> RewardRow:
    """A prompt whose completions have so many tokens."""
    texts = tuple(f"{prompt} {number}" for number in range(len(sizes)))
    told = tuple(Pair(better, worse, levels, 0.0, who) for better, worse, levels in pairs)
    best = tuple({better for better, _, _ in pairs} - {worse for _, worse, _ in pairs})
    ranking = Ranking((Message("user", prompt),), texts, tuple(range(1, len(sizes) + 1)), (), who, "task")
    group = Group(np.array([5], np.int32), tuple(np.full(size, 7, np.int32) for size in sizes))
    return RewardRow(group, told, best, prompt, ranking, 1)


#: A: of three, b0 > b1 > b2; B: two, tied rewards.
ROWS = [row([3, 5, 5], [(0, 1, 1), (0, 2, 2), (1, 2, 1)]), row([4, 2], [(0, 1, 1)], prompt="q", who="ben")]
REWARDS = [[1.0, -1.0, 0.5], [0.25, 0.25]]


def test_accuracy_counts_pairs_and_half_a_tie() -> None:
    pairs = pairs_of(ROWS, REWARDS)
    assert pairs.right.tolist() == [1, 1, 0, 0.5]
    found = accuracy(pairs)
    assert (found["score"], found["n"], found["prompts"]) == (2.5 / 4, 4, 2)


def test_ties_of_people_are_no_pairs() -> None:
    tied = row([1, 2, 3], [(0, 1, 0), (0, 2, 1)])
    assert len(pairs_of([tied], [[1.0, 2.0, 3.0]])) == 1


def test_the_length_rule_is_right_where_the_better_one_is_longer() -> None:
    pairs = pairs_of(ROWS, REWARDS)
    assert pairs.right_by_length.tolist() == [0, 0, 0.5, 1]
    assert longer_is_better(pairs)["score"] == 1.5 / 4
    rule = length_rule(pairs, ROWS)
    assert (rule["prefers"], rule["score"]) == ("shorter", 2.5 / 4)
    assert rule["lead"]["score"] == 0.0


def test_which_way_the_length_rule_goes_is_decided_by_the_prompts_that_are_trained_on() -> None:
    """Not by those that it is judged on: that would be to choose on the test."""
    pairs = pairs_of(ROWS, REWARDS)
    longer = [row([9, 2], [(0, 1, 1)])]
    rule = length_rule(pairs, longer)
    assert (rule["prefers"], rule["score"]) == ("longer", 1.5 / 4)
    assert rule["lead"]["score"] == pytest.approx(1 / 4)


def test_calibration_by_hand() -> None:
    sure = [0.55, 0.58, 0.95]
    logits = [math.log(p / (1 - p)) for p in sure]
    rows = [row([1, 1], [(0, 1, 1)], prompt=str(k)) for k in range(3)]
    found = calibration(pairs_of(rows, [[logits[0], 0.0], [0.0, logits[1]], [logits[2], 0.0]]))
    assert [(one["low"], one["n"], one["score"]) for one in found["bins"]] == [(0.5, 2, 0.5), (0.9, 1, 1.0)]
    assert found["bins"][0]["sure"] == pytest.approx(0.565)
    assert found["ece"] == pytest.approx((2 * 0.065 + 0.05) / 3)


def test_a_model_that_says_true_odds_is_calibrated_and_one_that_doubles_them_is_too_sure() -> None:
    generator = np.random.default_rng(1)
    rows = [row([1, 1], [(0, 1, 1)], prompt=str(k)) for k in range(4000)]
    odds = generator.normal(0, 1.5, len(rows))
    ahead = np.where(generator.random(len(rows)) < 1 / (1 + np.exp(-odds)), odds, -odds)
    right = calibration(pairs_of(rows, [[value, 0.0] for value in ahead.tolist()]))
    double = calibration(pairs_of(rows, [[2 * value, 0.0] for value in ahead.tolist()]))
    assert right["ece"] < 0.03
    assert double["ece"] > 0.08
    assert all(one["ci95"][0] - 0.02 <= one["sure"] <= one["ci95"][1] + 0.02 for one in right["bins"])


def test_correlations_with_length_are_numpys_within_and_over_all() -> None:
    generator = np.random.default_rng()
    rows = [row(generator.integers(1, 30, 4).tolist(), [(0, 1, 1)], prompt=str(k)) for k in range(30)]
    rewards = [(0.1 * np.array([len(c) for c in one.group.completions]) + generator.normal(size=4)) for one in rows]
    found = length_correlation(rows, [one.tolist() for one in rewards])
    sizes = [np.array([len(c) for c in one.group.completions], float) for one in rows]
    whole = np.corrcoef(np.concatenate(rewards), np.concatenate(sizes))[0, 1]
    inside = np.corrcoef(
        np.concatenate([one - one.mean() for one in rewards]), np.concatenate([one - one.mean() for one in sizes])
    )[0, 1]
    assert found["overall"]["score"] == pytest.approx(whole)
    assert found["within"]["score"] == pytest.approx(inside)
    for one in found.values():
        assert one["ci95"][0] < one["score"] < one["ci95"][1]
        assert one["n"] == 120


def test_where_lengths_do_not_vary_there_is_no_correlation() -> None:
    rows = [row([3, 3], [(0, 1, 1)], prompt=str(k)) for k in range(5)]
    assert length_correlation(rows, [[1.0, 2.0]] * 5) == {"within": None, "overall": None}


def test_the_interval_of_a_lead_holds_the_truth_as_often_as_it_says() -> None:
    """Pairs of a prompt hang together; an interval over pairs would be too narrow."""
    generator = np.random.default_rng(3)
    held, held_by_pairs, trials = 0, 0, 300
    for _ in range(trials):
        shift = generator.normal(0.1, 0.3, 40)  # of each prompt
        sizes = generator.integers(1, 8, 40)
        prompt = np.repeat(np.arange(40), sizes)
        gap = shift[prompt] + generator.normal(0, 0.1, len(prompt))
        found = difference(gap, np.zeros(len(gap)), prompt)
        held += found["ci95"][0] <= 0.1 <= found["ci95"][1]
        half = 1.96 * gap.std() / len(gap) ** 0.5
        held_by_pairs += abs(gap.mean() - 0.1) <= half
    assert 0.91 <= held / trials <= 0.98
    assert held_by_pairs / trials < 0.85  # the control


def test_the_interval_of_a_correlation_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    held, trials = 0, 200
    for _ in range(trials):
        sizes = generator.normal(0, 1, (25, 3))
        noise = generator.normal(0, 1, (25, 3))
        rewards = 0.5 * sizes + 0.75**0.5 * noise
        # lengths are whole numbers of tokens: stand in for them
        lengths = np.round(100 * sizes + 1000).astype(int)
        rows = [row(line.tolist(), [(0, 1, 1)], prompt=str(k)) for k, line in enumerate(lengths)]
        found = length_correlation(rows, rewards.tolist())["overall"]
        held += found["ci95"][0] <= 0.5 <= found["ci95"][1]
    assert 0.91 <= held / trials <= 0.98


def test_shares_of_parts_add_up_to_the_whole() -> None:
    encoder = encoder_for(tiny_loaded())
    rows = reward_rows(rankings(60, completions=(3, 5)), encoder)
    generator = np.random.default_rng(0)
    rewards = [generator.normal(size=len(one.group.completions)).tolist() for one in rows]
    pairs = pairs_of(rows, rewards)
    whole = accuracy(pairs)
    for parts in (by(pairs, pairs.task), by_levels(pairs)):
        assert sum(part["n"] for part in parts) == whole["n"]
        assert sum(part["n"] * part["score"] for part in parts) == pytest.approx(whole["n"] * whole["score"])
    names = [part["name"] for part in by_levels(pairs)]
    assert names[0] == "1 rank apart"
    assert names == sorted(names)


def test_a_distribution_has_each_side_once_and_its_bins_add_up() -> None:
    found = distribution(ROWS, REWARDS)
    assert (found["best"]["n"], found["worst"]["n"]) == (2, 2)
    assert found["best"]["mean"] == pytest.approx((1.0 + 0.25) / 2)
    assert found["worst"]["mean"] == pytest.approx((0.5 + 0.25) / 2)
    for side in ("best", "worst"):
        assert sum(one[side] for one in found["bins"]) == pytest.approx(1.0)


def test_figures_while_training_are_those_of_the_end() -> None:
    found = figures(ROWS, REWARDS)
    pairs = pairs_of(ROWS, REWARDS)
    assert found["accuracy"] == accuracy(pairs)["score"]
    assert (found["pairs"], found["prompts"]) == (4, 2)
    losses = [math.log(1 + math.exp(-d)) for d in (2.0, 0.5, -1.5)]
    assert found["held_out_loss"] == pytest.approx((sum(losses) / 3 + math.log(2)) / 2)
    assert found["difference"] == pytest.approx((1.0 / 3 + 0.0) / 2)


def test_one_prompt_alone_has_an_interval_that_says_next_to_nothing() -> None:
    found = share(np.array([1.0, 1.0, 0.0]), np.array([4, 4, 4]))
    assert found["ci95"][1] - found["ci95"][0] > 0.7
    assert difference(np.array([1.0]), np.array([0.0]), np.array([0]))["ci95"] == [-1.0, 1.0]
