"""A small study of a tiny random model: a base, two tunings, and what begins from one of them; and a pool without
processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.models.tiny import build, wrap

from instil.models.loading import save
from instil.studies.execute import Job
from instil.studies.grid import Ask, Grid, Run
from instil.studies.pool import News, carried_out, news_of


def write_world(folder: Path) -> Path:
    """A model, rows to tune on, and a suite file."""
    folder.mkdir(parents=True, exist_ok=True)
    save(wrap(build("llama")), folder / "base", card="a random model")
    rows = [{"inputs": f"What is {k} + 1?", "targets": str(k + 1)} for k in range(40)]
    write_rows(folder / "my.jsonl", rows)
    write_rows(folder / "test.jsonl", [{"inputs": f"What is {k} + 2?", "targets": str(k + 2)} for k in range(6)])
    write_suite(folder, "sums")
    return folder


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_suite(folder: Path, name: str, **keys: Any) -> Path:
    source = {"collection": "jsonl", "path": str(folder / "test.jsonl"), "group": "unseen"}
    about = {"name": name, "settings": ["zero-shot"], "max_new_tokens": 3, "sources": [source], **keys}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(about))
    return path


def recipe(world: Path, seed: int = 0, **tuning: Any) -> dict[str, Any]:
    """A recipe as plain data."""
    steps = {"max_steps": 4, "prompts_per_step": 4, "save_every": 1, "log_every": 1, "learning_rate": 1e-3}
    return {
        "model": str(world / "base"),
        "seed": seed,
        "mixture": {"sources": [{"collection": "jsonl", "path": str(world / "my.jsonl")}]},
        "tuning": {**steps, **tuning},
    }


def runs_of(world: Path, *, seeds: int = 1, after: Mapping[str, Any] | None = None, **tuning: Any) -> list[Run]:
    """base, tuned/0, after/0, tuned/1, ..."""
    asks = (Ask("sums", suite=str(world / "sums.yaml")),)
    runs = [Run("base", {"arm": "base", "seed": 0}, model=str(world / "base"), asks=asks)]
    for seed in range(seeds):
        tuned = f"tuned/{seed}"
        runs.append(Run(tuned, {"arm": "tuned", "seed": seed}, recipe=recipe(world, seed, **tuning), asks=asks))
        begun = recipe(world, seed, **(after or {"max_steps": 2}))
        runs.append(Run(f"after/{seed}", {"arm": "after", "seed": seed}, recipe=begun, start=tuned, asks=asks))
    return runs


def grid_of(world: Path, **how: Any) -> Grid:
    return Grid(tuple(runs_of(world, **how)))


class InlinePool:
    """Carries units out in this process, as they are given."""

    given: list[str]
    """The keys of all units that any of them was given."""

    def __init__(self, size: int, *, threads: int, devices: tuple[str, ...] = ()) -> None:
        self.size = size
        self._news: list[News] = []
        self.replaced = 0

    def give(self, worker: int, job: Job) -> None:
        type(self).given.append(job.key)
        said: list[dict[str, Any]] = []
        said.append(carried_out(job, said.append))
        self._news += [news_of(worker, one) for one in said]

    def hear(self, seconds: float) -> News | None:
        return self._news.pop(0) if self._news else None

    def replace(self, worker: int) -> None:
        self.replaced += 1

    def stop(self, *, gently: bool) -> None:
        pass
