"""Worker processes give the bits that one process gives; they end with their parent, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.mixtures.compiling import contents, write_sources

from instil.errors import DataError, RunError
from instil.mixtures.build import Built, Opening, build
from instil.mixtures.compiled import Compiled


def files(folder: Path, **more: Any) -> Opening:
    raw = write_sources(folder)
    return Opening(raw, raw["model"], raw["data"], **more)


def compiled(opening: Opening, out: Path, **more: Any) -> Built:
    return build(opening, out, **{"prompts": 96, "window": 8, "shard_prompts": 16, **more})


def test_any_number_of_workers_gives_the_same_bits(tmp_path: Path) -> None:
    opening = files(tmp_path / "data")
    told: list[int] = []
    one = compiled(opening, tmp_path / "one")
    three = compiled(opening, tmp_path / "three", workers=3, progress=told.append)
    assert sum(told) == 96
    assert one.manifest["holes"]
    assert three.report == one.report
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


def test_a_file_that_changes_while_workers_open_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instil.mixtures import workers

    opening = files(tmp_path / "data")
    start = workers._start

    def change_then_start() -> Any:
        path = tmp_path / "data" / "my.jsonl"
        path.write_text(path.read_text().replace("What is 3 +", "How much is 3 +"))
        return start()

    monkeypatch.setattr(workers, "_start", change_then_start)
    with pytest.raises(DataError, match=r"changed while it was being built: source file my\.jsonl has changed"):
        compiled(opening, tmp_path / "out", workers=2)


def test_a_worker_that_is_killed_is_told_and_the_build_goes_on(tmp_path: Path) -> None:
    opening = files(tmp_path / "data")
    compiled(opening, tmp_path / "plain")
    others = set(children_of(os.getpid()))  # other tests may have left a resource tracker, which lives on

    def kill_a_worker(prompts: int) -> None:
        for child in set(children_of(os.getpid())) - others:
            with contextlib.suppress(ProcessLookupError):  # of other tests, and gone since the list was made
                os.kill(child, signal.SIGKILL)

    with pytest.raises(RunError, match=r"a worker process died \(signal 9\)"):
        compiled(opening, tmp_path / "out", workers=2, progress=lambda n: kill_a_worker(n) if n else None)
    compiled(opening, tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def children_of(process: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if folder.name.isdigit() and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(folder.name))
    return found


def is_worker(process: int) -> bool:
    """Whether it makes shards; libraries start processes of their own while they are imported."""
    with contextlib.suppress(OSError):
        return b"instil.mixtures.workers" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


def command(data: Path, out: Path, *more: str) -> list[str]:
    recipe = data.parent / "recipe.yaml"
    recipe.write_text(json.dumps(write_sources(data) if not data.exists() else json.loads(recipe.read_text())))
    sizes = ["--prompts", "96", "--shard-size", "16", "--set", "tuning.prompts_per_step=8", "--workers", "2"]
    return [sys.executable, "-m", "instil", "mix", "build", str(recipe), "--out", str(out), *sizes, *more]


def test_the_command_killed_with_its_workers_at_work_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = command(tmp_path / "data", out)
    plain = subprocess.run(command(tmp_path / "data", tmp_path / "plain"), capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    for shards in (0, 2):
        process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        workers = wait_for(lambda process=process: children_of(process.pid))  # type: ignore[misc]
        wait_for(lambda shards=shards: shards <= len(list((out / "shards").glob("*.json"))))  # type: ignore[misc]
        process.kill()
        process.wait()
        wait_for(lambda workers=workers: not any(Path(f"/proc/{worker}").exists() for worker in workers))  # type: ignore[misc]
        assert not (out / "manifest.json").exists()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(tmp_path / "plain")


def wait_for(sign: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What `sign` gives once it gives something."""
    until = time.monotonic() + seconds
    while not (found := sign()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.002)
    return found


def test_ctrl_c_says_what_is_there_exits_130_and_the_same_command_goes_on(tmp_path: Path) -> None:
    # Long enough that a busy machine does not finish it between the first look at its workers and the signal.
    words = command(tmp_path / "data", tmp_path / "out", "--prompts", "9600")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    workers = wait_for(lambda: [child for child in children_of(process.pid) if is_worker(child)])
    wait_for(lambda: list((tmp_path / "out" / "shards").glob("*.json")))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert "of 600 shards are written in" in error
    assert "the same command continues" in error
    assert len(error.strip().splitlines()) == 1
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    Compiled(tmp_path / "out").verify()


def test_what_the_disk_refuses_to_a_worker_is_one_line(tmp_path: Path) -> None:
    words = command(tmp_path / "data", tmp_path / "out")
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
