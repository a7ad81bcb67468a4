"""What a study would take, before its first run: `--plan`.

    should-i-quick: 61 runs, 4 of them there already
      1 model, 4 arms, 2 seeds
      base/pocket ...
      instruction tuning   5 runs, 1,500 steps     1.1e+13 FLOPs   0:02:10
      asking              57 asks, 8,120 prompts   3.0e+11 FLOPs   0:03:02
      pre-training of pocket took 2.1e+14 FLOPs; all tuning of this study is 5.2% of that
      disk: 120 MB at the end, 150 MB at most
      about 0:02:40 with 2 workers on this machine

Runs that are there already cost nothing. FLOPs are counted, and seconds measured on this machine, once for each kind
of run (`costs`); what is asked is timed with the model before tuning, which may write longer answers than after it.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from instil.fingerprint import fingerprint
from instil.studies.check import refuse_overlap
from instil.studies.costs import ask_cost, tuning_cost
from instil.studies.grid import Ask
from instil.studies.identity import open_ask
from instil.studies.intervals import counted
from instil.studies.pool import workers_of
from instil.studies.pretraining import pretraining_flops
from instil.studies.questions import question_of
from instil.studies.schedule import Schedule
from instil.studies.units import Unit, survey

if TYPE_CHECKING:
    from instil.evaluation.suite import Suite
    from instil.studies.grid import Grid
    from instil.studies.spec import StudySpec

Say = Callable[[str], None]

#: Bytes of a prompt with its answer and scores in the results of an ask.
_BYTES_PER_PROMPT = 1500
#: Bytes of a run's recipe, metrics and log.
_BYTES_PER_RUN = 40_000
#: Weights, and what an optimizer keeps of them in a checkpoint, of which two are kept.
_CHECKPOINTS = 2 * 3
#: Weights of so many bytes stay (`execute`).
_SMALL = 16 << 20
#: The axes that a plan counts: what is asked, and what varies by chance.
_COUNTED = ("model", "arm", "seed", "draw")
#: Units between two lines that say what is being measured: most are of a kind that was measured before.
_SAID_EVERY = 200
#: What loading a model for an ask takes, and a worker's start.
_OPENING_SECONDS, _START_SECONDS = 0.3, 6.0


@dataclass
class Work:
    """One kind of work of a study."""

    runs: int = 0
    amount: int = 0
    """Steps of tuning, or prompts."""
    flops: float = 0.0
    seconds: float = 0.0

    def add(self, amount: int, flops: float, seconds: float) -> None:
        """One more."""
        self.runs += 1
        self.amount += amount
        self.flops += flops
        self.seconds += seconds


@dataclass
class StudyPlan:
    """What is left to do, and what it takes."""

    name: str
    runs: int
    there: int
    """Runs that are done already."""
    workers: int
    varied: dict[str, int] = field(default_factory=dict)
    """Axis -> how many different values its runs have."""
    tuning: dict[str, Work] = field(default_factory=lambda: defaultdict(Work))
    """By the first part of the runs' keys: `tuned`, `fine`, `control`."""
    asking: Work = field(default_factory=Work)
    seconds: float = 0.0
    """From start to end, with all workers."""
    disk_bytes: int = 0
    """What stays."""
    peak_bytes: int = 0
    pretraining: dict[str, float | None] = field(default_factory=dict)
    """By model: the FLOPs of its pre-training."""
    tuning_flops: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By model."""

    @property
    def flops(self) -> float:
        """All of it."""
        return self.asking.flops + sum(work.flops for work in self.tuning.values())

    def lines(self) -> list[str]:
        """The plan for people."""
        there = f", {self.there:,} of them there already" if self.there else ""
        said = [f"{self.name}: {counted(self.runs, 'run')}{there}"]
        if told := ", ".join(counted(count, axis) for axis, count in self.varied.items()):
            said.append(f"  {told}")
        for kind, work in self.tuning.items():
            said.append(
                f"  tuning, {kind}: {counted(work.runs, 'run')}, {counted(work.amount, 'step')}, "
                f"{work.flops:.2g} FLOPs, {_clock(work.seconds)} on one worker"
            )
        if self.asking.runs:
            said.append(
                f"  asking: {counted(self.asking.runs, 'evaluation')}, {counted(self.asking.amount, 'prompt')}, "
                f"{self.asking.flops:.2g} FLOPs, {_clock(self.asking.seconds)} on one worker"
            )
        for model, took in self.pretraining.items():
            if took is None:
                said.append(f"  pre-training of {model}: not known (give its tokens as pretraining_tokens)")
            elif self.tuning_flops[model]:
                share = self.tuning_flops[model] / took
                said.append(f"  pre-training of {model} took {took:.2g} FLOPs; tuning here is {share:.2%} of that")
        if self.there == self.runs:
            return [*said, "  nothing is left to do but to write the page"]
        said.append(f"  disk: {_size(self.disk_bytes)} at the end, {_size(self.peak_bytes)} at most")
        said.append(f"  about {_clock(self.seconds)} with {counted(self.workers, 'worker')} on this machine")
        return said


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def plan_of(
    spec: StudySpec,
    out: Path | None,
    *,
    runs: Path | None = None,
    workers: int | None = None,
    say: Say = lambda line: None,
) -> StudyPlan:
    """Look at every run that is left, and measure each kind of them.

    Args:
        spec: the study.
        out: its folder, where what is done may lie; None, for one that is not begun.
        runs: where its runs lie, if not in `out/runs`.
        workers: runs at a time; what the study file says, or as many as the cores allow.
        say: is told what is being measured.

    Raises:
        InstilError: whatever is wrong with the study, its models, mixtures or suites.
    """
    grid: Grid = question_of(spec.question).grid(spec)
    refuse_overlap(spec, say)
    data = None if spec.data is None else Path(spec.data).absolute()
    place = runs or (out / "runs" if out is not None else Path(os.devnull) / "runs")
    found = survey(grid, place.absolute(), data=data, threads=spec.threads)
    left = found.left()
    asked = spec.workers if workers is None else workers
    size = workers_of(asked, threads=spec.threads, runs=len(left))
    plan = StudyPlan(spec.name, len(grid), len(grid) - sum(len(unit.runs) for unit in left), size)
    plan.varied = _varied(grid)
    for model in spec.models:
        plan.pretraining[model] = pretraining_flops(model, tokens=spec.pretraining_tokens.get(model))
    seconds: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for number, unit in enumerate(left):
        if number % _SAID_EVERY == 0:
            say(f"measuring {unit.key} ({number + 1:,} of {len(left):,})")
        root = root_of(unit, found.units)
        sizes.setdefault(root, _weights(root))
        seconds[unit.identity] = _add(plan, unit, root, spec, data)
        plan.disk_bytes += _BYTES_PER_RUN
        if unit.recipe is not None and (unit.keeps_model or sizes[root] <= _SMALL):
            plan.disk_bytes += round(sizes[root])
    if left:
        plan.seconds = Schedule(left, seconds).seconds_left(plan.workers) + _START_SECONDS
    plan.peak_bytes = plan.disk_bytes + round(plan.workers * _CHECKPOINTS * max(sizes.values(), default=0.0))
    return plan


def _varied(grid: Grid) -> dict[str, int]:
    """How many values each axis takes over the runs."""
    found = {axis: {run.axes[axis] for run in grid if axis in run.axes} for axis in _COUNTED}
    return {axis: len(values) for axis, values in found.items() if values}


def root_of(unit: Unit, units: Mapping[str, Unit]) -> str:
    """The model that the line of a unit begins from."""
    while unit.start:
        unit = units[unit.start]
    return unit.model if unit.recipe is None else unit.recipe.model.path


def _weights(model: str) -> float:
    from instil.models.loading import resolve

    return sum(file.stat().st_size for file in Path(resolve(model)).glob("*.safetensors"))


def _add(plan: StudyPlan, unit: Unit, root: str, spec: StudySpec, data: Path | None) -> float:
    """Add what is left of a unit; its seconds."""
    total = 0.0
    if unit.recipe is not None and not unit.has_model:
        flops, seconds = tuning_cost(unit.recipe, root, threads=spec.threads)
        plan.tuning[unit.key.partition("/")[0]].add(unit.recipe.tuning.max_steps, flops, seconds)
        plan.tuning_flops[root] += flops
        total += seconds
    for ask in unit.unanswered().values():
        prompts, flops, seconds = _ask(ask, root, spec, data)
        plan.asking.add(prompts, flops, seconds)
        plan.disk_bytes += _BYTES_PER_PROMPT * prompts
        total += seconds
    return total


@lru_cache(maxsize=64)
def _opened(ask: str, data: Path | None) -> Suite:
    """The suite of an ask: both arms of a study are asked it, with every seed."""
    return open_ask(Ask(**json.loads(ask)), data)


def _ask(ask: Ask, root: str, spec: StudySpec, data: Path | None) -> tuple[int, float, float]:
    """(prompts, FLOPs, seconds) of an ask."""
    suite = _opened(json.dumps(asdict(ask), sort_keys=True), data)
    prompts = suite.size(ask.limit)
    # asks that are asked alike cost alike: the same settings, methods and lengths of answers, whatever the task
    alike = fingerprint([sorted({(str(cell.setting.name), cell.method) for cell in suite.cells}), ask.suite])
    cost = ask_cost(suite, alike, root, threads=spec.threads, limit=ask.limit)
    return prompts, prompts * cost.flops_per_prompt, _OPENING_SECONDS + prompts * cost.seconds_per_prompt
