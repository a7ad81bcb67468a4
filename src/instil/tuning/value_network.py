"""The value network of PPO: what is expected of an answer in front of each of its tokens.

    reward model   backbone + reward head     reads a reward behind the last token
    value network  a copy of both             reads a value in front of every token

    policy.value_network        a module of the policy while it is trained, so that the loop, checkpoints and optimizers
                                see one model; taken off before the policy is saved

InstructGPT's began as the reward model. One of another architecture or with another tokenizer cannot read the policy's
tokens: then it begins as a copy of the policy, with a head of zeros.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from instil.models.loading import LoadedModel
from instil.models.reward_head import RewardHead, has_head, head_of, hidden_size, put_head
from instil.tuning.kin import stranger
from instil.tuning.lora import LoraSpec, add_lora

#: The name of the submodule.
VALUE = "value_network"


def value_network(
    loaded: LoadedModel, start: LoadedModel | None, *, lora: LoraSpec | None, seed: int, say: Callable[[str], None]
) -> LoadedModel:
    """A value network for a policy, not yet attached.

    Args:
        loaded: the policy as it starts.
        start: a reward model.
        lora: thin matrices that learn in place of all its weights, beside its head.
        seed: decides how these begin.
        say: is told where it does not begin as the reward model.
    """
    fault = "there is no reward model" if start is None else stranger(start, loaded)
    if start is not None and not has_head(start.model):
        fault = f"{start.path} has no reward head"
    if fault or start is None:
        say(f"the value network begins as the policy, with a head of zeros: {fault}")
        model = copy.deepcopy(loaded.model)
        put_head(model, RewardHead(hidden_size(loaded)))
    else:
        model = copy.deepcopy(start.model).to(loaded.device)
    for weight in model.parameters():
        weight.requires_grad_(True)
    if lora is not None:
        add_lora(model, lora, seed=seed + 1)
        for weight in head_of(model).parameters():
            weight.requires_grad_(True)
    else:
        _freeze_output(model)
    return replace(loaded, model=model)


def _freeze_output(model: PreTrainedModel) -> None:
    """The layer that makes logits is not read, unless its weights are those of the embedding too."""
    output: Any = model.get_output_embeddings()
    if output is None or output.weight is model.get_input_embeddings().weight:
        return
    for weight in output.parameters():
        weight.requires_grad_(False)


def attach(policy: PreTrainedModel, network: PreTrainedModel) -> None:
    """Make the value network a module of the policy."""
    policy.add_module(VALUE, network)


def network_of(policy: nn.Module) -> PreTrainedModel:
    """The value network of a policy that has one."""
    network: PreTrainedModel = policy.get_submodule(VALUE)
    return network


def detach(policy: nn.Module) -> PreTrainedModel | None:
    """Take the value network off, where there is one."""
    if not hasattr(policy, VALUE):
        return None
    network = network_of(policy)
    delattr(policy, VALUE)
    return network
