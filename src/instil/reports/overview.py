"""One page over several studies: their answers, a figure of each, and every claim that they tested.

studies/  should-i/study.json  cot/study.json      write_overview(studies)  ->  studies/index.html

should-i   yes           +41 points (36 to 46)     a figure     What was claimed        Shows here
cot        not shown     +1 points (-3 to 5)       a figure     CoT alone costs ...     not shown
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from instil.errors import RunError
from instil.reports.page import render
from instil.reports.script import own_script
from instil.reports.study import shown, write_study
from instil.reports.study_report import StudyReport
from instil.reports.verdict_facts import say_gain


def write_overview(folder: Path, *, title: str = "Studies", questions: Sequence[str] = ()) -> Path:
    """The pages of all finished studies beneath a folder, written anew, and one page over them.

    Args:
        folder: where the folders of the studies lie.
        title: the heading.
        questions: studies stand in the order of their questions here; others come after, by the names of their folders.

    Raises:
        RunError: if there is no finished study.
    """
    reports: dict[str, StudyReport] = {}
    for path in sorted(folder.glob("*/study.json")):
        report = _read(path)
        write_study(report, path.parent)
        reports[f"{path.parent.name}/index.html"] = report
    if not reports:
        raise RunError(
            f"{folder} holds no finished study (no */study.json)",
            remedy="Give the folder in which the --out folders of studies lie",
        )
    rank = {question: place for place, question in enumerate(questions)}
    reports = dict(sorted(reports.items(), key=lambda one: rank.get(one[1]["question"], len(rank))))
    page = folder / "index.html"
    page.write_text(render_overview(reports, title=title), encoding="utf-8", errors="backslashreplace")
    return page


def _read(path: Path) -> StudyReport:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", remedy="Give the study's command again") from None
    if not isinstance(found, dict) or not {"question", "title", "verdict", "figures", "findings"} <= found.keys():
        raise RunError(f"{path} is not the report of a study", remedy="Give the study's command again")
    report: StudyReport = found  # type: ignore[assignment]  # what `instil study` wrote
    return report


def render_overview(reports: Mapping[str, StudyReport], *, title: str = "Studies") -> str:
    """One page over several studies.

    Args:
        reports: where the page of each lies -> the study.
        title: the heading.
    """
    cards = [
        {
            "place": place,
            "report": report,
            "gain": say_gain(report["verdict"]),
            "shown": shown(report["figures"][0]) if report["figures"] else None,
        }
        for place, report in reports.items()
    ]
    claims = [(place, report, claim) for place, report in reports.items() for claim in report.get("claims", ())]
    return render("studies.html", title=title, cards=cards, claims=claims, script=own_script("dom.js", "study.js"))
