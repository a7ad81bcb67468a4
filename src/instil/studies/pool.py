"""Workers on this machine: processes that stay, take one unit at a time, and import torch once.

    parent -> worker   {"job": {...}}                                   whenever it is idle
    worker -> parent   {"at": ["tuning", 20, 40]}   {"done": 12.3}      or {"error": {...}}

A worker ends when its input does, even amid a step: whoever started it is gone, and its unit goes on from a checkpoint
when the study is started again. One that is asked to stop saves the step that it is at. Nothing but text passes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from instil.errors import RecipeError
from instil.mixtures.workers import described
from instil.tuning.stopping import Interrupted

if TYPE_CHECKING:
    from instil.studies.execute import Job

#: How long a worker that was asked to stop may take to save its step.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class News:
    """What a worker reports."""

    worker: int
    phase: str = ""
    """What it is at; empty where its unit ended."""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    """How long its unit took, where that ended."""
    error: Mapping[str, str] | None = None
    """What the unit raised: `kind`, `message`, `remedy`."""
    died: str = ""
    """How the worker died."""


class Pool(Protocol):
    """Carries out units, so many at a time."""

    size: int

    def give(self, worker: int, job: Job) -> None:
        """Let an idle worker carry out a unit."""

    def hear(self, seconds: float) -> News | None:
        """The next piece of news, or None after so many seconds without any."""

    def replace(self, worker: int) -> None:
        """Start another in the place of one that died."""

    def stop(self, *, gently: bool) -> None:
        """End all workers; gently, those that tune save the step that they are at."""


def workers_of(asked: int | None, *, threads: int, runs: int) -> int:
    """How many runs there are at a time, for whoever plans and for whoever carries out.

    Args:
        asked: by the person or the study file; None for one a GPU, or as many as the cores allow.
        threads: torch threads of each.
        runs: how many there are: no more workers than that.

    Raises:
        RecipeError: if less than one is asked for.
    """
    if asked is not None and asked < 1:
        raise RecipeError(f"workers is {asked}, and at least one is needed", remedy="Give 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(asked or len(gpus()) or cores // threads, runs))


def gpus() -> tuple[str, ...]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(one for one in named.split(",") if one and one != "-1")
    return tuple(str(number) for number in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*")))))


class LocalPool:
    """Processes on this machine.

    Args:
        size: how many.
        threads: torch threads of each.
        devices: for each, the GPU that it sees; empty where they compute on the CPU.
    """

    def __init__(self, size: int, *, threads: int, devices: tuple[str, ...] = ()) -> None:
        self.size = size
        self.threads = threads
        self.devices = devices
        self._news: queue.SimpleQueue[tuple[int, int, dict[str, Any]]] = queue.SimpleQueue()
        self._crew: list[subprocess.Popen[str]] = []
        for number in range(size):
            self._crew.append(self._start(number))

    def grow(self, size: int) -> None:
        """Start as many more workers as are lacking."""
        for number in range(self.size, size):
            self._crew.append(self._start(number))
        self.size = max(self.size, size)

    def give(self, worker: int, job: Job) -> None:
        """Let an idle worker carry out a unit."""
        stream = self._crew[worker].stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead, which its listener reports
            stream.write(json.dumps({"job": asdict(job)}) + "\n")
            stream.flush()

    def hear(self, seconds: float) -> News | None:
        """The next piece of news, or None after so many seconds without any."""
        try:
            worker, process, said = self._news.get(timeout=seconds)
        except queue.Empty:
            return None
        return None if self._crew[worker].pid != process else news_of(worker, said)

    def replace(self, worker: int) -> None:
        """Start another in the place of one that died."""
        _end(self._crew[worker])
        self._crew[worker] = self._start(worker)

    def stop(self, *, gently: bool) -> None:
        """End all workers; gently, those that tune save the step that they are at."""
        until = time.monotonic() + (PATIENCE_SECONDS if gently else 0.0)
        for process in self._crew:
            if gently:
                process.terminate()
            else:
                process.kill()
        for process in self._crew:
            try:
                process.wait(timeout=max(0.0, until - time.monotonic()) if gently else None)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                until = 0.0  # a second Ctrl-C: at once
            _end(process)

    def _start(self, number: int) -> subprocess.Popen[str]:
        own = environment(self.threads)
        if self.devices:
            own["CUDA_VISIBLE_DEVICES"] = self.devices[number % len(self.devices)]
        process = started("instil.studies.pool", own)
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        return process

    def _listen(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # closed by the parent, or cut short by the worker's death
            for line in process.stdout:
                self._news.put((number, process.pid, json.loads(line)))
        code = process.wait()
        died = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._news.put((number, process.pid, {"died": died}))


def started(module: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process that runs a module's `main`, and hears and tells lines of text.

    It has a session of its own, so that Ctrl-C on the terminal reaches the parent alone, and the parent's search path.
    """
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()"
    return subprocess.Popen(  # noqa: S603  # our own interpreter and our own code
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        start_new_session=True,
    )


def environment(threads: int) -> dict[str, str]:
    """What keeps a process to so many cores: the libraries beneath torch and tokenizers would take all."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "TOKENIZERS_PARALLELISM": "false"}


def news_of(worker: int, said: Mapping[str, Any]) -> News:
    """What a worker said."""
    if "at" in said:
        phase, done, total = said["at"]
        return News(worker, phase, int(done), int(total))
    return News(worker, seconds=said.get("done", 0.0), error=said.get("error"), died=said.get("died", ""))


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def carried_out(job: Job, say: Any) -> dict[str, Any]:
    """What came of a unit, as it is reported."""
    from instil.studies.execute import execute  # imports torch, which whoever starts workers need not wait for

    begun = time.monotonic()
    shown = 0.0

    def at(phase: str, done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown > 0.2 or done in (0, total):  # seconds: nobody reads faster
            shown = now
            say({"at": [phase, done, total]})

    try:
        execute(job, at)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001  # the parent tells the person, and goes on with the rest
        return {"error": described(error)}
    return {"done": time.monotonic() - begun}


def main() -> None:
    """What a worker process does."""
    # Whatever a library prints must not come between the lines.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(1)  # the parent is gone: what is being done goes on from its checkpoint

    def say(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    threading.Thread(target=listen, daemon=True).start()
    try:
        import instil.experiments.tune  # noqa: F401  # torch and transformers, while the parent still plans
        from instil.studies.execute import Job

        while True:
            say(carried_out(Job(**jobs.get()["job"]), say))
    except (BrokenPipeError, KeyboardInterrupt):  # the parent is gone, or asked to stop: the step is saved
        os._exit(1)
