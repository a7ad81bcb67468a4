"""Worker processes that make shards: JSON lines in, JSON lines out, one core each.

    parent -> worker   {"opening": {...}, "folder": "...", "strict": false}    once
                       {"shard": 7}                                            whenever it is idle
    worker -> parent   {"done": 64}   {"done": 64}   {"record": {...}}         or {"error": {...}}

A worker that is free gets the next shard, so slow shards hold nobody up. It ends when its input does, that is, with its
parent, however that ended. Nothing but text passes between the two.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import IO, Any

from instil import errors
from instil.errors import InstilError
from instil.mixtures.build import Job, Opening, Progress, Record

#: One worker is one core; tokenizers would start a thread a core in each of them.
ONE_CORE = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def make_in_processes(job: Job, numbers: list[int], *, workers: int, progress: Progress) -> Iterator[Record]:
    """The records of the shards `numbers`, as they get done.

    Raises:
        InstilError: what a worker raised, or that it died.
    """
    waiting = iter(numbers)
    answers: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
    crew: list[subprocess.Popen[str]] = []
    try:
        crew.extend(_start() for _ in range(workers))
        for number, worker in enumerate(crew):
            threading.Thread(target=_listen, args=(number, worker, answers.put), daemon=True).start()
            _tell(worker, asdict(job))
            _assign(worker, waiting)
        left = len(numbers)
        while left:
            number, answer = answers.get()
            if "done" in answer:
                progress(answer["done"])
            elif "record" in answer:
                _assign(crew[number], waiting)
                left -= 1
                yield answer["record"]
            else:
                raise error_of(answer["error"])
    finally:
        for worker in crew:
            worker.kill()
        for worker in crew:
            worker.wait()
            for stream in (worker.stdin, worker.stdout):
                assert stream is not None
                _close(stream)


def _start() -> subprocess.Popen[str]:
    # Its own session, so that Ctrl-C on the terminal reaches the parent alone; the parent's very search path.
    code = f"import sys; sys.path[:] = {sys.path!r}; from instil.mixtures.workers import main; main()"
    return subprocess.Popen(  # noqa: S603  # our own interpreter and our own code
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **ONE_CORE},
        start_new_session=True,
    )


def _listen(number: int, worker: subprocess.Popen[str], put: Callable[[tuple[int, dict[str, Any]]], None]) -> None:
    assert worker.stdout is not None
    with contextlib.suppress(ValueError):  # closed by the parent, or cut short by the worker's death
        for line in worker.stdout:
            put((number, json.loads(line)))
    code = worker.wait()
    died = f"signal {-code}" if code < 0 else f"exit code {code}"
    said = {"kind": "RunError", "message": f"a worker process died ({died}), perhaps for lack of memory"}
    put((number, {"error": {**said, "remedy": "Start the same again, with fewer --workers if memory is short"}}))


def _assign(worker: subprocess.Popen[str], waiting: Iterator[int]) -> None:
    shard = next(waiting, None)
    if shard is not None:
        _tell(worker, {"shard": shard})


def _tell(worker: subprocess.Popen[str], message: Mapping[str, Any]) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it is dead, which its listener reports
        worker.stdin.write(json.dumps(message) + "\n")
        worker.stdin.flush()


def _close(stream: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def error_of(said: Mapping[str, str]) -> Exception:
    """The error that a worker described."""
    kind = getattr(errors, said["kind"], None)
    if kind is None:
        return RuntimeError(said["message"])
    made: InstilError = kind(said["message"], remedy=said["remedy"])
    return made


def described(error: Exception) -> dict[str, str]:
    """An error as plain data; one that is nobody's fault but ours with its traceback."""
    if isinstance(error, InstilError):
        kind = next(base for base in type(error).__mro__ if base.__module__ == errors.__name__)
        return {"kind": kind.__name__, "message": error.message, "remedy": error.remedy}
    return {"kind": "", "message": f"a worker failed: {error!r}\n{traceback.format_exc()}", "remedy": ""}


def job_of(plain: Mapping[str, Any]) -> Job:
    """The job that `asdict` made plain."""
    return Job(**{**plain, "opening": Opening(**plain["opening"])})


def main() -> None:
    """What a worker process does."""
    # Whatever a library prints must not come between the lines.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        lines = (json.loads(line) for line in sys.stdin)
        maker = job_of(next(lines)).open()
        gc.freeze()  # what is open stays to the end; looking through it again and again took a tenth of the time
        for message in lines:
            say({"record": maker.make(message["shard"], lambda prompts: say({"done": prompts}))})
    except (BrokenPipeError, KeyboardInterrupt, StopIteration):  # the parent is gone
        os._exit(1)
    except Exception as error:  # noqa: BLE001  # the parent tells the person
        say({"error": described(error)})
