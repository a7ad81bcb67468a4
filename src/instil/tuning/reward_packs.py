"""The rows of a step in rectangles, each with the pairs of the prompts in it.

    step        prompt A -> a0 a1 a2, ranks 1 2 2        prompt B -> b0 b1, ranks 2 1
    rectangles  [A a0 a1 a2]  [B b0 b1]                  no prompt is torn: a pair needs both of its completions
    ends        where a0 a1 a2 end, where b0 b1 end      rewards are read there
    pairs       (0, 1) (0, 2), shares 1/2 1/2            (1, 0), share 1
    pieces      scale 1/2 each, targets 1 and 1          the step's loss is the mean over its two prompts

Shape legend: N completions of a rectangle, P pairs of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from instil.mixtures.groups import lay_out_groups
from instil.models.loading import LoadedModel
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.records import GroupPack
from instil.tuning.gradient import Piece
from instil.tuning.reward_rows import RewardRow


@dataclass(frozen=True, slots=True, eq=False)
class RewardPack:
    """Completions in one rectangle, on the device of their model, and what is known of them."""

    pack: PackTensors
    ends: Tensor
    """(N,): index into the flattened rectangle where each reward is read."""
    better: Tensor
    """(P,): the place of each pair's better completion among the N."""
    worse: Tensor
    share: Tensor
    """(P,): one over the pairs of its prompt."""
    margin: Tensor
    tied: Tensor


def reward_pieces(
    loaded: LoadedModel,
    rows: Sequence[RewardRow],
    layout: Layout,
    tokens_per_batch: int,
    *,
    margin: float = 0.0,
) -> list[Piece[RewardPack]]:
    """The pieces of a step; their scales are those of a mean over its prompts.

    Args:
        loaded: the model.
        rows: of the step.
        layout: whether completions share their prompt.
        tokens_per_batch: the most tokens of a piece, padding included.
        margin: what differences of scores are multiplied by.
    """
    packs = lay_out_groups(
        [row.group for row in rows],
        tokens_per_batch=tokens_per_batch,
        specials=loaded.specials,
        shared=layout == "shared",
    )
    owners = np.repeat(np.arange(len(rows)), [len(row.group.completions) for row in rows])
    starts = np.cumsum([0, *(len(row.group.completions) for row in rows)])
    return [_piece(pack, rows, owners, starts, loaded.device, margin) for pack in packs]


def _piece(
    item: GroupPack,
    rows: Sequence[RewardRow],
    owners: np.ndarray,
    starts: np.ndarray,
    device: torch.device,
    margin: float,
) -> Piece[RewardPack]:
    place = {int(number): at for at, number in enumerate(item.numbers)}
    inside = np.unique(owners[item.numbers]).tolist()
    pairs = [(int(starts[number]), len(rows[number].pairs), pair) for number in inside for pair in rows[number].pairs]

    def index(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64).to(device)

    def exact(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).to(device)

    told = RewardPack(
        pack=to_tensors(item.pack, device),
        ends=torch.from_numpy(item.ends).to(device),
        better=index([place[start + pair.better] for start, _, pair in pairs]),
        worse=index([place[start + pair.worse] for start, _, pair in pairs]),
        share=exact([1.0 / count for _, count, _ in pairs]),
        # a better completion with the lower score asks for no margin
        margin=exact([margin * max(0.0, pair.margin) for _, _, pair in pairs]),
        tied=torch.tensor([pair.levels == 0 for _, _, pair in pairs], dtype=torch.bool).to(device),
    )
    return Piece(told, 1.0 / len(rows), len(inside), item.pack.tokens, item.pack.size)
