"""What each arm of the study of chains of thought scored, by what was asked how.

    part       group(s) of the suites       held-in, held-out, and every further group
    asked      answer   reasoning tasks, for the answer alone        steps   the same tasks, for their steps
               free     as answer, found anywhere in the text        told    and told to think step by step
               others   tasks without steps, for the answer

    scores.of("both", part, "steps")    {0: {"pocket/compositions/reverse+first": [1.0, ...]}, 1: ...}

Tasks that a suite asks for with steps as well are the reasoning tasks, part by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from instil.studies.arms import BySeed, Units, by_seed, for_each
from instil.studies.best import PROBES, Best, ask_name, best
from instil.studies.table import Results

if TYPE_CHECKING:
    from instil.studies.cot import Spec

Asked = Literal["answer", "steps", "free", "told", "others"]

BASE = "base"
#: What is added to a suite's name where its reasoning tasks may be answered anywhere in the text, and where they are
#: told to think first.
FREE, TOLD = "-free", "-step-by-step"
_ADDED = {"answer": "", "steps": "", "others": "", "free": FREE, "told": TOLD}


@dataclass(frozen=True, slots=True)
class Part:
    """Tasks that are reported together."""

    name: str
    groups: Sequence[str]


def parts_of(spec: Spec) -> list[Part]:
    """Held-in, held-out, and every further group by itself."""
    parts = [Part("held-in", spec.held_in), Part("held-out", spec.held_out)]
    parts += [Part(group.replace("_", " "), [group]) for group in spec.also]
    return [part for part in parts if part.groups]


@dataclass(frozen=True)
class Scores:
    """The answers of one model's arms. See the module's picture."""

    results: Results
    model: str
    suites: Sequence[str]
    """The names of their asks."""
    seeds: Sequence[int]

    @classmethod
    def read(cls, spec: Spec, results: Results, model: str) -> Scores:
        """Those of one model of the study."""
        return cls(results, model, [ask_name(suite) for suite in spec.suites], spec.seeds)

    def of(self, arm: str, part: Part, asked: Asked) -> BySeed:
        """Seed -> task -> items; the base stands under every seed."""
        found: dict[int, Units] = {}
        tasks = self._tasks(part, asked)
        if not tasks:
            return found
        suites = [suite + _ADDED[asked] for suite in self.suites]
        settings = self._settings(cot=asked == "steps")
        if arm == BASE:
            units = self.results.units(
                model=self.model, arm=arm, suite=suites, groups=part.groups, tasks=tasks, setting=settings
            )
            return for_each(self.seeds, units)
        return by_seed(
            self.results, model=self.model, arm=arm, suite=suites, groups=part.groups, tasks=tasks, setting=settings
        )

    def best_of_base(self, part: Part, asked: Asked) -> Best:
        """The base in the way that suits it best: for reasoning tasks, asked for the answer or for the steps."""
        kinds = (False,) if asked == "others" else (False, True)
        found = Best("zero_shot", {}, {})
        units: dict[str, Sequence[float]] = {}
        tasks = self._tasks(part, asked)
        for suite in self.suites if tasks else ():
            ways = [
                best(
                    self.results,
                    suite,
                    model=self.model,
                    arm=BASE,
                    groups=part.groups,
                    tasks=tasks,
                    setting=self._settings(cot=cot),
                )
                for cot in kinds
            ]
            found = max(ways, key=lambda way: max(way.ways.values(), default=0.0))
            units |= found.units
        return Best(found.way, units, found.ways)

    def _tasks(self, part: Part, asked: Asked) -> list[str]:
        """The reasoning tasks of a part, or its others."""
        there = list(self.results.select(model=self.model, suite=self.suites, groups=part.groups))
        reasoning = {one.task for one in there if _cot(one.setting)}
        wanted = {one.task for one in there} - reasoning if asked == "others" else reasoning
        return sorted(wanted)

    def _settings(self, *, cot: bool) -> list[str]:
        """The settings that ask for steps, or those that do not."""
        asks = {suite + added for suite in self.suites for added in ("", PROBES, FREE, TOLD)}
        return sorted({one.setting for one in self.results.scored if one.suite in asks and _cot(one.setting) is cot})


def _cot(setting: str) -> bool:
    return "cot" in setting.split("-")
