"""What a model says of every token of answers: log-probabilities, or values; without gradients, in rectangles.

    groups      [12 7 9] -> [4 2], [8 8 2]        laid out as trees where the model may share prompts, else a row each
    log_probs   [-.7 -.1  -.3 -.2 -.1]            one answer behind the other, whatever rectangle they stood in
    entropy     [ .9  .3   .8  .7  .1]            of what stood to choose
    values      [ .3  .5   .1  .2  .4]            read in front of each token: what is expected before it is written

Shape legend: K tokens of all answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from instil.mixtures.groups import lay_out_groups
from instil.models.groups import completion_logits, log_probs, log_probs_and_entropy
from instil.models.loading import LoadedModel
from instil.models.parity import evaluating
from instil.models.reward_head import rewards_at
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.records import Architecture, Group, GroupPack, Specials
from instil.tuning.gradient import products_in
from instil.tuning.memory import in_smaller_batches


@dataclass(frozen=True, slots=True)
class TokenPlaces:
    """Where the tokens of answers stand when all are laid one behind the other."""

    starts: NDArray[np.int64]
    """(N,): the place of each answer's first token."""
    total: int

    @classmethod
    def of(cls, groups: Sequence[Group]) -> TokenPlaces:
        """Those of these groups."""
        sizes = np.array([len(one) for group in groups for one in group.completions], dtype=np.int64)
        return cls(np.cumsum(sizes) - sizes, int(sizes.sum()))

    def in_pack(self, item: GroupPack) -> NDArray[np.int64]:
        """The places of a rectangle's targets."""
        return self.starts[item.owners] + item.places


@dataclass(slots=True)
class TokenScorer:
    """Scores answers with models of one shape of tokens.

    Args:
        architecture: of the models.
        specials: of the models.
        device: where they lie.
        layout: of the rectangles.
        tokens_per_batch: the most tokens in memory at once, padding included; halved where memory runs out.
        dtype: of the products.
        temperature: what logits are divided by.
    """

    architecture: Architecture
    specials: Specials
    device: torch.device
    layout: Layout
    tokens_per_batch: int
    dtype: torch.dtype
    temperature: float = 1.0

    @classmethod
    def of(
        cls, loaded: LoadedModel, layout: Layout, *, tokens_per_batch: int, dtype: torch.dtype, temperature: float = 1.0
    ) -> TokenScorer:
        """The scorer of a loaded model and its kin."""
        return cls(loaded.architecture, loaded.specials, loaded.device, layout, tokens_per_batch, dtype, temperature)

    def log_probs(self, model: PreTrainedModel, groups: Sequence[Group]) -> NDArray[np.float32]:
        """The log-probability (K,) of every token of the answers."""

        def scored(pack: PackTensors) -> Tensor:
            return log_probs(self._logits(model, pack), pack.target_ids)[None]

        found: NDArray[np.float32] = self._scored(model, groups, scored, rows=1)[0]
        return found

    def log_probs_and_entropy(self, model: PreTrainedModel, groups: Sequence[Group]) -> NDArray[np.float32]:
        """The log-probability of every token of the answers, and the entropy of what stood to choose there (2, K)."""

        def scored(pack: PackTensors) -> Tensor:
            return torch.stack(log_probs_and_entropy(self._logits(model, pack), pack.target_ids))

        return self._scored(model, groups, scored, rows=2)

    def values(self, network: PreTrainedModel, groups: Sequence[Group]) -> NDArray[np.float32]:
        """What a value network expects in front of every token of the answers (K,)."""

        def scored(pack: PackTensors) -> Tensor:
            return values_at(network, self.architecture, pack, self.layout)[None]

        found: NDArray[np.float32] = self._scored(network, groups, scored, rows=1)[0]
        return found

    def _logits(self, model: PreTrainedModel, pack: PackTensors) -> Tensor:
        return at_temperature(completion_logits(model, self.architecture, pack, self.layout), self.temperature)

    def _scored(
        self, model: PreTrainedModel, groups: Sequence[Group], score: Callable[[PackTensors], Tensor], *, rows: int
    ) -> NDArray[np.float32]:
        return in_smaller_batches(
            self,
            lambda: self._once(model, groups, score, rows),
            found="memory ran out while one prompt and its answers were read",
            remedy="Set max_new_tokens lower, or take a smaller model or a device with more memory",
        )

    def _once(
        self, model: PreTrainedModel, groups: Sequence[Group], score: Callable[[PackTensors], Tensor], rows: int
    ) -> NDArray[np.float32]:
        places = TokenPlaces.of(groups)
        found = np.zeros((rows, places.total), dtype=np.float32)
        laid = lay_out_groups(
            groups,
            tokens_per_batch=self.tokens_per_batch,
            specials=self.specials,
            shared=self.layout == "shared",
            whole_groups=False,
        )
        with evaluating(model), torch.no_grad(), products_in(self.dtype, model):
            for item in laid:
                found[:, places.in_pack(item)] = score(to_tensors(item.pack, self.device)).float().cpu().numpy()
        return found


def values_at(network: PreTrainedModel, architecture: Architecture, pack: PackTensors, layout: Layout) -> Tensor:
    """The values (K,) in front of every token of the answers in a rectangle, with gradients."""
    return rewards_at(network, architecture, pack, pack.target_index, layout)


def at_temperature(logits_KV: Tensor, temperature: float) -> Tensor:
    """Logits as tokens are drawn by them."""
    return logits_KV if temperature == 1.0 else logits_KV / temperature
