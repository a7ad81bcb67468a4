"""How much of a mixture each task is: exact numbers, so that all platforms agree on every prompt.

    size                 min(examples, cap) ** (1 / temperature), or T0's rule for large data sets
    balance: clusters    tasks that compete by size: every cluster weighs the same, its tasks share it by size
    share                what a source gets, in the ratio of the shares; what they leave goes to the others by size
    weights              how a source's part is split among its tasks, in place of size
    minimum              tasks below it are raised to it, the others pay in proportion

They act in this order. A nested mixture (`{mixture: cot.yaml, share: 0.05}`) is weighed by its own rules first; without
a share it weighs as one task would, of as many examples as its own epoch has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING

from instil.errors import RecipeError
from instil.mixtures.settings import Setting
from instil.mixtures.spec import MixtureSpec, SourceSpec, exact

if TYPE_CHECKING:
    from instil.tasks.task import Task

#: A cluster's weight is cut into so many units: sums over thousands of clusters keep short numbers.
_UNITS = 1 << 64


@dataclass(frozen=True, slots=True)
class Branch:
    """The tasks of a mixture, source by source; where a source is a mixture, a branch of its own."""

    spec: MixtureSpec
    sources: tuple[tuple[Task, ...] | Branch, ...]
    """In the spec's order. A source may be empty where all its tasks were left out."""

    @property
    def tasks(self) -> Iterator[Task]:
        """All tasks, in order."""
        for source in self.sources:
            yield from source.tasks if isinstance(source, Branch) else source

    def each(self, change: Callable[[Task], Task | None]) -> Branch:
        """Every task changed, or left out where that gives None."""
        return Branch(
            self.spec,
            tuple(
                source.each(change)
                if isinstance(source, Branch)
                else tuple(new for task in source if (new := change(task)) is not None)
                for source in self.sources
            ),
        )


@dataclass(frozen=True, slots=True)
class Leaf:
    """A task with its weight."""

    task: Task
    number: int
    """Of its source in the outermost spec, from 0."""
    source: SourceSpec
    settings: Mapping[Setting, Fraction]
    weight: Fraction
    """Only the ratio to the others matters."""
    counted: int
    """How many examples it counts as: its part of an epoch."""


def weigh(branch: Branch) -> list[Leaf]:
    """Every task of a branch with its weight.

    Raises:
        RecipeError: if explicit weights do not fit the tasks, or `minimum` asks for more than there is.
    """
    spec = branch.spec
    groups = [_sized(spec, number, source) for number, source in enumerate(branch.sources)]
    shares = [None if source.share is None else exact(source.share) for source in spec.sources]
    if spec.balance == "clusters":
        free = [number for number, share in enumerate(shares) if share is None]
        shared = [[number] for number, share in enumerate(shares) if share is not None]
        nested = {number for number, source in enumerate(branch.sources) if isinstance(source, Branch)}
        for competing in (group for group in (free, *shared) if nested.isdisjoint(group)):
            for number, group in zip(competing, _balanced([groups[number] for number in competing]), strict=True):
                groups[number] = group
    unshared = sum((_total(group) for group, share in zip(groups, shares, strict=True) if share is None), Fraction(0))
    left = 1 - sum((share for share in shares if share is not None), Fraction(0))
    leaves = []
    for number, (group, share) in enumerate(zip(groups, shares, strict=True)):
        if group:
            factor = left / unshared if share is None else share / _total(group)
            scaled = [replace(leaf, weight=leaf.weight * factor) for leaf in group]
            explicit = spec.sources[number].weights
            leaves += _explicit(scaled, explicit, f"mixture.sources.{number}.weights") if explicit else scaled
    return _raised(leaves, exact(spec.minimum)) if spec.minimum else leaves


def _sized(spec: MixtureSpec, number: int, tasks: tuple[Task, ...] | Branch) -> list[Leaf]:
    """The tasks of a source by size; a nested mixture by its own rules, together as one task of its epoch's size."""
    if isinstance(tasks, Branch):
        inner = weigh(tasks)
        whole = _tempered(Fraction(sum(leaf.counted for leaf in inner)), spec.temperature)
        scale = whole / _total(inner) if inner else Fraction(1)
        return [replace(leaf, number=number, weight=leaf.weight * scale) for leaf in inner]
    source = spec.sources[number]
    settings = spec.settings_of(source)
    prompts = Counter[str]()
    for task in tasks if spec.large_set else ():
        prompts[_data_set(task)] += len(task.templates)
    leaves = []
    for task in tasks:
        size = len(task.examples)
        if spec.large_set is None or source.cap is not None:
            counted = spec.capped(source, size)
            weight = _tempered(Fraction(counted), spec.temperature)
        else:
            each = Fraction(size if size <= spec.large_set else Fraction(spec.large_set, prompts[_data_set(task)]))
            counted = max(1, int(each * len(task.templates)))
            weight = _tempered(each * len(task.templates), spec.temperature)
        leaves.append(Leaf(task, number, source, settings, weight, counted))
    return leaves


def _data_set(task: Task) -> str:
    """What a task's rows come from: P3 keeps each template of a data set in a task of its own."""
    return task.source or task.name


def _tempered(size: Fraction, temperature: float) -> Fraction:
    if temperature == 1:
        return size
    # Decimal, because the last digit of a float power differs between C libraries.
    with localcontext(prec=28):
        number = Decimal(size.numerator) / Decimal(size.denominator)
        return Fraction(number ** (1 / Decimal(repr(temperature))))


def _balanced(groups: Sequence[Sequence[Leaf]]) -> list[list[Leaf]]:
    """Every cluster weighs 1 in all groups together; its tasks share that by weight, to 2**-64."""
    totals: dict[str, Fraction] = {}
    for leaf in (leaf for group in groups for leaf in group):
        totals[leaf.task.cluster] = totals.get(leaf.task.cluster, Fraction(0)) + leaf.weight
    return [
        [
            replace(leaf, weight=Fraction(max(1, int(leaf.weight * _UNITS / totals[leaf.task.cluster])), _UNITS))
            for leaf in group
        ]
        for group in groups
    ]


def _explicit(leaves: Sequence[Leaf], weights: Mapping[str, float], where: str) -> list[Leaf]:
    """What the tasks weigh together, split by the weight of the first pattern that fits each."""
    used: set[str] = set()
    parts = []
    for leaf in leaves:
        pattern = next((pattern for pattern in weights if fits(leaf.task.name, pattern)), None)
        if pattern is None:
            raise RecipeError(
                f"{where}: no pattern fits task {leaf.task.name!r}", remedy="Give it a weight, or all others with '*'"
            )
        used.add(pattern)
        parts.append(exact(weights[pattern]))
    idle = [pattern for pattern in weights if pattern not in used]
    if idle:
        raise RecipeError(
            f"{where}: {idle[0]!r} is the first pattern that fits of no task", remedy="Correct it, or leave it out"
        )
    whole = _total(leaves) / sum(parts)
    return [replace(leaf, weight=part * whole) for leaf, part in zip(leaves, parts, strict=True)]


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits a task's name, with or without its collection in front."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.partition("/")[2], pattern)


def _raised(leaves: Sequence[Leaf], minimum: Fraction) -> list[Leaf]:
    """No share below the minimum: the smallest are raised to it, and the others keep their ratio in what is left."""
    if minimum * len(leaves) > 1:
        raise RecipeError(
            f"mixture.minimum: {len(leaves):,} tasks of at least {float(minimum):g} are more than the whole",
            remedy=f"Give at most {1 / len(leaves):.3g}",
        )
    rest, raised, left = _total(leaves), 0, Fraction(1)
    for leaf in sorted(leaves, key=lambda leaf: leaf.weight):
        if leaf.weight * left >= minimum * rest:
            break
        rest, raised, left = rest - leaf.weight, raised + 1, left - minimum
    factor = left / rest if rest else Fraction(0)
    return [replace(leaf, weight=max(minimum, leaf.weight * factor)) for leaf in leaves]


def _total(leaves: Sequence[Leaf]) -> Fraction:
    return sum((leaf.weight for leaf in leaves), Fraction(0))
