"""The page of the study of scaling: scores against numbers of tasks, curves through them, and the papers' claims.

figure  tasks-held-out    a line a model, with its better curve; where its base stands at its best
figure  tasks-held-in     the same of tasks that were trained on
figure  tasks-runs        every run by itself, so that draws can be told from counts
figure  doublings         what a doubling gained on average, and what the next one would
figure  sizes             scores against parameters, a line a count of tasks

The largest model's held-out tasks carry the verdict, along the first axis: the largest amount minus the smallest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from instil.studies import scaling_tables as tables
from instil.studies.arms import mean, point, told
from instil.studies.fits import Fit, Range
from instil.studies.intervals import counted
from instil.studies.scaling_claims import claims_of
from instil.studies.scaling_scores import HELD_IN, HELD_OUT, Line, Lines, base_best, lines_of, sizes
from instil.studies.scaling_tables import LABELS, points_of
from instil.studies.study import choices
from instil.studies.verdict import because, decide, verdict_row

if TYPE_CHECKING:
    from instil.reports.study_report import (
        Axis,
        Figure,
        FigureRow,
        Point,
        Reference,
        RowMark,
        Series,
        StudyReport,
        Verdict,
    )
    from instil.studies.scaling import Spec
    from instil.studies.table import Results

#: Places at which a fitted curve is drawn.
_PLACES = 25

METHOD = (
    """Parts of the tasks are random and nested within a draw: what is trained on with few tasks is trained on with
    more, too. Each draw is trained with a seed of its own, so intervals over draws hold chance in training as well.""",
    """Every run takes the same number of steps with the same learning rates, and as many tokens in a step (prompts and
    answers, measured on the first prompts before any run). More tasks never mean more training.""",
    """Held-out scores are of tasks that no run was trained on, the same for every run. Held-in scores are of the tasks
    that the run was trained on, so other tasks stand behind them at every count; errors of their curves are taken as
    apart from count to count. Their intervals are very wide at small counts: a draw has one or a few such tasks, of a
    few items each, and draws share hardly any. The untuned base is asked all held-in tasks.""",
    """Two curves are fitted to the means by least squares: a + b log2 n, and a - b n^-c with a at most 1. The one that
    predicts each count better when it is left out of the fit is read; what the other would say of the next doubling is
    told beside it, as so few counts hardly tell the two apart. The knee is where one more doubling gains less
    than {smallest} points by the curve. Intervals of curves cover chance in draws and tasks, not another form.""",
    """Tuned models are asked zero-shot and must match exactly. The base stands at its best of zero-shot, few-shot,
    ranking and lenient matching, chosen for it after the fact.""",
)


STRATIFIED = (
    "Draws are stratified: every cluster gives its share of the tasks, as far as whole tasks allow, the largest first. "
    "So at fewer tasks than there are clusters every draw begins in the same few clusters, and intervals there do not "
    "cover others; at nearly all tasks, draws differ in little but the seed (see the table of the draws)."
)


def report_of(spec: Spec, results: Results) -> StudyReport:
    """The whole report."""
    known = sizes(spec, results)
    models = [*(model for model in spec.models if model not in known), *known]
    lines = lines_of(spec, results)
    figures: list[Figure] = []
    for axis in spec.axes:
        figures += _figures_of(spec, results, lines, models, axis)
    figures.append(_doublings(spec, lines, models))
    if len(known) > 1 and "tasks" in spec.axes:
        figures.append(_sizes(spec, lines, known))
    smallest = f"{100 * spec.smallest_gain:g}"
    return {
        "question": "How many tasks, and how large a model, does it take?",
        "title": f"Scaling: {spec.name}",
        "verdict": _verdict(spec, results, lines, models),
        "findings": _findings(spec, results, lines, models),
        "claims": claims_of(spec, lines, models, list(known)),
        "figures": figures,
        "tables": [
            tables.curves(spec, lines),
            tables.scores(spec, lines),
            tables.groups(spec, results),
            *([tables.draws(spec, results)] if spec.counts else []),
            tables.runs(results),
        ],
        "method": [
            *(" ".join(text.split()).replace("{smallest}", smallest) for text in METHOD),
            *([STRATIFIED] if spec.counts and spec.stratified else []),
        ],
        "choices": choices(spec),
        "missing": _missing(spec, lines),
    }


def _verdict(spec: Spec, results: Results, lines: Lines, models: Sequence[str]) -> Verdict:
    axis = next(iter(spec.axes))
    line = lines[axis, models[-1], HELD_OUT]
    gain = line.gain
    if gain is None:
        lacking = "Not known: the runs that it needs are missing."
        return {"verdict": "not shown", "sentence": lacking, "gain": None, "ci95": None, "n": 0, "covers": "nothing"}
    answer = decide(gain, spec.smallest_gain)
    first, last = line.asked[0], line.asked[-1]
    more = {"tasks": "more tasks", "instances": "more rows of each task", "templates": "more templates of each task"}
    head = {
        "yes": f"Yes, {more[axis]} help",
        "no": f"No, {more[axis]} do not help by as much as would matter",
        "not shown": f"Whether {more[axis]} help is not shown",
    }[answer]
    sentence = (
        f"{head}: on tasks that were never trained on, {line.model} goes from {told(line.intervals[first])} with "
        f"{first} to {told(line.intervals[last])} with {last} {LABELS[axis]} ({because(gain, spec.smallest_gain)})."
    )
    if line.fits:
        sentence += f" {_next(line)}"
    row = _of_draws(verdict_row(gain, spec.smallest_gain))
    return {
        **row,  # type: ignore[typeddict-item]
        "sentence": sentence,
        "axis": axis,
        "model": line.model,
        "amounts": list(line.asked),
        "by_model": {model: _row(spec, results, lines[axis, model, HELD_OUT]) for model in models},
    }


def _row(spec: Spec, results: Results, line: Line) -> dict[str, object]:
    """A model's figures of the verdict."""
    base = mean({0: units}) if (units := base_best(spec, results, line.model, HELD_OUT).units) else None
    found: dict[str, object] = {
        "base_at_its_best": None if base is None else base.score,
        "scores": [None if one is None else one.score for one in line.intervals.values()],
        "gain": None if line.gain is None else _of_draws(line.gain.row()),
    }
    if line.fits:
        best = line.fits[0]
        found |= {
            "curve": best.curve.form,
            "formula": best.curve.formula,
            "gain_per_doubling": best.doubling.row(),
            "next_doubling": best.next_doubling.row(),
            "next_doubling_by_form": {one.curve.form: one.next_doubling.row() for one in line.fits},
            "knee": best.knee(spec.smallest_gain).row(),
        }
    return found


def _of_draws(row: dict[str, Any]) -> dict[str, Any]:
    """A row that says draws for seeds: here each draw has a seed of its own, and an interval covers both."""
    return {**row, "covers": str(row["covers"]).replace("seed", "draw")}


def _next(line: Line) -> str:
    """What the curves say of twice as much, the better one first: the forms part where nothing was measured."""
    said = [f"{points_of(one.next_doubling)} by the {one.curve.form} curve" for one in line.fits]
    return f"Going on from {line.asked[-1]} to {2 * line.asked[-1]} would gain {', '.join(said)}."


def _findings(spec: Spec, results: Results, lines: Lines, models: Sequence[str]) -> list[str]:
    found: list[str] = []
    for (axis, model, part), line in lines.items():
        first, last = line.asked[0], line.asked[-1]
        said = (
            f"{model}, {part} by {LABELS[axis]}: {told(line.intervals[first])} with {first}, "
            f"{told(line.intervals[last])} with {last}"
        )
        base = base_best(spec, results, model, part)
        if base.units:
            said += f"; its base at its best ({base.way.replace('_', ' ')}) {told(mean({0: base.units}))}"
        if part == HELD_OUT and line.fits:
            said += f". {_next(line)} {_knee_said(line.fits[0], spec.smallest_gain, last)}"
        found.append(said + ("" if said.endswith(".") else "."))
    return found


def _knee_said(fit: Fit, smallest: float, last: int) -> str:
    knee = fit.knee(smallest)
    points = f"{100 * smallest:g} points"
    if knee.value is None or knee.value > 1e6:
        return f"By the {fit.curve.form} curve a doubling always gains more than {points}."
    between = [f"{end:,.0f}" if end is not None and end < 1e6 else "no end" for end in (knee.low, knee.high)]
    where = "beyond what was tried" if knee.value > last else "within what was tried"
    return (
        f"By the {fit.curve.form} curve a doubling gains less than {points} from about {knee.value:,.0f} on "
        f"[{' to '.join(between)}], {where}."
    )


def _figures_of(spec: Spec, results: Results, lines: Lines, models: Sequence[str], axis: str) -> list[Figure]:
    amounts = spec.axes[axis]
    x: Axis = {"label": LABELS[axis], "scale": "log", "ticks": list(amounts)}
    figures: list[Figure] = []
    for part in (HELD_OUT, HELD_IN):
        mine = [lines[axis, model, part] for model in models if (axis, model, part) in lines]
        if not mine:
            continue
        references: list[Reference] = []
        for model in models:
            if units := base_best(spec, results, model, part).units:
                score = mean({0: units})
                references += [] if score is None else [{"y": score.score, "label": f"{model} untuned, at its best"}]
        of = "tasks never trained on" if part == HELD_OUT else "tasks trained on"
        figures.append(
            {
                "kind": "lines",
                "name": f"{axis}-{part}",
                "title": f"Scores on {of}, by number of {LABELS[axis]}",
                "caption": f"Mean {over(spec)}, equal steps and tokens; dashed, the curve that predicts left-out "
                "amounts better, with where it may lie."
                + ("" if part == HELD_OUT else " The untuned base is asked all of them, at every count."),
                "x": x,
                "y": {"label": "exact match", "percent": True},
                "series": [_series(spec, line, number) for number, line in enumerate(mine, 1)],
                "references": references,
            }
        )
    figures.append(
        {
            "kind": "scatter",
            "name": f"{axis}-runs",
            "title": f"Every run by itself, by number of {LABELS[axis]}",
            "caption": "Held-out tasks: how much which tasks were drawn, and the seed, matter beside how many. "
            "Intervals are over tasks.",
            "x": x,
            "y": {"label": "exact match, held-out", "percent": True},
            "points": [
                {
                    "x": float(amount),
                    "y": one.score,
                    "label": f"draw {draw}",
                    "group": model,
                    "low": one.low,
                    "high": one.high,
                }
                for model in models
                for amount, draws in lines[axis, model, HELD_OUT].scores.items()
                for draw, units in draws.items()
                if (one := mean({draw: units})) is not None
            ],
        }
    )
    return figures


def over(spec: Spec) -> str:
    """What means and intervals of the figures are over."""
    if len(spec.draws) == 1:
        return "of one draw with 95% intervals over tasks, not over draws"
    return f"over {len(spec.draws)} draws with 95% intervals over draws and tasks"


def _point(spec: Spec, line: Line, amount: int, x: float) -> Point:
    """A mean, which says where draws are lacking."""
    there = len(line.scores.get(amount, ()))
    found = point(x, line.intervals[amount])
    return {**found, "note": f"{there} of {len(spec.draws)} draws"} if 0 < there < len(spec.draws) else found


def _series(spec: Spec, line: Line, number: int) -> Series:
    series: Series = {
        "name": line.model,
        "style": number,
        "points": [_point(spec, line, amount, float(amount)) for amount in line.asked],
    }
    if line.fits:
        best = line.fits[0]
        places = [float(one) for one in np.geomspace(line.asked[0], 2 * line.asked[-1], _PLACES)]
        series["fit"] = [[place, best.curve(place)] for place in places]
        series["band"] = best.band(places)
    return series


def _doublings(spec: Spec, lines: Lines, models: Sequence[str]) -> Figure:
    rows: list[FigureRow] = []
    for axis in spec.axes:
        for model in models:
            line = lines[axis, model, HELD_OUT]
            if not line.fits:
                continue
            best = line.fits[0]
            marks = [
                _mark("base", best.doubling, "a doubling so far"),
                _mark("tuned", best.next_doubling, "the next one"),
            ]
            rows.append(
                {"label": f"{model}, {axis}", "marks": marks, "note": f"{best.curve.form}: {best.curve.formula}"}
            )
    return {
        "kind": "rows",
        "name": "doublings",
        "title": "What a doubling gains on tasks never trained on",
        "caption": "By each line's better curve: on average from the smallest amount to the largest, and from the "
        "largest to twice as much.",
        "rows": rows,
    }


def _mark(series: str, found: Range, name: str) -> RowMark:
    return {"series": series, "value": found.value, "low": found.low, "high": found.high, "name": name}


def _sizes(spec: Spec, lines: Lines, known: dict[str, int]) -> Figure:
    return {
        "kind": "lines",
        "name": "sizes",
        "title": "Scores on tasks never trained on, by size of the model",
        "caption": f"A line a number of tasks trained on; mean {over(spec)}, equal steps and tokens.",
        "x": {"label": "parameters", "scale": "log", "ticks": [float(size) for size in known.values()]},
        "y": {"label": "exact match, held-out", "percent": True},
        "series": [
            {
                "name": counted(count, "task"),
                "style": number,
                "points": [
                    {**point(float(size), lines["tasks", model, HELD_OUT].intervals[count]), "note": model}
                    for model, size in known.items()
                ],
            }
            for number, count in enumerate(spec.counts, 1)
        ],
    }


def _missing(spec: Spec, lines: Lines) -> list[str]:
    """Which points of the figures are not there, or not from every draw."""
    said = []
    for (axis, model, part), line in lines.items():
        for amount in line.asked:
            there = len(line.scores.get(amount, ()))
            if there == 0:
                said.append(f"{axis}-{part}: {model} has no score at {amount} {LABELS[axis]}")
            elif there < len(spec.draws):
                draws = f"{there} of {len(spec.draws)} draws"
                said.append(f"{axis}-{part}: {model} has {draws} at {amount} {LABELS[axis]}")
    return said
