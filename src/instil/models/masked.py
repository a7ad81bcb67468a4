"""Masked models (encoder-only): the answer is predicted where mask tokens stand, from both sides.

    ids           [[101 12 7 9 103 103 102]]      read, two slots, the end
    target_index  [4 5]                           the slots
    target_ids    [4 102]                         the answer, one token, and the end token

The whole head of the model (its transformation, normalisation and output layer) sees the slots alone. Two layouts:

    bucketed   one prompt a row, padded on the right: the model's own mask for padding
    packed     several prompts a row: each sees itself alone, from its own first position, within the model's windows

Both are tried before a model is trained: what a wrong mask changes raises no error.

Shape legend: B rows, T tokens a row, H hidden size, K trained tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask

from instil.models.heads import selected_by_body
from instil.models.parity import leak_fault, parity_fault
from instil.models.tensors import Layout, PackTensors, rows_at, to_tensors
from instil.records import Pack


def answer_logits(model: PreTrainedModel, pack: PackTensors, layout: Layout) -> Tensor:
    """The logits (K, V) that predict the trained tokens, computed at their positions alone.

    The selection stands between the body of the model and its head. A model that runs no such body computes all
    logits, and is selected from.
    """
    return selected_by_body(model, pack.target_index, inputs_of(model, pack, layout))


def inputs_of(model: PreTrainedModel, pack: PackTensors, layout: Layout) -> dict[str, Any]:
    """What a model is called with for a rectangle of this layout."""
    inputs: dict[str, Any] = {"input_ids": pack.ids}
    if layout == "packed":
        inputs |= {
            "attention_mask": packed_mask(model, pack.segments, pack.positions),
            "position_ids": pack.positions + first_position(model),
        }
    elif bool((pack.segments == 0).any()):
        inputs |= {"attention_mask": (pack.segments > 0).long()}
    return inputs


def packed_mask(model: PreTrainedModel, segments_BT: Tensor, positions_BT: Tensor) -> Any:
    """The attention mask under which each segment sees itself alone, in the form that the model takes.

    Padding is a segment of its own (number 0), so that no row of the mask is empty. `sdpa` takes truth values (B, 1, T,
    T) and `eager` something that is added to the scores; what other attention codes take is left to transformers. A
    model with windows in some of its layers takes one mask for each kind of layer.
    """
    config: Any = model.config
    code = getattr(config, "_attn_implementation", "") or "eager"
    windowed = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    if code not in ("sdpa", "eager"):
        return _mask_of_transformers(model, segments_BT, windowed=windowed)
    same = segments_BT[:, None, :, None] == segments_BT[:, None, None, :]
    whole = _as_taken(model, same, code)
    if not windowed:
        return whole
    distance = (positions_BT[:, None, :, None] - positions_BT[:, None, None, :]).abs()
    near = same & (distance <= config.sliding_window)
    return {"full_attention": whole, "sliding_attention": _as_taken(model, near, code)}


def _as_taken(model: PreTrainedModel, allowed: Tensor, code: str) -> Tensor:
    if code == "sdpa":
        return allowed
    floor = torch.zeros((), dtype=model.dtype, device=allowed.device)
    return floor.masked_fill(~allowed, torch.finfo(model.dtype).min)


def _mask_of_transformers(model: PreTrainedModel, segments_BT: Tensor, *, windowed: bool) -> Any:
    """As transformers makes masks for its attention codes, such as blocks for flex attention."""

    def same_segment(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return segments_BT[row, query] == segments_BT[row, key]

    shape = torch.empty((*segments_BT.shape, 1), dtype=model.dtype, device=segments_BT.device)
    given: dict[str, Any] = {
        "config": model.config,
        "inputs_embeds": shape,
        "attention_mask": None,
        "and_mask_function": same_segment,
    }
    whole = create_bidirectional_mask(**given)
    if not windowed:
        return whole
    return {"full_attention": whole, "sliding_attention": create_bidirectional_sliding_window_mask(**given)}


def first_position(model: PreTrainedModel) -> int:
    """The number of a text's first position: behind that of padding, where the model learned one (RoBERTa)."""
    embeddings = getattr(model.base_model, "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def layout_fault(model: PreTrainedModel, layout: Layout, *, max_length: int) -> str:
    """Why this very model must not be given rows of this layout; empty where it may.

    Five random segments, one of them longer than the model's attention window where it has one, are run in the layout
    and one by one the plain way; logits and gradients are compared. What is packed must not move with its neighbours.
    """
    segments = probe(model, max_length=max_length)
    rows = [segments[:4], segments[4:]] if layout == "packed" else [[part] for part in segments]
    pack = to_tensors(_laid_out(rows), model.device)

    def together(given: PackTensors = pack) -> Tensor:
        return answer_logits(model, given, layout)

    def alone(ids: NDArray[np.int32]) -> Tensor:
        places = torch.from_numpy(_asked(len(ids))).to(model.device)
        given = torch.from_numpy(ids.astype(np.int64))[None].to(model.device)
        return rows_at(model(input_ids=given).logits, places)

    fault = parity_fault(model, [together], [partial(alone, part) for part in segments], pack.target_ids)
    return fault or (leak_fault(model, together, pack) if layout == "packed" else "")


def probe(model: PreTrainedModel, *, max_length: int) -> list[NDArray[np.int32]]:
    """Random segments that show a wrong mask; without padding tokens, whose positions some models do not count."""
    window = 2 * (getattr(model.config, "sliding_window", None) or 0)
    sizes = [7, 12, 5, max(9, window + 8), 6]
    generator = np.random.default_rng(0)
    allowed = np.arange(int(model.get_input_embeddings().weight.shape[0]), dtype=np.int32)
    allowed = allowed[allowed != model.config.pad_token_id]
    return [generator.choice(allowed, min(size, max_length)) for size in sizes]


def _asked(size: int) -> NDArray[np.int64]:
    """Places of a segment that are looked at: every second one, and the last."""
    return np.unique(np.append(np.arange(0, size, 2), size - 1)).astype(np.int64)


def _laid_out(rows: Sequence[Sequence[NDArray[np.int32]]]) -> Pack:
    """Segments in rows; what is predicted is the token that stands there, which serves to compare gradients."""
    width = max(sum(map(len, row)) for row in rows)
    ids, numbers, positions = (np.zeros((len(rows), width), dtype=np.int32) for _ in range(3))
    index = []
    for row, parts in enumerate(rows):
        start = 0
        for number, part in enumerate(parts, start=1):
            stop = start + len(part)
            ids[row, start:stop], numbers[row, start:stop] = part, number
            positions[row, start:stop] = np.arange(len(part))
            index.append(row * width + start + _asked(len(part)))
            start = stop
    places = np.concatenate(index)
    return Pack(ids, numbers, positions, places, ids.reshape(-1)[places].astype(np.int64))
