"""What a recipe of an alignment may say; everything else is one line, before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.experiments.preferences import offline, on_policy

from instil.errors import RecipeError
from instil.experiments.align_methods import METHODS, WAYS, section_of
from instil.experiments.align_recipe import AlignRecipe, read_align_recipe, resolve_align
from instil.recipe import dump_yaml, load_yaml


@pytest.fixture
def ranked(tmp_path: Path) -> dict[str, Any]:
    return offline(Path("base"), tmp_path)


@pytest.fixture
def sampled(tmp_path: Path) -> dict[str, Any]:
    return on_policy(Path("base"), tmp_path)


def refused(raw: dict[str, Any], told: str, *assignments: str) -> None:
    with pytest.raises(RecipeError) as error:
        resolve_align(raw, assignments)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_every_method_has_a_section_with_keys_that_are_documented() -> None:
    for method in METHODS:
        section = section_of(method)
        assert all(field.description for field in section.model_fields.values()), section
        strength = WAYS[method].strength
        assert not strength or strength in section.model_fields
        for key in WAYS[method].fixed or {}:
            assert key in section.model_fields


def test_a_recipe_written_out_in_full_is_the_same_recipe(
    ranked: dict[str, Any], sampled: dict[str, Any], tmp_path: Path
) -> None:
    for raw in (ranked, sampled):
        recipe = resolve_align(raw)
        path = tmp_path / "full.yaml"
        path.write_text(dump_yaml(recipe))
        assert read_align_recipe(path) == recipe
        assert load_yaml(path)["alignment"]["max_steps"] == 4


def test_evaluations_are_made_ten_times_and_choose_where_nothing_else_is_said(ranked: dict[str, Any]) -> None:
    ranked["alignment"] = {"max_steps": 200}
    spec = resolve_align(ranked).alignment
    assert (spec.evaluate_every, spec.keep_best) == (20, "score")
    ranked["alignment"] = {"max_steps": 5}
    assert resolve_align(ranked).alignment.evaluate_every == 1
    ranked["alignment"] = {"max_steps": 200, "keep_best": None}
    assert resolve_align(ranked).alignment.keep_best is None
    ranked["alignment"] = {"max_steps": 200, "evaluate_every": 0}
    assert resolve_align(ranked).alignment.keep_best is None


def test_one_seed_reaches_all_parts_that_say_nothing(sampled: dict[str, Any]) -> None:
    sampled |= {"seed": 7}
    recipe = resolve_align(sampled)
    assert recipe.alignment.seed == 7
    assert recipe.prompts is not None
    assert recipe.prompts.seed == 7
    recipe = resolve_align(sampled, ["alignment.seed=3"])
    assert recipe.alignment.seed == 3


def test_examples_are_held_out_to_watch_by(sampled: dict[str, Any]) -> None:
    recipe = resolve_align(sampled)
    assert recipe.prompts is not None
    assert recipe.prompts.hold_out.examples == 20
    recipe = resolve_align(sampled, ["prompts.hold_out.examples=5"])
    assert recipe.prompts is not None
    assert recipe.prompts.hold_out.examples == 5


def test_the_method_can_be_changed_from_outside_and_then_decides_the_keys(ranked: dict[str, Any]) -> None:
    assert resolve_align(ranked, method="ipo").alignment.model_dump()["method"] == "ipo"
    ranked["alignment"]["label_smoothing"] = 0.1
    with pytest.raises(RecipeError, match=r"alignment\.\w+ is a key of dpo, ipo, kto, and method is ppo"):
        resolve_align({**ranked, "rewards": [{"metric": "task"}]}, method="ppo")


def test_an_unknown_method_is_all_that_is_told(ranked: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="got 'dppo'") as error:
        resolve_align(ranked, method="dppo")
    assert "alignment" not in error.value.message.removeprefix("the recipe")


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("method=pppo", "method"),
        ("alignment.betta=1", "unknown key alignment.betta: did you mean 'beta'?"),
        ("alignment.beta=-1", "alignment.beta: "),
        ("alignment.method=kto", "alignment.method is 'kto' and method is 'dpo'"),
        ("alignment.clip=0.2", "alignment.clip is a key of ppo"),
        ("rewards=[{metric: task}]", "dpo learns from rankings, not from rewards: put them under gold"),
        ("prompts={sources: [{collection: pocket}]}", "dpo samples nothing to learn from: leave prompts out"),
        ("ptx=pocket", "ptx is mixed in by ppo, grpo, rloo and reinforce, and method is dpo"),
        ("sampler={url: 'http://a', weights: w}", "a sampler is a server that is given whole weights, and dpo samples"),
        ("model.from_scratch=true", "model.from_scratch is for tuning"),
        ("monitor.kl_buget=3", "unknown key 'monitor.kl_buget': did you mean 'kl_budget'?"),
        ("monitor.alarms.length_factor=1", "monitor.alarms.length_factor"),
        ("gold=[{metric: best}]", "no metric 'best'"),
        ("alignment.patience=2", ""),
    ],
)
def test_what_a_recipe_of_rankings_cannot_say_is_one_line(ranked: dict[str, Any], assignment: str, told: str) -> None:
    if told:
        refused(ranked, told, assignment)
    else:
        assert resolve_align(ranked, [assignment]).alignment.patience == 2


def test_prompts_and_rankings_together_are_refused(sampled: dict[str, Any], ranked: dict[str, Any]) -> None:
    refused({**sampled, "rankings": ranked["rankings"]}, "ppo answers one of them: leave one out")


def test_a_plain_text_is_a_reward_model(sampled: dict[str, Any]) -> None:
    recipe = resolve_align({**sampled, "rewards": ["runs/reward"]})
    assert recipe.rewards[0].model == "runs/reward"


def test_the_short_form_of_model_and_reference_is_their_path(ranked: dict[str, Any]) -> None:
    recipe = resolve_align({**ranked, "reference": "runs/sft"}, ["model=runs/other"])
    assert recipe.model.path == "runs/other"
    assert recipe.reference is not None
    assert recipe.reference.path == "runs/sft"


def test_every_key_is_documented() -> None:
    assert all(field.description for field in AlignRecipe.model_fields.values())
