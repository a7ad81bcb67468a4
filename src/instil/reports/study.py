"""The page of a study: its answer, what was found, figures with their numbers, how far it can be believed.

write_study(report, folder)   ->  folder/index.html, folder/figures/*.svg, folder/figures/*.png
render_overview({"should-i/index.html": report, ...})   ->  one page over several studies

Yes: on tasks that it was never tuned on, the model went from 6% to 47%.
[yes  +41 points (36 to 46), n = 1,200]   score against budget   the Pareto picture   claims   method   choices
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from instil.reports.chart import draw
from instil.reports.choices import plain_choices
from instil.reports.ink import clean, fixed
from instil.reports.page import render
from instil.reports.pictures import WIDTH, file_name, write_figures
from instil.reports.scales import is_number
from instil.reports.script import own_script
from instil.reports.study_report import StudyReport
from instil.reports.study_tables import figure_table, say_column
from instil.reports.verdict_facts import TOLD, is_gain, name_of, say_gain, verdict_facts

_SLIM = 360
_PARTS = frozenset({"without_fine_tuning", "after_fine_tuning"})
"""Keys of a verdict for scripts: their gains are told by others (`skill_gain`, `gain_after_fine_tuning`)."""
_HEAD = 40
"""Letters that a headline has at least: `Not shown.` alone says too little."""


def write_study(report: StudyReport, folder: Path) -> None:
    """The page and its figures, in the study's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_figures(report, folder / "figures")
    (folder / "index.html").write_text(render_study(report), encoding="utf-8", errors="backslashreplace")


def render_study(report: StudyReport) -> str:
    """A study as one self-contained HTML page."""
    verdict = report["verdict"]
    facts, fact_tables = verdict_facts(verdict)
    headline, rest = split_sentence(str(verdict["sentence"]))
    return render(
        "study.html",
        title=f"{report['title']}: {verdict['verdict']}",
        report=report,
        verdict=verdict,
        gain=say_gain(verdict),
        tiles=verdict_tiles(verdict),
        headline=headline,
        rest=rest,
        facts=facts,
        fact_tables=fact_tables,
        choices=plain_choices(report.get("choices", ())),
        figures=[shown(figure) for figure in report["figures"]],
        tables=[shown_table(table) for table in report.get("tables", ())],
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


def verdict_tiles(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The gains that a verdict gives beside its own, such as `format_gain` and `skill_gain`."""
    found = [(key, value) for key, value in verdict.items() if key not in TOLD | _PARTS and is_gain(value)]
    return [{"name": name_of(key), "gain": say_gain(value), "n": _count(value)} for key, value in found]


def _count(value: Mapping[str, Any]) -> str:
    return f"n = {value['n']:,}" if is_number(value.get("n")) else ""


def split_sentence(sentence: str) -> tuple[str, str]:
    """A verdict's headline, and what follows it in smaller type."""
    for end in re.finditer(r"[.;] (?=[A-Z])", sentence):
        if end.start() >= _HEAD:
            return sentence[: end.start() + 1], sentence[end.end() :]
    return sentence, ""


def shown_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """A study's own table as a page shows it: the numbers of a column to as many places, at the right."""
    width = len(table["columns"])
    numeric = _numeric(table["rows"], width)
    columns = [say_column([row[k] for row in table["rows"]]) for k in range(width)]
    rows = [[column[number] for column in columns] for number in range(len(table["rows"]))]
    return {**table, "numeric": numeric, "rows": rows}


def _numeric(rows: Sequence[Sequence[object]], columns: int) -> list[bool]:
    """Which columns hold numbers, or nothing, alone: they stand at the right."""
    return [
        any(row[k] is not None for row in rows)
        and all(row[k] is None or (is_number(row[k]) and not isinstance(row[k], bool)) for row in rows)
        for k in range(columns)
    ]
