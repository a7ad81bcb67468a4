"""Losses of preferences: values worked by hand, slow references in plain Python, and what each pulls on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from instil.tuning.preference_losses import (
    completion_sums,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_baseline,
    kto_loss,
    robust_dpo_loss,
)

MARGINS = st.lists(st.floats(-40, 40), min_size=1, max_size=8)
BETAS = st.floats(0.01, 2.0)
SMOOTHED = st.floats(0.0, 0.49)


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_worked_example_of_the_module() -> None:
    margin, smoothed = tensor([2.0]), {"beta": 0.1, "label_smoothing": 0.1}
    assert dpo_loss(margin, beta=0.1).item() == pytest.approx(0.5981388693815918)
    assert dpo_loss(margin, **smoothed).item() == pytest.approx(0.6181388693815918)
    assert robust_dpo_loss(margin, **smoothed).item() == pytest.approx(0.5731388693815918)
    assert hinge_loss(margin, beta=0.1).item() == pytest.approx(0.8)
    assert ipo_loss(tensor([1.0 / 2 + 1.0 / 3]), beta=0.1).item() == pytest.approx(17.361111111111111)
    both = kto_loss(tensor([1.0, -1.0]), torch.tensor([True, False]), beta=0.1, baseline=0.5)
    assert both.tolist() == pytest.approx([0.48750260351578967, 0.4625701546562504])


@given(margins=MARGINS, beta=BETAS, smoothing=SMOOTHED)
def test_every_loss_of_pairs_is_that_of_a_slow_reference(margins: list[float], beta: float, smoothing: float) -> None:
    """Which takes the logarithm of a chance that is computed as a number."""
    given_P = tensor(margins)
    right = [math.log(sigmoid(beta * margin)) for margin in margins]
    wrong = [math.log(sigmoid(-beta * margin)) for margin in margins]
    pairs = list(zip(right, wrong, strict=True))
    conservative = [-(1 - smoothing) * a - smoothing * b for a, b in pairs]
    robust = [(-(1 - smoothing) * a + smoothing * b) / (1 - 2 * smoothing) for a, b in pairs]
    assert dpo_loss(given_P, beta=beta).tolist() == pytest.approx([-a for a in right], rel=1e-9, abs=1e-12)
    assert dpo_loss(given_P, beta=beta, label_smoothing=smoothing).tolist() == pytest.approx(conservative, rel=1e-9)
    found = robust_dpo_loss(given_P, beta=beta, label_smoothing=smoothing).tolist()
    assert found == pytest.approx(robust, rel=1e-9, abs=1e-9)
    assert hinge_loss(given_P, beta=beta).tolist() == pytest.approx([max(0.0, 1 - beta * m) for m in margins])
    squares = [(m - 0.5 / beta) ** 2 for m in margins]
    assert ipo_loss(given_P, beta=beta).tolist() == pytest.approx(squares, rel=1e-9, abs=1e-12)


@given(margins=MARGINS, beta=BETAS, seed=st.integers(0, 99), baseline=st.floats(0, 5))
def test_kto_is_that_of_a_slow_reference(margins: list[float], beta: float, seed: int, baseline: float) -> None:
    good = np.random.default_rng(seed).random(len(margins)) < 0.5
    found = kto_loss(
        tensor(margins), torch.tensor(good), beta=beta, baseline=baseline, desirable_weight=1.3, undesirable_weight=0.7
    )
    expected = [
        1.3 * (1 - sigmoid(beta * (ratio - baseline))) if wanted else 0.7 * (1 - sigmoid(beta * (baseline - ratio)))
        for ratio, wanted in zip(margins, good, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_margin_of_nothing_costs_the_logarithm_of_two() -> None:
    for smoothing in (0.0, 0.2):
        assert dpo_loss(tensor([0.0]), beta=0.3, label_smoothing=smoothing).item() == pytest.approx(math.log(2))
    assert robust_dpo_loss(tensor([0.0]), beta=0.3, label_smoothing=0.2).item() == pytest.approx(math.log(2))


def test_far_margins_have_a_finite_loss_and_gradient() -> None:
    """Where the logarithm of a sigmoid that was computed first is minus infinity."""
    margin = tensor([-1e5, 1e5]).requires_grad_()
    loss = dpo_loss(margin, beta=1.0)
    loss.sum().backward()
    assert loss.tolist() == [1e5, 0.0]
    assert margin.grad is not None
    assert margin.grad.tolist() == [-1.0, 0.0]


def test_flipped_labels_pull_the_other_way() -> None:
    margin = tensor([0.7, -1.2]).requires_grad_()
    (straight,) = torch.autograd.grad(dpo_loss(margin, beta=0.5).sum(), margin)
    (flipped,) = torch.autograd.grad(dpo_loss(-margin, beta=0.5).sum(), margin)
    assert bool((straight < 0).all())
    assert bool((flipped > 0).all())


def test_the_robust_loss_of_flipped_labels_is_on_average_the_loss_of_true_ones() -> None:
    margin, share = tensor([0.3, -2.0, 5.0]), 0.2
    right = robust_dpo_loss(margin, beta=0.4, label_smoothing=share)
    wrong = robust_dpo_loss(-margin, beta=0.4, label_smoothing=share)
    torch.testing.assert_close((1 - share) * right + share * wrong, dpo_loss(margin, beta=0.4))


def test_label_smoothing_is_least_at_a_finite_margin() -> None:
    """At log((1 - e) / e) / beta: the policy is not driven to certainty."""
    best = math.log(0.9 / 0.1) / 0.5
    margin = tensor([best]).requires_grad_()
    (slope,) = torch.autograd.grad(dpo_loss(margin, beta=0.5, label_smoothing=0.1).sum(), margin)
    assert slope.item() == pytest.approx(0.0, abs=1e-12)


def test_ipo_is_zero_at_its_target_and_grows_on_both_sides() -> None:
    assert ipo_loss(tensor([5.0, 4.0, 6.0]), beta=0.1).tolist() == pytest.approx([0.0, 1.0, 1.0])


def test_the_baseline_is_a_mean_that_is_never_below_nothing() -> None:
    assert kto_baseline(tensor([1.0, 3.0, -1.0])).item() == pytest.approx(1.0)
    assert kto_baseline(tensor([-1.0, -3.0])).item() == 0.0


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), seed=st.integers(0, 999))
def test_sums_are_those_of_each_completions_own_tokens(lengths: list[int], seed: int) -> None:
    """In whatever order tokens stand; and each token's gradient is that of its own completion."""
    generator = np.random.default_rng(seed)
    total = sum(lengths)
    order = generator.permutation(total)
    places = np.full((len(lengths), max(lengths)), total)
    start = 0
    for row, length in enumerate(lengths):
        places[row, :length] = order[start : start + length]
        start += length
    values = torch.from_numpy(generator.normal(size=total)).requires_grad_()
    found = completion_sums(values, torch.from_numpy(places))
    expected = [sum(float(values[k].detach()) for k in row if k < total) for row in places]
    assert found.tolist() == pytest.approx(expected)
    weights = torch.from_numpy(generator.normal(size=len(lengths)))
    (slopes,) = torch.autograd.grad((found * weights).sum(), values)
    for row, numbers in enumerate(places):
        for k in numbers[numbers < total]:
            assert slopes[k].item() == pytest.approx(weights[row].item())
