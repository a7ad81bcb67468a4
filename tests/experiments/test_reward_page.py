"""docs/preferences.md names every key of a reward model's recipe, with its default; shipped recipes are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from instil.experiments.reward_recipe import RewardRecipe, read_reward_recipe
from instil.tuning.loop_spec import LoopSpec
from instil.tuning.reward import RewardSpec


@pytest.fixture(scope="module")
def keys(repository: Path) -> dict[str, str]:
    """Every key in the first column of a table, and what stands in the second."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", (repository / "docs/preferences.md").read_text(), re.MULTILINE)
    return {key: says for names, says in rows for key in re.findall(r"`(\w+)`", names)}


def test_every_key_is_on_the_page(keys: dict[str, str]) -> None:
    own = RewardSpec.model_fields.keys() - LoopSpec.model_fields.keys()
    assert own | (RewardRecipe.model_fields.keys() - {"name"}) <= keys.keys()


@pytest.mark.parametrize("key", sorted(RewardSpec.model_fields.keys() - LoopSpec.model_fields.keys()))
def test_defaults_are_those_of_the_code(keys: dict[str, str], key: str) -> None:
    default = RewardSpec.model_fields[key].default
    said = {"None": "what the model reads" if key.startswith("max_") else "none", "False": "false"}
    written = f"{default:g}" if isinstance(default, int | float) and not isinstance(default, bool) else str(default)
    assert keys[key] == said.get(str(default), written)


@pytest.mark.parametrize("name", ["hh-reward", "instructgpt-reward"])
def test_shipped_recipes_are_valid(repository: Path, name: str) -> None:
    recipe = read_reward_recipe(repository / "recipes" / f"{name}.yaml")
    assert recipe.tuning.epochs == 1
    assert recipe.tuning.ties == "drop"
