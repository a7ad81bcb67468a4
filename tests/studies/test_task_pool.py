"""The tasks at hand: sets that nest, and recipes that train on a part of them."""

from __future__ import annotations

from typing import Any

import pytest

from instil.errors import RecipeError
from instil.experiments.recipe import resolve
from instil.mixtures.load import assemble
from instil.studies.spec import StudySpec
from instil.studies.task_pool import TaskPool, open_pool

SKILLS = {"collection": "pocket", "tasks": ["pocket/skills/*"], "share": 0.6}
COMPOSITIONS = {"collection": "pocket", "tasks": ["pocket/compositions/*"], "share": 0.4}


def study(models: tuple[str, ...] = ("pocket",), **mixture: Any) -> StudySpec:
    recipe = {"mixture": {"sources": [SKILLS, COMPOSITIONS], **mixture}}
    return StudySpec(name="mine", question="sources", models=list(models), recipe=recipe)


@pytest.fixture(scope="module")
def pool() -> TaskPool:
    return open_pool(study())


def trained_on(recipe: dict[str, Any]) -> set[str]:
    return {part.task.name for part in assemble(resolve(recipe).mixture).parts}


def test_a_recipe_trains_on_the_tasks_that_it_names_and_no_others(pool: TaskPool) -> None:
    names = [*pool.clusters["spelling"][:2], *pool.clusters["compositions"][:3]]
    assert trained_on(pool.recipe(study(), names, seed=3)) == set(names)


def test_a_source_without_tasks_falls_away(pool: TaskPool) -> None:
    recipe = pool.recipe(study(), pool.clusters["spelling"], seed=0)
    assert [source["share"] for source in recipe["mixture"]["sources"]] == [0.6]


def test_what_is_held_out_stays_out_and_held_out_rows_stay_held_out() -> None:
    spec = study(hold_out={"clusters": ["spelling"], "examples": 5})
    pool = open_pool(spec)
    assert "spelling" not in pool.clusters
    recipe = pool.recipe(spec, pool.clusters["facts"], seed=0)
    assert recipe["mixture"]["hold_out"] == {"examples": 5}
    assert trained_on(recipe) == set(pool.clusters["facts"])


def test_sets_of_a_draw_nest_and_other_draws_differ(pool: TaskPool) -> None:
    skills = pool.fitting(["pocket/skills/*"], what="tasks")

    def drawn(clusters: int, each: int, draw: int = 0) -> set[str]:
        return set(pool.spread(skills, clusters=clusters, each=each, draw=draw, least=4))

    assert drawn(4, 1) < drawn(4, 2) < drawn(4, 4)
    assert drawn(4, 2) < drawn(8, 2) < drawn(16, 2)
    assert drawn(4, 2) != drawn(4, 2, draw=1)
    assert len(drawn(8, 2)) == 16
    assert len({pool.parts[name].task.cluster for name in drawn(8, 2)}) == 8


def test_too_few_clusters_are_refused_with_the_numbers(pool: TaskPool) -> None:
    skills = pool.fitting(["pocket/skills/*"], what="tasks")
    told = "4 clusters of 5 tasks each are asked for, and of the 16 clusters at hand 3 have as many"
    with pytest.raises(RecipeError, match=told):
        pool.spread(skills, clusters=4, each=5, draw=0)


def test_a_pattern_that_fits_nothing_is_told_with_the_clusters(pool: TaskPool) -> None:
    with pytest.raises(RecipeError, match=r"parts.x: 'speling' fits none of the 188 tasks"):
        pool.fitting(["speling"], what="parts.x")


def test_prompts_hold_questions_and_no_answers(pool: TaskPool) -> None:
    name = "pocket/skills/spell"
    prompts = pool.prompts(name, 5)
    assert len(prompts) == 5
    assert prompts == pool.prompts(name, 8)[:5]
    assert all("spell" in text.casefold() or "letter" in text.casefold() for text in prompts)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (study(models=("pocket", "pocket-0.3m")), "one model at a time, and models lists 2"),
        (study(subset={"tasks": 5}), "draws its own sets of tasks"),
        (study(sources=[{"mixture": "flan.yaml"}]), "cannot take flan.yaml apart"),
    ],
)
def test_a_mixture_that_cannot_be_divided_is_refused(spec: StudySpec, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        open_pool(spec)
