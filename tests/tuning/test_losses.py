"""The answer loss is a sum over tokens, at least in float32."""

from __future__ import annotations

import math

import torch

from instil.tuning.losses import answer_loss_sum


def test_two_tokens_of_four_equally_likely_words_cost_twice_the_logarithm_of_four() -> None:
    loss = answer_loss_sum(torch.zeros(2, 4), torch.tensor([1, 3]))
    assert math.isclose(float(loss), 2 * math.log(4), rel_tol=1e-6)


def test_low_precision_logits_are_summed_in_float32() -> None:
    logits = torch.randn(500, 40).bfloat16()
    target = torch.arange(500) % 40
    assert torch.equal(answer_loss_sum(logits, target), answer_loss_sum(logits.float(), target))


def test_no_trained_token_costs_nothing() -> None:
    assert float(answer_loss_sum(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))) == 0.0
