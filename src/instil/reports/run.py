"""The report of one run: what every suite says about the model, beside its base where that was measured too.

render_run(report)  ->  report.html: verdict, a figure and a table for each suite, curves of loss and validation,
                        forgetting, what was trained on down to the token, how it was made
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from instil.reports.curves import curve_plot
from instil.reports.figures import Row, interval_plot, loss_plot, percent
from instil.reports.page import render
from instil.reports.quickstart import mark
from instil.reports.report import RunReport, SuiteGroup, SuiteTable

_MOST_ROWS = 14
"""Rows that a figure holds before it becomes a wall; the table below it has them all."""
_MOST_CURVES = 6


def render_run(report: RunReport) -> str:
    """The report as one self-contained HTML page."""
    return render(
        "run.html",
        title=f"{report['name']}: {report['verdict']}",
        report=report,
        suites=[suite_section(table) for table in report["suites"]],
        compared=any("base" in group for table in report["suites"] for group in table["groups"]),
        loss_figure=loss_plot([(point["step"], point["loss"]) for point in report.get("loss_curve", [])]),
        curves=_curves(report),
        asked=_asked(report),
    )


def _curves(report: RunReport) -> list[Mapping[str, Any]]:
    """A drawing of each figure that was asked while training."""
    if "validation" not in report:
        return []
    found = report["validation"]
    names = dict.fromkeys(name for point in found["points"] for name in point if name != "step")
    plots: list[Mapping[str, Any]] = []
    drawn: list[list[tuple[int, float]]] = []
    for name in names:
        points = [(int(point["step"]), float(point[name])) for point in found["points"] if point.get(name) is not None]
        if points in drawn:
            continue  # one suite with one group says three times the same
        drawn.append(points)
        drawing = curve_plot(points, caption=name, chosen=found.get("best_step"))
        if drawing and len(plots) < _MOST_CURVES:
            plots.append({"name": name, "figure": drawing, "chosen_by": name == found.get("metric")})
    return plots


def _asked(report: RunReport) -> Mapping[str, Any]:
    """The evaluations while training as a table: its columns and rows."""
    if "validation" not in report:
        return {}
    points = report["validation"]["points"]
    names = list(dict.fromkeys(name for point in points for name in point if name != "step"))
    watched = any(name.startswith("watched/") for name in names)
    return {
        "names": names,
        "watched": watched,
        "rows": [(point["step"], [point.get(name) for name in names]) for point in points],
    }


def run_verdict(suites: Sequence[SuiteTable]) -> str:
    """One sentence over the suites: which gained clearly, which lost, which cannot be told."""
    heads = [(table["suite"], table["groups"][0]) for table in suites if table["groups"]]
    if not heads:
        return "The model was tuned; no suite was run, so nothing is known about what it gained."
    parts = [_told(name, head) for name, head in heads]
    said = "; ".join(parts)
    return said[0].upper() + said[1:] + "."


def _told(name: str, head: SuiteGroup) -> str:
    tuned = head["tuned"]
    if "base" not in head:
        return f"on {name} ({head['setting']}) the tuned model scores {percent(tuned['score'], digits=1)}%"
    numbers = f"from {percent(head['base']['score'], digits=1)}% to {percent(tuned['score'], digits=1)}%"
    gain = head.get("gain")
    low, high = (
        gain["ci95"]
        if gain
        else (tuned["ci95"][0] - head["base"]["ci95"][1], tuned["ci95"][1] - head["base"]["ci95"][0])
    )
    if low > 0:
        return f"on {name} ({head['setting']}) tuning helped: {numbers}"
    if high < 0:
        return f"on {name} ({head['setting']}) tuning did harm: {numbers}"
    return f"on {name} ({head['setting']}) no clear difference: {numbers}"


def suite_section(table: SuiteTable, *, called: Mapping[str, str] = {}) -> Mapping[str, Any]:
    """A suite as a page shows it: a figure of its headlines, and every row.

    Args:
        table: its rows.
        called: what `base` and `tuned` are called, where not so.
    """
    groups = table["groups"]
    headlines = [group for group in groups if group.get("headline", True)]
    shown = headlines[:_MOST_ROWS]
    compared = any("base" in group for group in groups)
    metrics = " and ".join(dict.fromkeys(group["metric"] for group in groups))
    text = f"{table['prompts']:,} prompts, scored by {metrics}."
    if len(groups) > len(shown):
        text += f" The figure shows {len(shown)} lines, the table all {len(groups)}."
    return {
        "suite": table["suite"],
        "text": text,
        "compared": compared,
        "chance": any(group.get("chance") is not None for group in shown),
        "figure": interval_plot(
            [_row(group, called, first=group["group"] == groups[0]["group"]) for group in shown],
            caption=table["suite"],
        ),
        "rest": groups,
    }


def _row(group: SuiteGroup, called: Mapping[str, str], *, first: bool) -> Row:
    marks = [mark("base", group["base"])] if "base" in group else []
    marks.append(mark("tuned", group["tuned"]))
    marks = [replace(one, name=called.get(one.series, "")) for one in marks]
    return Row(
        group["group"], marks, note=f"{group['setting']}, {group['metric']}", chance=group.get("chance"), strong=first
    )
