"""How diverse a set of tasks is: the effective number of different tasks in it.

    features of a task    hashed n-grams of its prompts, or the base model's mean hidden states over them
    similarity of two     the cosine of their features: 1 alike, 0 nothing in common
    diversity of a set    the Vendi score of its similarities (Friedman and Dieng 2023, arXiv:2210.02410):
                          exp of the entropy of the eigenvalues of similarity / n

    vendi([[1, 0], [0, 1]]) = 2.0     two tasks that share nothing count as two
    vendi([[1, 1], [1, 1]]) = 1.0     the same task twice counts as one

`widest` adds the tasks that raise it most, one after another: what `instil study next` proposes. Nothing here looks at
an evaluation, so what a set is found to be worth can be tested on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from instil.overlap import run_hashes, word_hashes, words

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel

Floats = NDArray[np.float64]

#: Places that n-grams are hashed to. Where two share one, tasks look a little more alike than they are.
_PLACES = 1 << 14
#: Words in a row that count as one feature.
_GRAMS = (1, 2)
#: Prompts that a model reads at a time, each cut to so many tokens.
_BATCH, _MOST_TOKENS = 16, 512


def ngram_features(prompts: Sequence[Sequence[str]]) -> Floats:
    """A row a task: the share of its prompts that hold each n-gram, weighed by how few tasks have it.

    What all tasks have in common (the words of shared templates) weighs nothing, and what changes from prompt to prompt
    (the inputs) weighs little: what is left is mostly what a task asks for.

    Args:
        prompts: of each task, some of its prompts.
    """
    rows = np.zeros((len(prompts), _PLACES))
    for row, texts in zip(rows, prompts, strict=True):
        for text in texts:
            row[_places(text)] += 1 / len(texts)
    tasks_with = (rows > 0).sum(0)
    weights = np.log((1 + len(prompts)) / (1 + tasks_with))
    return _unit(rows * weights)


def _places(text: str) -> NDArray[np.int64]:
    hashes = word_hashes(words(text))
    grams = [run_hashes(hashes, n) for n in _GRAMS if len(hashes) >= n]
    if not grams:
        return np.empty(0, np.int64)
    return np.unique(np.concatenate(grams) % np.uint64(_PLACES)).astype(np.int64)


def hidden_features(loaded: LoadedModel, prompts: Sequence[Sequence[str]]) -> Floats:
    """A row a task: the model's last hidden states, meant over the tokens of its prompts, less their mean over tasks.

    Without that mean all texts look alike: what every hidden state has in common is larger than what differs.

    Args:
        loaded: the base, before any tuning.
        prompts: of each task, some of its prompts.
    """
    rows = np.stack([_mean_states(loaded, texts) for texts in prompts])
    return _unit(rows - rows.mean(0))


def _mean_states(loaded: LoadedModel, texts: Sequence[str]) -> Floats:
    import torch

    model = loaded.model
    reads = model.get_encoder() if loaded.architecture == "seq2seq" else model.base_model
    found = []
    for start in range(0, len(texts), _BATCH):
        encoded = [
            one.ids[: min(_MOST_TOKENS, loaded.max_length)] or [loaded.eos_id]
            for one in loaded.backend.encode_batch(list(texts[start : start + _BATCH]))
        ]
        width = max(map(len, encoded))
        ids = torch.tensor([one + [loaded.pad_id] * (width - len(one)) for one in encoded], device=loaded.device)
        mask = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in encoded], device=loaded.device)
        with torch.no_grad():
            states_BTD = reads(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        kept = mask.unsqueeze(-1).float()
        found.append(((states_BTD * kept).sum(1) / kept.sum(1)).double().cpu().numpy())
    means: Floats = np.concatenate(found).mean(0)
    return means


def _unit(rows: Floats) -> Floats:
    """Rows of length one; one that is all zeros, a task that has nothing of its own, stays so."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.where(lengths == 0, 1.0, lengths)
    return unit


def similarity(features: Floats) -> Floats:
    """How alike every two tasks are; every task is wholly like itself."""
    alike: Floats = features @ features.T
    np.fill_diagonal(alike, 1.0)
    return alike


def vendi(alike: Floats) -> float:
    """The effective number of different tasks in a set: from 1, all the same, to their number.

    Args:
        alike: similarities of every two of them, a positive semidefinite matrix with ones on its diagonal.

    Raises:
        ValueError: if the set is empty.
    """
    if not len(alike):
        raise ValueError("no tasks, so no diversity")
    values = np.linalg.eigvalsh(alike / len(alike))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


@dataclass(frozen=True, slots=True)
class Added:
    """A task that a set was widened by."""

    task: int
    """Its row among the similarities."""
    diversity: float
    """The effective number of tasks of the set with it."""
    gained: float
    """How much more that is than before."""


def widest(alike: Floats, have: Sequence[int], at_hand: Sequence[int], *, add: int) -> list[Added]:
    """The tasks that make a set more diverse, each the one that adds most to what there is by then.

    Args:
        alike: similarities of all tasks.
        have: the rows of the tasks that are there already; may be empty.
        at_hand: the rows of those that may be added; the first of equals is taken.
        add: how many.

    Raises:
        ValueError: if fewer are at hand.
    """
    left = [task for task in dict.fromkeys(at_hand) if task not in set(have)]
    if add > len(left):
        raise ValueError(f"{add} tasks to add, and {len(left)} at hand")
    there, before = list(have), vendi(alike[np.ix_(have, have)]) if have else 0.0
    found: list[Added] = []
    for _ in range(add):
        scores = [vendi(alike[np.ix_([*there, task], [*there, task])]) for task in left]
        best = int(np.argmax(scores))
        found.append(Added(left[best], scores[best], scores[best] - before))
        before = scores[best]
        there.append(left.pop(best))
    return found
