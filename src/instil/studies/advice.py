"""What to add to a set of tasks: what widens it most, what is random, and what is more of the same.

beginning(spec, pool, draw)           ("pocket/skills/rotate_left", ...)      what is there already
advised(spec, pool, draw)             [("pocket/skills/season", Added(diversity=4.8, gained=0.7)), ...]
chosen(spec, pool, draw, "random")    as many others, by keyed order
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from instil.errors import RecipeError
from instil.fingerprint import keyed_int
from instil.studies.diversity import Added, Floats, widest
from instil.studies.set_prediction import similarities
from instil.studies.task_pool import TaskPool

if TYPE_CHECKING:
    from instil.studies.next_tasks import Spec


def beginning(spec: Spec, pool: TaskPool, draw: int) -> tuple[str, ...]:
    """The tasks that are there before anything is added."""
    if spec.drawn is None:
        return pool.fitting(spec.have, what="have")
    names = pool.fitting(spec.at_hand, what="at_hand")
    members = [len(set(pool.clusters[cluster]) & set(names)) for cluster in pool.clusters]
    more = -(-spec.add // spec.drawn.clusters) if "same" in spec.ways else 0
    least = spec.drawn.each + more
    if sum(size >= least for size in members) < spec.drawn.clusters:
        raise RecipeError(
            f"drawn: {spec.drawn.clusters} clusters of {spec.drawn.each} tasks, with {more} more of each to add, need "
            f"clusters of {least}, and {sum(size >= least for size in members)} are as large",
            remedy="Ask for fewer tasks of each cluster, add fewer, or leave `same` out of `ways`",
        )
    return pool.spread(names, clusters=spec.drawn.clusters, each=spec.drawn.each, draw=draw, least=least)


def chosen(spec: Spec, pool: TaskPool, draw: int, way: str) -> tuple[str, ...]:
    """The tasks that a way of choosing adds.

    Raises:
        RecipeError: if there are fewer.
    """
    if way == "widest":
        return tuple(name for name, _ in advised(spec, pool, draw))
    have = beginning(spec, pool, draw)
    left = _left(spec, pool, have)
    if way == "same":
        clusters = {pool.parts[name].task.cluster for name in have}
        left = [name for name in left if pool.parts[name].task.cluster in clusters]
    _refuse_few(spec, left, "more tasks of the clusters that are there" if way == "same" else "tasks at hand")
    ordered = sorted(left, key=lambda name: keyed_int("tasks to add", way, draw, name, n=1 << 63))
    return tuple(ordered[: spec.add])


def advised(spec: Spec, pool: TaskPool, draw: int) -> list[tuple[str, Added]]:
    """The tasks that widen the beginning most, in the order to add them."""
    have = beginning(spec, pool, draw)
    left = _left(spec, pool, have)
    _refuse_few(spec, left, "tasks at hand")
    names = list(pool.parts)
    place = {name: number for number, name in enumerate(names)}
    alike = _alike(spec.models[0], spec.feature, spec.prompts, pool)
    found = widest(alike, [place[name] for name in have], [place[name] for name in left], add=spec.add)
    return [(names[one.task], one) for one in found]


@lru_cache(maxsize=2)
def _alike(model: str, feature: str, prompts: int, pool: TaskPool) -> Floats:
    return similarities(model, [feature], pool, prompts)[feature]


def _left(spec: Spec, pool: TaskPool, have: Sequence[str]) -> list[str]:
    return [name for name in pool.fitting(spec.at_hand, what="at_hand") if name not in set(have)]


def _refuse_few(spec: Spec, left: Sequence[str], what: str) -> None:
    if len(left) < spec.add:
        raise RecipeError(
            f"add is {spec.add}, and there are {len(left)} {what} besides those that it begins from",
            remedy="Add fewer, widen `at_hand`, or leave that way out of `ways`",
        )
