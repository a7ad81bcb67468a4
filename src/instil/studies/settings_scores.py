"""What each level of the study of settings scored, by the part of the suites and the way of asking.

asked    zero-shot    as the suite asks for the answer alone
         few-shot     the same items after worked examples
         options      the same items with their options listed
         both         zero-shot and few-shot, every item counted once in each

scores.of("few-shot 50%", part, "both")    {0: {"pocket/unseen-skills/sort": [1.0, 0.0, 1.0, 1.0]}, 1: ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from instil.studies.arms import BySeed, Units, by_seed, for_each, versus
from instil.studies.best import PROBES, ask_name, best
from instil.studies.intervals import Interval
from instil.studies.settings import BASE, FEW_SHOT, OPTIONS, REFERENCE
from instil.studies.table import Results

if TYPE_CHECKING:
    from instil.studies.settings import Spec

Asked = Literal["zero-shot", "few-shot", "options", "both"]
_ADDED = {"zero-shot": "", "few-shot": FEW_SHOT, "options": OPTIONS}


@dataclass(frozen=True, slots=True)
class Part:
    """Tasks that are reported together."""

    name: str
    groups: Sequence[str]


def held_in(spec: Spec) -> Part:
    """The tasks that are trained on."""
    return Part("held-in", spec.held_in)


def held_out(spec: Spec) -> Part:
    """The tasks that no training sees."""
    return Part("held-out", spec.held_out)


def others(spec: Spec) -> list[Part]:
    """Every further group by itself."""
    return [Part(group.replace("_", " "), [group]) for group in spec.also]


@dataclass(frozen=True)
class Scores:
    """The answers of one model's levels. See the module's picture."""

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
        if asked == "both":
            zero, few = (self.of(arm, part, way) for way in ("zero-shot", "few-shot"))
            return {seed: _joined(zero[seed], few[seed]) for seed in zero if seed in few}
        suites = [suite + _ADDED[asked] for suite in self.suites]
        settings = self._direct(suites)
        if arm == BASE:
            units = self.results.units(
                model=self.model, arm=arm, suite=suites, groups=part.groups, setting=settings, method="generate"
            )
            return for_each(self.seeds, units)
        return by_seed(
            self.results,
            model=self.model,
            arm=arm,
            suite=suites,
            groups=part.groups,
            setting=settings,
            method="generate",
        )

    def gain(self, arm: str, part: Part, asked: Asked) -> Interval | None:
        """A level minus the reference."""
        return versus(self.of(REFERENCE, part, asked), self.of(arm, part, asked))

    def best_of_base(self, part: Part) -> tuple[str, Units]:
        """The base in the way that suits it best: its name, and its scores."""
        way, units = "zero_shot", dict[str, Sequence[float]]()
        for suite in self.suites:
            settings = self._direct([suite, suite + PROBES])
            found = best(self.results, suite, model=self.model, arm=BASE, groups=part.groups, setting=settings)
            way, units = found.way, units | dict(found.units)
        return way, units

    def _direct(self, suites: Sequence[str]) -> list[str]:
        """The settings of these asks that ask for the answer alone."""
        named = {one.setting for one in self.results.scored if one.suite in suites}
        return sorted(name for name in named if "cot" not in name.split("-"))


def _joined(zero: Units, few: Units) -> Units:
    return {task: [*zero[task], *few[task]] for task in zero if task in few}
