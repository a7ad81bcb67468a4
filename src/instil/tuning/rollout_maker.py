"""Makes rollouts: the policy as it is answers prompts, and all that a method wants to know of its answers is asked.

    asked(12, 64)     64 prompts            a function of the rollout's number
    sampler           8 answers to each     each drawn by a seed of the rollout's number, its prompt's place and its own
    judge             a reward for each, by source
    policy, reference, value network        numbers for each token, by the forward pass that trains

With several processes each answers and scores a part of the prompts, and all end up with the same rollout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from instil.errors import TemplateError
from instil.fingerprint import keyed_int
from instil.mixtures.encode import Encoder
from instil.records import Group, Prompt
from instil.tuning.distributed import World
from instil.tuning.policy_method import PolicyMethod
from instil.tuning.policy_reference import PolicyReference
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.rewards import Reward, RewardBatch, judge
from instil.tuning.rollouts import Rollout
from instil.tuning.sampler import Sampled, Sampler
from instil.tuning.token_scores import TokenScorer
from instil.tuning.value_network import network_of

Asking = Callable[[int, int], Sequence[Prompt]]
"""(rollout, prompts) -> the prompts of a rollout, or fewer: a pure function."""


@dataclass(frozen=True)
class RolloutMaker:
    """What rollouts are made with."""

    spec: PolicySpec
    method: PolicyMethod
    asked: Asking
    encoder: Encoder
    rewards: Sequence[Reward]
    sampler: Sampler
    scorer: TokenScorer
    """Of the policy and its value network."""
    reference: PolicyReference | None
    reference_scorer: TokenScorer | None

    def prompts(self, number: int) -> tuple[list[Prompt], list[list[int]]]:
        """The prompts of a rollout, and their ids; without those that the chat template refuses."""
        asked = list(self.asked(number, self.spec.prompts_per_rollout))
        most = min(self.spec.max_new_tokens, max(1, self.encoder.max_length // 2))
        try:
            read = self.encoder.read(asked, most)
        except TemplateError:
            asked = [prompt for prompt in asked if self.encoder.refusal(prompt) is None]
            read = self.encoder.read(asked, most)
        begins = [*self.encoder.prefix, *self.encoder.suffix] or [self.encoder.eos_id]
        return asked, [reading.ids or begins for reading in read]

    def make(
        self, number: int, model: PreTrainedModel, state: Mapping[str, float]
    ) -> tuple[Rollout, dict[str, float | None]]:
        """A rollout of the policy as it is, and what it came to.

        Args:
            number: its number.
            model: the policy.
            state: what the method carries into it.

        Raises:
            RunError: if a reward cannot be asked, or memory does not hold one prompt with its answers.
        """
        world = World.current()
        prompts, rows = self.prompts(number)
        world.first(lambda: self.sampler.refresh(model, number))
        own = list(range(len(rows)))[world.rank :: world.size]
        mine = world.together(lambda: self._answered(number, model, rows, own))
        parts = [world.told(mine, by=rank) for rank in range(world.size)]
        told = sorted((one for part in parts for one in part), key=lambda one: one["place"])
        texts = [text for one in told for text in one["texts"]]
        finished = [ended for one in told for ended in one["finished"]]
        groups = tuple(_group(rows[one["place"]], one["ids"]) for one in told)
        judged = world.first(lambda: self._judged(prompts, texts, groups, finished))
        rollout = Rollout(
            groups=groups,
            texts=tuple(texts),
            finished=np.array(finished, dtype=bool),
            rewards=np.array(judged["total"], dtype=np.float64),
            parts={name: np.array(values, dtype=np.float64) for name, values in judged["by_source"].items()},
            sampled=_floats(told, "sampled"),
            policy=_floats(told, "policy"),
            reference=_floats(told, "reference"),
            values=_floats(told, "values"),
            state=dict(state),
        )
        learned = self.method.learned(rollout)
        figures = {**_figures(rollout, _floats(told, "entropy")), **self.method.told(rollout, learned)}
        return rollout, {name: value if math.isfinite(value) else None for name, value in figures.items()}

    def _answered(
        self, number: int, model: PreTrainedModel, rows: Sequence[Sequence[int]], places: Sequence[int]
    ) -> list[dict[str, Any]]:
        """The answers to some of the prompts, with what models say of them, as JSON carries it."""
        if not places:
            return []
        spec = self.spec
        samples = spec.completions_per_prompt
        seeds = [
            keyed_int(spec.seed, "answer", number, place, k, n=1 << 63) for place in places for k in range(samples)
        ]
        written = self.sampler.sample([rows[place] for place in places], samples=samples, seeds=seeds)
        answers = [written[start : start + samples] for start in range(0, len(written), samples)]
        groups = [_group(rows[place], [one.ids for one in mine]) for place, mine in zip(places, answers, strict=True)]
        policy, entropy = self.scorer.log_probs_and_entropy(model, groups)
        nothing = np.zeros(0, dtype=np.float32)
        values = self.scorer.values(network_of(model), groups) if self.method.has_values else nothing
        reference = nothing
        if self.reference is not None and self.reference_scorer is not None:
            with self.reference.asked(model) as held:
                reference = self.reference_scorer.log_probs(held, groups)
        sampled = np.concatenate([_sampled(one) for mine in answers for one in mine])
        ends = np.cumsum([sum(len(one.ids) for one in mine) for mine in answers])
        cut = {
            name: np.split(array, ends[:-1]) if len(array) else [array] * len(places)
            for name, array in (
                ("policy", policy), ("entropy", entropy), ("values", values), ("reference", reference),
                ("sampled", sampled),
            )
        }  # fmt: skip
        return [
            {
                "place": place,
                "ids": [list(one.ids) for one in mine],
                "texts": [one.text for one in mine],
                "finished": [one.finished for one in mine],
                **{name: arrays[k].tolist() for name, arrays in cut.items()},
            }
            for k, (place, mine) in enumerate(zip(places, answers, strict=True))
        ]

    def _judged(
        self, prompts: Sequence[Prompt], texts: Sequence[str], groups: Sequence[Group], finished: Sequence[bool]
    ) -> dict[str, Any]:
        """What each source says of each answer, as JSON carries it."""
        samples = self.spec.completions_per_prompt
        ids = [tuple(one.tolist()) for group in groups for one in group.completions]
        batch = RewardBatch(
            prompts=tuple(prompt for prompt in prompts for _ in range(samples)),
            completions=tuple(texts),
            ids=tuple(one[:-1] if ended else one for one, ended in zip(ids, finished, strict=True)),
            finished=tuple(finished),
        )
        found = judge(self.rewards, batch)
        return {"total": found.total, "by_source": found.by_source}


def _group(prompt: Sequence[int], answers: Sequence[Sequence[int]]) -> Group:
    return Group(np.array(prompt, dtype=np.int32), tuple(np.array(one, dtype=np.int32) for one in answers))


def _sampled(one: Sampled) -> NDArray[np.float32]:
    """Its log-probabilities; NaN where the sampler gave none."""
    if len(one.log_probs) == len(one.ids):
        return np.array(one.log_probs, dtype=np.float32)
    return np.full(len(one.ids), np.nan, dtype=np.float32)


def _floats(told: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float32]:
    return np.array([value for one in told for value in one[name]], dtype=np.float32)


def _figures(rollout: Rollout, entropy: NDArray[np.float32]) -> dict[str, float]:
    """What every rollout comes to; the KL is that of what was sampled."""
    sizes, judged = rollout.sizes, rollout.judged
    if not len(sizes):
        return {"answers": 0.0, "left_out": 0.0}
    found = {
        "answers": float(len(sizes)),
        "left_out": float(len(sizes) - judged.sum()),
        "reward": _mean(rollout.rewards[judged]),
    }
    if len(rollout.parts) > 1:
        found |= {
            f"reward/{name}": _mean(values[np.isfinite(values)]) for name, values in sorted(rollout.parts.items())
        }
    if len(rollout.reference):
        found |= {"kl": _mean(rollout.kl), "kl_token": float(rollout.kl.sum() / sizes.sum())}
    found |= {
        "entropy": _mean(entropy),
        "length": _mean(sizes),
        "ended": _mean(rollout.finished),
    }
    return found | _mismatch(rollout)


def _mismatch(rollout: Rollout) -> dict[str, float]:
    """How far the sampler's log-probabilities are from those of the training, and what answers count for by that.

    `effective_sample` is the share of the answers that remains if each is weighed by policy over sampler.
    """
    apart = rollout.policy.astype(np.float64) - rollout.sampled
    if not np.isfinite(apart).all():
        return {}
    starts = np.concatenate([[0], np.cumsum(rollout.sizes)[:-1]])
    log_weights = np.add.reduceat(apart, starts)
    weights = np.exp(log_weights - log_weights.max())
    return {
        "mismatch_mean": float(np.abs(apart).mean()),
        "mismatch_max": float(np.abs(apart).max()),
        "effective_sample": float(weights.sum() ** 2 / (len(weights) * np.square(weights).sum())),
    }


def _mean(values: NDArray[Any]) -> float:
    return float(np.asarray(values, dtype=np.float64).mean()) if len(values) else math.nan
