"""Who writes the answers of a rollout: the policy itself, through its engine, or a server that was given its weights.

    sampler.refresh(model, number=3)
    sampler.sample([[12, 7, 9], [12, 4]], samples=2, seeds=[1, 2, 3, 4])
        -> 4 Sampled: two answers to the first prompt, two to the second

Tokens are drawn at a temperature and from all words: what is left out by top k or top p could never be learned about,
and would make the ratios of policy gradients wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from transformers import PreTrainedModel

from instil.models.engine import Engine
from instil.models.loading import LoadedModel
from instil.models.sampling import Sampling
from instil.models.seq2seq_engine import Seq2SeqEngine
from instil.tuning.weight_average import plain


@dataclass(frozen=True, slots=True)
class Sampled:
    """An answer that was drawn."""

    ids: tuple[int, ...]
    """Its tokens, with the end token where it ended by itself."""
    text: str
    finished: bool
    log_probs: tuple[float, ...] = ()
    """Of each of its tokens as the sampler gave them; empty where it gives none."""


class Sampler(Protocol):
    """Writes answers with the weights that it was given last."""

    def refresh(self, model: PreTrainedModel, number: int) -> None:
        """Take the policy's present weights, for the rollout of this number; called in the first process alone."""

    def sample(self, prompts: Sequence[Sequence[int]], *, samples: int, seeds: Sequence[int]) -> list[Sampled]:
        """So many answers to every prompt, those to one behind each other; each drawn by its own seed."""


class EngineSampler:
    """The policy's own engine: equal prompts are read once, rows that ended make room for others.

    Args:
        loaded: the policy.
        max_new_tokens: the most tokens of an answer, its end token included.
        temperature: that tokens are drawn at.
        dtype: what it multiplies in. Where this is not what the weights are in, a copy of them in it is kept for
            sampling, which reads half the bytes a token.
    """

    def __init__(self, loaded: LoadedModel, *, max_new_tokens: int, temperature: float, dtype: torch.dtype) -> None:
        self.loaded, self.most, self.dtype = loaded, max_new_tokens, dtype
        self.sampling = Sampling(temperature=temperature)
        self._copy: PreTrainedModel | None = None

    def refresh(self, model: PreTrainedModel, number: int) -> None:
        """Nothing: the engine asks the very model that is trained, or copies it when it is asked."""

    def sample(self, prompts: Sequence[Sequence[int]], *, samples: int, seeds: Sequence[int]) -> list[Sampled]:
        """So many answers to every prompt."""
        asked = self._asked()
        engine = Seq2SeqEngine(asked) if asked.architecture == "seq2seq" else Engine(asked)
        rows = [list(prompt) for prompt in prompts for _ in range(samples)]
        written = engine.generate(rows, self.most, sampling=self.sampling, seeds=seeds, log_probs=True)
        return [
            Sampled(
                ids=one.ids if one.end is None else (*one.ids, one.end),
                text=one.text.strip(),
                finished=one.end is not None,
                log_probs=one.log_probs,
            )
            for one in written
        ]

    def _asked(self) -> LoadedModel:
        """The policy as it is, in the numbers that answers are sampled in."""
        model = self.loaded.model
        if self.dtype == torch.float32 or not all(weight.is_floating_point() for weight in model.parameters()):
            return self.loaded
        with torch.no_grad():
            if self._copy is None:
                with plain(model):
                    self._copy = copy.deepcopy(model).to(self.dtype).eval()
            present = dict(model.named_parameters())
            for name, weight in self._copy.named_parameters():
                weight.copy_(present[name])
        return replace(self.loaded, model=self._copy)
