"""The reward head: one number from the last hidden state behind a completion.

    [prompt][completion end]  ->  backbone  ->  h (H,) at the end  ->  w . h + b  ->  1.37

    attach_head(loaded, seed=0)    model.reward_head, w drawn from N(0, 1 / (H + 1)), b = 0
    detach_head(model)             the plain model again, and the head by itself

The head is a module of the model while it is trained, so that the loop, checkpoints and optimizers see one model. Only
differences of rewards are trained on, so that b is free: it is set afterwards.

Shape legend: N completions, H hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instil.errors import ModelError
from instil.fingerprint import keyed_int
from instil.models.groups import hidden_at
from instil.models.tensors import Layout, PackTensors
from instil.records import Architecture

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel

#: The name of the submodule.
NAME = "reward_head"


class RewardHead(nn.Module):
    """A reward from a hidden state, in float32 at least.

    Args:
        hidden_size: H.
    """

    weight: nn.Parameter
    """(1, H)."""
    bias: nn.Parameter
    """(1,)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden_NH: Tensor) -> Tensor:
        """The rewards (N,)."""
        # sums of products, not a linear layer: automatic mixed precision would make that in three digits
        exact = torch.float64 if hidden_NH.dtype is torch.float64 else torch.float32
        return (hidden_NH.to(exact) * self.weight.to(exact)).sum(-1) + self.bias.to(exact)


def attach_head(loaded: LoadedModel, *, seed: int) -> RewardHead:
    """Give a model a fresh head, drawn from `seed`; bias 0.

    Raises:
        ModelError: if the model has one already.
    """
    head = RewardHead(hidden_size(loaded))
    generator = torch.Generator().manual_seed(keyed_int(seed, "reward head", n=2**63))
    with torch.no_grad():
        head.weight.normal_(0.0, (head.weight.shape[1] + 1) ** -0.5, generator=generator)
    return put_head(loaded.model, head)


def put_head(model: PreTrainedModel, head: RewardHead) -> RewardHead:
    """Make a head a submodule of a model, on the model's device.

    Raises:
        ModelError: if the model has one already.
    """
    if has_head(model):
        raise ModelError("the model has a reward head already", remedy="Start from a plain model")
    setattr(model, NAME, head.to(model.device))
    return head


def has_head(model: PreTrainedModel) -> bool:
    """Whether a model gives rewards."""
    return hasattr(model, NAME)


def head_of(model: PreTrainedModel) -> RewardHead:
    """The head of a model that has one."""
    head: RewardHead = getattr(model, NAME)
    return head


def detach_head(model: PreTrainedModel) -> RewardHead:
    """Take the head off; the model is a plain one again."""
    head = head_of(model)
    delattr(model, NAME)
    return head


def hidden_size(loaded: LoadedModel) -> int:
    """H: the width of what `hidden_at` gives."""
    model = loaded.model
    output: Any = model.get_output_embeddings()
    if loaded.architecture != "masked" and output is not None:  # which may be narrower than the blocks
        return int(output.weight.shape[1])
    return int(model.config.get_text_config().hidden_size)


def rewards_at(
    model: PreTrainedModel, architecture: Architecture, pack: PackTensors, ends_N: Tensor, layout: Layout
) -> Tensor:
    """The rewards (N,) read at flattened places of a rectangle, with gradients.

    Args:
        model: with a head.
        architecture: of the model.
        pack: the rectangle.
        ends_N: index of the last token of each completion (of a masked model, of each text).
        layout: of the rectangle.
    """
    rewards_N: Tensor = head_of(model)(hidden_at(model, architecture, pack, ends_N, layout))
    return rewards_N
