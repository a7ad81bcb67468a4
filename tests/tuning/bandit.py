"""Problems for policies: a tiny model asked a few prompts, and rewards of its answers that need no model.

bandit      the answer is one token; the optimum of reward - beta KL is known: pi*(a) ~ pi_ref(a) exp(r(a) / beta)
small words the answer has several tokens; the more words below w30, the better
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tuning.made_up_rankings import encoder_of

from instil.models.loading import LoadedModel
from instil.records import Prompt
from instil.runs import RunFolder
from instil.tuning import policy
from instil.tuning.group_policy import GroupPolicySpec
from instil.tuning.loop import CHANGEABLE, TrainResult
from instil.tuning.policy import align_policy
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.ppo import PpoSpec
from instil.tuning.rejection import RejectionSpec
from instil.tuning.rewards import RewardBatch

PROMPTS = tuple(Prompt(input=f"w{first} w{first + 7} w{first + 3}", target="") for first in range(4, 44, 5))
SPECS: dict[str, type[PolicySpec]] = {"ppo": PpoSpec, "rejection": RejectionSpec}


def asked(number: int, prompts: int) -> list[Prompt]:
    """The same prompts again and again."""
    return [PROMPTS[(number * prompts + place) % len(PROMPTS)] for place in range(prompts)]


@dataclass
class OfFirstToken:
    """The reward of an answer is that of its first token; of an answer without any, that of the end token."""

    values: list[float]
    name: str = "token"
    weight: float = 1.0

    def __call__(self, batch: RewardBatch) -> list[float]:
        return [self.values[ids[0] if ids else 1] for ids in batch.ids]


@dataclass
class SmallWords:
    """The share of small words in an answer."""

    name: str = "small words"
    weight: float = 1.0

    def __call__(self, batch: RewardBatch) -> list[float]:
        return [
            sum(int(word[1:]) < 30 for word in said) / max(1, len(said))
            for said in ([word for word in text.split() if word[1:].isdigit()] for text in batch.completions)
        ]


def first_token(loaded: LoadedModel, prompts: tuple[Prompt, ...] = PROMPTS) -> torch.Tensor:
    """The distribution (P, V) of the first token of answers, in double precision."""
    rows = [reading.ids for reading in encoder_of(loaded).read(prompts, 8)]
    with torch.no_grad():
        if loaded.architecture == "seq2seq":
            starts = torch.tensor([list(loaded.specials.start)])
            found = [
                loaded.model(input_ids=torch.tensor([row]), decoder_input_ids=starts).logits[0, -1] for row in rows
            ]
        else:
            found = [loaded.model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows]
    return torch.stack(found).double().softmax(1)


def spec_of(method: str, **keys: Any) -> PolicySpec:
    """The section of a method."""
    given = {"tokens_per_batch": 512, "log_every": 1, "save_every": 0, **keys}
    if method in SPECS:
        return SPECS[method].model_validate(given)
    return GroupPolicySpec.model_validate({"method": method, **given})


def learnt(
    path: Path,
    loaded: LoadedModel,
    method: str,
    rewards: list[Any],
    *,
    said: list[str] | None = None,
    asking: Any = asked,
    more: dict[str, Any] | None = None,
    **keys: Any,
) -> TrainResult:
    """A run, begun or continued."""
    spec = spec_of(method, **keys)
    recipe = {"alignment": spec.model_dump(mode="json")}
    changeable = [f"alignment.{key}" for key in CHANGEABLE]
    echo = (lambda message: None) if said is None else said.append
    with RunFolder.open(path, recipe=recipe, inputs={}, changeable=changeable, resume=True, echo=echo) as run:
        return align_policy(
            loaded,
            asking,
            spec,
            run,
            encoder=encoder_of(loaded),
            rewards=rewards,
            show_progress=False,
            **(more or {}),
        )


def bandit_optimum(loaded: LoadedModel, values: list[float], *, beta: float, temperature: float = 1.0) -> torch.Tensor:
    """pi*(a) ~ pi_ref(a) exp(r(a) / beta), (P, V), of the policy as it is."""
    start = first_token(loaded, PROMPTS[:2]).pow(1 / temperature)
    best = start / start.sum(1, keepdim=True) * (torch.tensor(values, dtype=torch.float64) / beta).exp()
    return best / best.sum(1, keepdim=True)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The total variation between two distributions, the mean over prompts."""
    return float(0.5 * (one - other).abs().sum(1).mean())


@dataclass
class Stopped:
    """A run that was stopped in front of its first step, as the loop would have had it."""

    spec: PolicySpec
    model: Any
    batches: Any
    loss_sum: Any
    prepare: Any
    keeper: Any

    def gradient(self, step: int = 0, tokens_per_batch: int = 512, kind: str = "") -> dict[str, torch.Tensor]:
        """The gradient of a step (of pieces of a kind alone, where one is named), by name of weight."""
        self.model.zero_grad()
        for piece in self.batches(step, tokens_per_batch):
            if not kind or piece.kind == kind:
                (self.loss_sum(self.model, piece.item).reshape(-1)[0] * piece.scale).backward()
        found = {name: one.grad.clone() for name, one in self.model.named_parameters() if one.grad is not None}
        self.model.zero_grad()
        return found


@contextmanager
def stopped(path: Path, loaded: LoadedModel, method: str, rewards: list[Any], **more: Any) -> Iterator[Stopped]:
    """A run just before its first step, with a rollout made."""
    found: list[Stopped] = []

    class EnoughError(Exception):
        pass

    def train(spec: Any, model: Any, batches: Any, loss_sum: Any, run: Any, **given: Any) -> Any:
        given["prepare"](0, model)
        found.append(Stopped(spec, model, batches, loss_sum, given["prepare"], loss_sum.keeper))
        raise EnoughError

    detach, average = policy.detach, policy.detach_average
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "train", train)
        patch.setattr(policy, "detach", lambda model: None)
        patch.setattr(policy, "detach_average", lambda model: None)
        with pytest.raises(EnoughError):
            learnt(path, loaded, method, rewards, **more)
    yield found[0]
    average(loaded.model)
    detach(loaded.model)
