"""The transfer matrix: what training on one cluster alone teaches of the others.

trained on      asked about   ordering   spelling   facts
ordering                          0.97       0.21    0.08
spelling                          0.33       0.99    0.05
base at its best                  0.20       0.18    0.22
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from instil.reports.study_report import Figure
from instil.studies.arm_scores import by_seed, reference
from instil.studies.intervals import Interval, crossed
from instil.studies.table import Results

if TYPE_CHECKING:
    from instil.studies.sources import Spec


def transfer(spec: Spec, results: Results, parts: Mapping[str, Sequence[str]]) -> tuple[Figure, str] | None:
    """The matrix of what was trained on alone against what was asked."""
    groups = [*spec.held_in, *spec.held_out]
    trained = [str(part) for part in results.values("part", arm="alone")]
    if not trained:
        return None
    asked = list(dict.fromkeys(one.cluster for one in results.select(groups=groups or None, arm="base")))
    asked.sort(key=lambda cluster: trained.index(cluster) if cluster in trained else len(trained))
    lines: list[tuple[str, dict[str, Any]]] = [("all of them", {"arm": "all"})]
    lines += [(part, {"arm": "alone", "part": part}) for part in trained]
    lines += [("base, zero-shot", {"arm": "base"})]
    cells = {
        (label, cluster): _cell(spec, results, groups, cluster, axes) for label, axes in lines for cluster in asked
    }
    at_best = {cluster: _best_of(spec, results, groups, cluster) for cluster in asked}
    labels = [label for label, _ in lines]
    sides = {
        side: [[_value(cells[label, cluster], side) for cluster in asked] for label in labels]
        + [[at_best[cluster] if side == "score" else None for cluster in asked]]
        for side in ("score", "low", "high")
    }
    figure: Figure = {
        "kind": "matrix",
        "name": "transfer",
        "title": "What training on one teaches of the others",
        "caption": "Trained on the row alone, asked zero-shot about all tasks of the column: where they are the same, "
        "most of those tasks were trained on. At the foot the base, as it is and at its best.",
        "rows": [*labels, "base at its best"],
        "columns": asked,
        "values": sides["score"],
        "low": sides["low"],
        "high": sides["high"],
        "row_label": "trained on",
        "column_label": "asked about",
    }
    return figure, _sentence(trained, asked, cells, at_best)


def _sentence(
    trained: Sequence[str],
    asked: Sequence[str],
    cells: Mapping[tuple[str, str], Interval | None],
    at_best: Mapping[str, float | None],
) -> str:
    """What a cluster teaches of others, on average; empty where rows are no clusters, as a part of several is."""
    away = {
        part: {cluster: [one.score] for cluster in asked if cluster != part and (one := cells[part, cluster])}
        for part in trained
        if part in asked
    }
    away = {part: found for part, found in away.items() if found}
    if len(away) < 2:
        return ""
    mean = crossed(away)
    home = [one.score for part in away if (one := cells[part, part])]
    bests = [value for value in at_best.values() if value is not None]
    sentence = (
        f"A model that was trained on one of {len(away)} clusters alone scores {100 * mean.score:.1f}% "
        f"[{100 * mean.low:.1f}, {100 * mean.high:.1f}, over clusters trained on and clusters asked] on the others"
    )
    sentence += f" and {100 * sum(home) / len(home):.1f}% on its own" if home else ""
    return sentence + (f"; the base at its best has {100 * sum(bests) / len(bests):.1f}%." if bests else ".")


def _cell(
    spec: Spec, results: Results, groups: Sequence[str], cluster: str, axes: Mapping[str, Any]
) -> Interval | None:
    scores = by_seed(spec, results, groups, lambda one: one.cluster == cluster, **axes)
    return crossed(scores) if scores else None


def _value(one: Interval | None, side: str) -> float | None:
    return None if one is None else float(getattr(one, side))


def _best_of(spec: Spec, results: Results, groups: Sequence[str], cluster: str) -> float | None:
    tasks = {one.task for one in results.select(groups=groups or None, arm="base") if one.cluster == cluster}
    units = reference(spec, results, groups, tasks=sorted(tasks))[1]
    means = [sum(items) / len(items) for items in units.values()]
    return sum(means) / len(means) if means else None
