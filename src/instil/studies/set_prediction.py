"""Whether a set's measured diversity tells its held-out score, as a study of sources reports it.

set of draw 2, 4 clusters x 2 tasks     8 tasks, 4.6 effective ones by hidden states     held-out 0.74
count and diversity of hidden states    remove 31% of the squared error that the count leaves, out of sample
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import TYPE_CHECKING, Any

import numpy as np

from instil.reports.study_report import Figure, FigureRow, Table
from instil.studies import diversity
from instil.studies.intervals import counted
from instil.studies.prediction import Forecast, TaskSet, forecasts

if TYPE_CHECKING:
    from instil.studies.sources import DiversitySpec, Spec
    from instil.studies.task_pool import TaskPool

#: With two draws each is predicted from the other alone, which tells the two apart and nothing else.
_FEWEST_DRAWS = 3
#: The measures of a set's make-up, as a page calls them.
NAMES = {
    "clusters": "number of clusters",
    "hidden": "diversity of hidden states",
    "ngrams": "diversity of n-grams",
}


def task_sets(
    spec: Spec,
    design: DiversitySpec,
    pool: TaskPool,
    sets: Mapping[tuple[int, int, int], Sequence[str]],
    scores: Mapping[tuple[int, int], Mapping[int, Mapping[str, Sequence[float]]]],
) -> list[TaskSet]:
    """Every set that was trained on, with what it is made of."""
    alike = similarities(spec.models[0], design.features, pool, design.prompts)
    row = {name: place for place, name in enumerate(pool.parts)}
    made = []
    for (clusters, each, draw), names in sets.items():
        units = scores.get((clusters, each), {}).get(draw)
        if not units:
            continue
        rows = np.ix_([row[name] for name in names], [row[name] for name in names])
        makeup = {"count": log2(len(names)), "clusters": log2(clusters)}
        makeup |= {feature: log2(diversity.vendi(alike[feature][rows])) for feature in design.features}
        score = sum(sum(items) / len(items) for items in units.values()) / len(units)
        made.append(TaskSet(draw, f"{clusters} x {each}", len(names), makeup, score))
    return made


def similarities(model: str, features: Sequence[str], pool: TaskPool, prompts: int) -> dict[str, diversity.Floats]:
    """By feature: how alike every two tasks of a pool are, in its order."""
    texts = [pool.prompts(name, prompts) for name in pool.parts]
    found = {}
    if "ngrams" in features:
        found["ngrams"] = diversity.similarity(diversity.ngram_features(texts))
    if "hidden" in features:
        from instil.models.loading import load  # imports torch

        found["hidden"] = diversity.similarity(diversity.hidden_features(load(model), texts))
    return found


def predictions(design: DiversitySpec, made: Sequence[TaskSet]) -> list[Forecast]:
    """Predictions by count, clusters and measured diversity; none where fewer than three draws were trained on."""
    if len({one.draw for one in made}) < _FEWEST_DRAWS:
        return []
    return forecasts(made, {name: NAMES[name] for name in ("clusters", *design.features)})


def scatter_figure(feature: str, made: Sequence[TaskSet]) -> Figure:
    """Held-out scores against a measure."""
    return {
        "kind": "scatter",
        "name": f"diversity-{feature}",
        "title": f"Held-out score by measured {NAMES[feature]}",
        "caption": "Each mark is a set that was trained on; its measured diversity is the effective number of "
        "different tasks in it (Vendi score).",
        "x": {"label": f"{NAMES[feature]} (effective number of tasks)", "scale": "log"},
        "y": {"label": "held-out score", "percent": True},
        "points": [
            {
                "x": 2 ** one.makeup[feature],
                "y": one.score,
                "label": f"{one.design}, draw {one.draw}",
                "group": counted(one.count, "task"),
            }
            for one in sorted(made, key=lambda one: one.count)
        ],
    }


def prediction_figure(predicted: Sequence[Forecast]) -> Figure:
    """What each measure adds to the count's prediction."""
    rows: list[FigureRow] = []
    for one in predicted:
        if one.columns in ((), ("count",)):
            continue
        rows.append({
            "label": one.name,
            "marks": [
                {"series": "1", "name": "as measured", "value": one.removed, "low": one.low, "high": one.high},
                {"series": "base", "name": "dealt out anew", "value": one.by_chance, "low": None, "high": None},
            ],
            "note": f"p {one.p:.3f}",
        })  # fmt: skip
    return {
        "kind": "rows",
        "name": "prediction",
        "title": "How much better a set's score is told with its diversity than by its count alone",
        "caption": "Share of the squared error of the count's prediction that is removed, on draws left out of "
        "the fit; below zero it predicts worse. Beside it: the same with diversities dealt out anew among the sets of "
        "one draw and count.",
        "rows": rows,
        "full_scale": False,
    }


def told(predicted: Sequence[Forecast], design: DiversitySpec) -> list[str]:
    """Each measure of diversity in a sentence."""
    if not predicted:
        return [
            f"Whether diversity tells the held-out score needs {_FEWEST_DRAWS} draws or more, so it was not tested."
        ]
    said = []
    for one in predicted:
        if one.p is None or one.columns[-1] == "clusters":
            continue
        said.append(
            f"Out of sample, {one.name} together remove {_removed(one)} of the squared error of the count alone; dealt "
            "out anew it is "
            f"{100 * (one.by_chance or 0):.0f}% (p {one.p:.3f}, {counted(design.draws, 'draw')})."
        )
    return said


def _removed(one: Forecast) -> str:
    """`38% [12, 64]`; without an interval where there is none."""
    if one.low is None or one.high is None:
        return f"{round(100 * one.removed)}%"
    return f"{round(100 * one.removed)}% [{round(100 * one.low)}, {round(100 * one.high)}]"


def sets_table(design: DiversitySpec, made: Sequence[TaskSet]) -> Table:
    """Every set that was trained on."""
    rows: list[list[Any]] = [
        [one.draw, one.design, one.count]
        + [round(2 ** one.makeup[feature], 2) for feature in design.features]
        + [f"{100 * one.score:.1f}%"]
        for one in made
    ]
    return {
        "name": "sets",
        "title": "The sets",
        "columns": ["draw", "clusters x tasks of each", "tasks", *(NAMES[one] for one in design.features), "held-out"],
        "rows": rows,
    }


def prediction_table(predicted: Sequence[Forecast]) -> Table:
    """Every prediction with its error."""
    rows: list[list[Any]] = [
        [
            one.name,
            f"{100 * one.error:.2f}",
            _removed(one),
            None if one.by_chance is None else f"{100 * one.by_chance:.0f}%",
            None if one.p is None else round(one.p, 3),
        ]
        for one in predicted
    ]
    return {
        "name": "prediction",
        "title": "Prediction of the held-out score, on draws left out of the fit",
        "columns": ["told by", "error, points", "of the count's squared error removed", "dealt out anew", "p"],
        "rows": rows,
        "note": "Error: the root of the mean squared error, in points of 100.",
    }
