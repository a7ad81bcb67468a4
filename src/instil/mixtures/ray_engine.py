"""`--engine ray`: the shards of a build made by the workers of a Ray cluster, through Ray Data.

    [{"shard": 0}, {"shard": 1}, ...]  -> tasks, one core each -> their records

With RAY_ADDRESS, or on a machine of a running cluster, that cluster is used; else (and with
RAY_ADDRESS=local) one is started here, and ended.
Every machine of a cluster must see the build folder and the data at the same paths.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from instil.errors import InstilError, RecipeError, RunError
from instil.fingerprint import fingerprint_file
from instil.mixtures.build import Job, Maker, Progress, Record
from instil.mixtures.manifest import PLAN
from instil.mixtures.workers import ONE_CORE, described, error_of, job_of


def make_shards(batch: dict[str, Any]) -> dict[str, Any]:
    """Make the shards of a batch; an error is a result, so that it reaches the person as one line."""
    return {"answer": [_answer(int(k), str(job)) for k, job in zip(batch["shard"], batch["job"], strict=True)]}


@lru_cache(maxsize=1)
def _maker(job: str, plan: str) -> Maker:
    """Ray gives a process many tasks: it opens the mixture for the first of them, and anew for another plan."""
    return job_of(json.loads(job)).open()


def _answer(number: int, job: str) -> str:
    try:
        plan = fingerprint_file(Path(json.loads(job)["folder"]) / PLAN)
        return json.dumps({"record": _maker(job, plan).make(number)})
    except Exception as error:  # noqa: BLE001  # the parent tells the person
        return json.dumps({"error": described(error)})


def make_on_ray(job: Job, numbers: list[int], *, workers: int, progress: Progress) -> Iterator[Record]:
    """The records of the shards `numbers`, as they get done.

    Raises:
        RecipeError: if Ray is not installed.
        RunError: if no cluster can be reached or started, or its machines do not share the folder.
        InstilError: what a worker raised.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise RecipeError(
            "--engine ray needs Ray, which is not installed", remedy="Install it with: pip install 'instil[ray]'"
        ) from None
    started = connect(ray, workers)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        plain = json.dumps({**asdict(job), "folder": str(Path(job.folder).absolute())})
        rows = [{"shard": number, "job": plain} for number in numbers]
        made = ray.data.from_items(rows, override_num_blocks=len(numbers)).map_batches(
            make_shards,
            batch_size=1,
            num_cpus=1,
            compute=ray.data.TaskPoolStrategy(size=min(workers, len(numbers))),
            runtime_env={"env_vars": ONE_CORE},
        )
        for batch in made.iter_batches(batch_size=1, prefetch_batches=0):
            yield _record(json.loads(str(batch["answer"][0])), Path(job.folder), progress)
    except ray.exceptions.RayError as error:
        raise RunError(
            f"Ray could not finish the build ({type(error).__name__}: {str(error)[:200]})",
            remedy="Start the same again: finished shards are kept",
        ) from error
    finally:
        if started:
            ray.shutdown()


def connect(ray: Any, workers: int) -> bool:
    """Join the cluster that is there, or start one here; whether this was needed."""
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS", "")
    _check_address(address)
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        if address != "local":
            ray.init(address="auto", **quiet)
            return True
    except ConnectionError as error:
        if address:
            raise RunError(
                f"no Ray cluster answers at {address} ({str(error)[:120]})", remedy="Start it, or unset RAY_ADDRESS"
            ) from None
    ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
    return True


def _check_address(address: str) -> None:
    """Refuse an address (`host:port`; Ray knows others) at which nothing listens: Ray would try for many minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise RunError(
            f"no Ray cluster answers at {address} ({error.strerror or 'no answer'})",
            remedy="Start it, or unset RAY_ADDRESS",
        ) from None


def _record(answer: dict[str, Any], folder: Path, progress: Progress) -> Record:
    if "error" in answer:
        error = error_of(answer["error"])
        raise error if isinstance(error, InstilError) else RuntimeError(str(error))
    record: Record = answer["record"]
    if not (folder / record["file"]).is_file():
        raise RunError(
            f"a worker wrote {record['file']}, and it is not in {folder}",
            remedy="Give --out a folder that all machines of the cluster share",
        )
    progress(record["rows"])
    return record
