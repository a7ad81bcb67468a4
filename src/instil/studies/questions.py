"""The questions, by the verb that asks them; the module of each is imported when it is asked.

question_of("should-i").Spec                       what its file may say
question_of("should-i").grid(spec)      -> Grid    which runs answer it; pure
question_of("should-i").analyse(spec, results)     -> StudyReport; pure
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from instil.errors import RecipeError

if TYPE_CHECKING:
    from instil.reports.study_report import StudyReport
    from instil.studies.grid import Grid
    from instil.studies.table import Results


class Question(Protocol):
    """What a question's module holds."""

    @property
    def Spec(self) -> type[Any]:  # noqa: N802  # it is a class, named as one
        """The keys of its study file: a subclass of `StudySpec`."""

    def grid(self, spec: Any) -> Grid:
        """The runs that answer it; `RecipeError` with the numbers where that cannot be done."""

    def analyse(self, spec: Any, results: Results) -> StudyReport:
        """What they answered: verdict, claims, figures and tables."""


class Asked(NamedTuple):
    """A question in the registry."""

    module: str
    text: str
    """The question as a person puts it."""


QUESTIONS: Mapping[str, Asked] = {
    "should-i": Asked("should_i", "Should I instruction-tune before I fine-tune on my task?"),
    "scaling": Asked("scaling", "How many tasks, and how large a model, does it take?"),
    "cot": Asked("cot", "What does training on chains of thought buy, and what does it cost?"),
    "settings": Asked("settings", "Which prompt settings should the mixture have?"),
    "sources": Asked("sources", "Which collections and clusters matter, and does diversity?"),
    "next": Asked("next_tasks", "Which tasks should I add next?"),
}


def question_of(name: str) -> Question:
    """The module of a question.

    Raises:
        RecipeError: if there is no such question; the message names the nearest.
    """
    if name not in QUESTIONS:
        close = difflib.get_close_matches(name, QUESTIONS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(QUESTIONS)}"
        raise RecipeError(f"no study asks {name!r}: {hint}", remedy="See `instil study --help`")
    return cast("Question", import_module(f"instil.studies.{QUESTIONS[name].module}"))
