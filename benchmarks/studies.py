"""What the engine of a study costs, and what a second worker gains, beside plain processes that do the same runs.

    python benchmarks/studies.py --write       -> a section of RESULTS.md; about 40 minutes, on a quiet machine

    study, 1 worker     instil study scaling --preset quick --workers 1     cold start to the last table; the page apart
    plain, 1 process    the same units in the same order, in a for loop: no pool, no schedule, no tables
    study, 2 workers    the same with --workers 2
    plain, 2 processes  each unit goes to the process whose work so far is least, known beforehand: the best one can do

Overhead is the study's time with one worker beside the sum of its runs in the plain process, so starting processes,
importing torch, finding what is there, handing out and writing tables all count. Nothing is kept from one measurement
to the next: each has folders and a cache of its own. What a study costs whatever its length (workers, imports, the look
for held-out items in the training rows) weighs most in the shortest: a longer one is measured once beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from results import machine, table, write_section

from instil.studies.pool import environment

STUDY = ["scaling", "--preset", "quick"]
LONGER = ["should-i", "--preset", "quick"]
#: The engine may take so much of the sum of its runs, and must gain so much of what two plain processes gain.
MOST_OVERHEAD, LEAST_GAIN = 0.05, 0.85


def plain(asked: Sequence[str], out: Path, keys: Sequence[str]) -> None:
    """The units of a study with these keys (all, where none is named), one after another in this process."""
    from instil.studies.execute import execute, job_of
    from instil.studies.questions import question_of
    from instil.studies.spec import read_study
    from instil.studies.units import survey

    spec = read_study(asked[0], asked[2])
    found = survey(question_of(spec.question).grid(spec), out, threads=spec.threads)
    took = {}
    for unit in found.left():
        if keys and unit.key not in keys:
            continue
        begins_from = found.units[unit.start].model_folder if unit.start else None
        begun = time.perf_counter()
        execute(job_of(unit, begins_from=begins_from, data=None, threads=spec.threads), lambda phase, done, total: None)
        took[unit.key] = time.perf_counter() - begun
    print(json.dumps(took))


def started(arguments: Sequence[str], cache: Path) -> subprocess.Popen[str]:
    """A cold process whose cache is empty, kept to one core as workers are: tokenizers would take a second."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **environment(1), "INSTIL_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it printed."""
    said, wrong = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} failed:\n{wrong[-2000:]}")
    return said


def study(workers: int, folder: Path, asked: Sequence[str] = STUDY) -> tuple[float, float]:
    """Seconds from a cold start to the last table, and from there to the end: analysis, figures and the page."""
    out, begun = folder / "out", time.time()
    command = ["-m", "instil", "study", *asked, "--workers", str(workers), "--out", str(out)]
    ended(started(command, folder / "cache"))
    over = time.time()
    tables = max(
        (out / name).stat().st_mtime for name in ("results.parquet", "results.csv", "items.parquet", "facts.json")
    )
    return tables - begun, over - tables


def plainly(
    shares: Sequence[Sequence[str]], folder: Path, asked: Sequence[str] = STUDY
) -> tuple[float, dict[str, float]]:
    """Seconds from a cold start of a plain process for each share to the end of the last, and each unit's seconds."""
    begun = time.perf_counter()
    crew = [
        started([__file__, "--plain", *asked, str(folder / f"runs-{number}"), *share], folder / f"cache-{number}")
        for number, share in enumerate(shares)
    ]
    took: dict[str, float] = {}
    for process in crew:
        took |= json.loads(ended(process).splitlines()[-1])
    return time.perf_counter() - begun, took


def dealt(took: dict[str, float]) -> list[list[str]]:
    """Units for two processes: the longest first, each to the one with less to do."""
    shares: list[list[str]] = [[], []]
    loads = [0.0, 0.0]
    for key in sorted(took, key=lambda key: -took[key]):
        lighter = loads.index(min(loads))
        shares[lighter].append(key)
        loads[lighter] += took[key]
    return shares


def longer() -> tuple[float, float]:
    """Seconds of the runs of the longer study in a plain process, and the engine's overhead with one worker."""
    folder = Path(tempfile.mkdtemp())
    try:
        _, took = plainly([[]], folder / "plain", LONGER)
        whole, _ = study(1, folder / "study", LONGER)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return sum(took.values()), whole / sum(took.values()) - 1


def main() -> int:
    """Measure; exit code 1 where a bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    # What follows it holds options of another command.
    parser.add_argument("--plain", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.plain:
        plain(asked.plain[:3], Path(asked.plain[3]), asked.plain[4:])
        return 0

    rounds = []
    for number in range(asked.rounds):
        folder = Path(tempfile.mkdtemp())
        try:
            plain_1, took = plainly([[]], folder / "plain-1")
            study_1, page_1 = study(1, folder / "study-1")
            plain_2, _ = plainly(dealt(took), folder / "plain-2")
            study_2, page_2 = study(2, folder / "study-2")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        one = {
            "runs": sum(took.values()),
            "plain 1": plain_1,
            "plain 2": plain_2,
            "study 1": study_1,
            "study 2": study_2,
            "page": statistics.fmean([page_1, page_2]),
            "overhead": study_1 / sum(took.values()) - 1,
            "of plain": study_1 / plain_1 - 1,
            "gain": study_1 / study_2,
            "control": plain_1 / plain_2,
        }
        one["share"] = one["gain"] / one["control"]
        rounds.append(one)
        print(f"round {number + 1}: " + ", ".join(f"{name} {value:.3f}" for name, value in one.items()), flush=True)

    runs, overhead = longer()
    print(f"{LONGER[0]}: runs {runs:.3f}, overhead {overhead:.3f}", flush=True)
    median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    spread = {name: (min(one[name] for one in rounds), max(one[name] for one in rounds)) for name in rounds[0]}

    def told(name: str, form: str) -> list[str]:
        low, high = spread[name]
        return [f"{median[name]:{form}}", f"{low:{form}} to {high:{form}}"]

    text = table(
        ["", "median", "all rounds", "bound"],
        [
            ["sum of the runs, in the plain process, s", *told("runs", ".1f"), ""],
            ["plain, 1 process, s", *told("plain 1", ".1f"), ""],
            ["study, 1 worker, s", *told("study 1", ".1f"), ""],
            ["plain, 2 processes, s", *told("plain 2", ".1f"), ""],
            ["study, 2 workers, s", *told("study 2", ".1f"), ""],
            ["engine overhead: study, 1 worker, over the sum", *told("overhead", "+.1%"), f"<= {MOST_OVERHEAD:.0%}"],
            ["the same over the plain process, start included", *told("of plain", "+.1%"), ""],
            [f"engine overhead on {LONGER[0]} (runs of {runs:.0f} s)", f"{overhead:+.1%}", "one round", ""],
            ["gain of a second worker", *told("gain", ".2f"), ""],
            ["gain of a second plain process", *told("control", ".2f"), ""],
            ["the first by the second", *told("share", ".2f"), f">= {LEAST_GAIN}"],
            ["page and figures, after the last table, s", *told("page", ".1f"), ""],
        ],
    )
    print(text)
    if asked.write:
        about = (
            f"`python benchmarks/studies.py --write` on {machine('torch')}; {asked.rounds} rounds of `instil study "
            f"{' '.join(STUDY)}` (13 runs) and one of `{' '.join(LONGER)}`, cold start to the last table, each "
            "measurement with an empty cache."
        )
        write_section("studies", f"## Studies: the engine beside plain processes\n\n{about}\n\n{text}\n")
    return int(median["overhead"] > MOST_OVERHEAD or median["share"] < LEAST_GAIN)


if __name__ == "__main__":
    sys.exit(main())
