"""Results of a study whose scores are known, so that what is said of them can be."""

from __future__ import annotations

from collections.abc import Callable

from instil.fingerprint import keyed_unit
from instil.studies.grid import Grid, Run
from instil.studies.table import Missing, Results, Scored

CLUSTERS = ("spelling", "facts", "dates", "compositions", "numbers")


def made_up(grid: Grid, chance: Callable[[Run, str], float], *, without: tuple[str, ...] = ()) -> Results:
    """Answers whose right ones come up with a known chance, the same luck for every run."""
    scored = []
    for run in grid:
        if run.key in without:
            continue
        for cluster in CLUSTERS:
            for number in range(4):
                held_out = number > 1 or cluster == "numbers"
                task = f"pocket/{cluster}/{number}"
                items = tuple(f"{task}-{item}" for item in range(20))
                luck = [keyed_unit("luck", key) for key in items]
                scores = tuple(float(one < chance(run, cluster)) for one in luck)
                groups = ("unseen_skills",) if held_out else ("held_in",)
                named = ("pocket-direct", task, cluster, groups, "zero-shot", "generate", "exact_match", True)
                scored.append(Scored(run.key, *named, items, scores))
    missing = [Missing(key, "failed", "it broke") for key in without]
    return Results(grid.runs, scored, {run.key: {"tokens": 1000, "steps": 64} for run in grid}, missing)
