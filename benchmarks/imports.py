"""How long a person waits before anything happens: `import instil` and `instil --help`, each in a fresh process.

python benchmarks/imports.py            print
python benchmarks/imports.py --write    and write the section of RESULTS.md
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from results import machine, table, write_section

REPEATS = 11
#: (name, command, most seconds)
WAITS = (
    ("`import instil`", ["-c", "import instil"], 0.3),
    (
        "`instil --help`",
        ["-c", "import sys; from instil.cli import main; sys.argv = ['instil', '--help']; main()"],
        0.5,
    ),
    ("the interpreter alone", ["-c", "pass"], None),
)


def wait(arguments: list[str]) -> tuple[float, float]:
    """Median and longest wall-clock seconds of a fresh process, after one that warms the file cache."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=False, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), max(times[1:])


def main() -> int:
    """Measure; exit code 1 where a median is over its bound."""
    rows, late = [], False
    for name, arguments, bound in WAITS:
        median, longest = wait(arguments)
        late |= bound is not None and median > bound
        rows.append([name, f"{median:.3f} s", f"{longest:.3f} s", f"<= {bound} s" if bound else ""])
    text = table(["Wait", f"median of {REPEATS}", "longest", "bound"], rows)
    print(text)
    if "--write" in sys.argv[1:]:
        command = "python benchmarks/imports.py --write"
        write_section("imports", f"## Imports\n\n`{command}` on {machine()}.\n\n{text}\n")
    return int(late)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(main())
