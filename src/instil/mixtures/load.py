"""From a recipe to a mixture: read the `mixture:` section, load the tasks of its sources.

load_mixture("recipes/real-mix.yaml", data="../shared/data")[0]
load_mixture({"sources": [{"collection": "jsonl", "path": "my.jsonl", "map": {"inputs": "question"}}]})[0]

Every source is opened; then tasks are left out, in this order: by licence, by language, those held out, those outside
of a random subset; of the others, templates beyond those asked for; then rows that hold items of a test, and repeated
rows. What is left is weighed (weights.py). A nested mixture goes through the same by its own rules before it becomes a
part of the outer one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instil.errors import AbsentError, DataError, RecipeError
from instil.mixtures import filters, held_out
from instil.mixtures.mixture import Mixture
from instil.mixtures.shuffled import shuffled
from instil.mixtures.some_templates import with_some_templates
from instil.mixtures.sources import open_source
from instil.mixtures.spec import MixtureSpec, SourceSpec
from instil.mixtures.weights import Branch
from instil.recipe import load_yaml, parse

if TYPE_CHECKING:
    from instil.mixtures.decontaminated import Dropped
    from instil.tasks.task import Task


def load_mixture(
    recipe: str | Path | Mapping[str, Any], data: str | Path | None = None, *, origin: str = "", strict: bool = False
) -> Mixture:
    """The mixture that a recipe describes.

    Args:
        recipe: a YAML file, or what it holds: a whole recipe (its `mixture:` is taken, the rest is not looked at) or
            that section alone.
        data: the folder that collections and paths are looked for in; the recipe's `data:` by default, and the
            current folder where it has none.
        origin: where a mapping came from, for messages, and for recipes that lie beside it.
        strict: refuse the first row that cannot be used, instead of setting it aside.

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
    section = beside(section, Path(origin).parent)
    spec = parse(MixtureSpec, section, origin=f"{origin}, mixture" if whole else origin)
    root = data if data is not None else raw.get("data") if whole else None
    if root is not None and not isinstance(root, (str, Path)):
        raise RecipeError(f"{origin}: data is no path (got {root!r})", remedy="Write the folder that tasks are in")
    return assemble(spec, data=None if root is None else Path(root), strict=strict)


def beside(section: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """A mixture's section in which what lies in `folder` (nested recipes, templates, suites) is named by its path."""
    here = dict(section)
    if isinstance(sources := section.get("sources"), list):
        here["sources"] = [_found_beside(source, folder) for source in sources]
    if isinstance(suites := section.get("decontaminate"), list):
        here["decontaminate"] = [
            str(folder / one) if isinstance(one, str) and (folder / one).is_file() else one for one in suites
        ]
    return here


def _found_beside(source: Any, folder: Path) -> Any:
    if not isinstance(source, Mapping):
        return source
    named = {key: source.get(key) for key in ("mixture", "templates")}
    here = {key: folder / name for key, name in named.items() if isinstance(name, str)}
    return {**source, **{key: str(path) for key, path in here.items() if path.is_file()}}


def assemble(spec: MixtureSpec, *, data: Path | None = None, strict: bool = False) -> Mixture:
    """The mixture of a spec, its tasks loaded from under `data`.

    Args:
        spec: what to load.
        data: the folder that collections and paths are looked for in; the current folder if None.
        strict: refuse the first row that cannot be used, instead of setting it aside.
    """
    loader = _Loader(data, strict)
    branch = loader.branch(spec, (), skip=spec.missing == "skip")
    remarks = list(dict.fromkeys(loader.remarks))  # sources that share a data set would say the same
    if not any(branch.tasks):
        why = f" ({remarks[0]})" if remarks else ""
        raise DataError(f"the mixture has no task{why}", remedy="Check the sources, and the data root (--data)")
    return Mixture(spec, branch.sources, remarks=remarks, held_out=loader.held_out, dropped=loader.dropped)


@dataclass
class _Loader:
    """Opens the sources of mixtures, and notes what a person should know."""

    data: Path | None
    strict: bool
    remarks: list[str] = field(default_factory=list)
    held_out: list[Task] = field(default_factory=list)
    """The examples of trained tasks that are not trained on."""
    dropped: list[Dropped] = field(default_factory=list)
    """Rows that hold an item of a test."""

    def branch(self, spec: MixtureSpec, above: tuple[Path, ...], *, skip: bool) -> Branch:
        """The tasks of a mixture.

        Args:
            spec: what to open.
            above: the recipes that this one is nested in.
            skip: whether what is not there is passed over.
        """
        sources: list[tuple[Task, ...] | Branch] = []
        for number, source in enumerate(spec.sources):
            try:
                opened = self._nested(source, above, skip=skip) if source.mixture else self._open(source, skip=skip)
                if not any(opened.tasks if isinstance(opened, Branch) else opened):
                    where = f"mixture.sources.{number} ({Path(source.name).name})"
                    raise AbsentError(f"{where} has no task", remedy="Check its tasks, clusters, exclude and path")
            except AbsentError as error:
                if not skip:
                    raise
                self.remarks.append(f"{Path(source.name).name} was skipped: {error.message}")
                opened = ()
            sources.append(opened)
        return self._left(Branch(spec, tuple(sources)), skip=skip)

    def _nested(self, source: SourceSpec, above: tuple[Path, ...], *, skip: bool) -> Branch:
        named = Path(str(source.mixture))
        places = [named, *([self.data / named] if self.data is not None else [])]
        path = next((place.resolve() for place in places if place.is_file()), None)
        if path is None:
            raise AbsentError(f"no recipe at {named}", remedy="Give its path from the recipe or the working folder")
        if path in above:
            raise RecipeError(f"the mixture {named} holds itself", remedy="Take it out of its own sources")
        raw = load_yaml(path)
        section = raw.get("mixture", raw)
        if not isinstance(section, Mapping):
            raise RecipeError(f"{named} has no mapping `mixture`", remedy="Give the recipe of a mixture")
        spec = parse(MixtureSpec, beside(section, path.parent), origin=f"{named}, mixture")
        return self.branch(spec, (*above, path), skip=skip or spec.missing == "skip")

    def _open(self, source: SourceSpec, *, skip: bool) -> tuple[Task, ...]:
        opened = open_source(source, self.data, skip_absent=skip, strict=self.strict)
        self.remarks += opened.remarks
        return opened.tasks

    def _left(self, branch: Branch, *, skip: bool) -> Branch:
        """The branch without what its own rules leave out."""
        spec = branch.spec
        if not any(branch.tasks):
            return branch
        if licence := spec.licence:
            branch = self._without(branch, lambda tasks: filters.with_licence(tasks, licence), "for their licence")
        if language := spec.language:
            branch = self._without(branch, lambda tasks: filters.with_language(tasks, language), "for their language")
        if spec.hold_out.tasks or spec.hold_out.clusters:
            design = held_out.with_lists(spec.hold_out, branch.tasks, self.data, skip_absent=skip)
            branch = self._without(
                branch, lambda tasks: held_out.split(tasks, design, skip_absent=skip)[0], "as held out"
            )
        if (part := spec.subset) is not None:
            branch = self._without(branch, lambda tasks: held_out.subset(tasks, part), "outside of the subset")
        if (count := spec.templates_per_task) is not None:
            branch = branch.each(lambda task: with_some_templates(task, count, draw=spec.templates_draw))
        if spec.hold_out.examples:
            branch = branch.each(lambda task: self._part_of(task, spec.hold_out.examples))
        if spec.limit is not None or any(source.limit is not None for source in spec.sources):
            branch = _limited(branch)
        if spec.decontaminate:
            branch = self._decontaminated(branch)
        if spec.duplicates != "keep":
            from instil.mixtures.dropped import drop_duplicates

            (tasks,), remarks = drop_duplicates([list(branch.tasks)], spec.duplicates)
            self.remarks += remarks
            left = {task.name: task for task in tasks}
            branch = branch.each(lambda task: left.get(task.name))
        if spec.shuffle is not None:  # the last, so that no target comes from a row that is left out
            given = shuffled(list(branch.tasks), spec.shuffle, seed=spec.seed)
            branch = branch.each(lambda task: given[task.name])
            self.remarks.append(f"shuffle: {spec.shuffle}: every target is that of another row, which is a control")
        return branch

    def _decontaminated(self, branch: Branch) -> Branch:
        """The branch without rows that hold an item of the suites that its spec names; those are noted."""
        from instil.mixtures.decontaminated import decontaminate

        tasks, remarks, dropped = decontaminate(list(branch.tasks), branch.spec.decontaminate, self.data)
        self.remarks += remarks
        self.dropped += dropped
        left = {task.name: task for task in tasks}
        if not left:
            raise DataError(
                f"every row holds an item of {', '.join(branch.spec.decontaminate)}",
                remedy="Train on something else than what is asked, or take the suite out of mixture.decontaminate",
            )
        return branch.each(lambda task: left.get(task.name))

    def _part_of(self, task: Task, held_out_examples: int) -> Task:
        """The task without examples that are held out; those are noted."""
        kept, out = held_out.without_examples(task, held_out_examples)
        if out.size < held_out_examples:
            self.remarks.append(
                f"{task.name}: {out.size:,} examples are held out for validation, not {held_out_examples:,}: it has "
                f"{task.size:,} in all"
            )
        if out.size:
            self.held_out.append(out)
        return kept

    def _without(self, branch: Branch, choose: Callable[[Sequence[Task]], list[Task]], why: str) -> Branch:
        before = list(branch.tasks)
        kept = {task.name for task in choose(before)}
        if not kept:
            raise DataError(f"all {len(before):,} tasks are left out {why}", remedy="Ask for less, or add sources")
        if gone := len(before) - len(kept):
            self.remarks.append(f"{gone:,} of {len(before):,} tasks are left out {why}")
        return branch.each(lambda task: task if task.name in kept else None)


def _limited(branch: Branch) -> Branch:
    """Some examples of each task, as many as its source says."""
    sources: list[tuple[Task, ...] | Branch] = []
    for source, tasks in zip(branch.spec.sources, branch.sources, strict=True):
        limit = branch.spec.limit if source.limit is None else source.limit
        if limit is None or isinstance(tasks, Branch):
            sources.append(tasks)
        else:
            sources.append(tuple(held_out.some_examples(task, limit, draw=branch.spec.limit_draw) for task in tasks))
    return Branch(branch.spec, tuple(sources))
