"""Learning curves of `should-i`: how many steps each arm takes to what the base arm reaches at its best.

    base + fine-tuning    step 0: 0.01   10: 0.32   20: 0.71   30: 0.74   40: 0.73     best 0.74, reached at step 30
    tuned + fine-tuning   step 0: 0.61   10: 0.75   20: 0.82   ...                     reaches 0.74 at step 10

The curves stand in every fine-tuning's metrics: the test rows of its task, asked on the way. Nothing is chosen by them,
and the last weights are those that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from instil.studies.grid import Run
from instil.studies.intervals import Interval, crossed
from instil.studies.table import Results

Curve = Mapping[int, float]
"""Step -> score."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both arms of one fine-tuning: the same task, budget and seed."""

    task: str
    seed: int
    base: Curve
    tuned: Curve

    @property
    def reached_by_base(self) -> int:
        """The step at which the base arm is at its best."""
        return min(step for step, score in self.base.items() if score == max(self.base.values()))

    @property
    def reached_by_tuned(self) -> int | None:
        """The step at which the tuned arm first scores as much; None where it never does."""
        best = max(self.base.values())
        return min((step for step, score in self.tuned.items() if score >= best), default=None)

    @property
    def sooner(self) -> int:
        """1 where the tuned arm is there first, 0 where both are at the same step, -1 where it is later or never."""
        tuned = self.reached_by_tuned
        return -1 if tuned is None else (tuned < self.reached_by_base) - (tuned > self.reached_by_base)


@dataclass(frozen=True, slots=True)
class Speed:
    """How much faster the tuned arm is, over all pairs."""

    pairs: int
    reached: int
    """Pairs in which the tuned arm scores as much as the base arm's best at some step."""
    base_steps: float
    """The median step at which the base arm is at its best."""
    tuned_steps: float | None
    """The median step at which the tuned arm is there; None where more than half never are."""


def pairs(results: Results, model: str, part: str, budget: str) -> list[Pair]:
    """The curves of both arms, of the tasks of a part; pairs that lack one are left out."""
    targets = {"suite": "targets", "groups": part, "model": model}
    tasks = {one.run: one.task for one in results.select(**targets, budget=budget)}
    begins = {
        (arm, one.task, seed): one.mean
        for arm in ("base", "tuned")
        for run in results.runs(model=model, budget="0", arm=arm)
        for seed in ([run.axes["seed"]] if arm == "tuned" else results.values("seed"))
        for one in results.select(**targets, run=run.key)
    }
    found: dict[tuple[str, int], dict[str, Curve]] = {}
    for run in results.runs(model=model, budget=budget, arm=["base", "tuned"]):
        curve = _curve(results, run)
        if run.key not in tasks or not curve:
            continue
        arm, task, seed = str(run.axes["arm"]), tasks[run.key], int(run.axes["seed"])
        before = begins.get((arm, task, seed))  # asked before the first step, zero-shot as on the way
        found.setdefault((task, seed), {})[arm] = curve if before is None else {0: before, **curve}
    return [
        Pair(task, seed, arms["base"], arms["tuned"])
        for (task, seed), arms in found.items()
        if set(arms) == {"base", "tuned"}
    ]


def _curve(results: Results, run: Run) -> Curve:
    rows = results.facts(run.key).get("curve", ())
    return {
        int(row["step"]): float(row["evaluation"]["validation"]) for row in rows if "validation" in row["evaluation"]
    }


def speed(found: Sequence[Pair]) -> Speed | None:
    """The medians; None where there is no pair."""
    if not found:
        return None
    reached = [pair.reached_by_tuned for pair in found]
    there = [step for step in reached if step is not None]
    never = float("inf")
    middle = median(never if step is None else step for step in reached)
    return Speed(
        len(found), len(there), median(pair.reached_by_base for pair in found), None if middle == never else middle
    )


def sooner(found: Sequence[Pair]) -> Interval | None:
    """How much more often the tuned arm is at the base arm's best sooner than later: 1 always sooner, -1 always later.

    Later is also never: how many more steps such an arm would take is not known, so steps are not averaged. The base
    arm always reaches its own best and the tuned arm need not, so without any difference this lies below zero: a noisy
    curve speaks for the base. None where there is no pair.
    """
    signs: dict[int, dict[str, list[float]]] = {}
    for pair in found:
        signs.setdefault(pair.seed, {})[pair.task] = [float(pair.sooner)]
    return crossed(signs, least=-1.0) if signs else None


def points(found: Sequence[Pair], arm: str) -> list[dict[str, float]]:
    """The mean curve of an arm over tasks and seeds, with its intervals."""
    steps = sorted({step for pair in found for step in getattr(pair, arm)})
    made = []
    for step in steps:
        scores: dict[int, dict[str, list[float]]] = {}
        for pair in found:
            if step in getattr(pair, arm):
                scores.setdefault(pair.seed, {})[pair.task] = [getattr(pair, arm)[step]]
        mean = crossed(scores)
        made.append({"x": float(step), "y": mean.score, "low": mean.low, "high": mean.high, "n": mean.n})
    return made
