"""The loss of a ranking: its worked example, a slow reference in float64, what ties are, and pairs as TRL's."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from instil.tuning.ranking_loss import Ties, ranking_loss, tie_losses


def given_pairs(prompts: list[list[int]], ties: Ties) -> dict[str, torch.Tensor]:
    """All pairs of prompts whose completions have these ranks."""
    rows: list[tuple[int, int, float, bool]] = []
    start = 0
    for ranks in prompts:
        pairs = [(i, j) if ranks[i] <= ranks[j] else (j, i) for i, j in combinations(range(len(ranks)), 2)]
        kept = [(i, j) for i, j in pairs if ranks[i] != ranks[j] or ties != "drop"]
        rows += [(start + i, start + j, 1 / len(kept), ranks[i] == ranks[j]) for i, j in kept]
        start += len(ranks)
    better, worse, share, tied = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "better_P": torch.tensor(better, dtype=torch.int64),
        "worse_P": torch.tensor(worse, dtype=torch.int64),
        "share_P": torch.tensor(share, dtype=torch.float64),
        "tied_P": torch.tensor(tied, dtype=torch.bool),
    }


def slow_loss(rewards: list[float], prompts: list[list[int]], ties: Ties, margin: float = 0.0) -> float:
    """As the paper writes it, with loops: of each prompt the mean over its pairs."""
    total, start = 0.0, 0
    for ranks in prompts:
        losses = []
        for i, j in combinations(range(len(ranks)), 2):
            difference = rewards[start + i] - rewards[start + j]
            if ranks[i] != ranks[j]:
                ahead = difference if ranks[i] < ranks[j] else -difference
                losses.append(math.log(1 + math.exp(-(ahead - margin))))
            elif ties == "squared":
                losses.append(difference**2)
            elif ties == "half":
                losses.append(0.5 * math.log(1 + math.exp(difference)) + 0.5 * math.log(1 + math.exp(-difference)))
        total += sum(losses) / len(losses) if losses else 0.0
        start += len(ranks)
    return total


def test_the_worked_example() -> None:
    pairs = given_pairs([[1, 2, 2], [2, 1]], "drop")
    assert pairs["better_P"].tolist() == [0, 0, 4]
    assert pairs["worse_P"].tolist() == [1, 2, 3]
    rewards = torch.tensor([1.0, 0.0, -0.5, 0.2, 0.7], dtype=torch.float64)
    loss = ranking_loss(rewards, **pairs, margin_P=torch.zeros(3, dtype=torch.float64))
    assert float(loss) == pytest.approx(0.731, abs=5e-4)


@given(st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=6), min_size=1, max_size=5), st.data())
@pytest.mark.parametrize("ties", ["drop", "half", "squared"])
def test_it_is_a_slow_reference(ties: Ties, prompts: list[list[int]], data: st.DataObject) -> None:
    count = sum(map(len, prompts))
    rewards = data.draw(st.lists(st.floats(-8, 8), min_size=count, max_size=count))
    margin = data.draw(st.floats(0, 2))
    pairs = given_pairs(prompts, ties)
    loss = ranking_loss(
        torch.tensor(rewards, dtype=torch.float64),
        **pairs,
        margin_P=torch.full_like(pairs["share_P"], margin),
        ties=ties,
    )
    assert float(loss) == pytest.approx(slow_loss(rewards, prompts, ties, margin), abs=1e-12)


def test_the_gradient_of_a_pair_is_what_the_reward_does_not_yet_say() -> None:
    """-log sigmoid(d): 1 - sigmoid(d), shared by the prompt's pairs."""
    rewards = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64, requires_grad=True)
    pairs = given_pairs([[1, 2, 3]], "drop")
    ranking_loss(rewards, **pairs, margin_P=torch.zeros(3, dtype=torch.float64)).backward()  # type: ignore[no-untyped-call]
    assert rewards.grad is not None
    left = [1 - float(torch.sigmoid(torch.tensor(d, dtype=torch.float64))) for d in (0.5, -0.7, -1.2)]
    assert rewards.grad.tolist() == pytest.approx(
        [-(left[0] + left[1]) / 3, (left[0] - left[2]) / 3, (left[1] + left[2]) / 3]
    )


@pytest.mark.parametrize("ties", ["half", "squared"])
def test_a_tie_costs_least_where_both_rewards_are_equal_and_does_not_know_its_order(ties: Ties) -> None:
    differences = torch.linspace(-3, 3, 61, dtype=torch.float64)
    losses = tie_losses(differences, ties)
    assert int(losses.argmin()) == 30
    assert torch.allclose(losses, losses.flip(0))


def test_no_reward_is_too_large() -> None:
    pairs = given_pairs([[1, 2]], "drop")
    for ahead, expected in ((1e4, 0.0), (-1e4, 1e4)):
        loss = ranking_loss(torch.tensor([ahead, 0.0]), **pairs, margin_P=torch.zeros(1))
        assert float(loss) == expected


def trl_reward_loss(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | None) -> torch.Tensor:
    """`RewardTrainer.compute_loss` of TRL 1.16, to the letter."""
    if margin is not None:
        return -F.logsigmoid(chosen - rejected - margin).mean()
    return -F.logsigmoid(chosen - rejected).mean()


@pytest.mark.parametrize("with_margin", [False, True])
def test_pairs_of_two_completions_have_the_loss_and_the_gradient_of_trl(with_margin: bool) -> None:
    generator = np.random.default_rng()
    count = 7
    values: Any = torch.from_numpy(generator.normal(size=2 * count))
    margin = torch.from_numpy(generator.uniform(0, 2, count)) if with_margin else None
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    pairs = given_pairs([[1, 2]] * count, "drop")
    zero = torch.zeros(count, dtype=torch.float64)
    loss = ranking_loss(ours, **pairs, margin_P=zero if margin is None else margin) / count
    expected = trl_reward_loss(theirs[0::2], theirs[1::2], margin)
    loss.backward()
    expected.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-12)
