"""Some of a task's templates: how many phrasings a task has is something to vary, as T0 did.

    templates_per_task: 2        task sentiment   direct     plain, polite, terse, formal   ->  polite, formal
                                                  reasoned   steps                          ->  steps
                                 task translate   direct     into, from                     ->  into, from

Each kind (direct, reasoned, inverted) keeps as many, so no setting is lost that the task could be shown in by its kind.
Every task draws its own by their names, and what fewer keep, more keep too: the draws are nested.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from instil.fingerprint import keyed_int

if TYPE_CHECKING:
    from instil.tasks.task import Task


def with_some_templates(task: Task, count: int, *, draw: int = 0) -> Task:
    """The task with at most `count` templates of each kind, in their order.

    Args:
        task: what to take templates from.
        count: how many of each kind.
        draw: which draw: other numbers give other templates.
    """
    kinds: defaultdict[tuple[bool, bool], list[str]] = defaultdict(list)
    for template in task.templates:
        kinds[template.cot, template.inverted].append(template.name)
    dice = {
        template.name: keyed_int("templates", draw, task.name, template.name, n=1 << 64) for template in task.templates
    }
    kept = {name for names in kinds.values() for name in sorted(names, key=lambda name: (dice[name], name))[:count]}
    if len(kept) == len(task.templates):
        return task
    return replace(task, templates=tuple(template for template in task.templates if template.name in kept))
