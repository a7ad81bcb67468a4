"""Which trainer a method is, and what it is handed.

ppo, grpo, rloo, reinforce, rejection    tuning.policy.align_policy: prompts, rewards, reference, ptx
dpo, ipo, kto                            tuning.dpo.align_offline: rankings; held-out ones are asked on the way
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from instil.experiments.align_prepare import AlignPrepared
from instil.experiments.monitor import Monitor
from instil.experiments.reward_sources import FromModel
from instil.experiments.texts import replay
from instil.models.loading import LoadedModel
from instil.records import Encoded, Prompt, Ranking
from instil.runs import RunFolder
from instil.tuning.best_of_n import BestOfNSpec
from instil.tuning.dpo import DpoSpec, align_offline
from instil.tuning.implicit import ImplicitRewards
from instil.tuning.loop import Evaluate, TrainResult
from instil.tuning.loop_spec import LoopSpec
from instil.tuning.policy import align_policy
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.ptx import Ptx
from instil.tuning.remote_sampler import RemoteSampler
from instil.tuning.sampler import Sampler


def train_aligned(
    prepared: AlignPrepared,
    loaded: LoadedModel,
    reference: LoadedModel | None,
    run: RunFolder,
    *,
    watch: Monitor | None,
    show_progress: bool,
) -> TrainResult:
    """Train a policy in place by the method of its recipe.

    Args:
        prepared: what it learns from.
        loaded: the policy, as it starts.
        reference: what it is held near, where that is another model or a copy is there already.
        run: where metrics and checkpoints go.
        watch: asks the policy on the way; None in processes beside the first, which only train.
        show_progress: whether to show how far it is.
    """
    spec: Any = prepared.recipe.alignment
    evaluate: Evaluate | None = (watch or _unwatched) if spec.evaluate_every else None
    if prepared.asked is not None:
        return align_policy(
            loaded,
            prepared.asked.window,
            spec,
            run,
            encoder=prepared.encoder,
            rewards=() if prepared.proxy is None else prepared.proxy.rewards,
            reference=reference,
            value_start=_value_start(prepared),
            ptx=ptx_of(prepared, loaded, spec),
            sampler=sampler_of(prepared, loaded),
            evaluate=evaluate,
            show_progress=show_progress,
        )
    rankings = prepared.rankings
    if rankings is None:
        raise ValueError("a method that learns from rankings was prepared without any")
    return align_offline(
        loaded,
        [*rankings.train, *(rankings.rated if spec.method == "kto" else ())],
        spec,
        run,
        encoder=prepared.encoder,
        reference=prepared.reference,
        evaluate=evaluate,
        show_progress=show_progress,
    )


def _unwatched(step: int, model: Any) -> dict[str, float]:
    """What processes beside the first give: the loop asks the first alone."""
    return {}


@dataclass(frozen=True)
class HeldOutRankings:
    """How the policy orders rankings that it was not trained on; its reference is asked before it is trained."""

    watched: ImplicitRewards | None = None
    """Asked on the way: what weights are chosen by where nothing is gold."""
    tested: ImplicitRewards | None = None
    """Of the test prompts, asked once at the end."""


def held_out_rankings(prepared: AlignPrepared, loaded: LoadedModel, run: RunFolder) -> HeldOutRankings:
    """The held-out rankings of a method that learns from rankings, parted as the held-out prompts are."""
    rankings, spec = prepared.rankings, prepared.recipe.alignment
    if rankings is None or prepared.asked is not None or not isinstance(spec, DpoSpec):
        return HeldOutRankings()
    chosen = {prompt.messages for prompt in prepared.tested}
    sides: list[list[Ranking]] = [[], []]
    for ranking in (*rankings.held_out, *rankings.held_out_annotators):
        sides[ranking.messages in chosen].append(ranking)

    def made(name: str, side: Sequence[Ranking]) -> ImplicitRewards | None:
        if not any(ranking.pairs for ranking in side):
            return None
        return ImplicitRewards(
            loaded, side, spec, run, encoder=prepared.encoder, reference=prepared.reference, name=name
        )

    watched, tested = made("watched", sides[0]), made("tested", sides[1])
    if watched is None and spec.keep_best and prepared.gold is None:
        run.say("no ranking is held out and nothing is gold: the weights of the last step become the model")
    return HeldOutRankings(watched, tested)


def _value_start(prepared: AlignPrepared) -> LoadedModel | None:
    """The reward model that a value network starts from: the first among the rewards that is one."""
    for reward in prepared.proxy.rewards if prepared.proxy else ():
        if isinstance(reward, FromModel):
            member: Any = getattr(reward.model, "models", (reward.model,))[0]
            loaded: LoadedModel | None = getattr(member, "loaded", None)
            return loaded
    return None


def ptx_of(prepared: AlignPrepared, loaded: LoadedModel, spec: LoopSpec) -> Ptx | None:
    """What is mixed in against the alignment tax."""
    if prepared.text is not None:
        return Ptx(documents=replay(prepared.text, loaded.backend, seed=spec.seed))
    mixture = prepared.demonstrations
    if mixture is None:
        return None

    def windows(step: int, prompts: int) -> list[Encoded]:
        shown = [place for place in mixture[step * prompts : (step + 1) * prompts] if isinstance(place, Prompt)]
        return prepared.encoder.encode_batch(shown)

    return Ptx(windows=windows)


def sampler_of(prepared: AlignPrepared, loaded: LoadedModel) -> Sampler | None:
    """The server that samples; None where the policy's own engine does."""
    server, spec = prepared.recipe.sampler, prepared.recipe.alignment
    if server is None or not isinstance(spec, (PolicySpec, BestOfNSpec)):
        return None
    return RemoteSampler(server, loaded, max_new_tokens=spec.max_new_tokens, temperature=spec.temperature)


def aside(loaded: LoadedModel) -> LoadedModel:
    """A copy that stays as it is while the model is trained."""
    return replace(loaded, model=copy.deepcopy(loaded.model).requires_grad_(False))
