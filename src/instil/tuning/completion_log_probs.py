"""What a model gives to whole completions: the sum of their tokens' log-probabilities.

    group       [12 7 9] -> [4 2], [8 8 2]
    tree        12 7 9 | 4 2 | 8 8 2          the prompt once, where this very model may (`models.groups.sharing_fault`)
    bucketed    12 7 9 4 2, 12 7 9 8 8 2      else; the encoder of a seq2seq model reads it once in any case
    sums        [-3.1, -7.4]                  2 and 3 tokens

Shape legend: N completions, K tokens of completions, L tokens of the longest completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from instil.errors import ModelError, RunError
from instil.mixtures.groups import lay_out_groups
from instil.models.architecture import forward_of
from instil.models.groups import completion_logits, sharing_fault
from instil.models.loading import LoadedModel
from instil.models.memory import is_out_of_memory
from instil.models.parity import evaluating
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.records import Architecture, Group, GroupPack
from instil.tuning.gradient import products_in
from instil.tuning.memory import in_smaller_batches
from instil.tuning.preference_losses import completion_sums
from instil.tuning.token_log_probs import TokenLogProbs


@dataclass(frozen=True, slots=True, eq=False)
class CompletionPack:
    """Completions in one rectangle, on the device of their model."""

    pack: PackTensors
    places: Tensor
    """(N, L): where in the rectangle's targets the tokens of each completion are; K where it has no more."""
    lengths: Tensor
    """(N,): tokens of each completion."""
    numbers: NDArray[np.int64]
    """(N,): the number of each completion, through all groups that were laid out together."""
    tokens: int
    size: int


def completion_packs(
    loaded: LoadedModel, groups: Sequence[Group], layout: Layout, tokens_per_batch: int
) -> list[CompletionPack]:
    """Groups in rectangles, none of them torn."""
    laid = lay_out_groups(
        groups, tokens_per_batch=tokens_per_batch, specials=loaded.specials, shared=layout == "shared"
    )
    return [_moved(item, loaded.device) for item in laid]


def _moved(item: GroupPack, device: torch.device) -> CompletionPack:
    order = np.argsort(item.numbers)
    rows = order[np.searchsorted(item.numbers[order], item.owners)]
    longest = int(item.places.max()) + 1
    places = np.full((len(item.numbers), longest), len(item.owners), dtype=np.int64)
    places[rows, item.places] = np.arange(len(item.owners))
    return CompletionPack(
        pack=to_tensors(item.pack, device),
        places=torch.from_numpy(places).to(device),
        lengths=torch.from_numpy(np.bincount(rows, minlength=len(item.numbers))).to(device),
        numbers=item.numbers,
        tokens=item.pack.tokens,
        size=item.pack.size,
    )


class LogProbSums:
    """The summed log-probability of each completion of a rectangle, with gradients.

    Args:
        architecture: of the model.
        layout: of the rectangles.
    """

    def __init__(self, architecture: Architecture, layout: Layout) -> None:
        self._log_probs = TokenLogProbs(lambda model, pack: completion_logits(model, architecture, pack, layout))

    def __call__(self, model: PreTrainedModel, item: CompletionPack) -> Tensor:
        """The sums (N,), in float32 at least."""
        return completion_sums(self._log_probs(model, item.pack), item.places)

    def look(self, model: PreTrainedModel, item: CompletionPack) -> None:
        """See `TokenLogProbs.look`."""
        self._log_probs.look(model, item.pack)


def choose_group_layout(loaded: LoadedModel, *, shared: bool, asked: bool, say: Callable[[str], None]) -> Layout:
    """`shared` where it is wanted and this very model gives the same in it; else `bucketed`.

    Args:
        loaded: the model as it will be trained.
        shared: whether it is wanted.
        asked: whether somebody asked for it by name, and is told why not.
        say: tells them.

    Raises:
        ModelError: if not even padded rows give the same.
        RunError: if memory does not hold the gradients that are compared.
    """
    try:
        fault = sharing_fault(loaded) if shared else ""
        if shared and not fault:
            return "shared"
        if asked and loaded.architecture == "causal":
            say(f"each completion has its own copy of the prompt: in a shared row {fault}")
        fault = forward_of(loaded.architecture).layout_fault(loaded.model, "bucketed", max_length=loaded.max_length)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            "memory ran out before the first step, while the model's gradients for a few prompts were looked at",
            remedy="Set tuning.lora to {}, or take a smaller model or a device with more memory",
        ) from error
    if fault:
        raise ModelError(f"{loaded.path} cannot be tuned with padded rows: {fault}", remedy="Give another model")
    return "bucketed"


class CompletionScorer:
    """Asks a model for the log-probabilities of completions, without gradients and without dropout.

    Args:
        loaded: the model.
        layout: of the rectangles.
        tokens_per_batch: the most tokens, padding included, in memory at once; halved where memory runs out.
        dtype: of the products.
    """

    def __init__(self, loaded: LoadedModel, layout: Layout, *, tokens_per_batch: int, dtype: torch.dtype) -> None:
        self.loaded, self.layout = loaded, layout
        self.tokens_per_batch, self.dtype = tokens_per_batch, dtype
        self._log_prob_sums = LogProbSums(loaded.architecture, layout)

    def sums(self, groups: Sequence[Group], model: PreTrainedModel | None = None) -> list[NDArray[np.float32]]:
        """For every group the summed log-probability of each of its completions.

        Args:
            groups: what to ask.
            model: to be asked in place of the one loaded, whose kin it is.

        Raises:
            RunError: if not even one prompt fits in memory.
        """
        return in_smaller_batches(
            self,
            lambda: self._sums(groups, self.loaded.model if model is None else model),
            found="memory ran out while a single prompt and its completions were read",
            remedy="Set tuning.max_length lower, or take a smaller model or a device with more memory",
        )

    def _sums(self, groups: Sequence[Group], model: PreTrainedModel) -> list[NDArray[np.float32]]:
        starts = np.cumsum([0, *(len(group.completions) for group in groups)])
        found = np.zeros(starts[-1], dtype=np.float32)
        with evaluating(model), torch.no_grad(), products_in(self.dtype, model):
            for item in completion_packs(self.loaded, groups, self.layout, self.tokens_per_batch):
                found[item.numbers] = self._log_prob_sums(model, item).float().cpu().numpy()
        return [found[start:stop] for start, stop in pairwise(starts.tolist())]
