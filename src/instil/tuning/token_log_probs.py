"""Log-probabilities and entropies of tokens, with gradients; behind a wide output layer without holding the logits.

    K tokens, V words        narrow     logits (K, V), held until the backward pass        models.groups.log_probs
                             wide       a few rows of them at a time, made again for the backward pass

    4,000 tokens of answers, 151,936 words, float32:    2 x 2,431 MB -> 134 MB, for a third product besides two

A loss of policies is not a sum over targets alone, so that its slope is known only when all log-probabilities are: the
products of the output layer are made once more then (`output_loss`, for the cross entropy, needs no second time).

Shape legend: K tokens, R rows of them at a time, H hidden size, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instil.models.groups import log_probs, log_probs_and_entropy
from instil.models.tensors import PackTensors
from instil.tuning.output_loss import behind_head, head_fault, multiplied_as, part_logits, parts, spread

#: Fewer logits than this are held as they are: a third product would cost more than the memory is worth.
_MANY = 2**25
#: Places at which a model's logits are compared with those that its output layer alone makes.
_COMPARED = 8


class TokenLogProbs:
    """What a model says of the targets of a rectangle.

    Args:
        answer_logits: the logits (K, V) of a rectangle's targets, which are selected in front of the output layer.
        temperature: what logits are divided by.
    """

    def __init__(
        self, answer_logits: Callable[[PreTrainedModel, PackTensors], Tensor], *, temperature: float = 1.0
    ) -> None:
        self._answer_logits = answer_logits
        self.temperature = temperature
        self._faults: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()

    def __call__(self, model: PreTrainedModel, item: PackTensors) -> Tensor:
        """The log-probability (K,) of each target, in float32 at least."""
        return self._of(model, item, entropy=False)[0]

    def with_entropy(self, model: PreTrainedModel, item: PackTensors) -> tuple[Tensor, Tensor]:
        """The same, and the entropy (K,) in nats of what stood to choose."""
        return self._of(model, item, entropy=True)

    def look(self, model: PreTrainedModel, item: PackTensors) -> None:
        """Look for the fault of the model's head now: once processes hold parts of it, none may run it by itself."""
        if model not in self._faults:
            few = replace(item, target_index=item.target_index[:_COMPARED], target_ids=item.target_ids[:_COMPARED])
            self._faults[model] = head_fault(model, lambda: self._answer_logits(model, few))

    def _of(self, model: PreTrainedModel, item: PackTensors, *, entropy: bool) -> tuple[Tensor, Tensor]:
        if self._is_wide(model, item):
            return self._by_parts(model, item, entropy=entropy)
        logits_KV = self._answer_logits(model, item)
        if self.temperature != 1.0:
            logits_KV = logits_KV / self.temperature
        if entropy:
            return log_probs_and_entropy(logits_KV, item.target_ids)
        chosen_K = log_probs(logits_KV, item.target_ids)
        return chosen_K, chosen_K.new_zeros(0)

    def _is_wide(self, model: PreTrainedModel, item: PackTensors) -> bool:
        head = model.get_output_embeddings()
        if head is None or len(item.target_ids) * int(head.weight.shape[0]) <= _MANY:
            return False
        self.look(model, item)
        return not self._faults[model]

    def _by_parts(self, model: PreTrainedModel, item: PackTensors, *, entropy: bool) -> tuple[Tensor, Tensor]:
        """Made of what the output layer was to read; the layer reads a single row in its place."""
        head, (scale, cap) = model.get_output_embeddings(), behind_head(model)
        made: list[tuple[Tensor, Tensor]] = []

        def take(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden_KH = given[0].reshape(-1, given[0].shape[-1])
            more = (scale, cap, self.temperature, multiplied_as(head.weight), entropy)
            with torch.autocast(hidden_KH.device.type, enabled=False):
                made.append(_LogProbs.apply(hidden_KH, head.weight, head.bias, item.target_ids, *more))  # type: ignore[no-untyped-call]
            return (hidden_KH[None, :1],)

        hook = head.register_forward_pre_hook(take)
        try:
            self._answer_logits(model, item)
        finally:
            hook.remove()
        return made[0]


class _LogProbs(torch.autograd.Function):
    """Rows by rows, forward and once more backward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_KH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        target_K: Tensor,
        scale: float,
        cap: float,
        temperature: float,
        dtype: torch.dtype,
        entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        exact = torch.float64 if dtype is torch.float64 else torch.float32
        ctx.given = (scale, cap, temperature, dtype)
        ctx.save_for_backward(hidden_KH, weight_VH, bias_V, target_K)
        chosen_K = hidden_KH.new_empty(len(hidden_KH), dtype=exact)
        entropy_K = hidden_KH.new_empty(len(hidden_KH) if entropy else 0, dtype=exact)
        hidden_KH, weight_VH = hidden_KH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
        for part in parts(len(hidden_KH), len(weight_VH)):
            log_RV, _ = part_logits(hidden_KH[part], weight_VH, bias_V, scale, cap)
            log_RV.div_(temperature)
            log_RV.sub_(log_RV.logsumexp(1, keepdim=True))
            chosen_K[part] = log_RV.gather(1, target_K[part, None]).squeeze(1)
            if entropy:
                entropy_K[part] = -log_RV.exp().mul_(log_RV).sum(1)
        return chosen_K, entropy_K

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_KH, weight_VH, bias_V, target_K = ctx.saved_tensors
        scale, cap, temperature, dtype = ctx.given
        to_chosen_K, to_entropy_K = grads
        made = tuple(
            torch.zeros_like(given, dtype=to_chosen_K.dtype) if given is not None and wanted else None
            for given, wanted in zip((hidden_KH, weight_VH, bias_V), ctx.needs_input_grad, strict=False)
        )
        hidden_KH, weight_VH = hidden_KH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
        with torch.autocast(hidden_KH.device.type, enabled=False):
            for part in parts(len(hidden_KH), len(weight_VH)):
                log_RV, slope_RV = part_logits(hidden_KH[part], weight_VH, bias_V, scale, cap)
                log_RV.div_(temperature)
                log_RV.sub_(log_RV.logsumexp(1, keepdim=True))
                chance_RV = log_RV.exp()
                if len(to_entropy_K):
                    entropy_R1 = -(chance_RV * log_RV).sum(1, keepdim=True)
                    log_RV.add_(entropy_R1).mul_(-to_entropy_K[part, None]).sub_(to_chosen_K[part, None])
                    gradient_RV = chance_RV.mul_(log_RV)
                else:
                    gradient_RV = chance_RV.mul_(-to_chosen_K[part, None])
                gradient_RV.scatter_add_(1, target_K[part, None], to_chosen_K[part, None])
                if slope_RV is not None:
                    gradient_RV.mul_(slope_RV)
                gradient_RV.mul_(scale / temperature)
                spread(gradient_RV, hidden_KH[part], weight_VH, made, part)
        return (*made, None, None, None, None, None, None)
