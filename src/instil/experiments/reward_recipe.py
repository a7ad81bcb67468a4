"""The recipe of a reward model: which base, which rankings, how it is trained, how many of it.

    name: helpful
    model: runs/sft                                # a tuned model is the paper's start; any causal or masked one will
    rankings:
      held_out: 0.1
      sources: [{collection: comparisons, path: ranked.jsonl}]
    tuning: {learning_rate: 1.0e-5, prompts_per_step: 64}
    members: 3                                     # an ensemble, each from its own seed

One pass over the prompts, evaluated ten times, where `tuning` says nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from instil.errors import DataError
from instil.experiments.recipe import ModelSpec
from instil.mixtures.load import beside
from instil.mixtures.rankings import RankingsSpec
from instil.mixtures.spec import MixtureSpec
from instil.recipe import Section, load_yaml, override, parse
from instil.tuning.reward import RewardSpec
from instil.tuning.trackers import Name

#: Evaluations of a run that does not say how many.
_EVALUATIONS = 10
#: A file of one's own is read in so many steps or more, of between so many prompts each.
_STEPS_FOR_A_FILE, _PROMPTS_PER_STEP = 50, (4, 64)
#: Bytes of weights, and the learning rate of a reward model up to there; the last is the paper's, of 6B parameters.
_LEARNING_RATES = ((5e7, 5e-4), (5e8, 5e-5), (3e9, 2e-5), (math.inf, 9e-6))
_KEYS = "Correct the recipe; docs/preferences.md lists every key"


class RewardRecipe(Section):
    """All of one reward model, or of an ensemble."""

    name: str
    """What the run is called in its report and model card; the file's name by default."""
    model: ModelSpec
    """The model to start from, causal or masked; a plain text is its `path`. A reward model goes on with its head."""
    rankings: RankingsSpec
    """What is learned from, and what is held out to measure with."""
    demonstrations: MixtureSpec | None = None
    """Answers that should have a reward of 0 on average: a mixture whose targets are those. By default the completions
    that people ranked best."""
    tuning: RewardSpec = Field(default_factory=RewardSpec)
    """How it is trained."""
    members: int = Field(default=1, ge=1, le=64)
    """Models of the ensemble: the first has `tuning.seed`, the next one more, and so on."""
    data: str | None = None
    """The folder that paths of rankings and demonstrations start from; `--data` overrides it."""
    trackers: list[Name] = Field(default_factory=list)
    """Where the figures of training go besides metrics.jsonl: tensorboard, trackio, mlflow, wandb."""
    seed: int | None = None
    """The seed of rankings, demonstrations and tuning, where those say nothing."""

    @model_validator(mode="before")
    @classmethod
    def _seed_reaches_the_parts(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        full = dict(raw)
        if isinstance(full.get("model"), str):
            full["model"] = {"path": full["model"]}
        if (seed := full.get("seed")) is not None:
            full["tuning"] = full.get("tuning", {})
            for key in ("rankings", "demonstrations", "tuning"):
                if isinstance(full.get(key), Mapping):
                    full[key] = {"seed": seed, **full[key]}
        return full

    @model_validator(mode="after")
    def _what_a_reward_model_has_not(self) -> Self:
        if self.model.answer_slots is not None or self.model.added_tokens:
            key = "added_tokens" if self.model.added_tokens else "answer_slots"
            raise ValueError(f"model.{key} is for models that write, and a reward model only reads")
        return self

    def filled(self, prompts: int) -> RewardRecipe:
        """With the steps of `tuning.epochs`, and evaluations ten times a run, where it does not say them."""
        spec, made = self.tuning, {}
        if "max_steps" not in spec.model_fields_set:
            made["max_steps"] = spec.steps(prompts)
        if "evaluate_every" not in spec.model_fields_set:
            made["evaluate_every"] = max(1, made.get("max_steps", spec.max_steps) // _EVALUATIONS)
        return self.model_copy(update={"tuning": spec.model_copy(update=made)})

    def member(self, number: int) -> RewardRecipe:
        """The recipe of one model of the ensemble."""
        spec = self.tuning
        tuning = spec.model_copy(update={"seed": spec.seed + number})
        name = f"{self.name}-{number}" if self.members > 1 else self.name
        return self.model_copy(update={"name": name, "tuning": tuning, "members": 1})


def read_reward_recipe(path: Path, assignments: Sequence[str] = (), *, data: Path | None = None) -> RewardRecipe:
    """The recipe in a file, with `--set` and `--data` applied.

    Raises:
        RecipeError: if the file, a key or an override is wrong; the message names the nearest valid key.
    """
    raw = {"name": path.stem, **load_yaml(path)}
    if isinstance(raw.get("demonstrations"), dict):
        raw["demonstrations"] = beside(raw["demonstrations"], path.parent)
    return resolve_reward(raw, assignments, data=data, origin=str(path) + (" with --set" if assignments else ""))


def resolve_reward(
    raw: Mapping[str, Any], assignments: Sequence[str] = (), *, data: Path | None = None, origin: str = "the recipe"
) -> RewardRecipe:
    """A recipe from plain data: the model's short form written out, then overrides, then `data`."""
    plain = dict(raw)
    if isinstance(plain.get("model"), str):
        plain["model"] = {"path": plain["model"]}
    plain = override(plain, assignments)
    if data is not None:
        plain["data"] = str(data)
    return parse(RewardRecipe, plain, origin=origin, remedy=_KEYS)


def reward_recipe_for_file(*, model: str, file: Path, assignments: Sequence[str]) -> RewardRecipe:
    """The recipe that trains a reward model on a file of one's own: once over its prompts, at a rate for its size.

    Args:
        model: a model folder, a hub name, or an installed name.
        file: rankings, pairs or scores, in any form that is known.
        assignments: overrides, applied last.

    Raises:
        DataError: if the file is not there, or is of no form that holds preferences.
    """
    from instil.mixtures.rankings import open_rankings
    from instil.tasks.registry import collection_of

    if not file.is_file():
        raise DataError(f"no file at {file}", remedy="Give a file of rankings, or a recipe")
    form = collection_of(file)
    if form is None:
        raise DataError(
            f"{file} holds no preferences that are known by their form",
            remedy="Write JSONL of prompt, chosen, rejected, or of messages, completions, ranks; or name the "
            "collection of it in a recipe",
        )
    raw: dict[str, Any] = {
        "name": file.name.partition(".")[0],
        "model": model,
        "rankings": {"sources": [{"collection": form, "path": str(file.absolute())}]},
    }
    found = resolve_reward(raw, assignments)
    prompts = open_rankings(found.rankings).report.sides["train"].prompts
    least, most = _PROMPTS_PER_STEP
    tuning = {
        "prompts_per_step": min(most, max(least, prompts // _STEPS_FOR_A_FILE)),
        "learning_rate": _learning_rate(model),
    }
    return resolve_reward({**raw, "tuning": tuning}, assignments).filled(prompts)


def _learning_rate(model: str) -> float:
    """Small models want large steps: by the size of the weights, in bytes, at two bytes a weight or more."""
    from instil.models.loading import resolve as folder_of

    size = sum(path.stat().st_size for path in folder_of(model).glob("*.safetensors"))
    return next(rate for most, rate in _LEARNING_RATES if size <= most)
