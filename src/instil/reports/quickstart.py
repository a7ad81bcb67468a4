"""The quickstart's report: did the base learn to follow instructions, and for what it was never tuned on?

render_quickstart(report)  ->  report.html: verdict, figure, form and skill apart, clusters, samples, how it was made
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from instil.reports.figures import Mark, Row, interval_plot, loss_plot, percent
from instil.reports.page import render
from instil.reports.report import Gains, Pair, QuickstartReport, Score

#: Key of a kind of held-out -> its label and what it means.
KINDS: Mapping[str, tuple[str, str]] = {
    "unseen_templates": ("Unseen templates", "tuned skills, phrased in new ways"),
    "unseen_skills": ("Unseen skills", "known to the base, never tuned on"),
    "unseen_cluster": ("Unseen cluster", "a whole family of skills kept out"),
    "unseen_compositions": ("Unseen compositions", "tuned skills, combined in new ways"),
    "negative_control": ("Negative control", "skills that nobody taught; must stay at chance"),
}
_PROBES: Mapping[str, tuple[str, str]] = {
    "zero_shot": ("Zero-shot", "the instruction alone, exact match"),
    "few_shot": ("Few-shot", "after worked examples, exact match"),
    "rank": ("Rank classification", "the likeliest of the given options"),
    "rank_per_token": ("Rank classification, per token", "the likeliest of the options for its length"),
    "lenient": ("Lenient matching", "zero-shot, a right beginning counts"),
    "few_shot_lenient": ("Few-shot, lenient matching", "after worked examples, a right beginning counts"),
    "own_form": ("In its own form", "as in its pre-training text"),
}
_PARTS: Mapping[str, str] = {"held_in": "Held-in", "held_out": "Held-out"}


def render_quickstart(report: QuickstartReport) -> str:
    """The report as one self-contained HTML page."""
    kinds = report["held_out_kinds"]
    held_in: Pair = {"base": report["base"]["held_in"], "tuned": report["tuned"]["held_in"]}
    held_out: Pair = {"base": report["base"]["held_out"], "tuned": report["tuned"]["held_out"]}
    tiles = [("Held-in: tasks it was tuned on", held_in), ("Held-out: never tuned on", held_out)]
    if "negative_control" in kinds:
        tiles.append(("Negative control", kinds["negative_control"]))
    rows = [
        pair_row("Held-in", held_in, "tasks that it was tuned on", strong=True),
        pair_row("Held-out", held_out, "mean of unseen skills and compositions", strong=True),
        *(_kind_row(kind, pair) for kind, pair in kinds.items()),
    ]
    gains = report.get("gains")
    return render(
        "quickstart.html",
        title=f"instil quickstart: {report['verdict']}",
        report=report,
        tiles=tiles,
        chance=any(row.chance is not None for row in rows),
        main_figure=interval_plot(rows, caption="Base against tuned, percent right"),
        gains_figure=_gains_figure(gains) if gains else None,
        probes=_probe_table(report["base_probes"]) if "base_probes" in report else None,
        forgetting_figure=_figure_of(
            report.get("forgetting"), "The base's own skills before and after tuning, percent right"
        ),
        compositions_figure=_figure_of(report.get("compositions"), "Unseen compositions, percent right"),
        loss_figure=loss_plot([(point["step"], point["loss"]) for point in report.get("loss_curve", [])]),
    )


def pair_row(label: str, pair: Pair, note: str = "", *, strong: bool = False) -> Row:
    """A line of the figure: base above, tuned below."""
    marks = [mark("base", pair["base"]), mark("tuned", pair["tuned"])]
    return Row(label, marks, note=pair.get("note", note), chance=pair.get("chance"), strong=strong)


def mark(series: str, score: Score) -> Mark:
    """A score as a mark of a figure."""
    low, high = score["ci95"]
    return Mark(series, score["score"], low, high)


def quickstart_verdict(report: Mapping[str, Any]) -> str:
    """One sentence that says what the numbers carry and no more; it can say no.

    Args:
        report: a report whose verdict is still to be written.
    """
    base, tuned = report["base"]["held_out"], report["tuned"]["held_out"]
    numbers = f"from {percent(base['score'])}% to {percent(tuned['score'])}%"
    if tuned["ci95"][0] > base["ci95"][1]:
        sentence = f"Instruction tuning paid off: on tasks that it was never tuned on, the model went {numbers}"
    elif tuned["ci95"][1] < base["ci95"][0]:
        sentence = f"Instruction tuning did harm: on tasks that it was never tuned on, the model fell {numbers}"
    else:
        sentence = f"No clear gain: on tasks that it was never tuned on, the model went {numbers}, within the intervals"
    control = report["held_out_kinds"].get("negative_control")
    if control is None or control.get("chance") is None:
        return sentence + "."
    away = abs(control["tuned"]["score"] - control["chance"])
    if away <= 0.05:
        return sentence + ", while skills that nobody taught it stayed at chance."
    return (
        f"{sentence}, but the negative control stands {percent(away)} points from chance, so part of it may be a leak."
    )


def _kind_row(kind: str, pair: Pair) -> Row:
    label, note = KINDS.get(kind, (_words(kind), ""))
    return pair_row(label, pair, note)


def _words(key: str) -> str:
    """`unseen_depth` -> `Unseen depth`."""
    return key.replace("_", " ").capitalize()


def _gains_figure(gains: Mapping[str, Gains]) -> Markup:
    rows = []
    for part, gain in gains.items():
        label = _PARTS.get(part, _words(part))
        rows += [
            Row(f"{label}: form", [mark("gain", gain["format"])], note="base at its best − base zero-shot"),
            Row(f"{label}: skill", [mark("gain", gain["skill"])], note="tuned − base at its best", strong=True),
        ]
    return interval_plot(rows, full_scale=False, caption="Form gain and skill gain, in points")


def _probe_table(probes: Mapping[str, Mapping[str, Score]]) -> dict[str, object]:
    ways = list(dict.fromkeys(way for scores in probes.values() for way in scores))
    ways.sort(key=lambda way: list(_PROBES).index(way) if way in _PROBES else len(_PROBES))
    rows: list[dict[str, object]] = []
    for way in ways:
        name, meaning = _PROBES.get(way, (_words(way), ""))
        cells: Sequence[Score | None] = [scores.get(way) for scores in probes.values()]
        rows.append({"name": name, "meaning": meaning, "cells": cells})
    parts = [_PARTS.get(part, _words(part)) for part in probes]
    return {"parts": parts, "rows": rows, "own_form": "own_form" in ways}


def _figure_of(pairs: Mapping[str, Pair] | None, caption: str) -> Markup | None:
    if not pairs:
        return None
    return interval_plot([pair_row(_words(name), pair) for name, pair in pairs.items()], caption=caption)
