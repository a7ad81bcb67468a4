"""What a study begins before its file is checked to the end: a worker, and the look for held-out items.

    this process    reads the file .. imports torch .. grid .. survey .. is the look over? .. gives the first unit
    a worker        imports torch and transformers ........ waits for a unit
    the look        opens suites and mixture, reads all rows (`check`) ..

Neither decides anything. The worker is the first of the engine's pool; what the look finds is kept in the cache, where
`overlaps` finds it. Where a look ends without having found anything, this process looks itself, and says what is wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from instil.studies.pool import LocalPool, environment, gpus, started
from instil.tasks import cache as task_cache

if TYPE_CHECKING:
    from instil.studies.spec import StudySpec


class Early:
    """A context, at whose end nothing of it is left.

    Args:
        worker: whether a worker of this machine is begun.
    """

    def __init__(self, *, worker: bool) -> None:
        self.pool: LocalPool | None = None
        """The worker, once it is begun."""
        self._worker, self._begun = worker, False
        self._look: subprocess.Popen[str] | None = None

    def begin(self, spec: StudySpec) -> None:
        """Begin both for a study, if that was not done yet."""
        if self._begun:
            return
        self._begun = True
        if self._worker:
            self.pool = LocalPool(1, threads=spec.threads, devices=gpus())
        if task_cache.folder() is not None:  # else nobody would know what it found
            self._look = started("instil.studies.early", environment(1))
            assert self._look.stdin is not None
            with suppress(BrokenPipeError):
                self._look.stdin.write(json.dumps(spec.model_dump(mode="json")) + "\n")
                self._look.stdin.flush()

    def looked(self) -> None:
        """Wait until the look is over."""
        if self._look is not None:
            self._look.wait()

    def __enter__(self) -> Early:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._look is not None:
            self._look.kill()
            self._look.communicate()
        if self.pool is not None:
            self.pool.stop(gently=False)


def main() -> None:
    """What the process that looks does."""
    from instil.studies.check import overlaps
    from instil.studies.questions import question_of

    given = json.loads(sys.stdin.readline())

    def listen() -> None:
        sys.stdin.read()
        os._exit(1)  # who began it is gone

    threading.Thread(target=listen, daemon=True).start()
    try:
        overlaps(question_of(given["question"]).Spec.model_validate(given))
    except Exception:  # noqa: BLE001  # who began it looks as well, and tells the person
        os._exit(1)
    os._exit(0)
