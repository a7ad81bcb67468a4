"""Causal models (decoder-only): logits where an answer token is predicted, and nowhere else.

    ids           [[5 6 7 2 8 9 2 0]]        two prompts in one row, 0 pads
    target_index  [1 2 4 5]                  the hidden states that predict 7 2 and 9 2
    answer_logits (4, V)                     instead of (8, V)

Three layouts give the same numbers:

    bucketed   one prompt a row, padded on the right: a causal model never looks right, so no mask is needed
    packed     several prompts a row, kept apart by a block-diagonal mask and positions that start anew
    shared     a prompt and its completions a row; each sees the prompt and itself, and its positions go on from there

Shape legend: B rows, T tokens a row, K trained tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import PreTrainedModel

from instil.models.heads import selected_logits
from instil.models.parity import leak_fault, parity_fault
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.models.tree_attention import planned
from instil.records import Pack

#: Kinds of layers that packed masks are made for.
FULL, SLIDING = "full_attention", "sliding_attention"
#: A layout is tried with windows of at most this, so that short segments reach beyond them.
_TRIED_WINDOW = 6


def answer_logits(model: PreTrainedModel, pack: PackTensors, layout: Layout) -> Tensor:
    """The logits (K, V) that predict the trained tokens, computed at their positions alone.

    The selection sits in front of the model's own output layer, so that whatever the model does behind it (scaling,
    soft capping) is kept. A model that does not call its output layer computes all logits, and is selected from.
    """
    return selected_logits(model, pack.target_index, inputs_of(model, pack, layout))


def inputs_of(model: PreTrainedModel, pack: PackTensors, layout: Layout) -> dict[str, Any]:
    """What a model is called with for a rectangle of this layout."""
    inputs: dict[str, Any] = {"input_ids": pack.ids, "use_cache": False}
    if layout == "packed" and attention_of(model).startswith("flash"):
        # these codes know segments by positions that start anew, in a single row
        inputs |= {"input_ids": pack.ids.reshape(1, -1), "position_ids": pack.positions.reshape(1, -1)}
    elif layout == "packed":
        inputs |= {"attention_mask": packed_mask(model, pack.segments), "position_ids": pack.positions}
    elif layout == "shared":
        inputs |= {"attention_mask": tree_mask(model, pack), "position_ids": pack.positions}
    return inputs


def packed_mask(model: PreTrainedModel, segments_BT: Tensor) -> Any:
    """The attention mask under which each segment sees itself, up to the present, in the form that the model takes.

    Padding is a segment of its own (number 0), so that no row of the mask is empty. `sdpa` takes truth values (B, 1, T,
    T), flex attention blocks of them, and other attention codes something that is added to the scores. A window is
    counted within the row, which is within the segment, whose tokens stand side by side. A model that has windows in
    some of its layers takes one mask for each kind of layer.
    """
    config: Any = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if SLIDING in kinds:
        return {kind: _mask(model, segments_BT, window_of(config) if kind == SLIDING else None) for kind in kinds}
    return _mask(model, segments_BT, None if kinds else window_of(config))


def _mask(model: PreTrainedModel, segments_BT: Tensor, window: int | None) -> Any:
    """The mask of one kind of layer, whose tokens see `window` tokens, themselves included."""
    if attention_of(model) == "flex_attention":
        return _blocks(segments_BT, window)
    length = segments_BT.shape[1]
    same = segments_BT[:, None, :, None] == segments_BT[:, None, None, :]
    past = torch.ones(length, length, dtype=torch.bool, device=segments_BT.device).tril()
    return _as_taken(model, same & (past if window is None else past.triu(1 - window)))


def _as_taken(model: PreTrainedModel, allowed: Tensor) -> Tensor:
    """Truth values (B, 1, T, T) as the attention code takes them."""
    if attention_of(model) == "sdpa":
        return allowed
    floor = torch.zeros((), dtype=model.dtype, device=allowed.device)
    return floor.masked_fill(~allowed, torch.finfo(model.dtype).min)


def _blocks(segments_BT: Tensor, window: int | None) -> BlockMask:
    """The same in blocks, most of which are empty: for flex attention."""

    def allowed(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (segments_BT[row, query] == segments_BT[row, key]) & (key <= query)
        return seen if window is None else seen & (key > query - window)

    rows, length = segments_BT.shape
    return create_block_mask(allowed, rows, None, length, length, device=segments_BT.device)


def tree_mask(model: PreTrainedModel, pack: PackTensors) -> Any:
    """The attention mask under which a segment sees its parent and itself, up to the present; forms as `packed_mask`.

    A window is counted in logical positions: between a completion and its prompt stand other completions.
    """
    assert pack.parents is not None, "a pack of trees says which segment each token sees besides its own"
    config: Any = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    window = window_of(config)
    if SLIDING in kinds:
        return {kind: _tree(model, pack, pack.parents, window if kind == SLIDING else None) for kind in kinds}
    return _tree(model, pack, pack.parents, None if kinds else window)


def _tree(model: PreTrainedModel, pack: PackTensors, parents_BT: Tensor, window: int | None) -> Any:
    """The mask of one kind of layer, as `_mask`."""
    segments_BT, positions_BT = pack.segments, pack.positions

    def allowed(row: Tensor, head: Tensor | None, query: Tensor, key: Tensor) -> Tensor:
        own = segments_BT[row, query] == segments_BT[row, key]
        above = (parents_BT[row, query] == segments_BT[row, key]) & (parents_BT[row, query] > 0)
        seen = (own | above) & (key <= query)
        return seen if window is None else seen & (positions_BT[row, query] - positions_BT[row, key] < window)

    rows, length = segments_BT.shape
    if attention_of(model) == "flex_attention":
        return create_block_mask(allowed, rows, None, length, length, device=segments_BT.device)
    row, place = torch.arange(rows, device=segments_BT.device), torch.arange(length, device=segments_BT.device)
    mask = _as_taken(model, allowed(row[:, None, None], None, place[:, None], place)[:, None])
    if attention_of(model) != "sdpa" or mask.device.type != "cpu":
        return mask
    # a window that is wider than any completion with its prompt hides nothing
    hides = window is not None and int(positions_BT.max()) >= window
    return mask if hides else planned(mask, segments_BT, parents_BT)


def attention_of(model: PreTrainedModel) -> str:
    """The name of the attention code in use."""
    return getattr(model.config.get_text_config(), "_attn_implementation", None) or "eager"


def window_of(config: Any) -> int | None:
    """How many tokens a token sees where there is a window."""
    window = getattr(config, "sliding_window", None)
    return int(window) if window and getattr(config, "use_sliding_window", True) else None


def layout_fault(model: PreTrainedModel, layout: Layout, *, max_length: int) -> str:
    """Why this very model must not be given rows of this layout; empty where it may.

    Five random segments are run in the layout, and one by one the plain way; logits and gradients are compared. What is
    packed must not move with its neighbours. Where the model has an attention window, it is narrowed meanwhile, so that
    one of the segments is longer.
    """
    config = model.config.get_text_config()
    others = set(getattr(config, "layer_types", None) or ()) - {FULL, SLIDING}
    if layout == "packed" and others:
        return f"it has layers of the kind {min(others)}"
    generator = np.random.default_rng(0)
    sizes = (7, 12, 5, _TRIED_WINDOW + 8, 6)
    words = np.arange(config.vocab_size, dtype=np.int32)
    words = words[words != config.pad_token_id]
    segments = [generator.choice(words, min(size, max_length)) for size in sizes]
    rows = [segments[:4], segments[4:]] if layout == "packed" else [[part] for part in segments]
    pack = to_tensors(_laid_out(rows), model.device)

    def together(given: PackTensors = pack) -> Tensor:
        return answer_logits(model, given, layout)

    def alone(ids: NDArray[np.int32]) -> Tensor:
        given = torch.from_numpy(ids.astype(np.int64))[None].to(model.device)
        logits: Tensor = model(input_ids=given, use_cache=False).logits
        return logits[0, :-1]

    with narrow_window(config):
        fault = parity_fault(model, [together], [partial(alone, part) for part in segments], pack.target_ids)
        return fault or (leak_fault(model, together, pack) if layout == "packed" else "")


@contextlib.contextmanager
def narrow_window(config: Any) -> Iterator[None]:
    """While open, the model's attention window, where it has one, is narrower than some of the segments tried."""
    window = window_of(config)
    if window is None or window <= _TRIED_WINDOW:
        yield
        return
    config.sliding_window = _TRIED_WINDOW
    try:
        yield
    finally:
        config.sliding_window = window


def _laid_out(rows: Sequence[Sequence[NDArray[np.int32]]]) -> Pack:
    """Segments in a rectangle, every token but the first of each a target."""
    width = max(sum(map(len, row)) for row in rows)
    ids, numbers, positions = (np.zeros((len(rows), width), dtype=np.int32) for _ in range(3))
    for row, parts in enumerate(rows):
        start = 0
        for number, part in enumerate(parts, start=1):
            stop = start + len(part)
            ids[row, start:stop], numbers[row, start:stop] = part, number
            positions[row, start:stop] = np.arange(len(part))
            start = stop
    predicts = np.zeros_like(numbers, dtype=bool)
    predicts[:, :-1] = (numbers[:, 1:] > 0) & (numbers[:, 1:] == numbers[:, :-1])
    index = np.flatnonzero(predicts.reshape(-1)).astype(np.int64)
    return Pack(ids, numbers, positions, index, ids.reshape(-1)[index + 1].astype(np.int64))
