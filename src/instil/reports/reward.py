"""The report of a reward model: does it know what people prefer, how sure is it, and what else may it have learned?

render_reward(report)  ->  report.html: verdict, accuracies beside a rule and people, learning curve, calibration,
                           rewards of first and last, lengths, parts, held-out rankings with rewards, how it was made
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instil.reports.figures import loss_plot, percent
from instil.reports.page import render
from instil.reports.reward_figures import accuracy_rows, calibration, distribution, learning_curve, loss_curve
from instil.reports.reward_report import RewardReport
from instil.reports.script import own_script
from instil.reports.study import shown

#: Rows of a table of parts; the rest is in report.json.
_MOST_PARTS = 20


def render_reward(report: RewardReport) -> str:
    """The report as one self-contained HTML page."""
    figures = [
        accuracy_rows(report),
        *(one for made in (learning_curve, calibration, distribution) if (one := made(report)) is not None),
    ]
    losses = loss_curve(report)
    return render(
        "reward.html",
        title=f"{report['name']}: {report['verdict']}",
        report=report,
        tiles=_tiles(report),
        figures=[shown(figure) for figure in figures],
        held_out_loss=None if losses is None else shown(losses),
        lengths=_lengths(report),
        tables=_parts(report),
        data=_data(report),
        loss_figure=loss_plot([(point["step"], point["loss"]) for point in report.get("loss_curve", [])]),
        script=own_script("dom.js", "study.js"),
    )


def _tiles(report: RewardReport) -> list[Mapping[str, Any]]:
    """The numbers to see first."""
    tiles: list[Mapping[str, Any]] = []
    listed: list[tuple[str, Mapping[str, Any] | None]] = [
        ("Accuracy on held-out prompts", report["accuracy"].get("held_out")),
        ("On annotators never seen", report["accuracy"].get("held_out_annotators")),
    ]
    for name, found in listed:
        if found:
            tiles.append({"name": name, "to": f"{percent(found['score'], digits=1)}%", "note": _about(found)})
    if rule := report.get("length_rule"):
        low, high = (percent(end, digits=1, sign=True) for end in rule["lead"]["ci95"])
        lead = percent(rule["lead"]["score"], digits=1, sign=True)
        note = f"{low} to {high} points; the rule gets {percent(rule['score'], digits=1)}%"
        tiles.append({"name": f"Ahead of “the {rule['prefers']} one is better”", "to": lead, "note": note})
    if found := report.get("calibration"):
        note = f"calibration error on held-out pairs; it is {percent(found['sure'])}% sure on average"
        tiles.append({"name": "Sure against right", "to": f"{100 * found['ece']:.1f}", "note": f"points: {note}"})
    return tiles


def _about(found: Mapping[str, Any]) -> str:
    low, high = (percent(end, digits=1) for end in found["ci95"])
    return f"{low}% to {high}%, n = {found['n']:,} pairs of {found['prompts']:,} prompts"


def _lengths(report: RewardReport) -> list[Mapping[str, str]]:
    """What rewards have to do with length, a sentence each."""
    told: list[Mapping[str, str]] = []
    names = {"within": "within a prompt", "overall": "over all completions"}
    for key, name in names.items():
        found: Any = report.get("length", {}).get(key)
        if not found:
            told.append({"name": name, "value": "–", "note": "lengths or rewards do not vary"})
            continue
        low, high = (f"{end:+.2f}".replace("-", "−") for end in found["ci95"])
        value = f"{found['score']:+.2f}".replace("-", "−")
        told.append({"name": name, "value": value, "note": f"{low} to {high}, n = {found['n']:,} completions"})
    return told if report.get("length") else []


def _parts(report: RewardReport) -> list[Mapping[str, Any]]:
    """Tables of accuracies by part; those of a single part say nothing."""
    tables: list[Mapping[str, Any]] = []
    listed: list[tuple[str, Sequence[Mapping[str, Any]]]] = [
        ("Distance in the ranking", report.get("by_levels", ())),
        ("Annotator", report.get("by_annotator", ())),
        ("Task", report.get("by_task", ())),
    ]
    for head, rows in listed:
        if len(rows) > 1:
            cells = [(row["name"] or "(not named)", row["n"], row["prompts"], _share(row)) for row in rows]
            tables.append({"head": head, "rows": cells[:_MOST_PARTS], "more": max(0, len(cells) - _MOST_PARTS)})
    return tables


def _share(found: Mapping[str, Any]) -> tuple[str, str]:
    low, high = (percent(end, digits=1) for end in found["ci95"])
    return f"{percent(found['score'], digits=1)}%", f"{low} to {high}"


def _data(report: RewardReport) -> Mapping[str, Any]:
    """The rankings' card as a page shows it."""
    card = report.get("data")
    if not card:
        return {}
    sides = {"train": "trained on", "held_out": "held out", "held_out_annotators": "by held-out annotators"}
    return {
        "sources": card["sources"],
        "rows": card["rows"],
        "dropped": [*card["rows"]["dropped"].items(), *card["completions_dropped"].items()],
        "sides": [(name, card["sides"][key]) for key, name in sides.items() if card["sides"][key]["rankings"]],
        "annotators": len(card["annotators"]),
        "remarks": card["remarks"],
    }
