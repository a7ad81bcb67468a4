"""The loss of a wide output layer: the logits of a few trained tokens at a time, and never all of them.

    K trained tokens, V words:  logits, their softmax and its gradient at once    3 x K x V numbers
                                a few rows at a time, gradients made on the way   2**25 numbers, whatever K is

    900 answer tokens, 151,936 words, float32                          1,640 MB -> 134 MB

The same products are made as otherwise, none of them twice: the gradients of the summed loss are known as soon as the
logits are, and wait for the backward pass, which multiplies them by the scale of their piece.

Shape legend: K trained tokens, R rows of them at a time, H hidden size, V vocabulary, N words of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instil.models.linear import OneDNNLinear, multiplied_in, product
from instil.models.parity import TOLERANCE, evaluating
from instil.models.tensors import PackTensors
from instil.tuning.losses import answer_loss_sum

#: So many logits are held at once. Fewer would read the output layer's weights from memory more often.
_LOGITS = 2**25
#: Rows are taken in multiples of this: oneDNN writes code for every number of rows that it meets.
_ROWS = 64
#: Words whose weights are multiplied at once, so that a copy that oneDNN makes of them stays small.
_WORDS = 8192

#: Fewer logits than this are held as they are: below, nothing is gained.
_MANY = 2**23
#: Places at which a model's logits are compared with those that its output layer alone makes.
_COMPARED = 8

AnswerLogits = Callable[[PreTrainedModel, PackTensors], Tensor]
"""The logits (K, V) of a piece's trained tokens, which are selected in front of the output layer."""


class AnswerLoss:
    """The summed cross entropy of a piece's trained tokens; where their logits would be many, without holding them.

    loss_sum = AnswerLoss(lambda model, item: answer_logits(model, item, "packed"))
    loss_sum(model, item).backward()
    """

    def __init__(self, answer_logits: AnswerLogits) -> None:
        self._answer_logits = answer_logits
        self._fault: str | None = None  # not yet looked for

    def __call__(self, model: PreTrainedModel, item: PackTensors) -> Tensor:
        """The loss of `item`."""
        if not _is_wide(model, len(item.target_ids)) or self._fault_of(model, item):
            return answer_loss_sum(self._answer_logits(model, item), item.target_ids)
        head, (scale, cap) = model.get_output_embeddings(), behind_head(model)
        sums: list[Tensor] = []

        def take(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            """The loss is made of what the output layer was to read; the layer reads a single row in its place."""
            hidden_KH = given[0].reshape(-1, given[0].shape[-1])
            sums.append(linear_loss_sum(hidden_KH, head.weight, head.bias, item.target_ids, scale=scale, cap=cap))
            return (hidden_KH[None, :1],)

        hook = head.register_forward_pre_hook(take)
        try:
            self._answer_logits(model, item)
        finally:
            hook.remove()
        return sums[0]

    def look(self, model: PreTrainedModel, item: PackTensors) -> None:
        """Look for the fault of the model's head now: once processes hold parts of it, none may run it by itself."""
        self._fault_of(model, item)

    def _fault_of(self, model: PreTrainedModel, item: PackTensors) -> str:
        """The fault of the model's head, looked for once: without dropout, so that no generator is touched."""
        if self._fault is None:
            few = replace(item, target_index=item.target_index[:_COMPARED], target_ids=item.target_ids[:_COMPARED])
            self._fault = head_fault(model, lambda: self._answer_logits(model, few))
        return self._fault


def logits_bytes(model: PreTrainedModel, tokens: int) -> int:
    """The bytes of the logits that are held at once where so many tokens are trained."""
    logits = tokens * int(model.get_input_embeddings().weight.shape[0])
    return 4 * (min(logits, _LOGITS) if _is_wide(model, tokens) else logits)


def _is_wide(model: PreTrainedModel, tokens: int) -> bool:
    head = model.get_output_embeddings()
    return head is not None and tokens * int(head.weight.shape[0]) > _MANY


def head_fault(model: PreTrainedModel, answer_logits: Callable[[], Tensor]) -> str:
    """Why the loss cannot be made of the output layer's weights alone; empty where it can.

    The logits of the model are compared with what its output layer's weights, and the scaling that its configuration
    names, make of the same hidden states: models differ in what stands behind that layer.
    """
    head = model.get_output_embeddings()
    if type(head) not in (nn.Linear, OneDNNLinear) or type(head.weight) is not nn.Parameter:
        return "its output layer is more than a product with a weight of its own"
    read: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, given: read.append(given[0].reshape(-1, given[0].shape[-1])))
    try:
        with evaluating(model), torch.no_grad():
            theirs = answer_logits()
    finally:
        hook.remove()
    if len(read) != 1 or len(read[0]) != len(theirs):
        return "its output layer does not read the trained tokens alone"
    scale, cap = behind_head(model)
    with torch.no_grad():
        ours = nn.functional.linear(read[0], head.weight, head.bias) * scale
    ours = cap * torch.tanh(ours / cap) if cap else ours
    distance = float((ours - theirs).abs().max()) / max(float(theirs.abs().max()), 1e-9)
    return "" if distance <= TOLERANCE.get(theirs.dtype, 1e-4) else "its logits are more than its output layer makes"


def behind_head(model: PreTrainedModel) -> tuple[float, float]:
    """What a model does to its logits: multiplies them, then bends them below a cap (0 is none)."""
    config = model.config.get_text_config(decoder=True)
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return scale, float(getattr(config, "final_logit_softcapping", None) or 0.0)


def linear_loss_sum(
    hidden_KH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    target_K: Tensor,
    *,
    scale: float = 1.0,
    cap: float = 0.0,
) -> Tensor:
    """The summed cross entropy of `hidden @ weight.T + bias`, scaled and capped, in float32."""
    dtype = multiplied_as(weight_VH)
    with torch.autocast(hidden_KH.device.type, enabled=False):
        total: Tensor = _Loss.apply(hidden_KH, weight_VH, bias_V, target_K, scale, cap, dtype)  # type: ignore[no-untyped-call]
    return total


def multiplied_as(weight_VH: Tensor) -> torch.dtype:
    """The number format in which products with this weight are made at present."""
    kind = weight_VH.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return multiplied_in() if weight_VH.dtype is torch.float32 and kind == "cpu" else weight_VH.dtype


def parts(rows: int, words: int) -> list[slice]:
    """Rows in parts, the logits of each of which are held at once."""
    size = max(1, _LOGITS // words // _ROWS) * _ROWS
    return [slice(start, start + size) for start in range(0, rows, size)]


class _Loss(torch.autograd.Function):
    """Makes the gradients of the sum beside the sum itself, rows by rows."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_KH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        target_K: Tensor,
        scale: float,
        cap: float,
        dtype: torch.dtype,
    ) -> Tensor:
        exact = torch.float64 if dtype is torch.float64 else torch.float32  # what sums are made in
        given = (hidden_KH, weight_VH, bias_V)
        grads = tuple(
            torch.zeros_like(tensor, dtype=exact) if tensor is not None and wanted else None
            for tensor, wanted in zip(given, ctx.needs_input_grad, strict=False)
        )
        hidden_KH, weight_VH = hidden_KH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
        total = torch.zeros((), dtype=exact, device=hidden_KH.device)
        for part in parts(len(hidden_KH), len(weight_VH)):
            logits_RV, slope_RV = part_logits(hidden_KH[part], weight_VH, bias_V, scale, cap)
            total += _loss_and_gradient(logits_RV, target_K[part])
            if slope_RV is not None:
                logits_RV.mul_(slope_RV)
            if scale != 1.0:
                logits_RV.mul_(scale)
            spread(logits_RV, hidden_KH[part], weight_VH, grads, part)
        ctx.save_for_backward(*grads)
        return total

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, ...]:
        made = (None if known is None else known.mul_(grad[0]) for known in ctx.saved_tensors)
        return (*made, None, None, None, None)


def part_logits(
    hidden_RH: Tensor, weight_VH: Tensor, bias_V: Tensor | None, scale: float, cap: float
) -> tuple[Tensor, Tensor | None]:
    """Logits in float32 at least, and how much they still follow the product where they are capped."""
    exact = torch.float64 if hidden_RH.dtype is torch.float64 else torch.float32
    logits_RV = hidden_RH.new_empty(len(hidden_RH), weight_VH.shape[0], dtype=exact)
    for words in _blocks(weight_VH):
        logits_RV[:, words] = product(hidden_RH, weight_VH[words], None if bias_V is None else bias_V[words])
    if scale != 1.0:
        logits_RV.mul_(scale)
    if not cap:
        return logits_RV, None
    bent = logits_RV.div_(cap).tanh_()
    slope = 1.0 - bent.square()
    return bent.mul_(cap), slope


def _loss_and_gradient(logits_RV: Tensor, target_R: Tensor) -> Tensor:
    """The summed loss of some rows; their logits become the gradient of it."""
    logits_RV.sub_(logits_RV.amax(1, keepdim=True))
    chosen_R = logits_RV.gather(1, target_R[:, None]).squeeze(1)
    sums_R = logits_RV.exp_().sum(1)
    logits_RV.div_(sums_R[:, None])
    logits_RV.scatter_add_(1, target_R[:, None], logits_RV.new_full((len(target_R), 1), -1.0))
    return (sums_R.log() - chosen_R).sum()


def spread(
    gradient_RV: Tensor, hidden_RH: Tensor, weight_VH: Tensor, grads: tuple[Tensor | None, ...], part: slice
) -> None:
    """Carry the gradient of some rows of logits on to hidden states, weight and bias."""
    to_hidden, to_weight, to_bias = grads
    for words in _blocks(weight_VH):
        block_RN = gradient_RV[:, words].to(hidden_RH.dtype)
        if to_hidden is not None:
            to_hidden[part] += product(block_RN, weight_VH[words].t())
        if to_weight is not None:
            to_weight[words] += product(block_RN.t(), hidden_RH.t())
        if to_bias is not None:
            to_bias[words] += block_RN.sum(0)


def _blocks(weight_VH: Tensor) -> list[slice]:
    return [slice(start, start + _WORDS) for start in range(0, len(weight_VH), _WORDS)]
