"""When memory runs out (`models.memory` knows it by its names): answered with smaller pieces.

    a step of 64 prompts, 4,096 tokens a piece -> out of memory -> the same step, 2,048 tokens a piece

The gradient does not change, because every piece's summed loss is divided by the trained tokens of the whole step.
Nor does it where blocks are computed twice to keep less (`recomputing`): the second time has the dropout of the first.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch
from transformers import PreTrainedModel

from instil.errors import RecipeError, RunError
from instil.models.linear import multiplied_in, multiplying_in
from instil.models.memory import is_out_of_memory

T = TypeVar("T")


def release_memory() -> None:
    """Give back what the failed step still holds on a GPU; what a CPU held went with the step."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


class Batched(Protocol):
    """What asks a model in batches."""

    tokens_per_batch: int


def in_smaller_batches(asking: Batched, work: Callable[[], T], *, found: str, remedy: str) -> T:
    """What `work` gives; where memory runs out, it begins anew with batches half as large, which stay so.

    Args:
        asking: whose `tokens_per_batch` `work` goes by.
        work: leaves nothing behind where it fails.
        found: what to tell where not even batches of one token fit.
        remedy: what to do then.

    Raises:
        RunError: if not even those fit.
    """
    while True:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if asking.tokens_per_batch <= 1:
                raise RunError(found, remedy=remedy) from error
            asking.tokens_per_batch //= 2
        release_memory()  # outside of the handler, whose error holds on to what failed


@contextlib.contextmanager
def recomputing(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """While open and wanted, blocks in training keep their inputs alone, and are computed again for the gradient.

    Raises:
        RecipeError: if the model cannot.
    """
    if not wanted:
        yield
        return
    if not model.supports_gradient_checkpointing:
        raise RecipeError(
            f"a model of the type {model.config.model_type} has no gradient checkpointing",
            remedy="Set tuning.gradient_checkpointing to false; a smaller tuning.tokens_per_batch saves memory too",
        )
    with warnings.catch_warnings():  # of new names, which the first releases of transformers 5 do not have
        warnings.simplefilter("ignore", FutureWarning)
        how = {"use_reentrant": False, "context_fn": _same_products}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
    # transformers asks for gradients of the embedding's output, which only reentrant checkpoints need
    model.disable_input_require_grads()
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.gradient_checkpointing_disable()


def _same_products() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """Around a block's first time and its second one, which multiplies as the first did; torch sees to autocast."""
    return contextlib.nullcontext(), multiplying_in(multiplied_in())
