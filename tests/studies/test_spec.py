"""Study files: what is missing or stands on two sides is named as the key that it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instil.errors import RecipeError
from instil.studies.spec import read_study

PLAIN: dict[str, Any] = {
    "models": ["pocket"],
    "recipe": {"mixture": {"sources": [{"collection": "pocket"}]}, "tuning": {"max_steps": 2}},
    "suites": ["pocket"],
    "held_in": ["held_in"],
    "held_out": ["unseen_skills"],
    "counts": [1, 2],
}


def file_of(folder: Path, plain: dict[str, Any]) -> Path:
    path = folder / "mine.yaml"
    path.write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize("recipe", [{}, {"recipe": None}])
def test_a_file_without_a_recipe_says_that_the_key_is_missing(tmp_path: Path, recipe: dict[str, Any]) -> None:
    plain = {key: value for key, value in PLAIN.items() if key != "recipe"}
    with pytest.raises(RecipeError) as refused:
        read_study("scaling", file_of(tmp_path, plain | recipe))
    assert "mine.yaml: key 'recipe' is missing" in str(refused.value)


def test_a_recipe_can_be_given_by_set_alone(tmp_path: Path) -> None:
    plain = {key: value for key, value in PLAIN.items() if key != "recipe"}
    given = ["recipe.mixture.sources=[{collection: pocket}]", "recipe.tuning.max_steps=3"]
    assert read_study("scaling", file_of(tmp_path, plain), given).recipe["tuning"] == {"max_steps": 3}


def test_a_group_is_held_in_or_held_out(tmp_path: Path) -> None:
    path = file_of(tmp_path, PLAIN)
    assert read_study("scaling", path).held_out == ["unseen_skills"]
    with pytest.raises(RecipeError) as refused:
        read_study("scaling", path, ["held_out=[unseen_cluster, held_in]", "overlap=1"])
    told = str(refused.value)
    assert "held_out: group 'held_in' stands under held_in too: it is trained on, or it is not" in told
    assert "\n" not in told
