"""Arms at equal tokens: how long prompts are, and how many make a step."""

from __future__ import annotations

import pytest

from instil.errors import InstilError
from instil.studies.equal_tokens import Lengths, lengths


def recipe(**settings: float) -> dict[str, object]:
    named = {name.replace("_", "-"): weight for name, weight in settings.items()}
    source = {"collection": "pocket", "tasks": ["compositions/*"], "settings": named}
    return {"name": "x", "model": {"path": "pocket"}, "mixture": {"sources": [source]}}


def test_prompts_with_worked_examples_are_longer_and_steps_hold_fewer() -> None:
    zero, few = lengths(recipe(zero_shot=1)), lengths(recipe(few_shot_2=1))
    assert 2 < few.tokens / zero.tokens < 4
    assert few.answer == pytest.approx(zero.answer, rel=0.1)
    prompts = few.prompts_for(64 * zero.tokens)
    assert abs(prompts * few.tokens - 64 * zero.tokens) <= few.tokens / 2


def test_chains_of_thought_have_longer_answers() -> None:
    assert lengths(recipe(zero_shot_cot=1)).answer > 2 * lengths(recipe(zero_shot=1)).answer


def test_the_settings_that_were_met_are_counted() -> None:
    shares = lengths(recipe(zero_shot=0.25, zero_shot_cot=0.75)).settings
    assert shares["zero-shot-cot"] == pytest.approx(0.75, abs=0.05)
    assert sum(shares.values()) == pytest.approx(1)


def test_a_step_has_one_prompt_at_least() -> None:
    assert Lengths(tokens=5000.0, answer=10.0, settings={}).prompts_for(100) == 1


def test_a_model_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(InstilError, match="nowhere"):
        lengths({**recipe(zero_shot=1), "model": {"path": "/nowhere"}})
