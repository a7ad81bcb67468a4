"""Suites asked otherwise: the same items in another setting, or told to think first."""

from __future__ import annotations

import json

import pytest

from instil.errors import RecipeError
from instil.evaluation.spec import load_suite
from instil.evaluation.suite import Suite
from instil.evaluation.voting import found
from instil.studies.target_suite import target_suite
from instil.studies.variants import FINAL_ANSWER, Variant

WORDS = "Let's think step by step."
GROUPS = ("unseen_compositions",)


def asked(suite: Suite) -> dict[tuple[str, str, str], str]:
    """(task, template, example) -> what is read."""
    rows = {}
    for cell in suite.cells:
        for item in cell.asked(seed=suite.seed, limit=2):
            assert item.prompt is not None
            rows[item.prompt.task, item.prompt.template, item.prompt.example] = item.prompt.input
    return rows


@pytest.fixture(scope="module")
def free() -> Suite:
    return Variant("pocket", words="", groups=GROUPS, reasoned=True).suite()


def test_words_are_said_after_the_very_questions_that_are_asked_without_them(free: Suite) -> None:
    told = Variant("pocket", words=WORDS, groups=GROUPS, reasoned=True).suite()
    before, after = asked(free), asked(told)
    assert len(before) > 40
    assert after == {key: f"{text}\n{WORDS}" for key, text in before.items()}
    assert [cell.limit for cell in told.cells] == [cell.limit for cell in free.cells]
    assert told.fingerprint != free.fingerprint


def test_the_answer_is_looked_for_in_what_was_written(free: Suite) -> None:
    assert {cell.answer_pattern for cell in free.cells} == {FINAL_ANSWER}
    assert min(cell.max_new_tokens for cell in free.cells) >= 64
    assert found("fox dog cat. So the answer is fox.", FINAL_ANSWER) == "fox"
    assert found("The answer is a. No: the answer is b c\nText: more", FINAL_ANSWER) == "b c"
    assert found("fox", FINAL_ANSWER) is None


def test_only_tasks_that_are_asked_for_their_steps_are_told_to_reason(free: Suite) -> None:
    assert {cell.task.cluster for cell in free.cells} == {"compositions"}
    assert not any(cell.setting.cot for cell in free.cells)


def test_another_setting_asks_the_same_rows_of_the_named_groups() -> None:
    few = Variant("pocket", setting="few-shot-2", groups=GROUPS).suite()
    plain = {
        cell.task.name for cell in load_suite("pocket").cells if not cell.setting.cot and set(cell.groups) & set(GROUPS)
    }
    assert {cell.task.name for cell in few.cells} == plain
    first = next(few.cells[0].asked(seed=few.seed)).prompt
    assert first is not None
    assert len(first.exemplars) == 2
    listed = Variant("pocket", setting="zero-shot-options", groups=GROUPS).suite()
    shown = next(listed.cells[0].asked(seed=listed.seed)).prompt
    assert shown is not None
    assert shown.example == first.example
    assert shown.input.startswith(first.input)
    assert len(shown.options) >= 2


def test_an_ask_carries_the_variant_as_plain_json() -> None:
    variant = Variant("pocket", words=WORDS, groups=GROUPS, reasoned=True)
    carried = json.loads(json.dumps(variant.ask("told", limit=3).held_out))
    assert Variant.given(carried) == variant
    assert target_suite(carried).fingerprint == variant.suite().fingerprint


def test_a_suite_with_nothing_to_ask_so_is_refused() -> None:
    with pytest.raises(
        RecipeError, match="nothing in suite 'pocket' can be asked step-by-step among its groups nobody"
    ):
        Variant("pocket", words=WORDS, groups=("nobody",)).suite()
