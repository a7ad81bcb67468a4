"""Studies that are stopped, in every way, end with the bytes of one that was not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.studies.tiny_grid import InlinePool, grid_of, write_world

from instil.studies import engine

SCRIPT = """
import sys
from pathlib import Path
from instil.cli.app import complain
from instil.studies.engine import carry_out
from instil.tuning.stopping import Interrupted
from tests.studies.tiny_grid import grid_of

def main():
    world, out = Path(sys.argv[1]), Path(sys.argv[2])

    def tell(progress):
        print(progress.finished, *(f"{one.run}:{one.phase}:{one.done}" for one in progress.doing), flush=True)
    try:
        results = carry_out(grid_of(world, max_steps=30), out, workers=1, watch=tell)
    except Interrupted as stop:
        complain("stopped", str(stop))
        sys.exit(130)
    sys.exit(1 if results.missing else 0)

main()
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@contextlib.contextmanager
def started(world: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """The study in a process of its own, which ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(world), str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "INSTIL_CACHE": "off", "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def watched(process: subprocess.Popen[str], until: Callable[[str], bool]) -> str:
    """Wait for a line of progress."""
    assert process.stdout is not None
    seen = iter(process.stdout.readline, "")
    line = next((line for line in seen if until(line)), "")
    assert line, f"the study ended first: {process.communicate()[1]}"
    return line


def finished(world: Path, out: Path) -> str:
    """Carry the study out to its end; what it said."""
    with started(world, out) as process:
        _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return said


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.suffix in (".parquet", ".csv")}


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    found = {int(child) for path in threads for child in path.read_text().split()} | {int(one) for one in children}
    return sorted(found)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def tuning(line: str) -> bool:
    """Whether a run is amid its steps, and another one is done."""
    return not line.startswith("0 ") and ":tuning:" in line


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a study that nobody stopped, carried out in this process."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(engine, "LocalPool", InlinePool)
        InlinePool.given = []
        engine.carry_out(grid_of(world, max_steps=30), out, workers=1)
    found = tables(out)
    assert set(found) == {"results.parquet", "results.csv", "items.parquet"}
    return found


def test_a_study_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    world: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with started(world, tmp_path) as process:
        watched(process, tuning)
        workers = workers_of(process)
        process.kill()
    wait_for(lambda: all(is_gone(pid) for pid in workers))  # nobody is left behind
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/asks/*/results.json")}
    assert done
    assert not (tmp_path / "results.parquet").exists()
    said = finished(world, tmp_path)
    assert "runs are there already" in said
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert tables(tmp_path) == whole


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(world: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    with started(world, tmp_path) as process:
        watched(process, tuning)
        workers = workers_of(process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert all(is_gone(pid) for pid in workers)
    halves = [path for path in tmp_path.glob("runs/*") if (path / "metrics.jsonl").exists()]
    halves = [path for path in halves if not (path / "tuned.json").exists()]
    saved = [
        json.loads(state.read_text())["step"] for path in halves for state in path.glob("checkpoints/*/state.json")
    ]
    assert not halves or any(0 < step < 30 for step in saved)
    finished(world, tmp_path)
    assert tables(tmp_path) == whole


def test_a_worker_that_is_killed_is_replaced(world: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    with started(world, tmp_path) as process:
        watched(process, tuning)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "its worker died (signal 9); it is tried once more" in said
    assert tables(tmp_path) == whole
