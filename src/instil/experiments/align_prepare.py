"""All that a recipe of an alignment names, opened and checked before anything long begins or is written.

prepare_align(recipe)  ->  start, reference, prompts or rankings, rewards, gold, ptx, what is watched and tested;
                           or one line that says what is wrong
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instil.errors import DataError, RecipeError
from instil.evaluation.scoring import encoder_of
from instil.evaluation.suite import Suite
from instil.experiments.align_prompts import (
    Asked,
    ListedPrompts,
    MixturePrompts,
    kept_apart,
    prompts_fingerprint,
    prompts_of,
)
from instil.experiments.align_recipe import AlignRecipe
from instil.experiments.measure import open_suites, refuse_leaks
from instil.experiments.prepare import in_form
from instil.experiments.recipe import ModelSpec
from instil.experiments.rewards import Judge, open_rewards, try_rewards
from instil.experiments.texts import Documents, load_text
from instil.experiments.tune import tokenizer_fingerprint
from instil.fingerprint import fingerprint
from instil.mixtures.encode import Encoder
from instil.mixtures.load import assemble
from instil.mixtures.mixture import Mixture
from instil.mixtures.rankings import Rankings, open_rankings
from instil.models.loading import LoadedModel, load, resolve
from instil.records import Prompt
from instil.tuning.reward_model import FILE
from instil.tuning.rewards import Reward
from instil.tuning.trackers import check_trackers

#: Watched prompts that functions and services are tried on before a run begins.
_TRIED = 2


@dataclass(frozen=True)
class Given:
    """What a caller hands over as objects, beside what the recipe names."""

    rewards: Sequence[Reward] = ()
    gold: Sequence[Reward] = ()
    prompts: Sequence[Prompt] | None = None
    """In place of the recipe's."""
    monitor_prompts: Sequence[Prompt] | None = None
    test_prompts: Sequence[Prompt] | None = None
    rankings: Rankings | None = None
    """In place of the recipe's."""


NOTHING = Given()


@dataclass(frozen=True)
class AlignPrepared:
    """All that a recipe names, opened and checked."""

    recipe: AlignRecipe
    start: LoadedModel
    encoder: Encoder
    watched: Sequence[Prompt]
    tested: Sequence[Prompt]
    asked: Asked | None = None
    """What the policy answers while it learns; None where it samples nothing."""
    rankings: Rankings | None = None
    proxy: Judge | None = None
    gold: Judge | None = None
    reference: LoadedModel | None = None
    """Where it is another model than the start."""
    text: Documents | None = None
    """ptx from a text."""
    demonstrations: Mixture | None = None
    """ptx from a mixture."""
    suites: Sequence[Suite] = ()
    remarks: Sequence[str] = field(default_factory=tuple)

    @property
    def inputs(self) -> dict[str, str]:
        """The fingerprint of all that the run is made from, by name."""
        start = self.start
        found = {"model": start.fingerprint, "tokenizer": tokenizer_fingerprint(start)}
        if chat := self.encoder.chat:
            found["chat template"] = chat.fingerprint
        named: Mapping[str, Any] = {
            "prompts": self.asked,
            "rankings": self.rankings if self.asked is None else None,
            "rewards": self.proxy,
            "gold": self.gold,
            "reference": self.reference,
            "ptx": self.text or self.demonstrations,
        }
        found |= {name: part.fingerprint for name, part in named.items() if part is not None}
        kept = [prompts_fingerprint(side) for side in (self.watched, self.tested)]
        return {**found, "held-out prompts": fingerprint(kept)}


def prepare_align(recipe: AlignRecipe, *, given: Given = NOTHING, strict: bool = False) -> AlignPrepared:
    """Open models, prompts or rankings, rewards and suites; nothing is written.

    Args:
        recipe: what to open.
        given: what a caller hands over beside it.
        strict: refuse the first row that cannot be used, instead of setting it aside.

    Raises:
        InstilError: whatever is wrong with any of them, before anything long begins.
    """
    refuse_what_is_missing(recipe, given)
    data = None if recipe.data is None else Path(recipe.data)
    check_trackers(recipe.trackers)
    suites = open_suites(recipe.evaluation, data)
    rankings, mixture = given.rankings, None
    if rankings is None and recipe.rankings is not None:
        rankings = open_rankings(recipe.rankings, data, strict=strict)
    if recipe.prompts is not None and given.prompts is None:
        mixture = assemble(recipe.prompts, data=data, strict=strict)
        refuse_leaks(suites, (task.name for task in mixture.tasks))
    if rankings is not None and not recipe.way.on_policy:
        _refuse_few(recipe, rankings)
    asked, watched, tested = _prompts(recipe, given, mixture, rankings)
    text, demonstrations = _ptx(recipe, data, strict)
    _refuse_reward_model(recipe.model)
    start = _model(recipe.model)
    _refuse_masked(recipe, start)
    reference = None if recipe.reference is None else _reference(recipe.reference, start)
    metrics = {} if asked is None else asked.metrics
    targets = {prompt.task: "exact_match" for prompt in (*watched, *tested) if prompt.target}
    proxy, gold = (
        [*open_rewards(specs, metrics=metrics or targets, device=recipe.model.device, where=where), *more]
        for specs, where, more in (
            (recipe.rewards, "rewards", given.rewards),
            (recipe.gold, "gold", given.gold),
        )
    )
    _refuse_twice(proxy, gold)
    encoder = encoder_of(start, getattr(recipe.alignment, "max_length", None))
    watched, tested, left_out = _that_can_be_asked(encoder, watched, tested)
    try_rewards([*proxy, *gold], watched[:_TRIED])
    remarks = (*left_out, *(mixture.remarks if mixture else ()), *(rankings.lines() if rankings is not None else ()))
    return AlignPrepared(
        recipe,
        start,
        encoder,
        watched,
        tested,
        asked=asked if recipe.way.on_policy else None,
        rankings=rankings,
        proxy=Judge(proxy) if proxy else None,
        gold=Judge(gold) if gold else None,
        reference=reference,
        text=text,
        demonstrations=demonstrations,
        suites=suites,
        remarks=remarks,
    )


def refuse_what_is_missing(recipe: AlignRecipe, given: Given = NOTHING) -> None:
    """Refuse a recipe without what its method learns from.

    Raises:
        RecipeError: naming what is missing.
    """
    method = recipe.method
    if recipe.way.on_policy:
        if not recipe.rewards and not given.rewards:
            raise RecipeError(
                f"{method} learns from rewards, and there are none",
                remedy="Give one under rewards, such as {model: runs/reward} or {metric: task}",
            )
        if recipe.prompts is None and recipe.rankings is None and given.prompts is None and given.rankings is None:
            raise RecipeError(
                f"{method} samples answers, and there is nothing to answer",
                remedy="Give prompts, or rankings whose prompts are answered",
            )
    elif recipe.rankings is None and given.rankings is None:
        raise RecipeError(f"{method} learns from rankings, and there are none", remedy="Give rankings")


def _prompts(
    recipe: AlignRecipe, given: Given, mixture: Mixture | None, rankings: Rankings | None
) -> tuple[Asked | None, Sequence[Prompt], Sequence[Prompt]]:
    """What is answered, what is watched, and what is tested."""
    asked: Asked | None = None
    pool: Sequence[Prompt] = ()
    remedy = "Raise monitor.examples_per_task, or lower monitor.test_prompts"
    if mixture is not None:
        found = MixturePrompts(mixture)
        asked, pool = found, found.held_out()
    elif rankings is not None:
        asked = ListedPrompts(prompts_of([*rankings.train, *rankings.rated]), seed=recipe.seed)
        pool = prompts_of([*rankings.held_out, *rankings.held_out_annotators, *rankings.rated_held_out])
        remedy = "Raise rankings.held_out, or give more rankings"
    if given.prompts is not None:
        asked = ListedPrompts(given.prompts, seed=recipe.seed)
    watched, tested = given.monitor_prompts, given.test_prompts
    if watched is None or tested is None:
        chosen = kept_apart(pool, recipe.monitor, remedy=remedy)
        watched, tested = (
            mine if mine is not None else there for mine, there in zip((watched, tested), chosen, strict=True)
        )
    if isinstance(asked, ListedPrompts) and recipe.way.on_policy and not asked.prompts:
        raise DataError(
            "the rankings are of texts without prompts, so that there is nothing to answer",
            remedy="Give prompts, or rankings with what was answered",
        )
    return asked, watched, tested


def _that_can_be_asked(
    encoder: Encoder, watched: Sequence[Prompt], tested: Sequence[Prompt]
) -> tuple[Sequence[Prompt], Sequence[Prompt], list[str]]:
    """The held-out prompts without those that the chat template refuses, and what to say of these.

    Raises:
        DataError: if it refuses all of either.
    """
    sides = [[prompt for prompt in side if encoder.refusal(prompt) is None] for side in (watched, tested)]
    refused = len(watched) + len(tested) - sum(map(len, sides))
    if not all(sides):
        raise DataError(
            "the model's chat template refuses every held-out prompt",
            remedy="Look at one with `instil mix show`, or set model.chat to false",
        )
    said = f"{refused:,} held-out prompts are not asked: the model's chat template refuses them"
    return sides[0], sides[1], [said] if refused else []


def _refuse_few(recipe: AlignRecipe, rankings: Rankings) -> None:
    usable = len(rankings.train) + (len(rankings.rated) if recipe.method == "kto" else 0)
    if not usable:
        raise DataError(
            f"{recipe.method} learns from rankings, and none of those to train on has two levels"
            if recipe.method != "kto"
            else "there is nothing to train on: every row was dropped or is held out",
            remedy="Give other sources, or `method: kto` for answers that were scored one by one",
        )


def _ptx(recipe: AlignRecipe, data: Path | None, strict: bool) -> tuple[Documents | None, Mixture | None]:
    if recipe.ptx is None:
        return None, None
    if isinstance(recipe.ptx, str):
        return load_text(recipe.ptx, data), None
    return None, assemble(recipe.ptx, data=data, strict=strict)


def _model(spec: ModelSpec) -> LoadedModel:
    loaded = load(spec.path, device=spec.device, dtype=spec.dtype)
    return in_form(loaded, chat=spec.chat, answer_slots=spec.answer_slots)


def _refuse_reward_model(spec: ModelSpec) -> None:
    if (resolve(spec.path) / FILE).is_file():
        raise RecipeError(
            f"{spec.path} is a reward model, which judges answers and was not trained to write any",
            remedy="Give the model that answers under model, and this one as {model: ...} under rewards or gold",
        )


def _refuse_masked(recipe: AlignRecipe, start: LoadedModel) -> None:
    if start.architecture == "masked":
        raise RecipeError(
            f"{recipe.model.path} is masked, and a masked model writes no answers to align",
            remedy="Give a causal or seq2seq model; masked ones can be reward models",
        )


def _reference(spec: ModelSpec, start: LoadedModel) -> LoadedModel:
    reference = _model(spec)
    same = tokenizer_fingerprint(reference) == tokenizer_fingerprint(start)
    if not same or reference.architecture != start.architecture:
        what = "tokenizer" if not same else "architecture"
        raise RecipeError(
            f"the reference {spec.path} has another {what} than the model, so that no KL between them can be measured",
            remedy="Give the model that this one was tuned from, or leave reference out",
        )
    return reference


def _refuse_twice(proxy: Sequence[Reward], gold: Sequence[Reward]) -> None:
    """Gold that is learned by is no gold; and figures go by name."""
    names = [reward.name for reward in (*proxy, *gold)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RecipeError(f"two rewards are named {twice!r}", remedy="Give each a `name`")
    trained = {mark: reward.name for reward in proxy if (mark := getattr(reward, "fingerprint", ""))}
    for reward in gold:
        mark = getattr(reward, "fingerprint", "")
        if mark and mark in trained:
            raise RecipeError(
                f"gold {reward.name!r} is the reward {trained[mark]!r}: what is learned by cannot tell whether it is "
                "over-optimised",
                remedy="Give another one under gold, such as a reward model of other annotators, or leave gold out",
            )
