"""Encoder-decoder models: the encoder reads a prompt, the decoder writes its answer; logits at answer tokens alone.

    bucketed   one prompt a row                            packed   several prompts a row
    encoder ids   [[12 7 9 1]                              [[12 7 9 1 8 1]]       what is read, with its end token
                   [8 1 0 0]]
    ids           [[0 4]                                   [[0 4 0 5]]            the decoder's start, then the answer
                   [0 5]]                                                         but for its last token
    target_ids    [4 1 5 1]                                [4 1 5 1]

Packed rows need three masks, and a model is silently wrong where one of them is missing or of another kind than its
attention code takes:

    encoder   S x S   a token of the prompt sees the tokens of its own prompt
    cross     T x S   an answer sees its own prompt
    decoder   T x T   an answer sees itself, up to the present

Models whose positions are relative (the T5 family) compute the same numbers then; those that number the places of a row
(BART) do not, and `layout_fault` says so.

Shape legend: B rows, S tokens a row of the encoder, T tokens a row of the decoder, K trained tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from instil.models.heads import selected_logits
from instil.models.parity import Piece, leak_fault, parity_fault
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.records import Pack, Rectangle

#: Tokens read and tokens written of the made-up prompts on which a layout is tried, by row.
_TRIED = (((23, 5), (7, 11), (12, 2)), ((16, 9), (19, 6)))


def answer_logits(model: PreTrainedModel, pack: PackTensors, layout: Layout) -> Tensor:
    """The logits (K, V) that predict the trained tokens, computed at their positions alone."""
    return selected_logits(model, pack.target_index, inputs_of(model, pack, layout))


def inputs_of(model: PreTrainedModel, pack: PackTensors, layout: Layout) -> dict[str, Any]:
    """What a model is called with for a rectangle of this layout.

    Where several rows of the decoder read one row of the encoder, that has been read already.
    """
    assert pack.encoder is not None, "a pack for seq2seq has what the encoder reads"
    if layout == "packed":
        return packed_inputs(model, pack)
    mask = padding_mask(model, pack.encoder.segments > 0)
    inputs: dict[str, Any] = {"attention_mask": mask, "decoder_input_ids": pack.ids, "use_cache": False}
    if pack.encoder_rows is None:
        return inputs | {"input_ids": pack.encoder.ids}
    encoder: Any = model.get_encoder()
    read = encoder(input_ids=pack.encoder.ids, attention_mask=mask).last_hidden_state
    rows = pack.encoder_rows
    return inputs | {"encoder_outputs": (read.index_select(0, rows),), "attention_mask": mask.index_select(0, rows)}


def padding_mask(model: PreTrainedModel, real_BS: Tensor) -> Tensor:
    """What hides the padding of the encoder: the numbers that are added to the scores, where the attention code adds.

    Given the usual way, as 1 and 0, every layer would choose anew between its bias and the lowest number.
    """
    if getattr(model.config, "_attn_implementation", "") not in ("sdpa", "eager"):
        return real_BS.long()
    return _added(real_BS[:, None], model.dtype)


def packed_inputs(model: PreTrainedModel, pack: PackTensors) -> dict[str, Any]:
    """What a model is called with for packed rows: read already, since reading and answering need different masks."""
    assert pack.encoder is not None, "a pack for seq2seq has what the encoder reads"
    masks = packed_masks(model.dtype, pack.encoder.segments, pack.segments)
    encoder: Any = model.get_encoder()
    read = encoder(input_ids=pack.encoder.ids, attention_mask=masks.encoder)
    return {
        "encoder_outputs": (read.last_hidden_state,),
        "attention_mask": masks.cross,
        "decoder_input_ids": pack.ids,
        "decoder_attention_mask": masks.decoder,
        "use_cache": False,
    }


@dataclass(frozen=True, slots=True)
class PackedMasks:
    """What is added to the scores of each attention: 0, or the lowest number where nothing may be seen."""

    encoder: Tensor
    """(B, 1, S, S)."""
    cross: Tensor
    """(B, 1, T, S)."""
    decoder: Tensor
    """(B, 1, T, T)."""


def packed_masks(dtype: torch.dtype, read_BS: Tensor, written_BT: Tensor) -> PackedMasks:
    """The masks under which segment n of a row sees segment n alone.

    They are added to the scores, which every attention code of transformers understands; truth values are read as the
    numbers 0 and 1 by some. Padding is a segment of its own, and padding of the decoder sees all that was read, so that
    no row of a mask is empty.

    Args:
        dtype: of the scores.
        read_BS: the segments of the encoder, 0 where padded.
        written_BT: the segments of the decoder, 0 where padded.
    """
    length = written_BT.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=written_BT.device).tril()

    written = written_BT[:, :, None]
    return PackedMasks(
        encoder=_added(read_BS[:, :, None] == read_BS[:, None, :], dtype),
        cross=_added((written == read_BS[:, None, :]) | (written == 0), dtype),
        decoder=_added((written == written_BT[:, None, :]) & past, dtype),
    )


def _added(allowed_BTS: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where something may be seen, else the lowest number (B, 1, T, S)."""
    floor = torch.zeros((), dtype=dtype, device=allowed_BTS.device)
    return floor.masked_fill(~allowed_BTS, torch.finfo(dtype).min)[:, None]


def layout_fault(model: PreTrainedModel, layout: Layout, *, max_length: int, pack: Pack | None = None) -> str:
    """Why this very model must not be given rows of this layout; empty where it may.

    Segments are run in the layout, and one by one without any mask; their logits and the gradients of all weights that
    learn are compared.

    Args:
        model: the model as it will be trained.
        layout: the layout.
        max_length: the most tokens that a segment may have.
        pack: rows in this layout to try it on; made up by default: three segments in a row, two in another.
    """
    tried = to_tensors(_made_up(model, layout, max_length) if pack is None else pack, model.device)
    alone, order = _alone(model, tried)
    targets = tried.target_ids.index_select(0, order)
    fault = parity_fault(model, [lambda: answer_logits(model, tried, layout).index_select(0, order)], alone, targets)
    if fault or layout == "bucketed":
        return fault
    return leak_fault(model, lambda given: answer_logits(model, given, layout), tried)


def _alone(model: PreTrainedModel, pack: PackTensors) -> tuple[list[Piece], Tensor]:
    """Every segment by itself, called as anybody would; and the order in which it meets the targets of the pack."""
    assert pack.encoder is not None, "a pack for seq2seq has what the encoder reads"
    pieces: list[Piece] = []
    orders: list[Tensor] = []
    width = pack.ids.shape[1]
    for row, numbers in enumerate(pack.segments):
        for number in range(1, int(numbers.max()) + 1 if len(numbers) else 1):
            place = numbers == number
            start = row * width + int(place.int().argmax())
            chosen = (pack.target_index >= start) & (pack.target_index < start + int(place.sum()))
            read = pack.encoder.ids[row][pack.encoder.segments[row] == number]
            pieces.append(_piece(model, read, pack.ids[row][place], pack.target_index[chosen] - start))
            orders.append(chosen.nonzero().squeeze(1))
    return pieces, torch.cat(orders)


def _piece(model: PreTrainedModel, read: Tensor, written: Tensor, wanted: Tensor) -> Piece:
    def logits() -> Tensor:
        whole: Any = model(input_ids=read[None], decoder_input_ids=written[None], use_cache=False)
        predicted: Tensor = whole.logits[0].index_select(0, wanted)
        return predicted

    return logits


def _made_up(model: PreTrainedModel, layout: Layout, max_length: int) -> Pack:
    """Random segments in a layout; every token that the decoder writes is a target."""
    config = model.config.get_text_config()
    generator = np.random.default_rng(0)
    start = config.decoder_start_token_id if config.decoder_start_token_id is not None else 0
    read: list[list[NDArray[Any]]] = []
    written: list[list[NDArray[Any]]] = []
    for row in _TRIED:
        sizes = [[min(size, max_length) for size in pair] for pair in row]
        read.append([generator.integers(0, config.vocab_size, size) for size, _ in sizes])
        written.append([np.r_[start, generator.integers(0, config.vocab_size, size - 1)] for _, size in sizes])
    if layout == "bucketed":
        read, written = ([[part] for row in rows for part in row] for rows in (read, written))
    encoder, decoder = _rectangle(read), _rectangle(written)
    index = np.flatnonzero(decoder.segments.reshape(-1)).astype(np.int64)
    targets = generator.integers(0, config.vocab_size, len(index)).astype(np.int64)
    return Pack(decoder.ids, decoder.segments, decoder.positions, index, targets, encoder=encoder)


def _rectangle(rows: Sequence[Sequence[NDArray[Any]]]) -> Rectangle:
    width = max(sum(map(len, row)) for row in rows)
    ids, numbers, positions = (np.zeros((len(rows), width), dtype=np.int32) for _ in range(3))
    for row, parts in enumerate(rows):
        start = 0
        for number, part in enumerate(parts, start=1):
            place = (row, slice(start, start + len(part)))
            ids[place], numbers[place], positions[place] = part, number, np.arange(len(part))
            start += len(part)
    return Rectangle(ids, numbers, positions)
