"""One prompt from one example: a template, a setting, and exemplars that give nothing away.

    task sentiment, template "Is it positive? {{text}}", few-shot-2, example "Great fun"
    -> shown "Is it positive? Dull" -> "no", "Is it positive? I loved it" -> "yes"; input "Is it positive? Great fun"

Training and evaluation both come through here, so a prompt looks the same in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from instil.errors import TemplateError
from instil.fingerprint import keyed_int
from instil.mixtures.settings import Setting
from instil.mixtures.shares import permuted
from instil.records import Example, Exemplar, Prompt

if TYPE_CHECKING:
    from instil.tasks.task import Task
    from instil.tasks.template import Renderer

#: Candidates that are looked at beyond the number wanted before fewer exemplars are accepted: a pool may hold the
#: query, duplicates, and rows that do not render.
_SPARE_CANDIDATES = 8


class NoExemplarError(TemplateError):
    """A few-shot prompt for which the pool has no row other than the query."""

    reason = "no exemplar differs from the query"


def compose(task: Task, template: Renderer, example: Example, setting: Setting, *, seed: int) -> Prompt:
    """The prompt, with all its exemplars.

    Args:
        task: whose exemplar pool is used (its own examples where it has no pool).
        template: one of the task's templates.
        example: one of the task's examples.
        setting: how many exemplars.
        seed: decides the exemplars and their order, and what the template itself draws.

    Raises:
        TemplateError: if the template refuses the example, or no exemplar can be found for a few-shot setting. Where
            the pool holds fewer rows than wanted, those are used.
    """
    rendered = template.render(example, seed=seed)
    exemplars = choose_exemplars(task, template, example, setting.shots, seed=seed) if setting.shots else ()
    return Prompt(
        input=rendered.input,
        target=rendered.target,
        options=tuple(rendered.options),
        references=tuple(rendered.references),
        instruction=rendered.instruction,
        exemplars=exemplars,
        task=task.name,
        cluster=task.cluster,
        collection=task.collection,
        template=template.name,
        setting=setting.name,
        example=example.key,
        answer=rendered.answer,
        metadata={"source": task.source, "licence": task.licence, "language": task.language},
    )


def choose_exemplars(task: Task, template: Renderer, query: Example, shots: int, *, seed: int) -> tuple[Exemplar, ...]:
    """Up to `shots` different exemplars, none of them the query or a row that renders to the same input.

    Inputs are compared in the form of an exemplar (a query may be worded differently), without regard to case and
    white space.

    Raises:
        NoExemplarError: if there is none.
    """
    pool = task.examples if task.exemplars is None else task.exemplars
    key = keyed_int(seed, "exemplars", n=1 << 64)
    chosen: list[Exemplar] = []
    keys = {query.key}
    inputs: set[str] = set()
    query_inputs: dict[int, str] = {}
    for turn in range(min(len(pool), shots + _SPARE_CANDIDATES)):
        candidate = pool[permuted(turn, len(pool), key=key)]
        if candidate.key in keys:
            continue
        number = len(chosen) + 1
        try:
            shown = template.render_exemplar(candidate, number=number, seed=seed)
        except TemplateError:
            continue
        if number not in query_inputs:
            query_inputs[number] = _plain(template.render_exemplar(query, number=number, seed=seed).input)
        text = _plain(shown.input)
        if text in inputs or text == query_inputs[number]:
            continue
        keys.add(candidate.key)
        inputs.add(text)
        chosen.append(shown)
        if len(chosen) == shots:
            break
    if not chosen:
        raise NoExemplarError(f"task {task.name!r}: no exemplar differs from example {query.key!r}")
    return tuple(chosen)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
