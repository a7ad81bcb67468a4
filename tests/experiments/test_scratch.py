"""Fresh weights: the shape and tokenizer of a base that has learned nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from instil.errors import RecipeError
from instil.experiments.recipe import resolve
from instil.experiments.scratch import with_fresh_weights
from instil.experiments.tune import prepare, tune
from instil.models.loading import load


@pytest.mark.parametrize("name", ["pocket", "pocket-seq2seq", "pocket-masked"])
def test_a_base_begins_as_its_pre_training_began(name: str) -> None:
    base = load(name)
    fresh = with_fresh_weights(base, seed=3)
    held, begun = base.model.state_dict(), fresh.model.state_dict()
    assert {key: value.shape for key, value in held.items()} == {key: value.shape for key, value in begun.items()}
    matrices = [key for key, value in held.items() if value.ndim == 2]
    assert not any(torch.equal(held[key], begun[key]) for key in matrices)
    assert begun[matrices[0]].std() == pytest.approx(0.03, rel=0.15)  # the spread of the bases' recipes, cut or not
    assert (fresh.form, fresh.specials, fresh.eos_id) == (base.form, base.specials, base.eos_id)


def test_the_seed_decides_the_weights_and_names_the_model(raw: dict[str, Any]) -> None:
    first, again, other = (
        prepare(resolve(raw, ["model.from_scratch=true", f"tuning.seed={seed}"])).loaded for seed in (0, 0, 1)
    )
    same = [torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.model.parameters(), other.model.parameters(), strict=True))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.fingerprint != prepare(resolve(raw)).loaded.fingerprint


def test_it_is_tuned_like_any_other_and_continues(raw: dict[str, Any], tmp_path: Any) -> None:
    recipe = resolve(raw, ["model.from_scratch=true"])
    quiet: dict[str, Any] = {"say": lambda line: None, "show_progress": False}
    result = tune(recipe, tmp_path / "run", **quiet)
    assert result.training.steps == 6
    assert tune(recipe, tmp_path / "run", resume=True, **quiet).training.steps == 6
    with pytest.raises(RecipeError, match="has fresh weights, and tuning"):
        prepare(resolve(raw, ["model.from_scratch=true", "tuning.lora={}"]))
