"""Attention over a prompt and its completions on a CPU, without the scores of what none of them sees.

    row        p p p | a a | b b b        all see p; a and b see themselves besides

    dense      8 x 8 scores, masked                       (P + N) (P + N)
    here       p against p, causal                        P P / 2
               a b against p, no mask                     N P
               a against a, b against b, causal           N C / 2

    P 512 tokens, 9 completions of C 128, N 1152 together, 6 heads of 64, float32, one thread, forward and backward:
    dense 138 ms, here 54 ms

What a completion gets from the prompt and what from itself is put together by the logarithms of their sums: of outputs
o1, o2 with logarithms l1, l2, l = log(e^l1 + e^l2) and o = o1 e^(l1 - l) + o2 e^(l2 - l). Given o and l, the backward
pass over each part is that of attention over the part alone.

The dense mask of a rectangle carries this plan as an attribute: a model that hands it on to `sdpa` as it is gets this,
any other the mask. So nothing but time depends on it, and a model is tried (`groups.sharing_fault`) as it is used.

Shape legend: B rows, A heads, T tokens a row, D numbers of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

#: The kernels behind torch's `scaled_dot_product_attention` on a CPU: these give the logarithms as well.
_FORWARD: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_BACKWARD: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)
_PLAN = "instil_plan"
#: In rows shorter than this the many calls cost more than the scores.
_SHORTEST = 96


@dataclass(frozen=True, slots=True)
class Tree:
    """A row: where its prompt ends, and where each completion begins and ends."""

    prompt: int
    completions: tuple[tuple[int, int], ...]

    @property
    def stop(self) -> int:
        """Where padding begins."""
        return self.completions[-1][1] if self.completions else self.prompt


def planned(mask_BTT: Tensor, segments_BT: Tensor, parents_BT: Tensor) -> Tensor:
    """The dense mask, with a plan where it can be done without: where every row is a prompt and completions.

    Args:
        mask_BTT: (B, 1, T, T), on a CPU, where a token sees its own segment and its parent, up to the present.
        segments_BT: as of a `Pack`.
        parents_BT: as of a `Pack`.
    """
    if _FORWARD is None or _BACKWARD is None or mask_BTT.shape[-1] < _SHORTEST:
        return mask_BTT
    trees = [tree_of(*row) for row in zip(segments_BT.numpy(), parents_BT.numpy(), strict=True)]
    if all(tree is not None for tree in trees):
        setattr(mask_BTT, _PLAN, tuple(trees))
        _stand_before_sdpa()
    return mask_BTT


def tree_of(segments_T: np.ndarray[Any, Any], parents_T: np.ndarray[Any, Any]) -> Tree | None:
    """A row as a prompt (segment 1) and completions of it one after another, padding last; None where it is not."""
    cuts = [0, *(np.flatnonzero(np.diff(segments_T)) + 1).tolist(), len(segments_T)]
    numbers = segments_T[cuts[:-1]].tolist()
    spans = list(pairwise(cuts))
    if numbers[-1] == 0:
        numbers, spans = numbers[:-1], spans[:-1]
    if not spans or numbers != list(range(1, len(numbers) + 1)):
        return None
    stop = spans[-1][1]
    if not np.array_equal(parents_T[:stop], (segments_T[:stop] > 1).astype(parents_T.dtype)):
        return None
    return Tree(spans[0][1], tuple(spans[1:]))


def tree_attention(query: Tensor, key: Tensor, value: Tensor, trees: tuple[Tree, ...], scale: float | None) -> Tensor:
    """What every token (B, A, T, D) gets of the tokens that it sees; nothing where padded.

    Args:
        query: (B, A, T, D), as `key` and `value`, on a CPU.
        key: of as many heads.
        value: of as many heads.
        trees: a row each.
        scale: of the scores; one over the root of D by default.
    """
    attended: Tensor = _TreeAttention.apply(query, key, value, trees, scale)  # type: ignore[no-untyped-call]
    return attended


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, trees: tuple[Tree, ...], scale: float | None
    ) -> Tensor:
        exact = torch.float64 if query.dtype is torch.float64 else torch.float32
        output = torch.zeros_like(query)
        logs = query.new_zeros(query.shape[:3], dtype=exact)

        def part(row: int, asking: slice, asked: slice, *, causal: bool) -> tuple[Tensor, Tensor]:
            given = (query[row, None, :, asking], key[row, None, :, asked], value[row, None, :, asked])
            out, log = _FORWARD(*given, 0.0, causal, scale=scale)
            return out[0], log[0]

        for row, tree in enumerate(trees):
            prompt, behind = slice(0, tree.prompt), slice(tree.prompt, tree.stop)
            output[row, :, prompt], logs[row, :, prompt] = part(row, prompt, prompt, causal=True)
            if not tree.completions:
                continue
            for span in tree.completions:
                own = slice(*span)
                output[row, :, own], logs[row, :, own] = part(row, own, own, causal=True)
            above, above_log = part(row, behind, prompt, causal=False)
            own_log = logs[row, :, behind]
            log = torch.logaddexp(above_log, own_log)
            output[row, :, behind] = (
                above * (above_log - log).exp()[..., None] + output[row, :, behind] * (own_log - log).exp()[..., None]
            )
            logs[row, :, behind] = log
        ctx.save_for_backward(query, key, value, output, logs)
        ctx.trees, ctx.scale = trees, scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, logs = ctx.saved_tensors
        to_query, to_key, to_value = (torch.zeros_like(given) for given in (query, key, value))

        def part(row: int, asking: slice, asked: slice, *, causal: bool) -> None:
            of = (row, None, slice(None), asking)
            at = (row, None, slice(None), asked)
            given = (grad[of], query[of], key[at], value[at], output[of], logs[of])
            made = _BACKWARD(*given, 0.0, causal, scale=ctx.scale)
            to_query[row, :, asking] += made[0][0]
            to_key[row, :, asked] += made[1][0]
            to_value[row, :, asked] += made[2][0]

        for row, tree in enumerate(ctx.trees):
            prompt, behind = slice(0, tree.prompt), slice(tree.prompt, tree.stop)
            part(row, prompt, prompt, causal=True)
            if tree.completions:
                part(row, behind, prompt, causal=False)
            for span in tree.completions:
                part(row, slice(*span), slice(*span), causal=True)
        return to_query, to_key, to_value, None, None


#: What transformers calls for `sdpa`.
_plain: Any = ALL_ATTENTION_FUNCTIONS["sdpa"]


def _stand_before_sdpa() -> None:
    """From now on masks with a plan are attended to by it; all others go to what `sdpa` is otherwise."""
    global _plain
    if ALL_ATTENTION_FUNCTIONS["sdpa"] is not _sdpa:
        _plain = ALL_ATTENTION_FUNCTIONS["sdpa"]
        ALL_ATTENTION_FUNCTIONS.register("sdpa", _sdpa)


def _sdpa(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """As transformers' `sdpa_attention_forward`."""
    trees = getattr(attention_mask, _PLAN, None)
    if trees is None or dropout or not _fits(query, key, value, trees, more):
        made: tuple[Tensor, None] = _plain(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return made
    if torch.is_autocast_enabled("cpu"):  # as it is done for torch's own, whose inputs may be of several formats too
        query, key, value = (given.to(torch.get_autocast_dtype("cpu")) for given in (query, key, value))
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = key.repeat_interleave(heads, dim=1), value.repeat_interleave(heads, dim=1)
    return tree_attention(query, key, value, trees, scaling).transpose(1, 2).contiguous(), None


def _fits(query: Tensor, key: Tensor, value: Tensor, trees: tuple[Tree, ...], more: dict[str, Any]) -> bool:
    """Whether nothing but the mask decides who sees whom, and the kernels take these numbers."""
    alike = torch.is_autocast_enabled("cpu") or query.dtype == key.dtype == value.dtype
    lengths = query.shape[2] == key.shape[2] == value.shape[2] and query.shape[3] == key.shape[3] == value.shape[3]
    return (
        alike
        and lengths
        and query.shape[0] == len(trees)
        and all(more.get(name) is None for name in ("position_bias", "softcap", "cache"))
    )
