"""Losses: tensors in, tensors out. They know no model, device or recipe.

    logits_KV (K trained tokens, V vocabulary), target_K  ->  the SUM of the K cross entropies

Sums, not means: a step divides by the trained tokens of its whole batch, so that the gradient does not depend on how
the batch was cut into pieces.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def answer_loss_sum(logits_KV: Tensor, target_K: Tensor) -> Tensor:
    """The summed cross entropy of the trained tokens, in float32 at least."""
    exact = logits_KV if logits_KV.dtype in (torch.float32, torch.float64) else logits_KV.float()
    return F.cross_entropy(exact, target_K, reduction="sum")
