"""The reward head: a number behind each completion, exact in low precision, gone without a trace."""

from __future__ import annotations

import pytest
import torch
from tests.tiny_models import tiny_loaded

from instil.errors import ModelError
from instil.models.reward_head import RewardHead, attach_head, detach_head, has_head, hidden_size


def test_a_head_is_the_product_with_its_weight_and_a_bias() -> None:
    head = RewardHead(3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        head.bias.fill_(4.0)
    assert head(torch.tensor([[2.0, 1.0, 2.0], [0.0, 0.0, 0.0]])).tolist() == [5.0, 4.0]


def test_rewards_are_float32_under_automatic_mixed_precision_and_beside_a_bfloat16_model() -> None:
    head = RewardHead(64)
    with torch.no_grad():
        head.weight.normal_()
    hidden = torch.randn(5, 64).bfloat16()
    expected = hidden.double() @ head.weight.detach().double()[0]
    with torch.autocast("cpu", torch.bfloat16):
        ours = head(hidden)
    assert ours.dtype is torch.float32
    assert float((ours.double() - expected).abs().max().detach()) < 1e-5
    assert (
        float((hidden @ head.weight.detach().bfloat16()[0] - expected).abs().max()) > 1e-3
    )  # what it would be otherwise


def test_a_head_is_drawn_by_its_seed_alone_and_small_enough_that_rewards_begin_near_one() -> None:
    torch.manual_seed(1)
    first = attach_head(tiny_loaded(), seed=3).weight.detach().clone()
    torch.manual_seed(2)
    assert torch.equal(attach_head(tiny_loaded(), seed=3).weight, first)
    assert not torch.equal(attach_head(tiny_loaded(), seed=4).weight, first)
    assert 0.5 < float(first.norm()) < 1.5


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "modernbert"])
def test_a_detached_head_leaves_the_plain_model(kind: str) -> None:
    loaded = tiny_loaded(kind)
    names = list(loaded.model.state_dict())
    head = attach_head(loaded, seed=0)
    assert head.weight.shape == (1, hidden_size(loaded)) == (1, 32)
    assert {"reward_head.weight", "reward_head.bias"} == set(loaded.model.state_dict()) - set(names)
    with pytest.raises(ModelError, match="has a reward head already"):
        attach_head(loaded, seed=0)
    assert detach_head(loaded.model) is head
    assert not has_head(loaded.model)
    assert list(loaded.model.state_dict()) == names
