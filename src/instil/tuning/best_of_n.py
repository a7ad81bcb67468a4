"""Best of n: sample n answers, give the one with the highest reward; nothing is trained.

    answers   "a b"  "c"  "d e"  "f"       rewards .1 .7 nan .3      chosen: 1
    KL        log n - (n - 1) / n          of the chosen answer's distribution to the policy's, at most; n = 4: 0.636

    expected_best([.1 .7 .3], gold=[1 0 2], best_of=2)      the gold reward of the best of 2, from 3 samples
        pairs  (.1 .7) -> gold 0   (.1 .3) -> gold 2   (.7 .3) -> gold 0        mean 0.667

The last is how over-optimisation curves are drawn of few samples: gold against the root of the KL, as n grows.

Sources: Nakano et al. 2021 (WebGPT), appendix I; Gao et al. 2023; Beirami et al. 2024, who show that the KL is a bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from instil.fingerprint import keyed_int
from instil.mixtures.encode import Encoder
from instil.models.loading import LoadedModel
from instil.records import Prompt
from instil.tuning.dpo import refuse_policy
from instil.tuning.loop_spec import LoopSpec, product_dtype
from instil.tuning.rewards import Reward, RewardBatch, judge
from instil.tuning.sampler import EngineSampler, Sampled, Sampler

#: Prompts that are answered between two times that the person is told.
_TOGETHER = 32


class BestOfNSpec(LoopSpec):
    """The best of several answers. Of the loop's keys `seed` and `dtype` alone mean something."""

    completions_per_prompt: int = Field(default=16, ge=1)
    """n: answers sampled to each prompt."""
    max_new_tokens: int = Field(default=64, ge=1)
    """The longest answer, in tokens, with its end token."""
    max_length: int | None = Field(default=None, ge=16)
    """The longest prompt with its answer, in tokens; what the model can read by default."""
    temperature: float = Field(default=1.0, gt=0)
    """What logits are divided by."""
    missing_end_penalty: float = Field(default=1.0, ge=0)
    """What is taken from the reward of an answer that a length limit cut."""


@dataclass(frozen=True, slots=True)
class Best:
    """The answers to a prompt."""

    answers: tuple[Sampled, ...]
    rewards: tuple[float, ...]
    """The weighted sum of each; NaN where a source gave no number."""
    parts: dict[str, tuple[float, ...]]
    """Of each source."""
    chosen: int | None
    """The number of the best one, the first of equal ones; None where none has a reward."""

    @property
    def text(self) -> str | None:
        """The best answer."""
        return None if self.chosen is None else self.answers[self.chosen].text


def best_of_n(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    spec: BestOfNSpec,
    *,
    encoder: Encoder,
    rewards: Sequence[Reward],
    sampler: Sampler | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Best]:
    """The answers to every prompt, and which is best.

    Args:
        loaded: the model.
        prompts: what is asked.
        spec: how.
        encoder: of the model.
        rewards: what answers are judged by, summed by weight.
        sampler: writes the answers; the model's own engine by default.
        on_done: called with the number of prompts that were just answered.

    Raises:
        RecipeError: if the model is masked.
        TemplateError: if the chat template refuses a prompt.
        RunError: if a reward cannot be asked.
    """
    refuse_policy(loaded)
    most = spec.max_new_tokens
    if loaded.architecture == "causal":
        most = min(most, max(1, encoder.max_length // 2))
    if sampler is None:
        dtype = product_dtype(spec, loaded.device)
        sampler = EngineSampler(loaded, max_new_tokens=most, temperature=spec.temperature, dtype=dtype)
    sampler.refresh(loaded.model, 0)
    found: list[Best] = []
    for start in range(0, len(prompts), _TOGETHER):
        part = prompts[start : start + _TOGETHER]
        found += _answered(part, start, spec, encoder, rewards, sampler, most)
        if on_done:
            on_done(len(part))
    return found


def _answered(
    prompts: Sequence[Prompt],
    first: int,
    spec: BestOfNSpec,
    encoder: Encoder,
    rewards: Sequence[Reward],
    sampler: Sampler,
    most: int,
) -> list[Best]:
    n = spec.completions_per_prompt
    rows = [reading.ids for reading in encoder.read(prompts, most)]
    seeds = [
        keyed_int(spec.seed, "best of n", first + place, k, n=1 << 63)
        for place in range(len(prompts))
        for k in range(n)
    ]
    written = sampler.sample(rows, samples=n, seeds=seeds)
    batch = RewardBatch(
        prompts=tuple(prompt for prompt in prompts for _ in range(n)),
        completions=tuple(one.text for one in written),
        ids=tuple(one.ids[:-1] if one.finished else one.ids for one in written),
        finished=tuple(one.finished for one in written),
    )
    judged = judge(rewards, batch)
    best = []
    for start in range(0, len(written), n):
        own = slice(start, start + n)
        answers, total = written[own], judged.total[own]
        parts = {name: tuple(values[own]) for name, values in judged.by_source.items()}
        best.append(Best(tuple(answers), tuple(total), parts, _chosen(answers, total, spec.missing_end_penalty)))
    return best


def _chosen(answers: Sequence[Sampled], rewards: Sequence[float], penalty: float) -> int | None:
    worth = {
        place: reward - (0.0 if answer.finished else penalty)
        for place, (answer, reward) in enumerate(zip(answers, rewards, strict=True))
        if math.isfinite(reward)
    }
    return max(worth, key=lambda place: worth[place], default=None)


def best_of_n_kl(n: int) -> float:
    """How far the best of n answers is from the policy, in nats, at most."""
    return math.log(n) - (n - 1) / n


def expected_best(proxy: Sequence[float], gold: Sequence[float], *, best_of: int) -> float:
    """The mean gold reward of the answer with the highest proxy reward, over all choices of `best_of` of the samples.

    Of equal proxy rewards the first counts as higher.

    Args:
        proxy: of each sample of one prompt.
        gold: of the same.
        best_of: at most as many as there are samples.
    """
    total = len(proxy)
    if not 1 <= best_of <= total:
        raise ValueError(f"the best of {best_of} needs that many samples, and there are {total}")
    order = np.argsort(-np.asarray(proxy, dtype=np.float64), kind="stable")
    # sample of rank r (0 is best) is the best of a choice if the others are all below it
    chances = [math.comb(total - 1 - rank, best_of - 1) / math.comb(total, best_of) for rank in range(total)]
    return float(sum(chance * gold[place] for chance, place in zip(chances, order.tolist(), strict=True)))
