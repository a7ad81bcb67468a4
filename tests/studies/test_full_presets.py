"""The presets of `make studies-full`: every question has one, and its whole grid can be made."""

from __future__ import annotations

from collections import Counter

import pytest

from instil.studies.grid import Grid
from instil.studies.questions import QUESTIONS, question_of
from instil.studies.spec import StudySpec, presets, read_study

ARCHITECTURES = ["pocket", "pocket-seq2seq", "pocket-masked"]


def made(question: str, *assignments: str) -> tuple[StudySpec, Grid]:
    spec = read_study(question, "full", assignments)
    return spec, question_of(question).grid(spec)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_one_that_is_larger_than_the_pocket_preset(question: str) -> None:
    assert {"quick", "pocket", "full"} <= presets(question).keys()
    full, pocket = read_study(question, "full"), read_study(question, "pocket")
    assert full.recipe["tuning"]["max_steps"] > pocket.recipe["tuning"]["max_steps"]
    assert len(full.seeds) * len(full.models) >= len(pocket.seeds) * len(pocket.models)


def test_should_i_asks_three_architectures_with_five_seeds_over_all_budgets() -> None:
    spec, grid = made("should-i")
    assert spec.models == ARCHITECTURES
    arms = Counter(run.axes["arm"] for run in grid)
    fine = sum(run.key.startswith("fine/") for run in grid)
    assert fine == 3 * 23 * 7 * 5 * 2
    assert arms["shuffled-targets"] == arms["shuffled-tasks"] == arms["plain-text"] == arms["from-scratch"] == 3
    assert len({run.axes.get("seed") for run in grid} - {None}) == 5


@pytest.mark.parametrize(("question", "levels"), [("cot", 3), ("settings", 20)])
def test_cot_and_settings_ask_three_architectures_with_five_seeds(question: str, levels: int) -> None:
    spec = read_study(question, "full")
    assert (spec.models, len(spec.seeds)) == (ARCHITECTURES, 5)
    # one architecture is enough to see that every arm can be made at equal tokens
    _, grid = made(question, "models=[pocket-masked]", "seeds=[0]")
    assert len({run.axes["arm"] for run in grid} - {"base"}) == levels


def test_sources_and_next_have_at_least_five_of_everything_that_varies_by_chance() -> None:
    _, sources = made("sources")
    seeds: dict[str, set[object]] = {}
    for run in sources:
        seeds.setdefault(str(run.axes["arm"]), set()).add(run.axes.get("seed"))
    assert {arm: len(found) for arm, found in seeds.items()} == {
        "base": 1, "all": 5, "without": 5, "start": 5, "added": 5, "alone": 5, "set": 8,
    }  # fmt: skip
