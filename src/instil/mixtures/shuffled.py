"""Controls: prompts whose answer belongs to something else, as if tuning taught the form of answers and no more.

    the task        Give the reverse of this: cat dog    -> dog cat        Which is first: cat dog  -> cat
    shuffle: targets    Give the reverse of this: cat dog    -> hat sun pig        the target of another row of the task
    shuffle: tasks      Give the reverse of this: cat dog    -> sun                that of a row of another task

What a model gains from such tuning it did not gain from the instructions. Which row gives its target depends on the
mixture's seed, the task and the row alone, so a row has the same wrong answer in every epoch, template and number of
shots; exemplars are wrong as well. What the drawn row answers is not looked at, so some targets are right by chance:
with two labels, a target that always differs would tell the right one.

Where an answer is chosen among options, the prompt's own options stay (its text may list them), and the target becomes
the one that stands where the other row's answer does. Under `tasks` the options come along with the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from instil.errors import RecipeError
from instil.fingerprint import fingerprint, keyed_int
from instil.records import Example, Exemplar
from instil.tasks.template import Rendered, Renderer, RenderRefused

if TYPE_CHECKING:
    from instil.tasks.task import Task

Shuffle = Literal["targets", "tasks"]
#: Rows that are looked at until one can be rendered that is another.
_CANDIDATES = 8


@dataclass(frozen=True, eq=False)
class Donors:
    """Where the targets of tasks come from: the same task, or another of them."""

    tasks: tuple[Task, ...]
    kind: Shuffle

    @cached_property
    def fingerprint(self) -> str:
        """Names what can be given; a task whose rows stay in it is named by its own fingerprint already."""
        return fingerprint([self.kind, *(task.fingerprint for task in self.tasks if self.kind == "tasks")])


@dataclass(frozen=True)
class Shuffled:
    """A template whose target is that of another row. See the module's picture."""

    inner: Renderer
    task: Task
    """Whose template it is."""
    donors: Donors
    key: int
    """Decides who gives to whom."""

    @property
    def name(self) -> str:
        """The template's own."""
        return self.inner.name

    @property
    def cot(self) -> bool:
        """Whether the target reasons before it answers."""
        return self.inner.cot

    @property
    def inverted(self) -> bool:
        """Whether it asks for the question."""
        return self.inner.inverted

    @property
    def shows_options(self) -> bool | None:
        """As the template whose target it replaces."""
        return self.inner.shows_options

    @cached_property
    def fingerprint(self) -> str:
        """Names what it would render."""
        return fingerprint(["shuffled", self.inner.fingerprint, self.donors.fingerprint, self.key])

    def render(self, example: Example, *, seed: int) -> Rendered:
        """Phrase an example, and answer as another row.

        Raises:
            RenderRefused: if the example cannot be phrased, or no other row is found that can.
        """
        rendered = self.inner.render(example, seed=seed)
        given = self._given(example, seed)
        if self.donors.kind == "tasks":
            return _answered_as(rendered, given, options=given.options, choices=given.choices)
        if rendered.options and given.target not in rendered.options:
            place = given.options.index(given.target) if given.target in given.options else 0
            target = rendered.options[place % len(rendered.options)]
            return replace(rendered, target=target, references=(target,), reply={})
        return _answered_as(rendered, given, options=rendered.options, choices=rendered.choices)

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        """As the template words it, with the target that the row has as a query."""
        shown = self.inner.render_exemplar(example, number=number, seed=seed)
        return replace(shown, target=self.render(example, seed=seed).target)

    def _given(self, example: Example, seed: int) -> Rendered:
        """Another row, rendered by this template, or by one of its own task that answers in the same kind."""
        for attempt in range(_CANDIDATES):
            task = self._donor(example, attempt)
            row = task.examples[keyed_int(self.key, "donor row", example.key, attempt, n=task.size)]
            template = self._template_of(task, example, attempt)
            if template is None or (task is self.task and row.key == example.key):
                continue
            try:
                return template.render(row, seed=seed)
            except RenderRefused:
                continue
        raise RenderRefused(
            f"template {self.name!r}, row {example.key!r} finds no other row to take its target from",
            reason="no row to take a target from",
        )

    def _donor(self, example: Example, attempt: int) -> Task:
        if self.donors.kind == "targets":
            return self.task
        tasks = self.donors.tasks
        place = keyed_int(self.key, "donor task", example.key, attempt, n=len(tasks) - 1)
        return tasks[-1] if tasks[place] is self.task else tasks[place]

    def _template_of(self, task: Task, example: Example, attempt: int) -> Renderer | None:
        if task is self.task:
            return self.inner
        alike = [one for one in task.templates if (one.cot, one.inverted) == (self.cot, self.inverted)]
        return alike[keyed_int(self.key, "donor template", example.key, attempt, n=len(alike))] if alike else None


def _answered_as(rendered: Rendered, given: Rendered, *, options: Sequence[str], choices: Sequence[str]) -> Rendered:
    """A prompt with all that another answers."""
    return replace(
        rendered,
        target=given.target,
        references=(given.target,),
        answer=given.answer,
        rationale=given.rationale,
        reply=given.reply,
        options=tuple(options),
        choices=tuple(choices),
    )


def shuffled(tasks: Sequence[Task], kind: Shuffle, *, seed: int) -> Mapping[str, Task]:
    """The tasks by name, each with the targets of other rows.

    Args:
        tasks: all that are trained on.
        kind: whether targets stay within their task.
        seed: decides who gives to whom.

    Raises:
        RecipeError: if there is no other row, or no other task.
    """
    if kind == "tasks" and len(tasks) < 2:
        raise RecipeError("shuffle: tasks takes targets from other tasks, and there is one", remedy="Add tasks")
    donors = Donors(tuple(tasks), kind)
    found = {}
    for task in tasks:
        if kind == "targets" and task.size < 2:
            raise RecipeError(
                f"shuffle: targets takes targets from other rows, and {task.name!r} has one", remedy="Exclude it"
            )
        key = keyed_int(seed, "shuffle", kind, task.name, n=1 << 63)
        templates = tuple(Shuffled(template, task, donors, key) for template in task.templates)
        found[task.name] = replace(task, templates=templates)
    return found
