"""One study from its file to its page.

    spec ─▶ grid ─▶ engine ─▶ Results ─▶ analyse ─▶ StudyReport
                     │          │                     │
    OUT/  study.yaml runs/      results.parquet .csv  study.json verdict.json index.html figures/
          fingerprint.json      items.parquet

The same command on the same folder goes on: finished runs are found, the page is written anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from instil.errors import RunError
from instil.fingerprint import fingerprint
from instil.recipe import dump_yaml
from instil.runs import machine, versions, write_json, write_text
from instil.studies.check import Overlap, refuse_overlap
from instil.studies.early import Early
from instil.studies.progress import Watch, unwatched
from instil.studies.questions import question_of

if TYPE_CHECKING:
    from instil.reports.study_report import StudyReport
    from instil.studies.spec import StudySpec
    from instil.studies.table import Results

Say = Callable[[str], None]

#: Keys of a study file that decide no number of it.
_DECIDE_NOTHING = frozenset({"name", "workers", "data", "notes"})


def answer(
    spec: StudySpec,
    out: Path,
    *,
    runs: Path | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    early: Early | None = None,
    watch: Watch = unwatched,
    say: Say = print,
    command: str = "",
) -> StudyReport:
    """Carry a study out in a folder, or go on with it, and write what it found.

    Args:
        spec: the study.
        out: the folder of the study.
        runs: where its runs lie, so that several studies can share them; `out/runs` by default.
        workers: runs at a time; what the study file says by default.
        engine: `local` or `ray`.
        early: what was begun for it already; it is begun here where nothing is given.
        watch: is told how far the grid is.
        say: shows a line to the person.
        command: how it was started, for the page.

    Raises:
        InstilError: if the study cannot be carried out, or no run of it could be finished.
    """
    begun = time.monotonic()
    question = question_of(spec.question)
    overlaps: list[Overlap] = []
    with Early(worker=False) if early is None else nullcontext(early) as ahead:
        ahead.begin(spec)
        from instil.studies.engine import carry_out  # imports torch

        grid = question.grid(spec)
        _refuse_strangers(spec, out)

        def begin() -> None:
            ahead.looked()
            overlaps.extend(refuse_overlap(spec, say))
            _begin(spec, out)

        results = carry_out(
            grid,
            out,
            runs=runs,
            workers=spec.workers if workers is None else workers,
            threads=spec.threads,
            engine=engine,
            data=None if spec.data is None else Path(spec.data),
            pool=ahead.pool,
            first=begin,
            watch=watch,
            say=say,
        )
    carried_out = time.monotonic()
    refuse_nothing(results)
    report = question.analyse(spec, results)
    report["missing"] = list(dict.fromkeys([*report.get("missing", ()), *missing_lines(results)]))
    report.setdefault("choices", choices(spec))
    report["method"] = [*report.get("method", ()), *spec.notes, *(f"{overlap.told()}." for overlap in overlaps)]
    report["made"] = {
        "command": command,
        "recipe": dump_yaml(spec),
        "fingerprint": study_fingerprint(spec),
        "versions": versions(),
        "machine": ", ".join([*machine().values(), f"{spec.threads} thread{'s' * (spec.threads > 1)} a run"]),
        "phases": {
            "runs": carried_out - begun,
            "analysis": time.monotonic() - carried_out,
            "all its tunings, one after another, whenever they were made": worked(results),
        },
        "seconds": time.monotonic() - begun,
        **report.get("made", {}),
    }
    write_report(report, out)
    return report


def write_report(report: StudyReport, out: Path) -> None:
    """`study.json` and `verdict.json` for machines, `index.html` and `figures/` for people."""
    from instil.reports.study import write_study

    write_json(out / "study.json", report)
    write_json(out / "verdict.json", report["verdict"])
    write_study(report, out)


def read_report(out: Path) -> StudyReport:
    """The report of a finished study.

    Raises:
        RunError: if there is none.
    """
    try:
        found = json.loads((out / "study.json").read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or "verdict" not in found:
        raise RunError(
            f"{out} holds no finished study",
            remedy="Give the --out of one, or finish it with the command that began it",
        )
    report: StudyReport = found  # type: ignore[assignment]
    return report


def study_fingerprint(spec: StudySpec) -> str:
    """Names everything that a study's file decides."""
    plain = spec.model_dump(mode="json")
    return fingerprint({key: value for key, value in plain.items() if key not in _DECIDE_NOTHING})


def choices(spec: StudySpec) -> list[list[str]]:
    """Every key of the study file but its recipe: what was fixed before the first run.

    What the file does not say is marked as the default; inside a value, defaults are left out.
    """
    plain = spec.model_dump(mode="json")
    slim = spec.model_dump(mode="json", exclude_defaults=True)
    return [
        [key, said if key in spec.model_fields_set or said in {"default", "none"} else f"{said} (default)"]
        for key, value in plain.items()
        if key not in {"recipe", "workers", "notes"}
        for said in [_in_words(slim.get(key, value))]
    ]


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_in_words(item) for item in value) or "none"
    if value == {}:
        return "none"
    return "default" if value is None else value if isinstance(value, str) else json.dumps(value)


def worked(results: Results) -> float:
    """The seconds that all tunings of a study took, those that lay there from before included; what is asked apart."""
    made = {facts.get("identity", run.key): facts for run in results.runs_asked if (facts := results.facts(run.key))}
    return sum(float(facts.get("whole_seconds") or 0.0) for facts in made.values())


def missing_lines(results: Results) -> list[str]:
    """A sentence for each run that gave nothing."""
    return [f"{one.run}: {one.state}, {one.reason}" for one in results.missing]


def refuse_nothing(results: Results) -> None:
    """Refuse to answer from no run at all.

    Raises:
        RunError: if every run failed.
    """
    if results.missing and len(results.missing) == len(results.runs_asked):
        failed = next(one for one in results.missing if one.state == "failed")
        raise RunError(
            f"none of {len(results.missing):,} runs could be finished; {failed.run}: {failed.reason}",
            remedy="Correct that, and give the same command again",
        )


def _refuse_strangers(spec: StudySpec, out: Path) -> None:
    """See that nothing but this question's study lies in the folder.

    Raises:
        RunError: if something else does.
    """
    mark = out / "fingerprint.json"
    there = [path.name for path in sorted(out.iterdir())] if out.is_dir() else []
    strangers = [name for name in there if name not in {".lock", "runs"}]
    if strangers and not mark.is_file():
        raise RunError(f"{out} is not empty and holds no study (it has {strangers[0]})", remedy="Give another --out")
    try:
        before = json.loads(mark.read_text("utf-8")).get("question") if mark.is_file() else spec.question
    except (OSError, ValueError, AttributeError):
        before = None
    if before != spec.question:
        told = f"a study of {before!r}" if before else "something else"
        raise RunError(f"{out} holds {told}, not of {spec.question!r}", remedy="Give another --out")


def _begin(spec: StudySpec, out: Path) -> None:
    """Say in the folder of a study what it is of, before its first run. The engine holds the folder."""
    mark = out / "fingerprint.json"
    write_text(out / "study.yaml", dump_yaml(spec))
    write_json(
        mark,
        {"question": spec.question, "study": study_fingerprint(spec), "versions": versions(), "machine": machine()},
    )
