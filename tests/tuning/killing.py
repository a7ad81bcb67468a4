"""Lives of a run: processes that are forked from this one, die by SIGKILL, and are followed by others.

    whole = lived(lambda: train_in(tmp_path / "whole"))            a life that is not killed, and its processor time
    survives_random_kills(train_in, tmp_path, expected, kills=5)   whether killed runs end bitwise equal to it
                                                                   (what went wrong stands in tmp_path / "told.txt")

Moments of death are counted in processor time of the child, so that a busy machine changes nothing. A trainer joins in
with a function that begins or continues its run in a folder, and ends when the run has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from instil import runs
from instil.tuning import checkpoint, loop
from instil.tuning.loop import TIMING

Life = Callable[[Path], None]
"""Begins or continues a run in a folder, to its end."""
End = tuple[dict[str, torch.Tensor], list[dict[str, Any]]]
"""The tensors of the last checkpoint, and the rows of metrics without times."""

_TICKS = os.sysconf("SC_CLK_TCK")


def end_of(path: Path) -> End:
    """How a run ended."""
    last = checkpoint.checkpoints(path / "checkpoints")[-1]
    tensors = {**load_file(last / "model.safetensors"), **load_file(last / "optimizer.safetensors")}
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return tensors, [{key: value for key, value in row.items() if key not in TIMING} for row in rows]


def same(one: End, other: End) -> bool:
    """Whether two runs ended bitwise equal: weights, optimizer, metrics."""
    return not difference(one, other)


def difference(one: End, other: End) -> str:
    """What differs between the ends of two runs; empty where nothing does."""
    if one[1] != other[1]:
        rows = [pair for pair in zip_longest(one[1], other[1]) if pair[0] != pair[1]]
        return f"metrics: {rows[0][0]} and {rows[0][1]}, {len(rows)} rows in all"
    if one[0].keys() != other[0].keys():
        return f"tensors: {sorted(one[0].keys() ^ other[0].keys())}"
    return ", ".join(name for name, value in one[0].items() if not torch.equal(value, other[0][name]))


def forked(life: Callable[[], None], told: Path = Path(os.devnull)) -> int:
    """Begin a life in a process of its own, which has all that this one imported; returns its number.

    An error that ends it is written to the file `told`.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with told.open("a") as file:
                os.dup2(file.fileno(), 2)
                try:
                    life()
                    code = 0
                except BaseException:
                    traceback.print_exc(file=file)
                    raise
        finally:
            os._exit(code)
    return child


def lived(life: Callable[[], None]) -> tuple[int, float]:
    """Live a life to its end: its exit code (below 0 where a signal ended it), and its seconds of processor time."""
    _, status, used = os.wait4(forked(life), 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def killed(life: Callable[[], None], after: float, told: Path) -> bool:
    """Kill a life once it has had so many seconds of processor time; False where it ended before."""
    child = forked(life, told)
    while True:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.WIFSIGNALED(status)
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            if (int(fields[11]) + int(fields[12])) / _TICKS >= after:
                os.kill(child, signal.SIGKILL)
                return os.WIFSIGNALED(os.waitpid(child, 0)[1])
        time.sleep(0.002)


def survives_random_kills(life: Life, path: Path, expected: End, *, kills: int, seconds: float) -> bool:
    """Whether every run that is killed at random moments, again and again, ends as `expected`.

    Args:
        life: the run.
        path: a folder for as many runs as it takes.
        expected: the end of a run that was not killed.
        kills: how many there are, in all runs together.
        seconds: processor time of that run.
    """
    generator = np.random.default_rng(int(os.environ.get("INSTIL_SEED", "0")))
    done, number = 0, 0
    path.mkdir(exist_ok=True)
    told = path / "told.txt"
    while done < kills:
        folder = path / str(number)
        if killed(partial(life, folder), float(generator.uniform(0.1, 0.8)) * seconds, told):
            done += 1
        elif _ended_as(folder, expected, told):
            number += 1
        else:
            return False
    return lived(partial(life, path / str(number)))[0] == 0 and _ended_as(path / str(number), expected, told)


def _ended_as(folder: Path, expected: End, told: Path) -> bool:
    """Whether a run that was not killed ended well; one that could not be continued left nothing to compare."""
    fault = "it left nothing to compare"
    with contextlib.suppress(IndexError, OSError):
        fault = difference(end_of(folder), expected)
    if fault:
        with told.open("a") as file:
            file.write(f"{folder.name} ended otherwise: {fault}\n")
    return not fault


def deadly_saves(operation: int) -> None:
    """From here on this process kills itself before the n-th operation on files of its saves."""
    left = [operation]

    def deadly(function: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **more)

        return call

    def save(*given: Any, **more: Any) -> None:
        checkpoint.save_file = deadly(checkpoint.save_file)  # type: ignore[attr-defined]
        checkpoint.shutil.rmtree = deadly(checkpoint.shutil.rmtree)  # type: ignore[attr-defined]
        runs.sync = deadly(runs.sync)  # type: ignore[assignment]
        os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)
        Path.rename = deadly(Path.rename)  # type: ignore[method-assign]
        Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
        real(*given, **more)

    real = loop.save_checkpoint
    loop.save_checkpoint = save  # type: ignore[assignment]


def deadly_bytes(size: int) -> None:
    """From here on this process dies in the middle of writing a file, once that has so many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def survives_deaths_in_saving(life: Life, path: Path, expected: End, operations: range) -> int:
    """How many lives died in their first saves, after all of which the run still ended as expected; else 0."""
    deaths = 0
    for operation in operations:
        code, _ = lived(lambda operation=operation: (deadly_saves(operation), life(path)))
        if code == 0:
            break
        if code > 0:
            return 0  # it could not be continued
        deaths += 1
    if lived(lambda: life(path))[0] != 0 or not same(end_of(path), expected):
        return 0
    return deaths
