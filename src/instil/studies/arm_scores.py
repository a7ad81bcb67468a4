"""What the arms of a study scored: by seed and task, and the base at its best beside them.

by_seed(spec, results, ["unseen_skills"], arm="without", part="ordering")     {0: {"pocket/...": [1.0, 0.0]}, 1: ...}
reference(spec, results, ["unseen_skills"])                                   ("rank", {"pocket/...": [0.0, 1.0]})
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from instil.studies.best import ask_name, best
from instil.studies.spec import StudySpec
from instil.studies.table import Results, Scored

Kept = Callable[[Scored], bool]


def by_seed(
    spec: StudySpec, results: Results, groups: Sequence[str], kept: Kept | None = None, **axes: Any
) -> dict[int, dict[str, list[float]]]:
    """Seed -> task -> scores of its items, of the runs that gave any.

    Args:
        spec: whose suites are looked at.
        results: of the study.
        groups: of those suites.
        kept: which rows; all by default.
        axes: which runs.
    """
    asks = [ask_name(suite) for suite in spec.suites]
    found: dict[int, dict[str, list[float]]] = {}
    for run in results.runs(**axes):
        for one in results.select(run=run.key, suite=asks, groups=groups or None):
            if kept is None or kept(one):
                found.setdefault(int(run.axes.get("seed", 0)), {}).setdefault(one.task, []).extend(one.scores)
    return found


def reference(
    spec: StudySpec, results: Results, groups: Sequence[str], *, tasks: Sequence[str] | None = None
) -> tuple[str, dict[str, Sequence[float]]]:
    """The base's best way of each suite, and its scores.

    Args:
        spec: whose suites are looked at.
        results: of the study.
        groups: of those suites.
        tasks: those alone; all by default.
    """
    ways: list[str] = []
    units: dict[str, Sequence[float]] = {}
    for suite in spec.suites:
        found = best(results, ask_name(suite), groups=groups or None, tasks=tasks, arm="base")
        if found.units:
            ways.append(found.way.replace("_", " "))
            units.update(found.units)
    return ", ".join(dict.fromkeys(ways)), units
