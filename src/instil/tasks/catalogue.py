"""What task files do not say about themselves, said beside them: cluster, licence, language, citation.

    citation: "Longpre et al. 2023, The Flan Collection, arXiv:2301.13688"
    tasks:
      "glue/mnli:2.0.0": {cluster: entailment, licence: OANC, language: English}
      "wmt16_translate/*": {cluster: translation}

A source of a mixture names one: `catalogue: flan-2021` (shipped: flan-2021, flan-cot, p3), or a file of one's own.
Names are matched without their collection, exactly first, then as patterns in the order of the file; for parts of a hub
data set the part's own name counts, too. What the catalogue does not say stays as the task has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from instil.errors import RecipeError
from instil.recipe import Section, load_yaml, parse
from instil.tasks.task import Task

SHIPPED = Path(__file__).parent / "catalogues"


class Entry(Section):
    """What is said about one task, or about all that match a pattern; empty is unsaid."""

    cluster: str = ""
    licence: str = ""
    language: str = ""
    citation: str = ""


class _Contents(Section):
    citation: str = ""
    tasks: dict[str, Entry] = Field(min_length=1)


@dataclass(frozen=True)
class Catalogue:
    """Facts about tasks, by name or pattern."""

    name: str
    citation: str = ""
    """Of every task that has none of its own in the catalogue."""
    tasks: Mapping[str, Entry] = field(default_factory=dict)

    def describe(self, task: Task) -> Task:
        """The task with what the catalogue says of it; the same task where it says nothing."""
        names = (task.name.partition("/")[2], task.source)
        entry = next((self.tasks[name] for name in names if name in self.tasks), None) or next(
            (entry for pattern, entry in self.tasks.items() if any(fnmatchcase(name, pattern) for name in names)), None
        )
        if entry is None:
            return task
        said: dict[str, Any] = {name: value for name, value in entry.model_dump().items() if value}
        return replace(task, **({"citation": self.citation} if self.citation else {}) | said)


def load_catalogue(name: str, root: Path | None = None) -> Catalogue:
    """A catalogue that is shipped, or one in a file.

    Args:
        name: the name of a shipped one, or a YAML file, from the data root or the working folder.
        root: the data root.

    Raises:
        RecipeError: if there is none, or it is not of the form above.
    """
    if name in shipped():
        return _read(SHIPPED / f"{name}.yaml")
    for place in ((root or Path()) / name, Path(name)):
        if place.is_file():
            return _read(place)
    raise RecipeError(
        f"no catalogue {name!r}", remedy=f"There are {', '.join(shipped())}; or give a YAML file with `tasks:`"
    )


def shipped() -> tuple[str, ...]:
    """The names of the catalogues that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


@cache
def _read(path: Path) -> Catalogue:
    contents = parse(_Contents, load_yaml(path), origin=str(path))
    return Catalogue(path.stem, contents.citation, contents.tasks)
