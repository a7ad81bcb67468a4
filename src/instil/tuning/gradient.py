"""The gradient of a step: pieces in, summed losses out, the same however the step was cut.

    pieces of a step   [loss sum 31.2 x 1/90] [28.4 x 1/90] [40.1 x 1/90]      90 trained tokens in the whole step
    two processes      the first takes pieces 0 and 2, the second piece 1; their gradients are summed
    out of memory      all processes begin the step again, in pieces half as large

Before gradients are exchanged, the processes agree that each went through its pieces, and that all cut the step alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from instil.errors import RunError
from instil.models.linear import has_bfloat16, multiplying_in
from instil.models.memory import is_out_of_memory
from instil.tuning.distributed import fair_cut
from instil.tuning.memory import release_memory
from instil.tuning.sharding import Replicas

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Piece(Generic[M]):
    """A part of a step that is in memory at once."""

    item: M
    scale: float
    """What its summed loss is multiplied by: the weight of its kind over the targets of its kind in the whole step."""
    targets: int
    """Trained tokens."""
    tokens: int
    """Tokens that are not padding."""
    size: int
    """Tokens, padding included: what memory depends on."""
    kind: str = "loss"
    """The column of metrics.jsonl that its mean loss goes to."""


Batches = Callable[[int, int], Sequence[Piece[M]]]
"""(step, tokens_per_batch) -> the pieces of the step: a pure function."""
LossSum = Callable[[PreTrainedModel, M], Tensor]
"""The summed loss of a piece: a number; or, where it has an attribute `figures` that names some for the piece's kind
(`{"loss": ("clipped", "entropy")}`), a vector of the loss and these, each summed over the piece's targets."""


class Place(Protocol):
    """Where a run is."""

    step: int
    tokens_per_batch: int


@dataclass(frozen=True, slots=True)
class Gradient(Generic[M]):
    """What a step found; the gradient itself lies in `weight.grad`."""

    pieces: Sequence[Piece[M]]
    """Empty where the step has no token to train on."""
    sums: list[list[float]]
    """The summed loss of each piece, and its figures."""
    stop: bool
    """Whether any process was asked to stop."""


class Gradients(Generic[M]):
    """Makes the gradient of one step after another.

    Args:
        batches: the pieces of each step.
        held: the model, as the processes hold it.
        weights: those that have gradients.
        dtype: of the products.
        seed: decides the dropout of a step.
        say: tells the person that pieces became smaller.
    """

    def __init__(
        self,
        batches: Batches[M],
        held: Replicas[M],
        weights: Sequence[Tensor],
        *,
        dtype: torch.dtype,
        seed: Callable[[int], None],
        say: Callable[[str], None],
    ) -> None:
        self.batches, self.held, self.weights = batches, held, weights
        self.dtype, self.seed, self.say = dtype, seed, say
        self.world = held.world

    def make(self, place: Place, *, stop: object = False) -> Gradient[M]:
        """The gradient of the step in `weight.grad`; where memory runs out, the same in smaller pieces.

        Args:
            place: where the run is.
            stop: true once this process was asked to stop; looked at when the processes agree.

        Raises:
            RunError: if not even the longest prompt fits in memory, or the processes read different ones.
        """
        while True:
            pieces = fair_cut(self.batches, place.step, place.tokens_per_batch, self.world.size)
            if not any(piece.targets for piece in pieces):
                return Gradient([], [], self._agree(pieces, 0, stop, place)[1])
            self.seed(place.step)
            sums, failed = self._own(pieces, place)
            failed, stops = self._agree(pieces, failed, stop, place)
            if not failed:
                sums = self._summed(sums)
                self.held.sum_gradients(self.weights)
                return Gradient(pieces, sums, stops)
            for weight in self.weights:
                weight.grad = None
            release_memory()
            self._shrink(failed, place)

    def _own(self, pieces: Sequence[Piece[M]], place: Place) -> tuple[list[list[float]], int]:
        """This process's pieces: their summed losses and figures, and the largest size if memory ran out, else 0."""
        parts = self.world.share([piece.size for piece in pieces])
        own: list[int | None] = [*parts[self.world.rank]]
        if self.held.sharded:  # whoever holds a part of the weights must be there each time that they are used
            own += [None] * (max(map(len, parts)) - len(own))
        filler = min(pieces, key=lambda piece: piece.size)
        losses = []
        try:
            for number in own:
                piece, scale = (filler, 0.0) if number is None else (pieces[number], pieces[number].scale)
                with self._products():
                    loss = self.held.loss(piece.item).reshape(-1)
                torch.autograd.backward(loss[0] * scale)
                losses.append(loss.detach())
            values = _fetched(losses)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = max(piece.size for piece in pieces)
            if self.held.sharded:  # the others wait in the middle of a block: there is no way back for them
                raise RunError(
                    f"memory ran out at step {place.step + 1} with {failed:,} tokens in a piece",
                    remedy=f"Begin anew with tuning.tokens_per_batch {max(1, failed // 2)}, or with more processes",
                ) from error
            return self._nothing(pieces), failed
        sums = self._nothing(pieces)
        for number, value in zip(own, values, strict=True):
            if number is not None:
                sums[number] = value
        return sums, 0

    def _nothing(self, pieces: Sequence[Piece[M]]) -> list[list[float]]:
        """The sums of pieces that this process did not read."""
        return [[0.0] * (1 + len(self.held.figures.get(piece.kind, ()))) for piece in pieces]

    def _summed(self, sums: list[list[float]]) -> list[list[float]]:
        """The same over all processes."""
        whole = iter(self.world.summed([value for row in sums for value in row]))
        return [[next(whole) for _ in row] for row in sums]

    def _agree(self, pieces: Sequence[Piece[M]], failed: int, stop: object, place: Place) -> tuple[int, bool]:
        """What all processes say: the largest size that did not fit, and whether any was asked to stop."""
        cut = [len(pieces), sum(piece.targets for piece in pieces), sum(piece.size for piece in pieces)]
        said = self.world.gathered([failed, bool(stop), *cut])
        if any(row[2:] != said[0][2:] for row in said):
            raise self.world.once(
                RunError(
                    f"the processes do not read the same prompts at step {place.step + 1}",
                    remedy="Give all machines the same data, model and versions of the packages",
                )
            )
        return int(max(row[0] for row in said)), any(row[1] for row in said)

    def _shrink(self, failed: int, place: Place) -> None:
        """Halve the pieces, or give advice where they cannot become smaller."""
        smaller = min(failed, place.tokens_per_batch) // 2
        if smaller < 1 or max(piece.size for piece in self.batches(place.step, smaller)) >= failed:
            raise self.world.once(
                RunError(
                    f"memory ran out at step {place.step + 1} with a single prompt of {failed:,} tokens",
                    remedy=f"Set gradient_checkpointing to true, max_length to {max(16, failed // 2)} or lora to {{}}, "
                    "or take a smaller model or a device with more memory",
                )
            )
        self.say(f"memory ran out at {failed:,} tokens in a piece: going on with {smaller:,} (the result is the same)")
        place.tokens_per_batch = smaller

    def _products(self) -> contextlib.AbstractContextManager[object]:
        return products_in(self.dtype, self.held.model)


def _fetched(losses: Sequence[Tensor]) -> list[list[float]]:
    """Vectors of unlike length as numbers, fetched from their device at once."""
    if not losses:
        return []
    flat = iter(torch.cat(list(losses)).tolist())
    return [[next(flat) for _ in range(len(loss))] for loss in losses]


def products_in(dtype: torch.dtype, model: PreTrainedModel) -> contextlib.AbstractContextManager[object]:
    """While open, the model multiplies in `dtype`."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    if model.device.type == "cpu" and has_bfloat16(model):
        return multiplying_in(dtype)
    return torch.autocast(model.device.type, dtype)
