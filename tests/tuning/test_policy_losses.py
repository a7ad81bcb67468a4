"""Losses of policies and values against their formulas, written out slowly in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from instil.tuning.policy_losses import answer_weights, importance, k1, k2, k3, policy_loss, value_loss

F64 = torch.float64


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@given(seed=st.integers(0, 10_000), clip=st.floats(0.01, 0.9), above=st.none() | st.floats(0.01, 2.0))
def test_the_policy_loss_is_the_smaller_gain_negated(seed: int, clip: float, above: float | None) -> None:
    new, old, advantage = (_random(seed + k, 30) for k in range(3))
    found = policy_loss(new, old, advantage, clip=clip, clip_above=above)
    for k in range(30):
        ratio = math.exp(float(new[k]) - float(old[k]))
        held = min(max(ratio, 1 - clip), 1 + (clip if above is None else above))
        gains = ratio * float(advantage[k]), held * float(advantage[k])
        assert float(found.loss[k]) == pytest.approx(-min(gains), rel=1e-9)
        assert bool(found.clipped[k]) == (gains[1] < gains[0])


def test_no_gradient_flows_where_the_ratio_has_gained_enough() -> None:
    new = torch.tensor([0.5, 0.5, -0.5, -0.5, 0.0], dtype=F64, requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0], dtype=F64)
    found = policy_loss(new, torch.zeros(5, dtype=F64), advantage, clip=0.2)
    found.loss.sum().backward()
    assert new.grad is not None
    assert (new.grad == 0).tolist() == [True, False, False, True, False]
    assert found.clipped.tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_where_the_policy_is_the_one_that_sampled_the_gradient_is_reinforce() -> None:
    new = _random(0, 6).requires_grad_()
    advantage = _random(1, 6)
    policy_loss(new, new.detach().clone(), advantage, clip=0.2).loss.sum().backward()
    assert new.grad is not None
    assert torch.allclose(new.grad, -advantage)


@given(seed=st.integers(0, 10_000), clip=st.floats(0.05, 2.0))
def test_the_value_loss_is_the_larger_of_both_errors(seed: int, clip: float) -> None:
    value, old, aim = (_random(seed + k, 30) for k in range(3))
    found = value_loss(value, old, aim, clip=clip)
    free = value_loss(value, old, aim, clip=0.0)
    for k in range(30):
        held = float(old[k]) + min(max(float(value[k]) - float(old[k]), -clip), clip)
        errors = (float(value[k]) - float(aim[k])) ** 2, (held - float(aim[k])) ** 2
        assert float(found.loss[k]) == pytest.approx(0.5 * max(errors), rel=1e-9)
        assert bool(found.clipped[k]) == (errors[1] > errors[0])
        assert float(free.loss[k]) == pytest.approx(0.5 * errors[0], rel=1e-9)
    assert not free.clipped.any()


def test_a_value_that_gained_enough_has_no_gradient() -> None:
    value = torch.tensor([1.0], dtype=F64, requires_grad=True)
    found = value_loss(value, torch.zeros(1, dtype=F64), torch.tensor([3.0], dtype=F64), clip=0.2)
    found.loss.sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [0.0]
    assert found.clipped.tolist() == [1.0]


@given(seed=st.integers(0, 10_000))
def test_k1_and_k3_are_right_on_average_and_k3_is_never_negative(seed: int) -> None:
    policy, reference = _random(seed, 9).log_softmax(0), _random(seed + 1, 9).log_softmax(0)
    kl = float((policy.exp() * (policy - reference)).sum())
    for estimate in (k1, k3):
        assert float((policy.exp() * estimate(policy, reference)).sum()) == pytest.approx(kl, abs=1e-9)
    assert float(k3(policy, reference).min()) >= 0


def test_gradients_of_the_estimators_where_the_policy_samples() -> None:
    """That of k2 is KL(policy, reference)'s; that of k3 is KL(reference, policy)'s, as GRPO's penalty has it."""
    logits, reference = _random(3, 9).requires_grad_(), _random(4, 9).log_softmax(0)
    policy = logits.log_softmax(0)
    exact = {
        k2: (policy.exp() * (policy - reference)).sum(),
        k3: (reference.exp() * (reference - policy)).sum(),
    }
    for estimate, kl in exact.items():
        (wanted,) = torch.autograd.grad(kl, logits, retain_graph=True)
        sampled = (policy.exp().detach() * estimate(policy, reference)).sum()
        (found,) = torch.autograd.grad(sampled, logits, retain_graph=True)
        assert torch.allclose(found, wanted)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 10_000))
def test_weights_make_of_a_mean_over_tokens_the_mean_that_is_wanted(sizes: list[int], seed: int) -> None:
    losses = [_random(seed + k, size) for k, size in enumerate(sizes)]
    flat, whole = torch.cat(losses), sum(sizes)

    def mean(how: str) -> float:
        weights = answer_weights(torch.tensor(sizes), how=how, most=12)  # type: ignore[arg-type]
        return float((weights.repeat_interleave(torch.tensor(sizes)) * flat).sum() / whole)

    assert mean("token") == pytest.approx(float(flat.mean()), abs=1e-9)
    assert mean("sequence") == pytest.approx(float(torch.stack([one.mean() for one in losses]).mean()), abs=1e-9)
    assert mean("constant") == pytest.approx(float(flat.sum()) / (len(sizes) * 12), abs=1e-9)


def test_importance_is_cut_and_what_is_not_known_counts_once() -> None:
    sampled = torch.tensor([-1.0, -3.0, -0.5, float("nan")])
    found = importance(torch.tensor([-1.0, -1.0, -1.0, -1.0]), sampled, cap=2.0)
    assert found.tolist() == pytest.approx([1.0, 2.0, math.exp(-0.5), 1.0])
