"""The rows of a step in rectangles, each with what a preference loss must know of the completions in it.

    step        prompt A -> a0 a1 a2, ranks 1 2 2        prompt B -> b0 b1, ranks 2 1
    pairs       (a0, a1) (a0, a2)  (b1, b0)              one element a prompt: shares 1/2 1/2  1
    rectangles  [A a0 a1 a2]  [B b0 b1]                  no prompt is torn: a pair needs both of its completions
    pieces      scale 1/2 each, targets 1 and 1          the step's loss is the mean over its two prompts

Of KTO, whose completions are good or bad by themselves, an element is a completion.

Shape legend: N completions, P pairs, of a rectangle or of a whole step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from instil.tuning.completion_log_probs import CompletionPack
from instil.tuning.gradient import Piece
from instil.tuning.preference_rows import PreferenceRow


@dataclass(frozen=True, slots=True, eq=False)
class PreferencePack:
    """Completions in one rectangle, and what is known of them; all go by their place in the rectangle."""

    completions: CompletionPack
    reference: Tensor
    """Summed log-probabilities under the reference."""
    share: Tensor
    """One over the completions of the prompt; of kto 1."""
    better: Tensor
    worse: Tensor
    pair_share: Tensor
    """One over the pairs of the prompt."""
    best_share: Tensor
    """One over the best completions of the prompt; 0 for others."""
    desirable: Tensor
    """kto: whether each is good."""
    kind_share: Tensor
    """kto: completions of the step over those of the same kind: makes of a mean over all one over the kind."""
    baseline: float = 0.0
    """kto: z0 of the step."""


def preference_pieces(
    packs: Sequence[CompletionPack],
    rows: Sequence[PreferenceRow],
    references: Sequence[NDArray[np.float32]],
    *,
    baseline: float = 0.0,
    exact: torch.dtype = torch.float32,
) -> list[Piece[PreferencePack]]:
    """The pieces of a step; their scales are those of a mean over the whole step.

    Args:
        packs: the completions of all rows, in rectangles.
        rows: in the order in which they were laid out.
        references: of each row, what the reference gives to its completions.
        baseline: kto's z0 of the step.
        exact: what losses are made in.
    """
    told = _Told.of(rows, references)
    whole = told.elements(np.arange(len(told.owner)))
    return [
        Piece(
            told.pack(item, baseline, exact),
            scale=1.0 / whole,
            targets=told.elements(item.numbers),
            tokens=item.tokens,
            size=item.size,
        )
        for item in packs
    ]


@dataclass(frozen=True)
class _Told:
    """What is known of all completions of a step, numbered through."""

    owner: NDArray[np.int64]
    """(N,): the row of each completion."""
    reference: NDArray[np.float32]
    best_share: NDArray[np.float64]
    desirable: NDArray[np.bool_]
    """(N,) of kto, else empty."""
    pairs: NDArray[np.int64]
    """(P, 2): better, worse."""
    pair_share: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[PreferenceRow], references: Sequence[NDArray[np.float32]]) -> _Told:
        sizes = [len(row.group.completions) for row in rows]
        starts = [0, *np.cumsum(sizes).tolist()]
        best = [
            (k in row.best) / max(1, len(row.best)) for row, size in zip(rows, sizes, strict=True) for k in range(size)
        ]
        pairs = [(start + i, start + j) for row, start in zip(rows, starts, strict=False) for i, j in row.pairs]
        return cls(
            owner=np.repeat(np.arange(len(rows)), sizes),
            reference=np.concatenate(references),
            best_share=np.array(best),
            desirable=np.array([good for row in rows for good in row.desirable], dtype=bool),
            pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
            pair_share=np.array([1.0 / len(row.pairs) for row in rows for _ in row.pairs]),
        )

    @property
    def is_paired(self) -> bool:
        return not len(self.desirable)

    def elements(self, numbers: NDArray[np.int64]) -> int:
        """What the mean is over: prompts, or completions of kto."""
        return len(np.unique(self.owner[numbers])) if self.is_paired else len(numbers)

    def pack(self, item: CompletionPack, baseline: float, exact: torch.dtype) -> PreferencePack:
        """What is known of the completions in one rectangle."""
        numbers, device = item.numbers, item.lengths.device
        place = np.full(len(self.owner), -1)
        place[numbers] = np.arange(len(numbers))
        inside = np.flatnonzero(place[self.pairs[:, 0]] >= 0)

        def index(values: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(values).to(device)

        def share(values: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(values).to(exact).to(device)

        if self.is_paired:
            good = np.zeros(len(numbers), dtype=bool)
            shares, kind_shares = 1.0 / np.bincount(self.owner)[self.owner[numbers]], np.zeros(len(numbers))
        else:
            good, counts = self.desirable[numbers], np.bincount(self.desirable, minlength=2)
            shares, kind_shares = np.ones(len(numbers)), len(self.owner) / counts[good.astype(int)]
        return PreferencePack(
            completions=item,
            reference=torch.from_numpy(self.reference[numbers]).to(device),
            share=share(shares),
            better=index(place[self.pairs[inside, 0]]),
            worse=index(place[self.pairs[inside, 1]]),
            pair_share=share(self.pair_share[inside]),
            best_share=share(self.best_share[numbers]),
            desirable=torch.from_numpy(good).to(device),
            kind_share=share(kind_shares),
            baseline=baseline,
        )
