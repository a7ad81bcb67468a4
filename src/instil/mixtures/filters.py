"""Tasks by what may be done with them, and by language: `licence: [permissive]`, `language: [English, de]`.

licence "CC BY-SA 3.0"  -> copyleft       "not stated" -> unknown: stays only where `unknown` is asked for
language "en"           -> is English     "English, French" stays only where both are asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from instil.errors import RecipeError
from instil.tasks.languages import is_language, written_in
from instil.tasks.licences import LicenceClass, licence_class

if TYPE_CHECKING:
    from instil.tasks.task import Task


def with_licence(tasks: Sequence[Task], wanted: Sequence[LicenceClass]) -> list[Task]:
    """The tasks whose licence is of one of these classes."""
    return [task for task in tasks if licence_class(task.licence) in wanted]


def with_language(tasks: Sequence[Task], wanted: Sequence[str]) -> list[Task]:
    """The tasks that are wholly in these languages.

    Args:
        tasks: what to choose from.
        wanted: names or codes.

    Raises:
        RecipeError: if one is no language.
    """
    for name in wanted:
        if not is_language(name):
            raise RecipeError(f"language: {name!r} is none that is known", remedy="Write a name or a code: German, de")
    return [task for task in tasks if written_in(task.language, wanted)]
