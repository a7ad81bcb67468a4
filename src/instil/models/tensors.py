"""A `Pack` on the device of its model, and the rows of a rectangle that are looked at.

Shape legend: B rows, T tokens a row, S tokens a row of the encoder, K trained tokens, X anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from instil.records import Pack, Rectangle

Layout = Literal["bucketed", "packed", "shared"]
"""One prompt a row, padded on the right; several a row, kept apart by masks; or a prompt and all its completions a row,
each of which sees the prompt and itself."""


@dataclass(frozen=True, slots=True)
class RectangleTensors:
    """A `Rectangle` on a device, under the same names."""

    ids: Tensor
    segments: Tensor
    positions: Tensor


@dataclass(frozen=True, slots=True)
class PackTensors:
    """A `Pack` on a device, under the same names."""

    ids: Tensor
    segments: Tensor
    positions: Tensor
    target_index: Tensor
    target_ids: Tensor
    encoder: RectangleTensors | None = None
    parents: Tensor | None = None
    encoder_rows: Tensor | None = None


def to_tensors(pack: Pack, device: torch.device) -> PackTensors:
    """Move a pack to a device."""

    def moved(array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    def rectangle(read: Rectangle) -> RectangleTensors:
        return RectangleTensors(moved(read.ids), moved(read.segments), moved(read.positions))

    return PackTensors(
        moved(pack.ids),
        moved(pack.segments),
        moved(pack.positions),
        moved(pack.target_index),
        moved(pack.target_ids),
        None if pack.encoder is None else rectangle(pack.encoder),
        None if pack.parents is None else moved(pack.parents),
        None if pack.encoder_rows is None else moved(pack.encoder_rows),
    )


def rows_at(values_BTX: Tensor, index_K: Tensor) -> Tensor:
    """The (K, X) values at flattened places.

    `index_select`, not `values[index]`: the backward of indexing is not deterministic where indices repeat.
    """
    return values_BTX.reshape(-1, values_BTX.shape[-1]).index_select(0, index_K)
