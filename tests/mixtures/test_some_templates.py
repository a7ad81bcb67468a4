"""How many templates a task keeps: `templates_per_task`."""

from __future__ import annotations

from typing import Any

import pytest

from instil.errors import RecipeError
from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.mixtures.some_templates import with_some_templates
from instil.records import Prompt


def kept(task: Any, count: int, draw: int = 0) -> list[str]:
    return [template.name for template in with_some_templates(task, count, draw=draw).templates]


def test_what_fewer_templates_keep_more_keep_too(made: Any) -> None:
    task = made.task("x/a", made.rows(3), made.templates(9))
    for count in range(1, 9):
        fewer, more = kept(task, count), kept(task, count + 1)
        assert len(fewer) == count
        assert set(fewer) < set(more)
        assert more == sorted(more), "in the task's own order"


def test_each_kind_keeps_as_many(made: Any) -> None:
    task = made.task("x/a", made.rows(3), made.templates(5) + made.templates(4, cot=True))
    names = kept(task, 2)
    assert sum(name.endswith("-cot") for name in names) == 2
    assert len(names) == 4


def test_a_task_with_fewer_templates_stays_as_it_is(made: Any) -> None:
    task = made.task("x/a", made.rows(3), made.templates(3))
    assert with_some_templates(task, 3) is task
    assert with_some_templates(task, 50) is task


def test_tasks_draw_apart_and_draws_differ(made: Any) -> None:
    tasks = [made.task(f"x/{k}", made.rows(3), made.templates(12)) for k in range(30)]
    first = {tuple(kept(task, 1)) for task in tasks}
    assert len(first) > 6, "30 tasks that draw apart meet most of 12 templates"
    assert any(kept(task, 2, draw=0) != kept(task, 2, draw=1) for task in tasks)


def pocket(**keys: Any) -> Mixture:
    sources = [{"collection": "pocket", "tasks": ["pocket/skills/*e"]}]
    return load_mixture({"sources": sources, **keys})


def phrased(mixture: Mixture, name: str) -> set[str]:
    prompts = [prompt for prompt in mixture[:3000] if isinstance(prompt, Prompt)]
    return {prompt.template for prompt in prompts if prompt.task == name}


def test_a_mixture_uses_no_other_templates_and_says_so_in_its_fingerprint() -> None:
    whole, two, other = pocket(), pocket(templates_per_task=2), pocket(templates_per_task=2, templates_draw=1)
    name = two.tasks[0].name
    assert len(phrased(whole, name)) == 12
    assert phrased(two, name) == {template.name for template in two.tasks[0].templates}
    assert len(two.tasks[0].templates) == 2
    assert len({mixture.fingerprint for mixture in (whole, two, other)}) == 3
    assert pocket(templates_per_task=12).fingerprint == whole.fingerprint


def test_no_template_at_all_is_refused() -> None:
    with pytest.raises(RecipeError, match="templates_per_task"):
        pocket(templates_per_task=0)
