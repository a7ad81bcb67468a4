"""The page of a study: its answer, what was found, figures with their numbers, how far it can be believed.

write_study(report, folder)   ->  folder/index.html, folder/figures/*.svg, folder/figures/*.png
render_overview({"should-i/index.html": report, ...})   ->  one page over several studies

Yes: on tasks that it was never tuned on, the model went from 6% to 47%.
[yes  +41 points (36 to 46), n = 1,200]   score against budget   the Pareto picture   claims   method   choices
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from instil.reports.chart import draw
from instil.reports.figures import percent
from instil.reports.ink import clean, fixed
from instil.reports.page import render
from instil.reports.pictures import WIDTH, file_name, write_figures
from instil.reports.scales import is_number, say_number
from instil.reports.script import own_script
from instil.reports.study_report import StudyReport
from instil.reports.study_tables import figure_table

_SLIM = 360
_TOLD = frozenset({"verdict", "sentence", "gain", "ci95", "n", "covers"})
"""Keys of a verdict that the page writes out itself."""


def write_study(report: StudyReport, folder: Path) -> None:
    """The page and its figures, in the study's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_figures(report, folder / "figures")
    (folder / "index.html").write_text(render_study(report), encoding="utf-8", errors="backslashreplace")


def render_study(report: StudyReport) -> str:
    """A study as one self-contained HTML page."""
    verdict = report["verdict"]
    tables = [
        {**table, "numeric": _numeric(table["rows"], len(table["columns"]))} for table in report.get("tables", ())
    ]
    return render(
        "study.html",
        title=f"{report['title']}: {verdict['verdict']}",
        report=report,
        verdict=verdict,
        gain=say_gain(verdict),
        tiles=verdict_tiles(verdict),
        facts=[(_words(key), say_fact(key, value)) for key, value in verdict.items() if _is_fact(key, value)],
        figures=[shown(figure) for figure in report["figures"]],
        tables=tables,
        script=own_script("dom.js", "study.js"),
    )


def shown(figure: Mapping[str, Any]) -> dict[str, Any]:
    """A figure as a page shows it: drawn wide and slim, and as a table."""
    return {
        "figure": figure,
        "file": file_name(figure),
        "wide": _inline(figure, WIDTH, "wide"),
        "slim": _inline(figure, _SLIM, "slim"),
        "table": figure_table(figure),
        "broad": draw(figure, width=_SLIM).width > _SLIM,
    }


def _inline(figure: Mapping[str, Any], width: float, kind: str) -> Markup:
    drawing = draw(figure, width=width)
    words = f"{figure['title']}. {figure.get('caption', '')} The arrow keys go through its numbers."
    return Markup('<svg class="{}" viewBox="0 0 {} {}"{} role="img" aria-label="{}">{}</svg>').format(
        kind,
        fixed(drawing.width),
        fixed(drawing.height),
        Markup(' style="min-width:{}px"').format(fixed(0.8 * drawing.width)) if drawing.width > width else "",
        clean(words),
        drawing.body,
    )


def say_gain(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    """The gain and its interval: `+41.0 points`, `(+36.0 to +46.0)`; nothing where there is none."""
    gain = verdict.get("gain", verdict.get("score"))
    if not is_number(gain):
        return ()
    said = f"{percent(float(gain), digits=1, sign=True)} points"
    ends = verdict.get("ci95")
    if ends and all(is_number(end) for end in ends):
        low, high = (percent(end, digits=1, sign=True) for end in ends)
        return said, f"({low} to {high})"
    return said, ""


def verdict_tiles(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The gains that a verdict gives beside its own, such as `format_gain` and `skill_gain`."""
    found = [(key, value) for key, value in verdict.items() if key not in _TOLD and _is_gain(value)]
    return [{"name": _words(key), "gain": say_gain(value), "n": _count(value)} for key, value in found]


def _is_gain(value: object) -> bool:
    return isinstance(value, Mapping) and "ci95" in value and ("gain" in value or "score" in value)


def _is_fact(key: str, value: object) -> bool:
    return key not in _TOLD and not _is_gain(value) and value is not None and value != ""


def _count(value: Mapping[str, Any]) -> str:
    return f"n = {value['n']:,}" if is_number(value.get("n")) else ""


def say_fact(key: str, value: object) -> str:
    """A figure of a verdict in words; its key tells what it is: `share_gained` 0.62 -> `62.0%`, `least_gain` 0.02 ->
    `2.0 points`.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        number = float(value)  # type: ignore[arg-type]  # just asked
        if {"share", "score"} & set(key.split("_")) and abs(number) <= 1:
            return f"{percent(number, digits=1)}%"
        return f"{percent(number, digits=1)} points" if key.endswith("gain") else say_number(number)
    if isinstance(value, Mapping) and _is_gain(value):
        return ", ".join([*([value["verdict"]] if "verdict" in value else []), " ".join(say_gain(value)).strip()])
    if isinstance(value, Mapping):
        inner = key if "share" in key.split("_") or key.endswith("gain") else ""
        return "; ".join(
            f"{str(name).replace('_', ' ')}: {say_fact(inner or str(name), v)}" for name, v in value.items()
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(say_fact(key, item) for item in value)
    return "–" if value is None else str(value)


def _words(key: str) -> str:
    """`skill_gain` -> `Skill gain`."""
    said = key.replace("_", " ").strip()
    return said[:1].upper() + said[1:]


def _numeric(rows: Sequence[Sequence[object]], columns: int) -> list[bool]:
    """Which columns hold numbers, or nothing, alone: they stand at the right."""
    return [
        any(row[k] is not None for row in rows)
        and all(row[k] is None or (is_number(row[k]) and not isinstance(row[k], bool)) for row in rows)
        for k in range(columns)
    ]
