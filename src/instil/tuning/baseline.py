"""KTO's baseline z0: how far the policy has come from the reference, as completions of other prompts show it.

    row 3   "Name a fruit."  -> Apple         partner, row 8   "What is 2 + 2?"
    z0      log policy(Apple | What is 2 + 2?) - log reference(Apple | What is 2 + 2?): the mean over the step, or 0

It is estimated before the step, with the policy as it is then and without dropout, over as many completions as the step
has, and no gradient goes through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from instil.records import Group
from instil.tuning.completion_log_probs import CompletionScorer
from instil.tuning.distributed import World
from instil.tuning.preference_losses import kto_baseline
from instil.tuning.preference_rows import EpochOrder


class Baseline:
    """The baseline of every step.

    Args:
        others: for every row, its completions behind another row's prompt.
        references: what the reference gives to them, by number of the row.
        order: which rows a step reads.
        scorer: asks the policy.
    """

    def __init__(
        self,
        others: Sequence[Group],
        references: Mapping[int, NDArray[np.float32]],
        order: EpochOrder,
        scorer: CompletionScorer,
    ) -> None:
        self.others, self.references = others, references
        self.order, self.scorer = order, scorer
        self._step, self._value = -1, 0.0

    def prepare(self, step: int, model: PreTrainedModel) -> None:
        """Estimate the baseline of a step with the policy as it is; processes ask for a part each."""
        places, world = self.order.window(step), World.current()
        own = places[world.rank :: world.size]
        asked = self.scorer.sums([self.others[place] for place in own], model) if own else []
        ratios = [found - self.references[place] for found, place in zip(asked, own, strict=True)]
        flat = np.concatenate([np.zeros(0, dtype=np.float32), *ratios]).astype(np.float64)
        total, count = world.summed([float(flat.sum()), float(len(flat))])
        mean = torch.tensor([total / count], dtype=torch.float64)
        self._step, self._value = step, float(kto_baseline(mean))

    def of(self, step: int) -> float:
        """The baseline of the step that was prepared."""
        assert step == self._step, f"step {step} was not prepared"
        return self._value
