"""What a person waits for: the quickstart and the real mix, from a cold start to the report. Time and memory.

python benchmarks/whole.py --write      -> a section of RESULTS.md; the real mix only where its data is (INSTIL_DATA)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from results import machine, table, write_section

ROOT = Path(__file__).resolve().parent.parent
#: Most seconds and most gigabytes that a run may take.
BOUNDS = {"quickstart": (300, 2.0), "real mix": (900, None)}


def run(arguments: list[str], out: Path) -> tuple[float, float, dict[str, Any]]:
    """Seconds, the most gigabytes held, and the report of a run of `instil`."""
    command = [sys.executable, "-m", "instil", *arguments, "--out", str(out)]
    with (out.parent / f"{out.name}.log").open("w") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{Path(log.name).read_text('utf-8')[-2000:]}")
    return seconds, usage.ru_maxrss * 1024 / 1e9, json.loads((out / "report.json").read_text("utf-8"))


def main() -> int:
    """Measure; exit code 1 where a bound is passed."""
    data = Path(os.environ.get("INSTIL_DATA") or ROOT.parent / "shared" / "data")
    wanted = {"quickstart": ["quickstart"]}
    if data.is_dir():
        wanted["real mix"] = ["tune", "recipes/real-mix.yaml", "--data", str(data)]
    rows, passed = [], True
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in wanted.items():
            seconds, gigabytes, report = run(arguments, Path(folder) / name.replace(" ", "-"))
            most_seconds, most_gigabytes = BOUNDS[name]
            passed &= seconds <= most_seconds and (most_gigabytes is None or gigabytes <= most_gigabytes)
            bound = f"<= {most_seconds} s" + (f", <= {most_gigabytes:g} GB" if most_gigabytes else "")
            rows.append([name, f"{seconds:.0f} s", f"{gigabytes:.2f} GB", bound])
            print(f"{name}: {seconds:.0f} s, {gigabytes:.2f} GB. {report['verdict']}", flush=True)
    text = table(["From start to report", "time", "memory", "bound"], rows)
    if "--write" in sys.argv[1:]:
        about = f"`python benchmarks/whole.py --write` on {machine('torch')}; one run each."
        write_section("whole", f"## Whole runs\n\n{about}\n\n{text}\n")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
