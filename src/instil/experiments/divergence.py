r"""How far a policy has gone from its reference, and how sure of itself it is, on what it wrote itself.

    completion  y1 y2 y3        drawn from the policy
    policy      p(. | x, y<t)   at each place, over the whole vocabulary
    reference   q(. | x, y<t)

    kl       sum over t of  sum over v of p(v) (log p(v) - log q(v))
    entropy  sum over t of -sum over v of p(v) log p(v)

The mean of `kl` over completions that the policy draws (temperature 1) is KL(policy || reference) of whole completions:
by the chain rule, the divergence of a sequence is the expected sum of those of its places. The sum over the vocabulary
in place of the drawn token's own log ratio has the same mean and far less noise, and is never below zero.

Shape legend: K written tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from instil.mixtures.packing import bucketed, widest
from instil.mixtures.rectangles import rectangle, size_of
from instil.models.architecture import forward_of
from instil.models.loading import LoadedModel
from instil.models.parity import evaluating
from instil.models.tensors import to_tensors
from instil.records import Encoded

#: Rows of logits that are turned into probabilities at once: some vocabularies have a quarter of a million words.
_ROWS = 256


@dataclass(frozen=True, slots=True)
class Divergence:
    """Of one completion, in nats, summed over its tokens, the end token included."""

    kl: float
    entropy: float
    tokens: int


def divergences(
    policy: LoadedModel, reference: LoadedModel, written: Sequence[Encoded], *, tokens_per_batch: int
) -> list[Divergence]:
    """What two models think at each place of completions, compared.

    Args:
        policy: the model that wrote them.
        reference: what it is compared with; it may be the very same.
        written: prompts, each with its completion behind `answer_start`.
        tokens_per_batch: the most that rows x length read together may be.
    """
    found = [Divergence(0.0, 0.0, 0)] * len(written)
    sizes = [size_of(item, policy.specials) for item in written]
    for members in bucketed(sizes, tokens_per_batch):
        pack = rectangle([[k] for k in members], written, widest(sizes[k] for k in members), policy.specials)
        item = to_tensors(pack, policy.device)
        lengths = [_tokens(written[k]) for k in members]
        with torch.no_grad():
            logits = []
            for loaded in (policy, reference):
                with evaluating(loaded.model):
                    forward = forward_of(loaded.architecture)
                    logits.append(forward.answer_logits(loaded.model, item, "bucketed"))
            kl_K, entropy_K = (part.double().cpu().numpy() for part in compared(*logits))
        ends = np.cumsum([0, *lengths])
        for k, start, stop in zip(members, ends[:-1], ends[1:], strict=True):
            found[k] = Divergence(float(kl_K[start:stop].sum()), float(entropy_K[start:stop].sum()), int(stop - start))
    return found


def compared(policy_KV: Tensor, reference_KV: Tensor) -> tuple[Tensor, Tensor]:
    """The divergence of each row of logits from the other's, and its entropy, both (K,) in nats."""
    kl: list[Tensor] = [policy_KV.new_zeros(0, dtype=torch.float32)]
    entropy: list[Tensor] = [policy_KV.new_zeros(0, dtype=torch.float32)]
    for start in range(0, len(policy_KV), _ROWS):
        log_p = policy_KV[start : start + _ROWS].float().log_softmax(-1)
        log_q = reference_KV[start : start + _ROWS].float().log_softmax(-1)
        p = log_p.exp()
        # what a model forbids has no chance, and 0 x infinity is no number
        kl.append(torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1).clamp(min=0))
        entropy.append(torch.where(p > 0, -p * log_p, 0.0).sum(-1))
    return torch.cat(kl), torch.cat(entropy)


def _tokens(item: Encoded) -> int:
    """The tokens that are predicted: of what has no prompt, nothing predicts the first."""
    return len(item.ids) - max(item.answer_start, 1)
