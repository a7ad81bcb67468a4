"""Which token comes next: the likeliest one, or one that is drawn.

    chances            0.5  0.3  0.15  0.05
    temperature=0.5    0.68 0.24 0.06  0.01     sharper below 1, flatter above
    top_k=3            0.5  0.3  0.15  .        the three likeliest
    top_p=0.8          0.5  0.3  .     .        the likeliest until they hold 0.8 together
    drawn              where uniform(seed, step) falls among what is left, laid side by side

In this order, as transformers does it (temperature, top k, top p). A row's token depends on its own logits, its seed
and its step alone: neither on the rows beside it nor on any generator's state.

Shape legend: B rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instil.errors import ModelError

#: Below it the likeliest token is drawn anyway, and numbers end.
_COLDEST = 1e-6


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Raises:
        ModelError: for values under which nothing could be drawn.
    """

    temperature: float = 1.0
    """What logits are divided by: below 1 likely tokens become likelier yet."""
    top_p: float = 1.0
    """The likeliest tokens that hold this probability together stay; 1 keeps all."""
    top_k: int = 0
    """So many of the likeliest tokens stay; 0 keeps all."""

    def __post_init__(self) -> None:
        if not _COLDEST <= self.temperature <= 1 / _COLDEST:
            raise ModelError(
                f"temperature {self.temperature:g} is not between {_COLDEST:g} and {1 / _COLDEST:g}",
                remedy="Leave sampling out for the likeliest token",
            )
        if not 0 < self.top_p <= 1:
            raise ModelError(f"top_p {self.top_p:g} is not above 0 and at most 1", remedy="Use 1 to keep all tokens")
        if self.top_k < 0:
            raise ModelError(f"top_k {self.top_k} is below 0", remedy="Use 0 to keep all tokens")


def next_tokens(
    logits_BV: Tensor, sampling: Sampling | None = None, seeds: Sequence[int] = (), steps: Sequence[int] = ()
) -> Tensor:
    """The next token (B,) of every row.

    Args:
        logits_BV: what the model says of every token.
        sampling: how to draw; None takes the likeliest token.
        seeds: a number for each row.
        steps: how many tokens each row has written.
    """
    if sampling is None:
        return logits_BV.argmax(-1)
    chances, order = _chances(logits_BV, sampling)
    held = chances.double().cumsum(-1)
    drawn = [uniform(seed, step) for seed, step in zip(seeds, steps, strict=True)]
    at = torch.tensor(drawn, dtype=torch.double).to(held.device)[:, None] * held[:, -1:]
    # The first place whose sum lies above the number drawn: one without any chance is never taken.
    place = torch.searchsorted(held, at, right=True).clamp(max=held.shape[-1] - 1)
    return (place if order is None else order.gather(-1, place)).squeeze(-1)


def token_log_probs(logits_BV: Tensor, tokens_B: Tensor, sampling: Sampling | None = None) -> Tensor:
    """The log-probability (B,) of a token of every row, under the temperature alone; all tokens have their chance."""
    logits = logits_BV.float()
    if sampling is not None:
        logits = logits / sampling.temperature
    return logits.gather(1, tokens_B[:, None]).squeeze(1) - logits.logsumexp(1)


def uniform(seed: int, step: int) -> float:
    """A number in [0, 1) that a seed and a step fix, on every machine alike."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


def _chances(logits_BV: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """The chances of the tokens that stay, and which tokens these are (None: all of them, in their order)."""
    logits = logits_BV.float()
    logits = (logits - logits.amax(-1, keepdim=True)) / sampling.temperature
    if not sampling.top_k and sampling.top_p == 1:
        return logits.softmax(-1), None
    count = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    kept, order = logits.topk(count) if count < logits.shape[-1] else logits.sort(-1, descending=True)
    chances = kept.softmax(-1)
    # A token stays while those before it hold less than top_p; so the likeliest always does.
    before = chances.cumsum(-1) - chances
    return chances.masked_fill(before >= sampling.top_p, 0), order
