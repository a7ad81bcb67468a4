"""`--engine ray`: the units of a study as tasks of a Ray cluster, which keeps its processes from task to task.

    job -> carry_out_unit.remote(job) -> {"done": 12.3} or {"error": {...}}

With RAY_ADDRESS, or on a machine of a running cluster, that cluster is used; else (and with RAY_ADDRESS=local) one is
started here, and ended. Every machine must see the folder of the runs, and the data, at the same paths. Where the
cluster has GPUs, each unit takes one.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import Any

from instil.errors import RecipeError
from instil.mixtures.ray_engine import connect
from instil.studies.execute import Job
from instil.studies.pool import PATIENCE_SECONDS, News, carried_out, environment, news_of


def carry_out_unit(job: str) -> str:
    """What came of a unit; an error is a result, so that it reaches the person as one line."""
    return json.dumps(carried_out(Job(**json.loads(job)), lambda message: None))


class RayPool:
    """Tasks of a Ray cluster.

    Args:
        size: how many at a time.
        threads: torch threads of each; a task takes as many cores.

    Raises:
        RecipeError: if Ray is not installed.
        RunError: if no cluster can be reached or started.
    """

    def __init__(self, size: int, *, threads: int) -> None:
        try:
            import ray
        except ImportError:
            raise RecipeError(
                "--engine ray needs Ray, which is not installed", remedy="Install it with: pip install 'instil[ray]'"
            ) from None
        self.size = size
        self._ray: Any = ray
        self._started = connect(ray, size * threads)
        takes = {"num_cpus": threads, "num_gpus": 1 if self._ray.cluster_resources().get("GPU") else 0}
        # Tried again by who gives the units, which counts the deaths.
        remote = self._ray.remote(max_retries=0, runtime_env={"env_vars": environment(threads)}, **takes)
        self._task = remote(carry_out_unit)
        self._held: dict[Any, int] = {}

    def give(self, worker: int, job: Job) -> None:
        """Let an idle worker carry out a unit."""
        self._held[self._task.remote(json.dumps(asdict(job)))] = worker

    def hear(self, seconds: float) -> News | None:
        """The next unit that ended, or None after so many seconds without any."""
        ready, _ = self._ray.wait(list(self._held), num_returns=1, timeout=seconds)
        if not ready:
            return None
        worker = self._held.pop(ready[0])
        try:
            return news_of(worker, json.loads(self._ray.get(ready[0])))
        except self._ray.exceptions.RayError as error:
            return News(worker, died=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")

    def replace(self, worker: int) -> None:
        """Ray starts processes itself."""

    def stop(self, *, gently: bool) -> None:
        """Cancel what is being done; gently, those that tune save the step that they are at."""
        for task in self._held:
            self._ray.cancel(task, force=not gently)
        if gently and self._held:
            with contextlib.suppress(self._ray.exceptions.RayError, KeyboardInterrupt):
                self._ray.wait(list(self._held), num_returns=len(self._held), timeout=PATIENCE_SECONDS)
        self._held.clear()
        if self._started:
            self._ray.shutdown()
