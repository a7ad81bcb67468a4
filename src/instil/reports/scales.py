"""Where a value stands along an axis, and which places of the axis are named.

    scale_of({"label": "examples", "scale": "symlog"}, [0, 16, 64, 256])

    |--//--|----------|----------|        zero stands apart, what follows is logarithmic
    0      16         64        256       at(0) = 0.05, at(16) = 0.19, at(256) = 0.95

A scale maps to shares of the axis' length, 0 at its start and 1 at its end; what it cannot show is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from instil.reports.figures import percent

_EDGE = 0.05
"""Share of the axis that stays free before the first and after the last value, so that no mark is cut in half."""
_APART = 0.14
"""Share of a symlog axis between zero and the first positive value."""
_LITTLE = 0.35
"""Share of a step by which an interval may pass the last round place without another step of empty axis."""
_FEWEST_NAMED = 3
"""Round places that a logarithmic axis has where it can; two ends alone do not tell what lies between."""
_MOST_NAMED = 9
"""Values that are named one by one; where there are more, round places are."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A named place."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis of known ends."""

    kind: Literal["linear", "log", "symlog", "category"]
    low: float
    high: float
    names: tuple[str, ...] = ()
    """Of a category axis, in order."""
    percent: bool = False
    places: tuple[float, ...] = ()
    """What is named on a numeric axis."""

    def at(self, value: object) -> float | None:
        """The share of the axis' length at which a value stands."""
        if self.kind == "category":
            return (self.names.index(str(value)) + 0.5) / len(self.names) if str(value) in self.names else None
        if not is_number(value):
            return None
        number = float(value)  # type: ignore[arg-type]  # just asked
        if self.kind == "linear":
            return (number - self.low) / (self.high - self.low)
        if number <= 0:
            return _EDGE if self.kind == "symlog" else None
        first = _EDGE + (_APART if self.kind == "symlog" else 0)
        span = math.log(self.high) - math.log(self.low)  # their ratio may be larger than a number can be
        share = (math.log(number) - math.log(self.low)) / span if span else 0.5
        return first + share * (1 - _EDGE - first)

    @property
    def ticks(self) -> list[Tick]:
        """The named places, in order."""
        if self.kind == "category":
            return [Tick((index + 0.5) / len(self.names), name) for index, name in enumerate(self.names)]
        made = [(self.at(place), self.say(place)) for place in self.places]
        return [Tick(at, label) for at, label in made if at is not None and -1e-9 <= at <= 1 + 1e-9]

    def say(self, value: object, *, digits: int = 0) -> str:
        """A value as the axis writes it."""
        if not is_number(value):
            return str(value)
        number = float(value)  # type: ignore[arg-type]  # just asked
        if not self.percent:
            return say_number(number)
        if not digits and self.places and any(abs(100 * place - round(100 * place)) > 1e-6 for place in self.places):
            digits = 1
        return f"{percent(number, digits=digits)}%"


def is_number(value: object) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def say_number(value: float) -> str:
    """A number as short as it can be read: 1836 -> `1,836`, 2500000 -> `2.5M`, 0.0625 -> `0.0625`, 3e-05 -> `3e−05`."""
    size = abs(value)
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if size >= unit:
            return f"{value / unit:.3g}{letter}".replace("-", "−")
    text = f"{value:,.0f}" if size >= 1000 or value == int(value) else f"{value:.3g}"
    return text.replace("-", "−")


def scale_of(
    axis: Mapping[str, Any],
    values: Sequence[object],
    *,
    zero: bool = False,
    most: int = 6,
    measured: Sequence[object] = (),
) -> Scale:
    """The scale of an axis for what is to be shown on it.

    Args:
        axis: as a figure gives it (`study_report.Axis`).
        values: everything that must fit, None for what is missing.
        zero: whether a linear axis starts at zero, so that lengths can be compared.
        most: round places that it names.
        measured: places that a logarithmic axis names where they are few; all values by default.
    """
    named = list(axis.get("ticks") or [])
    shown = [value for value in values if value is not None and not (isinstance(value, float) and math.isnan(value))]
    kind = axis.get("scale") or "linear"
    if kind == "category" or any(isinstance(value, str) for value in [*shown, *named]):
        names = dict.fromkeys(str(value) for value in [*named, *shown])
        return Scale("category", 0, 1, tuple(names) or ("",))
    numbers = sorted({float(value) for value in [*shown, *named] if is_number(value)})
    per_cent = bool(axis.get("percent"))
    if kind in ("log", "symlog"):
        few = sorted({float(value) for value in measured if is_number(value)})  # type: ignore[arg-type]
        return _logarithmic(kind, numbers, named or few, per_cent)
    return _linear(numbers, named, per_cent, zero=zero, most=most)


def _logarithmic(kind: str, numbers: Sequence[float], named: Sequence[Any], per_cent: bool) -> Scale:
    positive = [number for number in numbers if number > 0] or [1.0]
    low, high = positive[0], positive[-1]
    if low == high:
        low, high = low / 2, high * 2
    places = tuple(named) or tuple(numbers)
    if len(places) > _MOST_NAMED:
        places = tuple(number for number in numbers[:1] if number <= 0) + _round_places(low, high)
    return Scale("symlog" if kind == "symlog" else "log", low, high, (), per_cent, places)


def _round_places(low: float, high: float) -> tuple[float, ...]:
    """Round places of a logarithmic axis: tens, where it holds three; else 1, 2 and 5; else those of a linear one."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5)):
        places = tuple(place for ten in tens for d in digits if low <= (place := d * 10.0**ten) <= high)
        if len(places) >= _FEWEST_NAMED:
            return places
    step = round_step((high - low) / (_FEWEST_NAMED + 1))
    places = tuple(step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1))
    return places if len(places) > 1 else (low, high)


def _linear(numbers: Sequence[float], named: Sequence[Any], per_cent: bool, *, zero: bool, most: int) -> Scale:
    low, high = (numbers[0], numbers[-1]) if numbers else (0.0, 1.0)
    inside = per_cent and low >= 0 and high <= 1
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        low, high = (low - 0.5, high + 0.5) if low else (0.0, 1.0)
    step = round_step((high - low) / most)
    first, last = _end(low / step, -1), _end(high / step, 1)
    low, high = min(low, first * step), max(high, last * step)
    if inside:
        low, high = max(low, 0.0), min(high, 1.0)
    places = tuple(named) or tuple(step * k for k in range(first, last + 1) if low - 1e-9 <= step * k <= high + 1e-9)
    return Scale("linear", low, high, (), per_cent, tuple(0.0 if abs(place) < 1e-12 else place for place in places))


def _end(steps: float, side: int) -> int:
    """The last round place of an axis: the next one outside, unless what reaches past the one inside is little."""
    inside = math.floor(side * steps + 1e-9)
    return side * (inside if side * steps - inside < _LITTLE else inside + 1)


def round_step(least: float) -> float:
    """The next round step that is no smaller: 0.13 -> 0.2, 21 -> 25, 0.7 -> 1."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(unit * round_ for round_ in (1, 2, 2.5, 5, 10) if unit * round_ >= least * (1 - 1e-9))
