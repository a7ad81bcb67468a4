"""The numbers of a study of scaling, as tables: curves, every mean, group by group, and what each run was tuned on.

model   axis    part       form         curve                     a doubling so far    the next doubling    knee
pocket  tasks   held-out   saturating   0.700 - 0.600 n^-0.70     +10.2 [8, 12]        +1.2 [0, 2]          32
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from instil.studies.arms import percents
from instil.studies.fits import Range
from instil.studies.scaling import BASE
from instil.studies.scaling_scores import Lines, group_scores

if TYPE_CHECKING:
    from instil.reports.study_report import Cell, Table
    from instil.studies.scaling import Spec
    from instil.studies.table import Results

#: So many clusters are named.
_FEW = 6
#: What amounts of an axis are called on figures.
LABELS = {"tasks": "tasks trained on", "instances": "rows of each task", "templates": "templates of each task"}


def points_of(found: Range) -> str:
    """A quantity in points of 100: `+3.1 points [1.0, 5.2]`."""
    if found.value is None or found.low is None or found.high is None:
        return "nobody knows what"
    return f"{100 * found.value:+.1f} points [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def curves(spec: Spec, lines: Lines) -> Table:
    """Every curve that was fitted, and what is read off it."""
    rows: list[list[Cell]] = []
    for (axis, model, part), line in lines.items():
        for fit in line.fits:
            knee = fit.knee(spec.smallest_gain)
            left_out = round(100 * fit.left_out, 1) if fit.left_out < 1e9 else None
            ends = [None if end is None or end > 1e6 else round(end, 1) for end in (knee.value, knee.low, knee.high)]
            off = round(100 * fit.error, 1), left_out, points_of(fit.doubling), points_of(fit.next_doubling)
            rows.append([model, axis, part, fit.curve.form, fit.curve.formula, *off, *ends])
    return {
        "name": "fits",
        "title": "Curves",
        "columns": [
            *("model", "axis", "part", "form", "curve", "residual, points", "left out, points"),
            *("a doubling so far", "the next doubling", "knee", "knee from", "knee to"),
        ],
        "rows": rows,
        "note": "Residual and left out: root of the mean square, in points of 100, of the amounts that were fitted, "
        "and of each predicted from the others. Where they are as large as an interval, the form does not fit that "
        "well, which no interval covers. An empty knee: none below a million; a knee of 1: never gained as much.",
    }


def scores(spec: Spec, lines: Lines) -> Table:
    """Every mean of the study."""
    rows = []
    for (axis, model, part), line in lines.items():
        for amount, one in line.intervals.items():
            behind = [None, None, None] if one is None else [one.tasks, one.n, one.seeds]
            rows.append([model, axis, amount, part, *percents(one), *behind])
    return {
        "name": "scores",
        "title": "Every mean",
        "columns": ["model", "axis", "amount", "part", "score, %", "low", "high", "tasks", "items", "draws"],
        "rows": rows,
        "note": "95% intervals over draws, tasks and items. Held-in by tasks: of the tasks that each run trained on.",
    }


def groups(spec: Spec, results: Results) -> Table:
    """Every group of the suites by itself, along the first axis."""
    axis, amounts = next(iter(spec.axes.items()))
    groups = dict.fromkeys([*spec.held_in, *spec.held_out, *spec.also])
    rows = [
        [model, group, *(one for amount in amounts for one in [_percent(spec, results, model, amount, group)])]
        for model in spec.models
        for group in groups
    ]
    return {
        "name": "groups",
        "title": f"Group by group, by {LABELS[axis]}",
        "columns": ["model", "group", *(f"{amount}, %" for amount in amounts)],
        "rows": rows,
        "note": "All tasks of each group, held-in ones that the run was not trained on too.",
    }


def _percent(spec: Spec, results: Results, model: str, amount: int, group: str) -> float | None:
    found = group_scores(spec, results, model, amount, group)
    return None if found is None else round(100 * found.score, 1)


def draws(spec: Spec, results: Results) -> Table:
    """How far apart the draws of each count are: an interval over draws of the same tasks covers little but seeds."""
    cluster_of = {one.task: one.cluster for one in results.scored}
    rows: list[list[Cell]] = []
    for count in spec.counts:
        # the draws are the same for every model, so a run that failed for one is found with another
        drawn = {
            run.axes["draw"]: set(names)
            for run in results.runs(axis="tasks", amount=count)
            if (names := results.facts(run.key).get("tasks"))
        }
        if drawn:
            union, shared = set.union(*drawn.values()), set.intersection(*drawn.values())
            clusters = sorted({cluster_of[name] for name in union if name in cluster_of})
            few = ", ".join(clusters) if len(clusters) <= _FEW else None
            rows.append([count, len(drawn), len(union), len(shared), len(clusters), few])
    return {
        "name": "draws",
        "title": "How far apart the draws are",
        "columns": ["tasks", "draws", "different tasks in all", "in every draw", "clusters in all", "which"],
        "rows": rows,
        "note": "Clusters are those of tasks that the suites ask. Where draws share their tasks or clusters, intervals "
        "over draws cover chance in training, and little of which tasks were drawn.",
    }


def runs(results: Results) -> Table:
    """What each run read, so that equal tokens can be checked."""
    rows = []
    for run in results.runs():
        if run.axes["axis"] == BASE:
            continue
        facts = results.facts(run.key)
        told_facts = [facts.get(key) for key in ("steps", "tokens", "answer_tokens", "seconds")]
        rows.append([run.key, run.axes["seed"], len(facts.get("tasks", ())) or None, *told_facts])
    return {
        "name": "runs",
        "title": "What each run was tuned on",
        "columns": ["run", "seed", "tasks", "steps", "tokens", "answer tokens", "seconds"],
        "rows": rows,
        "note": "Tokens hold replayed text too, where the recipe replays some. Equal are tokens in all, not those of "
        "answers, which differ from task to task.",
    }
