"""The report of an aligned model: was it worth it, how far did it go, and what did it cost?

render_align(report)  ->  report.html: verdict, gold and proxy against sqrt(KL) with the checkpoint to take, what was
                          watched, alarms, academic tasks before and after, answers side by side, how it was made
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instil.reports.align_figures import other_curves, over_optimisation, reward_curves
from instil.reports.align_report import AlignReport
from instil.reports.align_verdict import NAMES
from instil.reports.figures import loss_plot, percent
from instil.reports.page import render
from instil.reports.run import suite_section
from instil.reports.scales import is_number, say_number
from instil.reports.script import own_script
from instil.reports.study import shown, split_sentence


def render_align(report: AlignReport) -> str:
    """The report as one self-contained HTML page."""
    points, spread = report.get("points", ()), report.get("spread", {})
    recommended = report["recommended"]["step"] if "recommended" in report else None
    unit = report.get("unit", "step")
    title = "Reward against distance from the start"
    picture = over_optimisation(
        points, spread, recommended=recommended, name="over-optimisation", title=title, unit=unit
    )
    figures = [picture] if picture else []
    control = report.get("over_optimised")
    if control:
        beside = over_optimisation(control["points"], spread, recommended=None, name="control", title=control["label"])
        if beside:
            figures.append({**beside, "caption": control.get("text", beside["caption"])})
    curves = [
        *reward_curves(points, recommended=recommended, unit=unit),
        *other_curves(points, recommended=recommended, kl_budget=report.get("kl_budget"), unit=unit),
    ]
    headline, rest = split_sentence(report["verdict"])
    return render(
        "align.html",
        headline=headline,
        rest=rest,
        title=f"{report['name']}: {report['verdict']}",
        report=report,
        method=NAMES.get(report["method"], report["method"]),
        tiles=_tiles(report),
        figures=[shown(figure) for figure in figures],
        curves=[shown(figure) for figure in curves],
        asked=_asked(points),
        unit=unit,
        suites=[
            suite_section(table, called={"base": "start", "tuned": "aligned"}) for table in report.get("suites", ())
        ],
        loss_figure=loss_plot([(point["step"], point["loss"]) for point in report.get("loss_curve", [])]),
        script=own_script("dom.js", "study.js"),
    )


def _tiles(report: AlignReport) -> list[Mapping[str, Any]]:
    """The numbers to see first."""
    tiles: list[Mapping[str, Any]] = []
    if (wins := report.get("win_rate")) and is_number(wins["score"]):
        low, high = wins["ci95"]
        note = f"{percent(low)}% to {percent(high)}%, n = {wins['n']:,}, judged by {wins['judge']} reward"
        tiles.append({"name": "Win rate over the start", "to": f"{percent(wins['score'])}%", "note": note})
    for key, name in (("gold_reward", "Gold reward"), ("proxy_reward", "Proxy reward")):
        found: Any = report.get(key)
        if found and is_number(found["score"]):
            note = f"gain {_signed(found['gain']['score'])}"
            if all(map(is_number, found["gain"]["ci95"])):
                note += f" ({' to '.join(map(_signed, found['gain']['ci95']))})"
            tiles.append({"name": name, "from": _tiled(found["start"]), "to": _tiled(found["score"]), "note": note})
    if ordered := report.get("ordered"):
        low, high = ordered["ci95"]
        note = f"{percent(low)}% to {percent(high)}% over {ordered['prompts']:,} prompts; half is chance"
        tiles.append({"name": "Held-out pairs in order", "to": f"{percent(ordered['score'])}%", "note": note})
    if (kl := report.get("kl")) and is_number(kl["score"]):
        low, high = kl["ci95"]
        note = f"{_short(low)} to {_short(high)} nats a completion"
        if is_number(report.get("kl_budget")):
            note += f"; the budget is {say_number(report['kl_budget'])}"  # type: ignore[arg-type]  # just asked
        tiles.append({"name": "KL to the reference", "to": _short(kl["score"]), "note": note})
    return tiles


def _short(value: object) -> str:
    return f"{float(value):.3g}".replace("-", "−") if is_number(value) else "–"  # type: ignore[arg-type]  # just asked


def _tiled(value: object) -> str:
    """A number that stands large beside another: to two places, or three figures where it is large."""
    said = f"{float(value):.2f}" if is_number(value) and abs(float(value)) < 10 else ""  # type: ignore[arg-type]  # just asked
    return said.replace("-", "−") or _short(value)


def _signed(value: object) -> str:
    return f"{float(value):+.3g}".replace("-", "−") if is_number(value) else "–"  # type: ignore[arg-type]  # just asked


def _asked(points: Any) -> Mapping[str, Any]:
    """Every evaluation as a table: its columns and rows."""
    names = list(dict.fromkeys(name for point in points for name in point if name != "step"))
    names = [name for name in names if not name.endswith(("_low", "_high"))]
    return {"names": names, "rows": [(point["step"], [_short(point.get(name)) for name in names]) for point in points]}
