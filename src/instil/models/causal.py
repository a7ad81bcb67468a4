"""Causal models (decoder-only): logits where an answer token is predicted, and nowhere else.

    ids           [[5 6 7 2 8 9 2 0]]        two prompts in one row, 0 pads
    target_index  [1 2 4 5]                  the hidden states that predict 7 2 and 9 2
    answer_logits (4, V)                     instead of (8, V)

Two layouts give the same numbers:

    bucketed   one prompt a row, padded on the right: a causal model never looks right, so no mask is needed
    packed     several prompts a row, kept apart by a block-diagonal mask and positions that start anew

Shape legend: B rows, T tokens a row, K trained tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from instil.records import Pack

Layout = Literal["bucketed", "packed"]

#: Largest difference of packed and separate logits that rounding explains, as a share of the largest logit.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True, slots=True)
class PackTensors:
    """A `Pack` on the device of its model, under the same names."""

    ids: Tensor
    segments: Tensor
    positions: Tensor
    target_index: Tensor
    target_ids: Tensor


def to_tensors(pack: Pack, device: torch.device) -> PackTensors:
    """Move a pack to a device."""

    def moved(array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
        return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)

    return PackTensors(
        moved(pack.ids), moved(pack.segments), moved(pack.positions), moved(pack.target_index), moved(pack.target_ids)
    )


def answer_logits(model: PreTrainedModel, pack: PackTensors, layout: Layout) -> Tensor:
    """The logits (K, V) that predict the trained tokens, computed at their positions alone.

    The selection sits in front of the model's own output layer, so that whatever the model does behind it (scaling,
    soft capping) is kept.
    """
    inputs: dict[str, Any] = {"input_ids": pack.ids, "use_cache": False}
    if layout == "packed":
        inputs |= {"attention_mask": packed_mask(model, pack.segments), "position_ids": pack.positions}
    with _only(model, pack.target_index):
        logits: Tensor = model(**inputs).logits
    return logits.reshape(-1, logits.shape[-1])


@contextlib.contextmanager
def _only(model: PreTrainedModel, index_K: Tensor) -> Iterator[None]:
    """While open, the output layer sees only the hidden states at `index_K` of the flattened rectangle."""

    def select(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden_BTH = inputs[0]
        # index_select, not hidden[index]: the backward of indexing is not deterministic where indices repeat
        return (hidden_BTH.reshape(-1, hidden_BTH.shape[-1]).index_select(0, index_K).unsqueeze(0),)

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def packed_mask(model: PreTrainedModel, segments_BT: Tensor) -> Tensor:
    """The attention mask (B, 1, T, T) under which each segment sees itself, up to the present.

    Padding is a segment of its own (number 0), so that no row of the mask is empty. `sdpa` takes truth values; what
    other attention codes take is added to the scores.
    """
    length = segments_BT.shape[1]
    same = segments_BT[:, None, :, None] == segments_BT[:, None, None, :]
    past = torch.ones(length, length, dtype=torch.bool, device=segments_BT.device).tril()
    allowed = same & past
    if getattr(model.config, "_attn_implementation", "") == "sdpa":
        return allowed
    floor = torch.zeros((), dtype=model.dtype, device=segments_BT.device)
    return floor.masked_fill(~allowed, torch.finfo(model.dtype).min)


def why_not_packed(model: PreTrainedModel, max_length: int) -> str:
    """Why this very model must not be given packed rows; empty where it may.

    Three random segments are run packed and apart, and their logits compared. Sliding windows are counted in rows, not
    in segments, by some models, so packing is refused where a prompt could be longer than the window.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True) and window < max_length:
        return f"its attention window of {window} is shorter than a prompt may be"
    generator = np.random.default_rng(0)
    lengths = [max(2, min(size, max_length // 3)) for size in (7, 11, 5)]
    segments = [generator.integers(0, config.vocab_size, size) for size in lengths]
    try:
        with _evaluating(model), torch.no_grad():
            packed = answer_logits(model, to_tensors(_together(segments), model.device), "packed")
            apart = [answer_logits(model, to_tensors(_together([ids]), model.device), "bucketed") for ids in segments]
            full = [model(input_ids=torch.from_numpy(ids)[None].to(model.device)).logits[0, :-1] for ids in segments]
    except (RuntimeError, TypeError, ValueError) as error:
        return f"it does not take the mask ({type(error).__name__})"
    difference = float((packed - torch.cat(apart)).abs().max())
    scale = float(torch.cat(apart).abs().max())
    if float((torch.cat(apart) - torch.cat(full)).abs().max()) > _TOLERANCE.get(model.dtype, 1e-4) * scale:
        return "its output layer cannot be asked for single positions"
    if not difference <= _TOLERANCE.get(model.dtype, 1e-4) * scale:
        return f"packed logits differ from separate ones by {difference:.2g}"
    return ""


@contextlib.contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _together(segments: Sequence[np.ndarray[Any, Any]]) -> Pack:
    """One row of segments, every token but the first of each a target."""
    ids = np.concatenate(segments)
    numbers = np.concatenate([np.full(len(part), number) for number, part in enumerate(segments, start=1)])
    positions = np.concatenate([np.arange(len(part)) for part in segments])
    index = np.flatnonzero(numbers[:-1] == numbers[1:])
    return Pack(
        ids[None].astype(np.int32),
        numbers[None].astype(np.int32),
        positions[None].astype(np.int32),
        index.astype(np.int64),
        ids[index + 1].astype(np.int64),
    )
