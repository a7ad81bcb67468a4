"""Tasks by what may be done with them, by language, and by split: `licence: [permissive]`, `language: [English, de]`.

licence "CC BY-SA 3.0"  -> copyleft       "not stated" -> unknown: stays only where `unknown` is asked for
language "en"           -> is English     "English, French" stays only where both are asked for
splits  disfl_qa/train, disfl_qa/dev, disfl_qa/test  -> disfl_qa/train
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from instil.errors import RecipeError
from instil.tasks.languages import is_language, written_in
from instil.tasks.licences import LicenceClass, licence_class

if TYPE_CHECKING:
    from instil.tasks.task import Task


#: A split's name as a word of a task's name: `disfl_qa/dev`, `clinc/data_small_test`, `e2e_nlg/devset`.
_SPLIT = re.compile(r"(?<![a-z])(train(?:ing)?|dev|validation|valid|val|test)(?=(?:set)?(?![a-z]))")


def without_other_splits(tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """The tasks without the dev, validation and test splits of data sets whose train split is among them.

    Who names a collection wants its data sets, not to train on what they are evaluated with. Splits of one data set are
    named alike (`disfl_qa/train`, `disfl_qa/dev`), or have the train split as their pool of worked examples.

    Returns:
        What is kept, and what is left out.
    """
    splits = {task.name: _SPLIT.search(task.name) for task in tasks}
    training = [task for task in tasks if (found := splits[task.name]) and found[1].startswith("train")]
    trained = {_SPLIT.sub("*", task.name, count=1) for task in training}
    rows = {file.path for task in training for file in task.files[:1]}  # others are companions, or templates
    kept: list[Task] = []
    left: list[Task] = []
    for task in tasks:
        found = splits[task.name]
        other = found is not None and not found[1].startswith("train")
        shown = task.exemplars is not None and any(file.path in rows for file in task.files)
        (left if other and (shown or _SPLIT.sub("*", task.name, count=1) in trained) else kept).append(task)
    return kept, left


def evaluated(tasks: Sequence[Task]) -> list[Task]:
    """The tasks that are named as a dev, validation or test split.

    P3 names tasks by their templates, such as `quarel_logic_test`, which says nothing of a split.
    """
    splits = {task.name: _SPLIT.search(task.name) for task in tasks if task.collection != "p3"}
    return [task for task in tasks if (found := splits.get(task.name)) and not found[1].startswith("train")]


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
