"""Opening mixtures of 1,836 and 10,000 tasks, and reading them at random: time, memory a task, open files.

python benchmarks/mixture_scale.py            print
python benchmarks/mixture_scale.py --quick    200 and 1,000 tasks, as a check that it runs

The tasks are the Natural Instructions files of $INSTIL_DATA, linked under new names as often as needed. Every opening
is a process of its own, on files that the operating system has read before; memory is what the process holds after
opening beyond what it held with a few tasks open, over the number of tasks.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from results import table

from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.mixtures.spec import MixtureSpec
from instil.records import Example
from instil.tasks.task import Task
from instil.tasks.template import Template

ROOT = Path(__file__).resolve().parent.parent
#: Tasks -> most seconds to open them from their cache.
OPENINGS = {1_836: 2.0, 10_000: 5.0}
MOST_BYTES_A_TASK = 20_000
#: Opened first, so that what the libraries take is not counted.
FEW = 50
MOST_SECONDS_A_PROMPT = 2e-3
TASKS = (10, 100, 1_000, 10_000)
EXAMPLES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)
READS = 2_000
SETTINGS = {"zero-shot": 0.5, "few-shot-3": 0.5}


def replicated(data: Path, folder: Path, count: int) -> Path:
    """A folder with `count` Natural Instructions files: those that there are, linked under new names."""
    files = sorted((data / "natural_instructions" / "tasks").glob("task*.json*"))
    place = folder / f"tasks-{count}"
    place.mkdir()
    for number in range(count):
        file = files[number % len(files)]
        stem, dot, rest = file.name.partition(".")
        (place / f"{stem}_{number // len(files)}{dot}{rest}").symlink_to(file.resolve())
    return place


def resident_bytes() -> int:
    """What this process holds in memory now."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_once(place: str, few: str) -> dict[str, Any]:
    """Open a mixture of a folder's tasks in this process: seconds, memory, files held, then reads at random."""
    load_mixture({"sources": [{"collection": "ni", "path": few}]})
    before = resident_bytes()
    start = time.perf_counter()
    mixture = load_mixture({"sources": [{"collection": "ni", "path": place}], "settings": SETTINGS, "cap": 5_000})
    opened = time.perf_counter() - start
    held = resident_bytes() - before
    start = time.perf_counter()
    fingerprint = mixture.fingerprint
    named = time.perf_counter() - start
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {
        "tasks": len(mixture.tasks),
        "seconds": opened,
        "fingerprint_seconds": named,
        "fingerprint": fingerprint,
        "bytes_a_task": held / len(mixture.tasks),
        "open_files": sum(place in link or link.endswith(".arrow") for link in links),
        "access_seconds": access_seconds(mixture),
    }


def access_seconds(mixture: Mixture) -> float:
    """The median time of a prompt at a random index, once every template has been compiled."""
    dice = random.Random(0)
    indices = [dice.randrange(10**12) for _ in range(READS)]
    times = []
    for index in indices[: READS // 4] + indices:
        start = time.perf_counter()
        mixture[index]
        times.append(time.perf_counter() - start)
    return median(times[READS // 4 :])


def openings(data: Path, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Each number of tasks: opened cold (no cache), then warm three times, in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INSTIL_CACHE"] = str(Path(folder) / "cache")
        few = replicated(data, Path(folder), FEW)
        for count in counts:
            place = replicated(data, Path(folder), count)
            cold, *warm = (_in_a_process(place, few) for _ in range(4))
            yield {
                **warm[0],
                "cold_seconds": cold["seconds"],
                "seconds": median(run["seconds"] for run in warm),
                "bytes_a_task": max(run["bytes_a_task"] for run in warm),
                "same": len({run["fingerprint"] for run in (cold, *warm)}) == 1,
            }


def _in_a_process(place: Path, few: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--open", str(place), str(few)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"opening {place} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Rows(Sequence[Example]):
    """Rows that are made when asked for, as many as wanted."""

    name: str
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        return Example(str(index), {"question": f"What is {index} in {self.name}?", "answer": str(index)})


def made_up(tasks: int, examples: int) -> Mixture:
    """A mixture of lazy tasks of five templates each."""
    templates = tuple(Template(f"t{k}", f"({k}) {{{{ question }}}}", "{{ answer }}") for k in range(5))
    made = [
        Task(f"made/{number}", f"c{number % 60}", "made", templates, Rows(str(number), examples), content=str(examples))
        for number in range(tasks)
    ]
    spec = MixtureSpec.model_validate({"sources": [{"collection": "made"}], "settings": SETTINGS})
    return Mixture(spec, [made])


def accesses() -> Iterator[dict[str, Any]]:
    """A prompt at a random index, by the number of tasks and of examples a task."""
    for tasks in TASKS:
        yield {"tasks": tasks, "examples": 10**4, "access_seconds": access_seconds(made_up(tasks, 10**4))}
    for examples in EXAMPLES:
        yield {"tasks": 100, "examples": examples, "access_seconds": access_seconds(made_up(100, examples))}


def measure(data: Path, counts: Sequence[int] = tuple(OPENINGS)) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Everything: openings, then reads at random."""
    return list(openings(data, counts)), list(accesses())


def report(opened: Sequence[dict[str, Any]], read: Sequence[dict[str, Any]]) -> tuple[str, bool]:
    """Two tables, and whether every bound is kept."""
    rows, kept = [], True
    for found in opened:
        bound = OPENINGS.get(found["tasks"])
        kept &= bound is None or found["seconds"] <= bound
        kept &= found["bytes_a_task"] <= MOST_BYTES_A_TASK and found["open_files"] <= 1 and found["same"]
        kept &= found["access_seconds"] <= MOST_SECONDS_A_PROMPT
        rows.append(
            [
                f"{found['tasks']:,}",
                f"{found['cold_seconds']:.1f} s",
                f"{found['seconds']:.2f} s" + (f" (<= {bound:g} s)" if bound else ""),
                f"{found['bytes_a_task'] / 1e3:.1f} KB",
                f"{found['open_files']}",
                f"{found['fingerprint_seconds']:.2f} s",
                f"{found['access_seconds'] * 1e3:.2f} ms",
            ]
        )
    first = table(["Tasks", "cold", "from its cache", "memory a task", "files", "fingerprint", "a random prompt"], rows)
    rows = []
    for found in read:
        kept &= found["access_seconds"] <= MOST_SECONDS_A_PROMPT
        rows.append([f"{found['tasks']:,}", f"{found['examples']:,}", f"{found['access_seconds'] * 1e3:.3f} ms"])
    return f"{first}\n\n{table(['Tasks', 'examples a task', 'a random prompt'], rows)}", kept


def main() -> int:
    """Measure and print; exit code 1 where a bound is passed."""
    if sys.argv[1:2] == ["--open"]:
        print(json.dumps(open_once(*sys.argv[2:4])))
        return 0
    data = Path(os.environ.get("INSTIL_DATA") or ROOT.parent / "shared" / "data")
    if not data.is_dir():
        raise SystemExit(f"no task files at {data}: set INSTIL_DATA to their folder")
    text, kept = report(*measure(data, (200, 1_000) if "--quick" in sys.argv[1:] else tuple(OPENINGS)))
    print(text)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
