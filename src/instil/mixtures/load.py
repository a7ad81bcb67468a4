"""From a recipe to a mixture: read the `mixture:` section, load the tasks of its sources.

load_mixture("recipes/real-mix.yaml", data="../shared/data")[0]
load_mixture({"sources": [{"collection": "jsonl", "path": "my.jsonl", "map": {"inputs": "question"}}]})[0]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instil.errors import RecipeError
from instil.mixtures.mixture import Mixture
from instil.mixtures.spec import MixtureSpec, SourceSpec
from instil.recipe import load_yaml, parse

if TYPE_CHECKING:
    from instil.tasks.registry import Collection


def load_mixture(
    recipe: str | Path | Mapping[str, Any], data: str | Path | None = None, *, origin: str = ""
) -> Mixture:
    """The mixture that a recipe describes.

    Args:
        recipe: a YAML file, or what it holds: a whole recipe (its `mixture:` is taken, the rest is not looked at) or
            that section alone.
        data: the folder that collections and paths are looked for in; the recipe's `data:` by default, and the
            current folder where it has none.
        origin: where a mapping came from, for messages.

    Raises:
        RecipeError: if the recipe is wrong.
        DataError: if tasks cannot be read.
    """
    if isinstance(recipe, Mapping):
        raw: Mapping[str, Any] = recipe
    else:
        raw, origin = load_yaml(Path(recipe)), origin or str(recipe)
    whole = "mixture" in raw
    section = raw["mixture"] if whole else raw
    origin = origin or "the recipe"
    if not isinstance(section, Mapping) or (not whole and "sources" not in raw):
        raise RecipeError(
            f"{origin} has no mapping `mixture` with `sources`",
            remedy="Name at least one source, such as {collection: pocket}",
        )
    if whole and raw.get("seed") is not None:  # a recipe's one seed reaches its mixture, as it does in a run
        section = {"seed": raw["seed"], **section}
    spec = parse(MixtureSpec, section, origin=f"{origin}, mixture" if whole else origin)
    root = data if data is not None else raw.get("data") if whole else None
    if root is not None and not isinstance(root, (str, Path)):
        raise RecipeError(f"{origin}: data is no path (got {root!r})", remedy="Write the folder that tasks are in")
    return assemble(spec, data=None if root is None else Path(root))


def assemble(spec: MixtureSpec, *, data: Path | None = None) -> Mixture:
    """The mixture of a spec, its tasks loaded from under `data`."""
    opened = [_open(source, data) for source in spec.sources]
    remarks = [remark for found in opened for remark in _remarks(found)]
    return Mixture(spec, [found.tasks for found in opened], remarks=remarks)


def _open(source: SourceSpec, data: Path | None) -> Collection:
    from instil.tasks.registry import open_collection

    found = open_collection(
        source.collection,
        data,
        path=source.path,
        tasks=source.tasks,
        columns=source.map,
        templates=source.templates,
        phrasings=source.phrasings,
    )
    return replace(found, tasks=[task for task in found.tasks if not _matches(task.name, source.exclude)])


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern fits the task's name, with or without its collection in front."""
    title = name.partition("/")[2]
    return any(fnmatchcase(name, pattern) or fnmatchcase(title, pattern) for pattern in patterns)


def _remarks(found: Collection) -> Iterator[str]:
    if found.absent:
        yield f"{found.name}: {len(found.absent):,} listed tasks are not there, {found.absent[0]} for one"
    if found.quarantined:
        file, rows = next(iter(found.quarantined.items()))
        count = sum(map(len, found.quarantined.values()))
        yield (
            f"{found.name}: {count:,} rows in {len(found.quarantined):,} files were set aside, for one {file}, "
            f"{rows[0].where}: {rows[0].reason}; `instil tasks check` lists all"
        )
