r"""A suite asked otherwise: the same items, after worked examples, with their options listed, or told to think first.

    pocket                                              "Give the reverse then first of this: cat dog fox"    zero-shot
    Variant("pocket", setting="few-shot-2")             two worked examples before it
    Variant("pocket", setting="zero-shot-options")      "... Choose from: (A) fox (B) cat ..."
    Variant("pocket", words="")                         as it is; the answer may stand anywhere
    Variant("pocket", words="Let's think step by step.")
                                                        "... of this: cat dog fox\nLet's think step by step."

Whoever is asked with `words` may reason or not: what is judged is the final answer (after the last "answer is"), or all
that was written where none is named. With the words and without, the items and the rule are the same, so what differs
is what the words do. Only zero-shot questions that are answered directly and in writing have variants.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instil.errors import RecipeError
from instil.evaluation.suite import Cell, Suite
from instil.fingerprint import fingerprint
from instil.mixtures.settings import Setting
from instil.studies.grid import Ask

if TYPE_CHECKING:
    from instil.records import Example, Exemplar
    from instil.tasks.template import Rendered, Renderer

#: What stands after the last "answer is" or "answer:", up to the end of its line, without a full stop.
FINAL_ANSWER = r"(?is)\A.*answer(?: is|:)\s*(.+?)\.?\s*(?:\n|\Z)"
#: Room for the reasoning.
_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Variant:
    """How a suite is asked otherwise; `ask` is what a run of the grid carries. See the module's picture."""

    variant_of: str
    """The suite: a name or a file."""
    setting: str = ""
    """In which setting, instead of zero-shot."""
    words: str | None = None
    """Said after the question; None: the answer stands alone, as the suite has it."""
    groups: tuple[str, ...] = ()
    """Only cells of these groups; all where empty."""
    reasoned: bool = False
    """Only tasks that the suite asks for with chains of thought too."""

    def ask(self, name: str, *, limit: int | None = None) -> Ask:
        """The evaluation, under a name."""
        return Ask(name, held_out={key: getattr(self, key) for key in self.__dataclass_fields__}, limit=limit)

    @classmethod
    def given(cls, arguments: Any) -> Variant:
        """The variant that an ask carries."""
        plain = dict(arguments)
        return cls(**plain | {"groups": tuple(plain.get("groups", ()))})

    def suite(self, data: Path | None = None) -> Suite:
        """The suite, its tasks loaded.

        Raises:
            RecipeError: if there is no such suite, or nothing in it can be asked so.
        """
        from instil.evaluation.spec import load_suite

        whole = load_suite(self.variant_of, data)
        named = self.setting or ("step-by-step" if self.words else "free")
        reasoning = {cell.task.name for cell in whole.cells if cell.setting.cot}
        cells = [
            self._cell(cell)
            for cell in whole.cells
            if cell.setting == Setting()
            and cell.method == "generate"
            and (not self.groups or set(self.groups) & set(cell.groups))
            and (not self.reasoned or cell.task.name in reasoning)
        ]
        askable = [cell for cell in cells if _askable(cell)]
        if not askable:
            raise RecipeError(
                f"nothing in suite {self.variant_of!r} can be asked {named}"
                + (f" among its groups {', '.join(self.groups)}" if self.groups else ""),
                remedy="Give a suite with zero-shot questions whose tasks can be shown so",
            )
        return Suite(f"{whole.name}/{named}", tuple(askable), whole.seed, whole.description)

    def _cell(self, cell: Cell) -> Cell:
        if self.words is not None:
            longest = max(cell.max_new_tokens, _TOKENS)
            cell = replace(cell, answer_pattern=FINAL_ANSWER, max_new_tokens=longest)
            if self.words:
                told = tuple(Told(template, self.words) for template in cell.task.templates if not template.cot)
                cell = replace(cell, task=replace(cell.task, templates=told))
        return replace(cell, setting=Setting.parse(self.setting)) if self.setting else cell


def _askable(cell: Cell) -> bool:
    """Whether any of the cell's templates shows its task in the cell's setting."""
    try:
        return bool(cell.chosen_templates())
    except RecipeError:
        return False


@dataclass(frozen=True)
class Told:
    """A template with words after its question."""

    inner: Renderer
    words: str

    @property
    def name(self) -> str:
        """The template's own: items are told apart by it, and are the same with the words and without."""
        return self.inner.name

    @property
    def cot(self) -> bool:
        """As a template that asks for the answer."""
        return self.inner.cot

    @property
    def inverted(self) -> bool:
        """As the template."""
        return self.inner.inverted

    @property
    def shows_options(self) -> bool | None:
        """As the template."""
        return self.inner.shows_options

    @cached_property
    def fingerprint(self) -> str:
        """Names what it would render."""
        return fingerprint(["told", self.inner.fingerprint, self.words])

    def render(self, example: Example, *, seed: int) -> Rendered:
        """Phrase an example, and say the words. Raises RenderRefused where the template does."""
        return self._told(self.inner.render(example, seed=seed))

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        """As the template does: words are said of the query alone."""
        return self.inner.render_exemplar(example, number=number, seed=seed)

    def _told(self, rendered: Rendered) -> Rendered:
        said = replace(rendered, input=f"{rendered.input}\n{self.words}")
        if not said.messages:
            return said
        last = said.messages[-1]
        return replace(said, messages=(*said.messages[:-1], replace(last, content=f"{last.content}\n{self.words}")))
