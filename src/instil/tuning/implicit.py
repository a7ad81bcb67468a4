"""How well a policy's implicit rewards order completions that it was not trained on: a share with its interval.

    implicit reward   beta x (log policy - log reference), of ipo a mean over the completion's tokens
    accuracy          right pairs / untied pairs; a tie of rewards is half right, so that the start has 0.5
    ci95              over prompts: pairs of a prompt, and rankings of it by several people, are one cluster

    0.64 [0.58, 0.70], 812 pairs of 301 prompts

The interval is Wilson's with the number of pairs that, were they independent, would leave the mean as uncertain as the
clusters leave it (Kish's effective sample size; prompts where nothing varies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from instil.mixtures.encode import Encoder
from instil.models.loading import LoadedModel
from instil.records import Ranking
from instil.runs import RunFolder
from instil.tuning.distributed import World
from instil.tuning.dpo import DpoSpec, group_layout, ordered_rightly, pair_loss, reference_of, refuse_policy, scorer_of
from instil.tuning.preference_rows import PreferenceRow, paired_rows

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class ImplicitAccuracy:
    """The share of pairs that are ordered as people ordered them."""

    rate: float
    pairs: int
    prompts: int
    ci95: tuple[float, float]


class ImplicitRewards:
    """Asks policies for their implicit rewards of held-out completions.

    It takes the reference's log-probabilities when it is made: where the reference is the policy as it starts, before
    that is trained.

    Args:
        loaded: the policy, as it starts.
        rankings: not trained on.
        spec: of the training.
        run: keeps the reference's log-probabilities.
        encoder: of the policy.
        reference: what the policy is held to; by default the policy as it is now.
        name: of the files that are kept.

    Raises:
        RecipeError: if the policy is masked, or the reference has another tokenizer.
        DataError: if no ranking has an untied pair.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        rankings: Sequence[Ranking],
        spec: DpoSpec,
        run: RunFolder,
        *,
        encoder: Encoder,
        reference: LoadedModel | None = None,
        name: str = "held-out",
    ) -> None:
        refuse_policy(loaded)
        if World.current().size == 1:
            loaded.model.float()
        self.spec = spec
        self.rows = paired_rows(rankings, encoder, most_tokens=spec.max_completion_length)
        held_to = reference_of(loaded, spec, run, reference=reference)
        self._references = held_to.log_probs([row.group for row in self.rows], name=name)
        layout = World.current().together(lambda: group_layout(loaded, spec, run.say))
        self._scorer = scorer_of(loaded, spec, layout)

    def ratios(self, model: PreTrainedModel | None = None) -> list[NDArray[np.float32]]:
        """For every row, the log-ratio of each completion; of ipo the mean over its tokens."""
        asked = self._scorer.sums([row.group for row in self.rows], model)
        found = [sums - held for sums, held in zip(asked, self._references, strict=True)]
        if self.spec.method == "ipo":
            lengths = [np.array([len(ids) for ids in row.group.completions], dtype=np.float32) for row in self.rows]
            found = [ratios / many for ratios, many in zip(found, lengths, strict=True)]
        return found

    def accuracy(self, model: PreTrainedModel | None = None) -> ImplicitAccuracy:
        """How often the better one has the higher reward."""
        return accuracy_by_prompt(self.rows, self._margins(model), self.spec)

    def figures(self, model: PreTrainedModel | None = None) -> dict[str, float]:
        """What an evaluation while training writes: accuracy with its interval, margin, and the loss by prompt."""
        margins = self._margins(model)
        found = accuracy_by_prompt(self.rows, margins, self.spec)
        figures = {
            "accuracy": found.rate,
            "accuracy_low": found.ci95[0],
            "accuracy_high": found.ci95[1],
            "pairs": found.pairs,
            "prompts": found.prompts,
            "margin": self.spec.beta * float(np.mean([each.mean() for each in margins])),
        }
        if self.spec.method != "kto":  # whose loss is not of pairs
            losses = [pair_loss(torch.from_numpy(each), self.spec).mean() for each in margins]
            figures["preference_loss"] = float(torch.stack(losses).mean())
        return figures

    def _margins(self, model: PreTrainedModel | None) -> list[NDArray[np.float64]]:
        """For every row, the difference of log-ratios of each of its pairs."""
        pairs = [np.array(row.pairs) for row in self.rows]
        ratios = [each.astype(np.float64) for each in self.ratios(model)]
        return [found[two[:, 0]] - found[two[:, 1]] for found, two in zip(ratios, pairs, strict=True)]


def accuracy_by_prompt(
    rows: Sequence[PreferenceRow], margins: Sequence[NDArray[np.float64]], spec: DpoSpec
) -> ImplicitAccuracy:
    """The share of margins above 0, with an interval over prompts.

    Args:
        rows: of which the prompts are looked at.
        margins: of each row, one a pair.
        spec: says what a tie is.
    """
    right: dict[str, float] = {}
    pairs: dict[str, int] = {}
    for row, each in zip(rows, margins, strict=True):
        right[row.prompt] = right.get(row.prompt, 0.0) + float(ordered_rightly(torch.from_numpy(each), spec).sum())
        pairs[row.prompt] = pairs.get(row.prompt, 0) + len(each)
    right_C, pairs_C = np.array(list(right.values())), np.array(list(pairs.values()), dtype=np.float64)
    total = float(pairs_C.sum())
    rate = float(right_C.sum()) / total
    return ImplicitAccuracy(rate, int(total), len(pairs_C), _interval(rate, right_C, pairs_C))


def _interval(rate: float, right_C: NDArray[np.float64], pairs_C: NDArray[np.float64]) -> tuple[float, float]:
    """Wilson's interval with the effective number of pairs of C clusters."""
    clusters, total = len(pairs_C), float(pairs_C.sum())
    off_C = right_C - rate * pairs_C
    variance = clusters / max(1, clusters - 1) * float((off_C**2).sum()) / total**2
    effective = rate * (1.0 - rate) / variance if variance > 0 else clusters
    middle = (rate + _Z**2 / (2 * effective)) / (1 + _Z**2 / effective)
    half = _Z / (1 + _Z**2 / effective) * (rate * (1 - rate) / effective + _Z**2 / (4 * effective**2)) ** 0.5
    return middle - half, middle + half
