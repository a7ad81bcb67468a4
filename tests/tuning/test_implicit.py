"""Implicit rewards of held-out completions: the share of pairs in their order, and an interval over prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import aligned, encoder_of, rankings
from tests.tuning.test_dpo import slow_sums

from instil.records import Group, Message, Ranking
from instil.runs import RunFolder, read_metrics
from instil.tuning.dpo import DpoSpec
from instil.tuning.implicit import ImplicitRewards, accuracy_by_prompt
from instil.tuning.preference_rows import PreferenceRow, paired_rows


def asking(path: Path, loaded: Any, held_out: list[Ranking], **keys: Any) -> ImplicitRewards:
    with RunFolder.open(path, recipe={}, inputs={}, resume=True, echo=lambda message: None) as run:
        spec = DpoSpec.model_validate({"tokens_per_batch": 100, **keys})
        return ImplicitRewards(loaded, held_out, spec, run, encoder=encoder_of(loaded))


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto"])
def test_accuracy_and_margin_are_those_of_completions_read_one_by_one(tmp_path: Path, method: str) -> None:
    start, policy = tiny_loaded(), tiny_loaded(seed=2)
    implicit = asking(tmp_path, start, rankings(12, seed=8), method=method)
    right, margins = 0.0, []
    with torch.no_grad():
        for row in implicit.rows:
            ratios = [float(a - b) for a, b in zip(slow_sums(policy, row), slow_sums(start, row), strict=True)]
            if method == "ipo":
                ratios = [r / len(ids) for r, ids in zip(ratios, row.group.completions, strict=True)]
            each = [ratios[i] - ratios[j] for i, j in row.pairs]
            right += sum(margin > 0 for margin in each)
            margins.append(np.mean(each))
    figures = implicit.figures(policy.model)
    pairs = sum(len(row.pairs) for row in implicit.rows)
    assert figures["accuracy"] == pytest.approx(right / pairs)
    assert figures["margin"] == pytest.approx(0.1 * np.mean(margins), rel=1e-4)
    assert (figures["pairs"], figures["prompts"]) == (pairs, 12)
    assert ("preference_loss" in figures) == (method != "kto")
    assert figures["accuracy_low"] < figures["accuracy"] < figures["accuracy_high"]


def test_the_start_is_half_right(tmp_path: Path) -> None:
    found = asking(tmp_path, tiny_loaded(), rankings(10)).accuracy()
    assert found.rate == 0.5
    assert found.ci95[0] < 0.3
    assert found.ci95[1] > 0.7


def test_evaluations_while_training_ask_for_it(tmp_path: Path) -> None:
    """The reference is the policy as it was, though the policy is trained in place."""
    loaded = tiny_loaded()
    implicit = asking(tmp_path / "kept", loaded, rankings(60, seed=9))
    aligned(
        tmp_path / "run",
        loaded,
        rankings(300),
        evaluate=lambda step, model: implicit.figures(model),
        evaluate_every=20,
        max_steps=40,
        learning_rate=5e-3,
        prompts_per_step=16,
    )
    asked = [row["evaluation"] for row in read_metrics(tmp_path / "run") if "evaluation" in row]
    assert len(asked) == 2
    assert asked[-1]["accuracy_low"] > 0.5
    again = asking(tmp_path / "kept", tiny_loaded(), rankings(60, seed=9))  # reads what was kept
    assert again.figures(loaded.model) == asked[-1]


def _row(prompt: str, pairs: int) -> PreferenceRow:
    nothing = np.zeros(1, dtype=np.int32)
    return PreferenceRow(Group(nothing, (nothing, nothing)), ((0, 1),) * pairs, (0,), (), 0, prompt)


def test_rankings_of_one_prompt_by_several_people_are_one_cluster() -> None:
    """Ten people who say the same of two prompts know no more about other prompts than one."""
    rows = [_row(prompt, 1) for prompt in "ab" for _ in range(10)]
    margins = [np.array([1.0 if row.prompt == "a" else -1.0]) for row in rows]
    found = accuracy_by_prompt(rows, margins, DpoSpec())
    assert (found.rate, found.pairs, found.prompts) == (0.5, 20, 2)
    assert found.ci95[1] - found.ci95[0] > 0.8
    apart = accuracy_by_prompt([_row(str(k), 1) for k in range(20)], margins, DpoSpec())
    assert apart.ci95[1] - apart.ci95[0] < 0.5


def test_all_right_leaves_an_interval_that_depends_on_the_number_of_prompts() -> None:
    rows = [_row(str(k), 3) for k in range(10)]
    found = accuracy_by_prompt(rows, [np.ones(3)] * 10, DpoSpec())
    assert found.rate == 1.0
    assert 0.6 < found.ci95[0] < 0.8  # Wilson's of 10 of 10
    assert found.ci95[1] == pytest.approx(1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Pairs of a prompt that stand or fall together, 60 prompts of 1 to 6 pairs."""
    generator = np.random.default_rng(0)
    covered, draws = 0, 600
    for _ in range(draws):
        chances = generator.beta(2.0, 1.0, size=60)  # whose mean is two thirds
        sizes = generator.integers(1, 7, size=60)
        margins = [np.where(generator.random(size) < p, 1.0, -1.0) for size, p in zip(sizes, chances, strict=True)]
        rows = [_row(str(k), int(size)) for k, size in enumerate(sizes)]
        low, high = accuracy_by_prompt(rows, margins, DpoSpec()).ci95
        covered += low <= 2 / 3 <= high
    assert 0.92 <= covered / draws <= 0.98


def test_what_is_said_of_prompts_is_the_whole_conversation() -> None:
    one = Ranking((Message("user", "w1"), Message("assistant", "w2"), Message("user", "w3")), ("w4", "w5"), (1, 2))
    other = Ranking((Message("user", "w9"), Message("assistant", "w2"), Message("user", "w3")), ("w4", "w5"), (1, 2))
    loaded = tiny_loaded()
    rows = paired_rows([one, other, one], encoder_of(loaded))
    assert rows[0].prompt == rows[2].prompt != rows[1].prompt
