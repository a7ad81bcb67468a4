"""Whether two models read the same tokens, so that the ids of one can be given to the other.

stranger(reference, policy)   ""   or   "has another tokenizer", "is masked and not causal"
"""

from __future__ import annotations

from instil.models.loading import LoadedModel


def stranger(other: LoadedModel, loaded: LoadedModel) -> str:
    """What makes token ids of `loaded` mean something else to `other`; empty where nothing does."""
    if other.architecture != loaded.architecture:
        return f"{other.path} is {other.architecture} and not {loaded.architecture}"
    if other.backend.get_vocab() != loaded.backend.get_vocab() or other.eos_id != loaded.eos_id:
        return f"{other.path} has another tokenizer"
    return "" if other.specials == loaded.specials else f"{other.path} puts other special tokens around texts"
