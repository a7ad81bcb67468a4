"""The same tuning with one thing taken away: what a sceptic asks for before a gain is believed.

    tuned             base + instructions with their answers
    from-scratch      no base: fresh weights, the same steps             following does not come from nowhere
    shuffled-targets  every prompt has the answer of another row         answers have a form, and are wrong
    shuffled-tasks    every prompt has the answer of another task        instructions say nothing about answers
    plain-text        as many tokens of the text it was pre-trained on   more training is not instruction tuning

    spec.recipe_for("pocket", 0, changes_of("from-scratch", spec.recipe))

Each control changes as few keys of the recipe as it can; steps, rates, seeds and tasks stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from instil.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Control:
    """One way of taking away what instruction tuning should need."""

    name: str
    title: str
    """As a figure names it."""
    expects: str
    """What one expects to see where the gain of tuning is real."""
    changes: Callable[[Mapping[str, Any]], dict[str, Any]]
    """The base recipe -> keys that differ, written with dots."""


def _plain_text(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Text in place of prompts: as many tokens a step as prompts and replayed text have together in the base recipe."""
    prompts = int((recipe.get("tuning") or {}).get("prompts_per_step", 64))
    return {"tuning.replay_share": 1.0, "tuning.prompts_per_step": round(prompts / (1 - _replayed(recipe)))}


def _replayed(recipe: Mapping[str, Any]) -> float:
    """The share of a step that is replayed text in the base recipe."""
    return float((recipe.get("tuning") or {}).get("replay_share", 0.0))


CONTROLS: Mapping[str, Control] = {
    control.name: control
    for control in (
        Control(
            "from-scratch",
            "tuned from scratch",
            "without a base, tasks that were not trained on stay at chance",
            lambda _recipe: {"model.from_scratch": True},
        ),
        Control(
            "shuffled-targets",
            "tuned on shuffled targets",
            "with the answers of other rows there is a form to learn and no skill: no gain over the base at its best",
            lambda _recipe: {"mixture.shuffle": "targets"},
        ),
        Control(
            "shuffled-tasks",
            "tuned on other tasks' answers",
            "with the answers of other tasks, instructions tell nothing: no gain over the base at its best",
            lambda _recipe: {"mixture.shuffle": "tasks"},
        ),
        Control(
            "plain-text",
            "as many tokens of plain text",
            "more of the text that it was pre-trained on teaches no instructions: no gain",
            _plain_text,
        ),
    )
}


def changes_of(name: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a base recipe that make it this control.

    Args:
        name: one of `CONTROLS`.
        recipe: the study's base recipe, as plain data.

    Raises:
        RecipeError: if there is no such control.
    """
    if name not in CONTROLS:
        raise RecipeError(f"no control is called {name!r}", remedy=f"There are {', '.join(CONTROLS)}")
    return CONTROLS[name].changes(recipe)


def why_not(name: str, recipe: Mapping[str, Any], model: str) -> str:
    """Why a control cannot be made for a model, as a sentence for the page; empty where it can.

    Args:
        name: one of `CONTROLS`.
        recipe: the study's base recipe, as plain data.
        model: the base.
    """
    if name == "plain-text" and _replayed(recipe) >= 1:
        return (
            "the base recipe is plain text itself: recipe.tuning.replay_share leaves no prompts to put text in place of"
        )
    if name == "plain-text" and not recipe.get("replay"):
        from instil.experiments.texts import installed_texts  # imports torch

        if not any(model == text or model.startswith(f"{text}-") for text in installed_texts()):
            return f"no text is known that {model} was pre-trained on: name one with recipe.replay"
    tuning = recipe.get("tuning") or {}
    if name == "from-scratch" and (tuning.get("lora") is not None or tuning.get("trained", "all") != "all"):
        return "fresh weights cannot be tuned in part: recipe.tuning asks for an adapter or the head alone"
    return ""
