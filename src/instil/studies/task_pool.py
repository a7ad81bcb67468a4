"""The tasks that a study's mixture has at hand, and recipes that train on a part of them.

    pool = open_pool(spec)
    pool.clusters                         {"ordering": ("pocket/skills/sort_words", ...), ...}
    pool.fitting(["ordering", "pocket/compositions/*"])     names, clusters and collections fit patterns
    pool.recipe(spec, names, seed=0)      the study's recipe, trained on these tasks alone
    pool.spread(clusters=4, each=2, draw=0)    2 tasks of each of 4 clusters; within spread(8, 4, 0)

Which tasks a part has is written into its recipe by name, so a run folder says itself what it was trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from instil.errors import RecipeError, TemplateError
from instil.fingerprint import keyed_int
from instil.mixtures.load import assemble
from instil.mixtures.mixture import Mixture, Part
from instil.mixtures.shares import permuted
from instil.mixtures.spec import MixtureSpec
from instil.recipe import parse
from instil.studies.spec import StudySpec

#: Keys of a source, and of what a mixture holds out, that choose tasks: a list of names takes their place.
_CHOOSING = ("tasks", "clusters", "exclude")
_HOLDING_OUT = ("tasks", "clusters", "siblings")


@dataclass(frozen=True, eq=False)
class TaskPool:
    """Every task that the base recipe would train on."""

    mixture: Mixture

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """The tasks by name, in the mixture's order."""
        return {part.task.name: part for part in self.mixture.parts}

    @cached_property
    def clusters(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the tasks of each cluster."""
        found: dict[str, list[str]] = {}
        for name, part in self.parts.items():
            found.setdefault(part.task.cluster, []).append(name)
        return {cluster: tuple(names) for cluster, names in found.items()}

    def fitting(self, patterns: Sequence[str], *, what: str) -> tuple[str, ...]:
        """The tasks whose name, cluster or collection fits one of the patterns.

        Args:
            patterns: names, or patterns such as `pocket/skills/*`.
            what: which key asks, for the message.

        Raises:
            RecipeError: if a pattern fits nothing.
        """
        for pattern in patterns:
            if not any(_fits(part, pattern) for part in self.parts.values()):
                named = ", ".join(list(self.clusters)[:12])
                raise RecipeError(
                    f"{what}: {pattern!r} fits none of the {len(self.parts):,} tasks, by name, cluster or collection",
                    remedy=f"Their clusters are {named}{', ...' if len(self.clusters) > 12 else ''}",
                )
        return tuple(name for name, part in self.parts.items() if any(_fits(part, pattern) for pattern in patterns))

    def recipe(self, spec: StudySpec, names: Collection[str], *, seed: int) -> dict[str, Any]:
        """The study's recipe, trained on these tasks alone; a source that has none of them falls away.

        Args:
            spec: the study, of one model.
            names: tasks of this pool.
            seed: of mixture and tuning.
        """
        raw = spec.recipe_for(spec.models[0], seed)
        wanted = set(names)
        sources = []
        for number, source in enumerate(raw["mixture"]["sources"]):
            mine = [name for name, part in self.parts.items() if part.source == number and name in wanted]
            if mine:
                sources.append({**{key: value for key, value in source.items() if key not in _CHOOSING}, "tasks": mine})
        hold_out = raw["mixture"].pop("hold_out", {})
        if left := {key: value for key, value in hold_out.items() if key not in _HOLDING_OUT}:
            raw["mixture"]["hold_out"] = left
        raw["mixture"]["sources"] = sources
        return raw

    def spread(
        self, names: Sequence[str], *, clusters: int, each: int, draw: int, least: int | None = None
    ) -> tuple[str, ...]:
        """So many tasks of each of so many clusters. Within a draw, fewer clusters and fewer tasks of each lie within
        more.

        Args:
            names: the tasks to draw from.
            clusters: how many clusters.
            each: how many tasks of each.
            draw: which draw.
            least: clusters of fewer tasks are passed over; `each` by default. Sets of one draw lie within one another
                where this is the same for all.

        Raises:
            RecipeError: if there are fewer, with the numbers.
        """
        members: dict[str, list[str]] = {}
        for name in names:
            members.setdefault(self.parts[name].task.cluster, []).append(name)
        least = max(each, least or 0)
        large = [cluster for cluster, found in members.items() if len(found) >= least]
        if len(large) < clusters:
            raise RecipeError(
                f"{clusters} clusters of {least} tasks each are asked for, and of the {len(members)} clusters at hand "
                f"{len(large)} have as many",
                remedy="Ask for fewer clusters, or for fewer tasks of each",
            )
        # Clusters come in one order whatever is asked of them, so that sets of a draw lie within one another.
        ordered = sorted(large, key=lambda cluster: keyed_int("clusters of a set", draw, cluster, n=1 << 63))
        chosen = {
            name
            for cluster in ordered[:clusters]
            for name in sorted(members[cluster], key=lambda name: keyed_int("tasks of a set", draw, name, n=1 << 63))[
                :each
            ]
        }
        return tuple(name for name in self.parts if name in chosen)

    def prompts(self, name: str, count: int) -> list[str]:
        """What the first prompts of a task ask, each of another row, without worked examples and without the answer.

        Args:
            name: of the task.
            count: how many; fewer where the task has fewer rows, or its templates refuse some.
        """
        return list(_rendered(self.parts[name], count))


def open_pool(spec: StudySpec) -> TaskPool:
    """The tasks of a study's base recipe.

    Raises:
        RecipeError: if the study asks of several models, or its mixture cannot be divided by task.
        DataError: if the tasks cannot be read.
    """
    if len(spec.models) > 1:
        raise RecipeError(
            f"study {spec.question} asks of one model at a time, and models lists {len(spec.models)}: "
            f"{', '.join(spec.models)}",
            remedy="Give one, with --model, and run the study again for the next",
        )
    section = spec.recipe_for(spec.models[0], spec.seeds[0])["mixture"]
    mixture = parse(MixtureSpec, section, origin=f"study {spec.name}, recipe.mixture")
    if mixture.subset is not None:
        raise RecipeError(
            f"study {spec.question} draws its own sets of tasks, and recipe.mixture.subset draws one as well",
            remedy="Leave recipe.mixture.subset out",
        )
    if nested := next((source.mixture for source in mixture.sources if source.mixture is not None), None):
        raise RecipeError(
            f"study {spec.question} trains on parts of the mixture, and cannot take {nested} apart",
            remedy="Write the sources of the nested mixture into the recipe itself",
        )
    return TaskPool(assemble(mixture, data=None if spec.data is None else Path(spec.data)))


def _fits(part: Part, pattern: str) -> bool:
    task = part.task
    return any(fnmatchcase(name, pattern) for name in (task.name, task.cluster, task.collection))


def _rendered(part: Part, count: int) -> Iterator[str]:
    task, templates = part.task, part.templates(part.settings[0])
    key = keyed_int("prompts of a task", task.name, n=1 << 64)
    for turn in range(min(count, len(task.examples))):
        example = task.examples[permuted(turn, len(task.examples), key=key)]
        try:
            rendered = templates[turn % len(templates)].render(example, seed=0)
        except TemplateError:
            continue
        yield f"{rendered.instruction}\n{rendered.input}".strip()
