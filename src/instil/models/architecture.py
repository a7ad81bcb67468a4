"""What differs between the architectures, by name: the one place that knows all three.

forward_of("seq2seq").answer_logits(model, pack, "bucketed")
engine_of(loaded).generate([[12, 7, 9]], max_new_tokens=12)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from instil.models import causal, masked, seq2seq
from instil.models.completion import Completion, Scored
from instil.models.engine import Engine
from instil.models.masked_engine import MaskedEngine
from instil.models.sampling import Sampling
from instil.models.seq2seq_engine import Seq2SeqEngine
from instil.models.tensors import Layout, PackTensors
from instil.records import Architecture

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel


class Forward(Protocol):
    """How an architecture is trained; `causal`, `seq2seq` and `masked` are each one of these."""

    def answer_logits(self, model: PreTrainedModel, pack: PackTensors, layout: Layout) -> Tensor:
        """The logits (K, V) that predict the trained tokens."""

    def inputs_of(self, model: PreTrainedModel, pack: PackTensors, layout: Layout) -> dict[str, Any]:
        """What the model is called with for a rectangle of this layout."""

    def layout_fault(self, model: PreTrainedModel, layout: Layout, *, max_length: int) -> str:
        """Why this very model must not be given rows of this layout; empty where it may."""


class Answering(Protocol):
    """How a model is asked; rows are token ids as `Encoder.read` gives them."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
        *,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """The answer to every prompt: greedy, or drawn with a seed for each (its number where none are given)."""

    def stream(
        self,
        prompt: Sequence[int],
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        *,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> Generator[str, None, Completion]:
        """The answer to one prompt, piece by piece."""

    def loglikelihoods(
        self,
        prefixes: Sequence[Sequence[int]],
        options: Sequence[Sequence[Sequence[int]]],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[list[float]]:
        """The summed log-probability of every option's tokens."""

    def scores(
        self,
        prefixes: Sequence[Sequence[int]],
        options: Sequence[Sequence[Sequence[int]]],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[list[Scored]]:
        """The same, and whether the model would have written the option."""


_FORWARD: Mapping[Architecture, Forward] = {"causal": causal, "seq2seq": seq2seq, "masked": masked}


def forward_of(architecture: Architecture) -> Forward:
    """How models of an architecture are trained."""
    return _FORWARD[architecture]


def engine_of(loaded: LoadedModel, *, tokens_per_batch: int | None = None) -> Answering:
    """What asks this model."""
    if loaded.architecture == "masked":
        return MaskedEngine(loaded, tokens_per_batch=tokens_per_batch)
    if loaded.architecture == "seq2seq":
        return Seq2SeqEngine(loaded, tokens_per_batch=tokens_per_batch)
    return Engine(loaded, tokens_per_batch=tokens_per_batch)
