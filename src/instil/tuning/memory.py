"""When memory runs out: known by its many names, answered with smaller pieces.

    a step of 64 prompts, 4,096 tokens a piece -> out of memory -> the same step, 2,048 tokens a piece

The gradient does not change, because every piece's summed loss is divided by the trained tokens of the whole step.
"""

from __future__ import annotations

import gc

import torch

_WORDS = ("out of memory", "can't allocate memory", "DefaultCPUAllocator", "ALLOC_FAILED", "Cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(words in str(error) for words in _WORDS)


def release_memory() -> None:
    """Give back what the failed step still holds on a GPU; what a CPU held went with the step."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
