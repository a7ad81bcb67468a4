"""An exponential average of a policy's weights over steps, kept beside them (InstructGPT's EMA).

    average <- decay x average + (1 - decay) x weights        before every step, with the weights as they are then:
                                                              it lags by one step, evaluated and in the end alike

    with averaged(model):  ...                 the model has the average for weights while it is evaluated

The average lies in buffers of the model, so that checkpoints have it; a run that is continued goes on with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instil.tuning.value_network import VALUE

#: The name of the submodule.
AVERAGE = "weight_average"


def attach_average(policy: PreTrainedModel) -> None:
    """Begin an average with the weights as they are; of those that are trained, without the value network's."""
    holder = nn.Module()
    for name, weight in _averaged(policy):
        holder.register_buffer(_key(name), weight.detach().float().clone())
    policy.add_module(AVERAGE, holder)


def move_average(policy: PreTrainedModel, decay: float) -> None:
    """Take the present weights into the average."""
    buffers = dict(policy.get_submodule(AVERAGE).named_buffers())
    with torch.no_grad():
        for name, weight in _averaged(policy):
            buffers[_key(name)].lerp_(weight.detach().to(buffers[_key(name)].dtype), 1.0 - decay)


@contextlib.contextmanager
def averaged(policy: PreTrainedModel) -> Iterator[None]:
    """While open, the policy has the average for weights; does nothing where there is none."""
    if not hasattr(policy, AVERAGE):
        yield
        return
    kept = {name: weight.detach().clone() for name, weight in _averaged(policy)}
    _put(policy)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in _averaged(policy):
                weight.copy_(kept[name])


def take_average(policy: PreTrainedModel) -> None:
    """Give the policy the average for weights and take it off, where there is one."""
    if hasattr(policy, AVERAGE):
        _put(policy)
        delattr(policy, AVERAGE)


def detach_average(policy: PreTrainedModel) -> None:
    """Take the average off."""
    if hasattr(policy, AVERAGE):
        delattr(policy, AVERAGE)


@contextlib.contextmanager
def plain(policy: PreTrainedModel) -> Iterator[None]:
    """While open, the policy has neither an average nor a value network beside its weights, so that it can be saved."""
    apart = {name: policy.get_submodule(name) for name in (AVERAGE, VALUE) if hasattr(policy, name)}
    for name in apart:
        delattr(policy, name)
    try:
        yield
    finally:
        for name, module in apart.items():
            policy.add_module(name, module)


def _put(policy: PreTrainedModel) -> None:
    buffers = dict(policy.get_submodule(AVERAGE).named_buffers())
    with torch.no_grad():
        for name, weight in _averaged(policy):
            weight.copy_(buffers[_key(name)])


def _averaged(policy: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    for name, weight in policy.named_parameters():
        if weight.requires_grad and not name.startswith(f"{VALUE}."):
            yield name, weight


def _key(name: str) -> str:
    """Buffers have no dots in their names."""
    return name.replace(".", "|")
