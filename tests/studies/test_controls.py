"""Controls change what they say and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from instil.errors import RecipeError
from instil.experiments.recipe import resolve
from instil.studies.controls import CONTROLS, changes_of, why_not

RECIPE: dict[str, Any] = {
    "name": "x",
    "model": "pocket",
    "mixture": {"sources": [{"collection": "pocket"}]},
    "tuning": {"max_steps": 10, "prompts_per_step": 32, "replay_share": 0.2},
}


@pytest.mark.parametrize("name", list(CONTROLS))
def test_a_control_is_the_recipe_with_its_own_keys_changed(name: str) -> None:
    changes = changes_of(name, RECIPE)
    plain = resolve(RECIPE).model_dump(mode="json")
    control = resolve(RECIPE, [f"{key}={value}" for key, value in changes.items()]).model_dump(mode="json")
    assert control != plain
    for key in changes:
        section, _, field = key.partition(".")
        control[section][field] = plain[section][field]
    assert control == plain


def test_plain_text_reads_as_many_tokens_as_prompts_and_replay_together() -> None:
    assert changes_of("plain-text", RECIPE) == {"tuning.replay_share": 1.0, "tuning.prompts_per_step": 40}
    assert changes_of("plain-text", {})["tuning.prompts_per_step"] == 64


def test_what_cannot_be_made_says_why() -> None:
    assert why_not("plain-text", RECIPE, "pocket-seq2seq") == ""
    assert "name one with recipe.replay" in why_not("plain-text", RECIPE, "gpt2")
    assert why_not("plain-text", {**RECIPE, "replay": "novel.txt"}, "gpt2") == ""
    text_alone = {**RECIPE, "tuning": {"replay_share": 1}}
    assert "leaves no prompts" in why_not("plain-text", text_alone, "pocket")
    assert why_not("shuffled-targets", text_alone, "pocket") == ""
    adapter = {**RECIPE, "tuning": {"lora": {}}}
    assert "cannot be tuned in part" in why_not("from-scratch", adapter, "pocket")
    with pytest.raises(RecipeError, match="no control is called 'shuffled'"):
        changes_of("shuffled", RECIPE)
