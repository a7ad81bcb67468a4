"""One unit of a study carried out in this process: tuned where it is not, then asked what it was not asked.

    {"folder": "runs/5d0c31...", "recipe": {...}, "begins_from": "", "asks": {"held-out-91ab03f2": {...}}, ...}
    at("tuning", 20, 40)                       tuned.json
    at("asking held-out", 250, 1000)           asks/held-out-91ab03f2/results.json

A unit that was stopped anywhere goes on from there: tuning from its checkpoint, an ask from its last whole chunk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instil.runs import disk_errors, read_metrics, write_json
from instil.studies.grid import Ask
from instil.studies.units import TUNED, Unit

if TYPE_CHECKING:
    from instil.evaluation.suite import Suite

At = Callable[[str, int, int], None]
"""(phase, done, total): shows how far it is."""

#: Weights of so many bytes stay on the disk in any case: making them again costs more than keeping them.
_SMALL = 16 << 20


@dataclass(frozen=True)
class Job:
    """A unit as plain data, for a worker."""

    key: str
    folder: str
    recipe: dict[str, Any] | None
    model: str
    """The model that is asked, where there is no recipe."""
    asks: dict[str, dict[str, Any]]
    keeps_model: bool
    data: str | None
    threads: int
    here: str
    """The working folder: what a recipe names may be given from there."""


def job_of(unit: Unit, *, begins_from: Path | None, data: Path | None, threads: int) -> Job:
    """What a worker is told of a unit.

    Args:
        unit: what is to be done.
        begins_from: the folder of the model that it begins from, where that is another unit's.
        data: the root of the data sets.
        threads: torch threads.
    """
    recipe = None if unit.recipe is None else unit.recipe.model_dump(mode="json")
    if recipe is not None and begins_from is not None:
        recipe["model"]["path"] = str(begins_from)
    return Job(
        unit.key,
        str(unit.folder.absolute()),
        recipe,
        unit.model if begins_from is None else str(begins_from),
        {name: asdict(ask) for name, ask in unit.asks.items()},
        unit.keeps_model,
        None if data is None else str(data),
        threads,
        str(Path.cwd()),
    )


def execute(job: Job, at: At) -> None:
    """Carry out a unit, or what is left of it.

    Raises:
        InstilError: if something in it cannot be used, or the disk refuses.
        Interrupted: after SIGTERM while tuning, once the step is saved.
    """
    import torch

    torch.set_num_threads(job.threads)
    os.chdir(job.here)
    folder = Path(job.folder)
    with _alone(folder, lambda: at("waiting for another study", 0, 0)):
        model = job.model
        asks = {name: Ask(**ask) for name, ask in job.asks.items() if not _is_answered(folder, name)}
        if job.recipe is not None:
            model = str(folder / "model")
            if not (folder / TUNED).is_file() or not (folder / "model" / "config.json").is_file():
                _tune(job, folder, at)
        if asks:
            _ask(job, model, asks, folder, at)
        if job.recipe is not None:
            _tidy(folder, keeps_model=job.keeps_model)


@contextlib.contextmanager
def _alone(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a unit's folder: where another study shares the runs, one of the two waits, and then finds it done."""
    locks = folder.parent / ".locks"
    with disk_errors(locks):
        locks.mkdir(parents=True, exist_ok=True)
        lock = (locks / folder.name).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_answered(folder: Path, ask: str) -> bool:
    return (folder / "asks" / ask / "results.json").is_file()


def _tune(job: Job, folder: Path, at: At) -> None:
    """Tune, and note what that took."""
    from instil.experiments.recipe import resolve
    from instil.experiments.tune import tune

    assert job.recipe is not None
    recipe = resolve(job.recipe)
    steps = recipe.tuning.max_steps
    at("opening", 0, 0)
    begun = time.monotonic()
    result = tune(
        recipe,
        folder,
        resume=(folder / "fingerprint.json").is_file(),
        say=lambda line: None,  # it stands in the run's log
        show_progress=False,
        follow=lambda row: at("tuning", int(row.get("step", 0)), steps),
        measure_forgetting=False,
    )
    training = result.training
    facts = {
        "steps": training.steps,
        "tokens": training.tokens,
        "answer_tokens": training.answer_tokens,
        "loss": training.loss,
        "skipped": training.skipped,
        "seconds": round(training.seconds, 3),
        "whole_seconds": round(time.monotonic() - begun, 3),
        "tasks": list(result.tasks),
        "curve": [row for row in read_metrics(folder) if "evaluation" in row],
    }
    write_json(folder / TUNED, {"facts": facts})


def _ask(job: Job, model: str, asks: Mapping[str, Ask], folder: Path, at: At) -> None:
    """Ask the model what it was not asked."""
    from instil.evaluation import archive
    from instil.evaluation.evaluate import evaluate_suite
    from instil.models.loading import load

    at("opening", 0, 0)
    how = {} if job.recipe is None else job.recipe["model"]
    loaded = load(model, **{key: how[key] for key in ("device", "dtype") if key in how})
    # A base is asked alike by many studies; a tuned model's answers are found in its folder, if anywhere.
    kept = archive.folder() if job.recipe is None else None
    for name, ask in asks.items():
        suite = _opened(ask, None if job.data is None else Path(job.data))
        shown = f"asking {ask.name}"
        at(shown, 0, suite.size(ask.limit))
        evaluate_suite(
            loaded,
            suite,
            out=folder / "asks" / name,
            limit=ask.limit,
            cache=kept,
            on_progress=lambda done, total, shown=shown: at(shown, done, total),  # type: ignore[misc]
        )


_suites: dict[str, Suite] = {}


def _opened(ask: Ask, data: Path | None) -> Suite:
    """The suite of an ask; a worker opens each once."""
    from instil.studies.identity import open_ask

    made_of = repr((ask.suite, ask.held_out, data))
    if made_of not in _suites:
        _suites[made_of] = open_ask(ask, data)
    return _suites[made_of]


def _tidy(folder: Path, *, keeps_model: bool) -> None:
    """Remove what only a run that goes on would need, and weights that nobody begins from where they are large."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    weights = sum(file.stat().st_size for file in (folder / "model").glob("*.safetensors"))
    if not keeps_model and weights > _SMALL:
        shutil.rmtree(folder / "model", ignore_errors=True)
