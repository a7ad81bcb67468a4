"""Advantages against their definitions, written out slowly in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from instil.tuning.advantages import adapted, gae, group_advantages, running, scaled, token_rewards, whitened

F64 = torch.float64
SHARES = st.floats(0.0, 1.0)


def _answers(seed: int, answers: int = 4, longest: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rewards and values (N, T) of random answers, and where their tokens stand."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, longest + 1, (answers,), generator=generator)
    sizes[0] = longest
    mask = torch.arange(longest)[None] < sizes[:, None]
    rewards, values = (torch.randn(answers, longest, generator=generator, dtype=F64) for _ in range(2))
    return rewards, values, mask


def test_the_worked_example() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]], dtype=F64), torch.tensor([[0.2, 0.5, 0.4]], dtype=F64)
    advantages, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=1.0, lam=0.95)
    assert torch.allclose(advantages, torch.tensor([[0.7465, 0.47, 0.6]], dtype=F64))
    assert torch.allclose(returns, advantages + values)


@given(seed=st.integers(0, 10_000), gamma=SHARES, lam=SHARES)
def test_gae_is_the_weighted_sum_of_its_definition(seed: int, gamma: float, lam: float) -> None:
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, within the answer (Schulman et al. 2016, equation 16)."""
    rewards, values, mask = _answers(seed)
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for row in range(len(mask)):
        size = int(mask[row].sum())
        following = [float(values[row, t + 1]) if t + 1 < size else 0.0 for t in range(size)]
        deltas = [float(rewards[row, t]) + gamma * following[t] - float(values[row, t]) for t in range(size)]
        for t in range(size):
            expected = sum((gamma * lam) ** (later - t) * deltas[later] for later in range(t, size))
            assert float(advantages[row, t]) == pytest.approx(expected, abs=1e-9)
            assert float(returns[row, t]) == pytest.approx(expected + float(values[row, t]), abs=1e-9)
        assert not advantages[row, size:].any()
        assert not returns[row, size:].any()


@given(seed=st.integers(0, 10_000), gamma=SHARES)
def test_lambda_one_trusts_what_came_and_zero_the_values(seed: int, gamma: float) -> None:
    rewards, values, mask = _answers(seed)
    _, returns = gae(rewards, values, mask, gamma=gamma, lam=1.0)
    advantages, _ = gae(rewards, values, mask, gamma=gamma, lam=0.0)
    for row in range(len(mask)):
        size = int(mask[row].sum())
        for t in range(size):
            discounted = sum(gamma ** (later - t) * float(rewards[row, later]) for later in range(t, size))
            assert float(returns[row, t]) == pytest.approx(discounted, abs=1e-9)
            after = float(values[row, t + 1]) if t + 1 < size else 0.0
            delta = float(rewards[row, t]) + gamma * after - float(values[row, t])
            assert float(advantages[row, t]) == pytest.approx(delta, abs=1e-9)


def test_what_stands_behind_an_answer_changes_nothing() -> None:
    rewards, values, mask = _answers(5)
    before = gae(rewards, values, mask, gamma=0.9, lam=0.8)
    after = gae(rewards.masked_fill(~mask, 9.0), values.masked_fill(~mask, -7.0), mask, gamma=0.9, lam=0.8)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_every_token_pays_for_its_kl_and_the_last_one_has_the_reward() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    kl = torch.tensor([[0.5, -0.2, 0.1], [0.3, 9.0, 9.0]], dtype=F64)
    found = token_rewards(torch.tensor([2.0, -1.0], dtype=F64), kl, mask, beta=0.1)
    expected = torch.tensor([[-0.05, 0.02, 2.0 - 0.01], [-1.0 - 0.03, 0.0, 0.0]], dtype=F64)
    assert torch.allclose(found, expected)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100.0), shift=st.floats(-10.0, 10.0))
def test_whitened_values_have_mean_0_and_variance_1_where_tokens_stand(seed: int, scale: float, shift: float) -> None:
    values, _, mask = _answers(seed)
    white = whitened(values * scale + shift, mask)
    assert float(white[mask].mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(white[mask].var(correction=0)) == pytest.approx(1.0, rel=1e-3)
    assert not white[~mask].any()


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100.0), shift=st.floats(-10.0, 10.0))
def test_scaled_rewards_keep_their_proportions_so_that_no_token_is_paid_for_itself(
    seed: int, scale: float, shift: float
) -> None:
    values, _, mask = _answers(seed)
    rewards = torch.where(mask, values * scale + shift, torch.zeros_like(values))
    found, deviation = scaled(rewards, mask), rewards[mask].std(correction=0)
    assert torch.allclose(found * deviation, rewards, rtol=1e-9, atol=1e-9) or deviation < 1e-8
    # of answers with one reward, whatever their length, none is worth more than another
    last = torch.zeros_like(values).scatter(1, mask.sum(1, keepdim=True) - 1, 2.0)
    sums = scaled(last, mask).sum(1)
    assert torch.allclose(sums, sums[0].expand_as(sums))


def test_a_rollout_without_answers_has_no_advantages() -> None:
    nothing = torch.zeros(3, 0)
    advantages, returns = gae(nothing, nothing, nothing.bool(), gamma=1.0, lam=0.95)
    assert advantages.shape == returns.shape == (3, 0)


def test_rewards_that_are_all_equal_stay_as_they_are() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    assert scaled(torch.full((2, 2), 3.0), mask).tolist() == [[3.0, 3.0], [3.0, 0.0]]
    assert scaled(torch.full((2, 2), 3.0), torch.zeros_like(mask)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_single_value_or_none_is_whitened_to_nothing() -> None:
    one = whitened(torch.tensor([[3.0, 5.0]]), torch.tensor([[True, False]]))
    assert one.tolist() == [[0.0, 0.0]]
    assert not whitened(torch.tensor([[3.0]]), torch.tensor([[False]])).any()


@given(seed=st.integers(0, 10_000), groups=st.integers(1, 4), size=st.integers(2, 5))
def test_answers_are_compared_with_those_that_the_method_names(seed: int, groups: int, size: int) -> None:
    rewards = torch.randn(groups, size, generator=torch.Generator().manual_seed(seed), dtype=F64)
    every = rewards.reshape(-1).tolist()
    found = {
        name: group_advantages(rewards, estimator=name, scaled=scaled)  # type: ignore[arg-type]
        for name, scaled in (("grpo", True), ("rloo", False), ("reinforce", False))
    }
    plain = group_advantages(rewards, estimator="grpo", scaled=False)
    for g in range(groups):
        own = rewards[g].tolist()
        mean = sum(own) / size
        deviation = math.sqrt(sum((value - mean) ** 2 for value in own) / (size - 1))
        for s in range(size):
            others = [value for k, value in enumerate(own) if k != s]
            assert float(found["grpo"][g, s]) == pytest.approx((own[s] - mean) / (deviation + 1e-4), abs=1e-9)
            assert float(plain[g, s]) == pytest.approx(own[s] - mean, abs=1e-9)
            assert float(found["rloo"][g, s]) == pytest.approx(own[s] - sum(others) / len(others), abs=1e-9)
            assert float(found["reinforce"][g, s]) == pytest.approx(own[s] - sum(every) / len(every), abs=1e-9)


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    flat = torch.full((2, 3), 0.7, dtype=F64)
    for name in ("grpo", "rloo", "reinforce"):
        assert group_advantages(flat, estimator=name, scaled=name != "rloo").abs().max() < 1e-9  # type: ignore[arg-type]


def test_one_answer_has_no_others() -> None:
    with pytest.raises(ValueError, match="two answers"):
        group_advantages(torch.zeros(2, 1), estimator="rloo")


def test_beta_follows_the_kl_to_its_target_a_fifth_at_most() -> None:
    assert adapted(0.2, 6.0, target=6.0, horizon=100, episodes=10) == pytest.approx(0.2)
    assert adapted(0.2, 60.0, target=6.0, horizon=100, episodes=10) == pytest.approx(0.2 * (1 + 0.2 * 0.1))
    assert adapted(0.2, 0.0, target=6.0, horizon=100, episodes=10) == pytest.approx(0.2 * (1 - 0.2 * 0.1))
    assert adapted(0.2, 6.6, target=6.0, horizon=100, episodes=10) == pytest.approx(0.2 * (1 + 0.1 * 0.1))


def test_a_running_baseline_begins_with_the_first_mean_and_stays_where_nothing_came() -> None:
    first = running(None, torch.tensor([1.0, 2.0]), decay=0.9)
    assert first == pytest.approx(1.5)
    assert running(first, torch.tensor([4.0]), decay=0.9) == pytest.approx(0.9 * 1.5 + 0.4)
    assert running(first, torch.zeros(0), decay=0.9) == first
