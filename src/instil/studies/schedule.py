"""Which unit is carried out next: what most depends on first, the longest first, nothing before what it begins from.

    left   tuned 60 s  <- after-16 20 s, after-64 25 s        base 5 s
    next   tuned (85 s to the end of its line), base; once tuned is done: after-64, after-16

A unit that failed takes those that begin from it along: they are skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from instil.studies.units import Unit


@dataclass
class Schedule:
    """The units that are left, and what became of them.

    Args:
        left: what is to be done.
        seconds: how long each is expected to take, by identity.
    """

    left: Sequence[Unit]
    seconds: Mapping[str, float]
    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Identity -> why."""
    skipped: dict[str, str] = field(default_factory=dict)
    _given: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._units = {unit.identity: unit for unit in self.left}
        self._line = {unit.identity: self.seconds[unit.identity] for unit in self.left}
        for unit in reversed(list(self.left)):  # what is begun from stands before what begins from it
            if (start := self._waits_for(unit)) is not None:
                behind = self.seconds[start] + self._line[unit.identity]
                self._line[start] = max(self._line[start], behind)

    def _waits_for(self, unit: Unit) -> str | None:
        """The unit that must be done before this one; None where it may begin at once."""
        return unit.start if unit.start in self._units else None

    def next(self) -> Unit | None:
        """The unit to carry out now; None while all that is left waits for something."""
        ready = [
            unit
            for unit in self.left
            if unit.identity not in self._given and ((start := self._waits_for(unit)) is None or start in self.finished)
        ]
        if not ready:
            return None
        unit = max(ready, key=lambda one: self._line[one.identity])  # the first of equal ones
        self._given.add(unit.identity)
        return unit

    def finish(self, identity: str) -> None:
        """A unit is done."""
        self.finished.append(identity)

    def fail(self, identity: str, reason: str) -> None:
        """A unit raised; what begins from it is skipped."""
        self.failed[identity] = reason
        lost = {identity}
        for unit in self.left:
            if unit.start in lost and unit.identity not in self._given:
                begun_from = self._units[unit.start].key
                self.skipped[unit.identity] = f"it begins from {begun_from}, which failed"
                self._given.add(unit.identity)
                lost.add(unit.identity)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left, and nothing is being done."""
        return len(self.finished) + len(self.failed) + len(self.skipped) == len(self.left)

    def seconds_left(self, workers: int) -> float:
        """How long the rest is expected to take, at this many at a time: no less than its longest line."""
        over = {*self.finished, *self.failed, *self.skipped}
        rest = [unit.identity for unit in self.left if unit.identity not in over]
        total = sum(self.seconds[identity] for identity in rest)
        return max(total / workers, max((self._line[identity] for identity in rest), default=0.0))
