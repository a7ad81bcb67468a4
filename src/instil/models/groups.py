"""Groups of completions through a model: their logits, their hidden states; and whether a prompt may be shared.

    ids      [[5 6 7 2 8 2]]    a tree: prompt [5 6], completions [7 2] and [8 2]
    index    [1 2 1 4]          the prompt's last token predicts the first token of both
    logits   (4, V)             log_probs (4,), of 7 2 8 2
    ends     [3 5]              hidden_at (2, H): where rewards are read

    sharing_fault(loaded)       "" or "its logits differ from those of separate prompts by 31.0%"

A tree is exact for models that attend by logical position under a mask of anybody's own. A mask that a model ignores
raises no error, only numbers show it; so every model is tried: logits, gradients and last hidden states against each
completion behind its own prompt, and whether a completion moves when others change.

Shape legend: B rows, T tokens a row, K tokens of completions, N places, H hidden size, V vocabulary, R rows at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from instil.models.architecture import forward_of
from instil.models.causal import FULL, SLIDING, answer_logits, attention_of, narrow_window, window_of
from instil.models.heads import given_by_body, read_by_head
from instil.models.memory import is_out_of_memory
from instil.models.parity import STILL, evaluating, parity_fault
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.records import Architecture, Pack

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel

Ids = NDArray[np.int32]

#: The tokens of made-up prompts and of completions of each, in a rectangle of short rows (which are attended to under a
#: dense mask) and one of long rows (which may not be); longer than a window that is tried, and shorter.
_TRIED = (((9, (7, 14, 3, 1)), (4, (5, 2))), ((11, (8,)), (33, (40, 1, 26))))
#: Logits in float32 that are held at once beside those that are given.
_LOGITS = 2**22


def completion_logits(model: PreTrainedModel, architecture: Architecture, pack: PackTensors, layout: Layout) -> Tensor:
    """The logits (K, V) that predict the tokens of completions, computed at their places alone."""
    return forward_of(architecture).answer_logits(model, pack, layout)


def hidden_at(
    model: PreTrainedModel, architecture: Architecture, pack: PackTensors, index_N: Tensor, layout: Layout
) -> Tensor:
    """The last hidden states (N, H) at flattened places of the rectangle: what the model's output layer would read.

    Of a masked model, whose head has layers of its own, what its body gives.
    """
    inputs = forward_of(architecture).inputs_of(model, pack, layout)
    return (given_by_body if architecture == "masked" else read_by_head)(model, index_N, inputs)


def log_probs(logits_KV: Tensor, target_K: Tensor) -> Tensor:
    """The log-probability (K,) of each target, in float32 at least.

    Nothing of the size of the logits is held besides them; their gradient is made when it is asked for.
    """
    chosen_K: Tensor = _LogProbs.apply(logits_KV, target_K, False)[0]  # type: ignore[no-untyped-call]
    return chosen_K


def log_probs_and_entropy(logits_KV: Tensor, target_K: Tensor) -> tuple[Tensor, Tensor]:
    """The log-probability (K,) of each target, and the entropy (K,) in nats of what stood to choose; as `log_probs`."""
    chosen_K, entropy_K = _LogProbs.apply(logits_KV, target_K, True)  # type: ignore[no-untyped-call]
    return chosen_K, entropy_K


class _LogProbs(torch.autograd.Function):
    """Rows by rows, in float32 at least."""

    @staticmethod
    def forward(ctx: Any, logits_KV: Tensor, target_K: Tensor, entropy: bool) -> tuple[Tensor, Tensor]:
        exact = torch.float64 if logits_KV.dtype is torch.float64 else torch.float32
        chosen_K, total_K = logits_KV.new_empty((2, len(logits_KV)), dtype=exact)
        entropy_K = logits_KV.new_zeros(len(logits_KV) if entropy else 0, dtype=exact)
        for part in _parts(logits_KV):
            logits_RV = logits_KV[part].to(exact)
            total_K[part] = logits_RV.logsumexp(1)
            chosen_K[part] = logits_RV.gather(1, target_K[part, None]).squeeze(1) - total_K[part]
            if entropy:
                log_RV = logits_RV - total_K[part, None]
                entropy_K[part] = -(log_RV.exp() * log_RV).nan_to_num(0.0).sum(1)  # 0 where a word cannot be chosen
        ctx.save_for_backward(logits_KV, target_K, total_K, entropy_K)
        return chosen_K, entropy_K

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logits_KV, target_K, total_K, entropy_K = ctx.saved_tensors
        chosen_K = grads[0]
        grad_KV = torch.empty_like(logits_KV)
        for part in _parts(logits_KV):
            log_RV = logits_KV[part].to(total_K.dtype) - total_K[part, None]
            grad_RV = log_RV.exp()
            if len(entropy_K):
                inner_RV = (log_RV + entropy_K[part, None]).mul_(-grads[1][part, None]).sub_(chosen_K[part, None])
                grad_RV = grad_RV.mul_(inner_RV).nan_to_num_(0.0)
            else:
                grad_RV.mul_(-chosen_K[part, None])
            grad_RV.scatter_add_(1, target_K[part, None], chosen_K[part, None])
            grad_KV[part] = grad_RV.to(grad_KV.dtype)
        return grad_KV, None, None


def _parts(logits_KV: Tensor) -> list[slice]:
    rows = max(1, _LOGITS // logits_KV.shape[1])
    return [slice(start, start + rows) for start in range(0, len(logits_KV), rows)]


def sharing_fault(loaded: LoadedModel) -> str:
    """Why a prompt must not be shared by its completions with this very model; empty where it may.

    Made-up prompts with completions are run as trees, and each completion behind its own prompt the plain way; logits,
    hidden states at the ends (by the logits that they make) and gradients are compared. Then the tokens of half of the
    completions are changed, and the others must not move. Windows are narrowed meanwhile.
    """
    model = loaded.model
    if loaded.architecture != "causal":
        return f"it is {loaded.architecture}: no token of a tree could stand in for another"
    config: Any = model.config.get_text_config()
    others = set(getattr(config, "layer_types", None) or ()) - {FULL, SLIDING}
    if others:
        return f"it has layers of the kind {min(others)}"
    if attention_of(model) not in ("sdpa", "eager", "flex_attention"):
        return f"its attention code ({attention_of(model)}) takes no mask of its own"
    rectangles = _made_up(config, loaded.max_length)
    packs = [to_tensors(_laid_out(rows), model.device) for rows in rectangles]
    pairs = [(row[0], completion) for rows in rectangles for row in rows for completion in row[1:]]

    def together(pack: PackTensors) -> Tensor:
        return answer_logits(model, pack, "shared")

    def alone(prompt: Ids, completion: Ids) -> Tensor:
        ids = torch.from_numpy(np.concatenate([prompt, completion]).astype(np.int64))[None].to(model.device)
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits[0, len(prompt) - 1 :]

    shared, separate = [partial(together, pack) for pack in packs], [partial(alone, *pair) for pair in pairs]
    target_ids = torch.cat([pack.target_ids for pack in packs])
    for window in (narrow_window(config), contextlib.nullcontext())[window_of(config) is None :]:
        with window:
            fault = parity_fault(model, shared, separate, target_ids)
            fault = fault or next(filter(None, (_leak_fault(model, pack) for pack in packs)), "")
            if fault:
                return fault
    return ""


def _leak_fault(model: PreTrainedModel, pack: PackTensors) -> str:
    """Whether completions of a prompt see each other, in words; empty where they do not."""
    # the first token of a completion is predicted by the prompt, which nothing changes
    owner_K = pack.segments.reshape(-1).index_select(0, pack.target_index)
    other_BT = torch.where(pack.ids == pack.ids[0, 0], pack.ids[0, 1], pack.ids[0, 0])
    try:
        with evaluating(model), torch.no_grad():
            before = answer_logits(model, pack, "shared")
            for side in (0, 1):
                changed = ((pack.segments > 1) & (pack.segments % 2 == side)) | (pack.segments == 0)
                after = answer_logits(model, replace(pack, ids=torch.where(changed, other_BT, pack.ids)), "shared")
                still = (owner_K == 1) | (owner_K % 2 != side)
                if not float((after - before)[still].abs().max()) <= STILL * float(before.abs().max()):
                    return "what it computes for a completion moves with the others of its prompt"
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise  # which says nothing about the layout
        return f"it fails on them ({type(error).__name__})"
    return ""


def _made_up(config: Any, max_length: int) -> list[list[list[Ids]]]:
    """Random prompts, each followed by its completions."""
    generator = np.random.default_rng(0)
    words = np.arange(config.vocab_size, dtype=np.int32)
    words = words[words != config.pad_token_id]
    return [
        [
            [generator.choice(words, min(size, max(1, max_length // 2))) for size in (read, *written)]
            for read, written in rows
        ]
        for rows in _TRIED
    ]


def _laid_out(rows: Sequence[Sequence[Ids]]) -> Pack:
    """Trees in a rectangle; every token of a completion is a target, and one more is asked at its end."""
    width = max(sum(map(len, row)) for row in rows)
    ids, segments, positions, parents = (np.zeros((len(rows), width), dtype=np.int32) for _ in range(4))
    index: list[int] = []
    targets: list[int] = []
    for row, (prompt, *completions) in enumerate(rows):
        start = len(prompt)
        ids[row, :start], segments[row, :start], positions[row, :start] = prompt, 1, np.arange(start)
        for number, completion in enumerate(completions, start=2):
            place = (row, slice(start, start + len(completion)))
            ids[place], segments[place], parents[place] = completion, number, 1
            positions[place] = np.arange(len(prompt), len(prompt) + len(completion))
            index += [row * width + len(prompt) - 1, *range(row * width + start, row * width + start + len(completion))]
            targets += [*completion, prompt[0]]
            start += len(completion)
    return Pack(ids, segments, positions, np.array(index, np.int64), np.array(targets, np.int64), parents=parents)
