"""Logits where an answer token is predicted, and nowhere else: the selection stands before the model's output layer.

hidden states (B, T, H) -> those at K places (1, K, H) -> output layer -> (1, K, V)        instead of (B, T, V)
                           read_by_head: these (K, H)    and the output layer reads a single row
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from instil.models.tensors import rows_at


def selected_logits(model: PreTrainedModel, index_K: Tensor, inputs: dict[str, Any]) -> Tensor:
    """The logits (K, V) of `model(**inputs)` at flattened places, computed there alone.

    Whatever the model does behind its output layer (scaling, soft capping) is kept. A model that does not call its
    output layer computes all logits, and is selected from.
    """
    selected: list[bool] = []

    def select(hidden_BTH: Tensor) -> Tensor:
        selected.append(True)
        return rows_at(hidden_BTH, index_K).unsqueeze(0)

    logits: Tensor = _called(model, inputs, before_head=select).logits
    return logits.squeeze(0) if selected else rows_at(logits, index_K)


def read_by_head(model: PreTrainedModel, index_N: Tensor, inputs: dict[str, Any]) -> Tensor:
    """The hidden states (N, H) that the output layer reads at flattened places; it makes the logits of one row alone.

    Of a model without an output layer, or that does not call it, its last hidden states.
    """
    read: list[Tensor] = []

    def take(hidden_BTH: Tensor) -> Tensor:
        read.append(rows_at(hidden_BTH, index_N))
        return hidden_BTH[:1, :1]

    whole = _called(model, inputs, before_head=take)
    return read[0] if read else rows_at(_last_hidden(model, whole, inputs), index_N)


def selected_by_body(model: PreTrainedModel, index_K: Tensor, inputs: dict[str, Any]) -> Tensor:
    """As `selected_logits`, where a head of several layers stands behind the body of the model: all see K places alone.

    A model that runs no such body computes all logits, and is selected from.
    """
    selected: list[bool] = []

    def select(hidden_BTH: Tensor) -> Tensor:
        selected.append(True)
        return rows_at(hidden_BTH, index_K).unsqueeze(0)

    logits: Tensor = _called(model, inputs, behind_body=select).logits
    return logits.squeeze(0) if selected else rows_at(logits, index_K)


def given_by_body(model: PreTrainedModel, index_N: Tensor, inputs: dict[str, Any]) -> Tensor:
    """The last hidden states (N, H) of the body of the model at flattened places; its head reads a single row."""
    given: list[Tensor] = []

    def take(hidden_BTH: Tensor) -> Tensor:
        given.append(rows_at(hidden_BTH, index_N))
        return hidden_BTH[:1, :1]

    whole = _called(model, inputs, behind_body=take)
    return given[0] if given else rows_at(_last_hidden(model, whole, inputs), index_N)


def _called(
    model: PreTrainedModel,
    inputs: dict[str, Any],
    *,
    before_head: Callable[[Tensor], Tensor] | None = None,
    behind_body: Callable[[Tensor], Tensor] | None = None,
) -> Any:
    """The model's output, with other hidden states handed from its body on."""

    def enter(_: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert before_head is not None
        return (before_head(given[0]),)

    def leave(_: torch.nn.Module, __: Any, output: Any) -> Any:
        assert behind_body is not None
        chosen = behind_body(output[0])
        if isinstance(output, tuple):
            return (chosen, *output[1:])
        output["last_hidden_state"] = chosen
        return output

    hooks = []
    head, body = model.get_output_embeddings(), model.base_model
    if before_head is not None and head is not None:
        hooks.append(head.register_forward_pre_hook(enter, prepend=True))
    if behind_body is not None and body is not model:
        hooks.append(body.register_forward_hook(leave))
    try:
        return model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()


def _last_hidden(model: PreTrainedModel, output: Any, inputs: dict[str, Any]) -> Tensor:
    hidden: Tensor | None = getattr(output, "last_hidden_state", None)
    if hidden is None:
        hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
    return hidden
