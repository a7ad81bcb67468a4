"""Rejection-sampling fine-tuning: the best answers are learned, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.tiny_models import tiny_loaded
from tests.tuning.bandit import SmallWords, stopped
from tests.tuning.test_ppo import _rollout

from instil.tuning.rejection import Rejection, RejectionSpec


@pytest.mark.parametrize("keep", [1, 2, 9])
def test_the_best_answers_of_each_prompt_are_taken(keep: int) -> None:
    rollout = _rollout(1, samples=4, groups=3, bad=(5,))
    spec = RejectionSpec(completions_per_prompt=4, keep=keep, missing_end_penalty=0.5)
    taken = Rejection(spec).learned(rollout).taken.reshape(3, 4)
    worth = (rollout.rewards - 0.5 * ~rollout.finished).reshape(3, 4)
    for group in (0, 2):
        best = sorted(range(4), key=lambda k: -worth[group, k])[:keep]
        assert sorted(np.flatnonzero(taken[group])) == sorted(best)
    assert not taken[1].any()


def test_answers_that_are_not_worth_enough_are_not_learned() -> None:
    rollout = _rollout(2, samples=3, groups=2)
    spec = RejectionSpec(completions_per_prompt=3, keep=3, least_reward=0.1, missing_end_penalty=0)
    assert Rejection(spec).learned(rollout).taken.tolist() == (rollout.rewards >= 0.1).tolist()


def test_of_equal_answers_the_first_is_taken() -> None:
    rollout = _rollout(3, samples=3, groups=1)
    rollout.rewards[:] = 1.0
    spec = RejectionSpec(completions_per_prompt=3, missing_end_penalty=0)
    assert Rejection(spec).learned(rollout).taken.tolist() == [True, False, False]


def test_the_gradient_is_that_of_their_mean_cross_entropy(tmp_path: Path) -> None:
    keys = {"prompts_per_rollout": 3, "completions_per_prompt": 4, "max_new_tokens": 5, "layout": "shared"}
    with stopped(tmp_path / "run", tiny_loaded(), "rejection", [SmallWords()], **keys) as run:
        rollout, learned = run.keeper.of(0)
        found = run.gradient()
        assert not len(rollout.reference)  # nothing holds it
        total, count = torch.zeros(()), 0
        answers = [(group, one) for group in rollout.groups for one in group.completions]
        for (group, one), taken in zip(answers, learned.taken, strict=True):
            if taken:
                row = torch.tensor([*group.prompt.tolist(), *one.tolist()])
                logits = run.model(input_ids=row[None]).logits[0, len(group.prompt) - 1 : -1]
                total = total + torch.nn.functional.cross_entropy(logits, row[len(group.prompt) :], reduction="sum")
                count += len(one)
        (total / count).backward()
        for name, weight in run.model.named_parameters():
            assert weight.grad is not None
            assert torch.allclose(found[name], weight.grad, atol=1e-4 * float(weight.grad.abs().max()) + 1e-7), name


def test_there_are_no_ratios_that_could_be_bounded() -> None:
    with pytest.raises(ValidationError, match="importance_cap bounds ratios"):
        RejectionSpec(importance_cap=2.0)
