"""A chart with two axes: room for marks, round places along both sides, what they mean, and what is missing.

accuracy                      <- what the heights are, above the axis
60% |        .--<>
40% |  o---o'                 frame.place(64, 0.4) -> pixels
20% |
    +--//--+------+----
    0      16     64          <- ticks
          examples            <- what the places are
Not measured: base at 256.    <- a chart never hides a hole
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from instil.reports.ink import SMALL, TEXT, Entry, legend, line, path, text, together, wide_as, wrapped
from instil.reports.scales import Scale, Tick, scale_of

NARROW = 500
"""Pixels of width below which a chart is drawn for a telephone."""
_MOST_MISSING = 6


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished chart, without the `<svg>` around it."""

    body: Markup
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Frame:
    """Where things stand in a chart."""

    x: Scale
    y: Scale
    left: float
    top: float
    right: float
    bottom: float

    def across(self, value: object) -> float | None:
        """The pixel column of a value of the x axis."""
        at = self.x.at(value)
        return None if at is None else self.left + at * (self.right - self.left)

    def up(self, value: object) -> float | None:
        """The pixel row of a value of the y axis."""
        at = self.y.at(value)
        return None if at is None else self.bottom - at * (self.bottom - self.top)

    def places(self, pairs: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        """The pixels of (x, y) pairs, without those that the axes cannot show."""
        found = [(self.across(x), self.up(y)) for x, y in pairs]
        return [(x, min(max(y, self.top), self.bottom)) for x, y in found if x is not None and y is not None]

    @property
    def narrow(self) -> bool:
        """Whether little room is left."""
        return self.right - self.left < NARROW - 60


def framed(
    figure: Mapping[str, Any],
    xs: Sequence[object],
    ys: Sequence[object],
    *,
    width: float,
    entries: Sequence[Entry],
    places: Sequence[object] = (),
) -> tuple[Frame, Markup]:
    """The frame of a chart and what it looks like before anything is drawn in it: legend, grid, ticks, labels.

    Args:
        figure: with its axes under `x` and `y`.
        xs: everything that must fit along the x axis.
        ys: everything that must fit along the y axis, ends of intervals included.
        width: of the drawing, in pixels.
        entries: the legend.
        places: where along the x axis something was measured; a logarithmic axis names these where they are few.
    """
    narrow = width < NARROW
    across = scale_of(figure["x"], xs, most=4 if narrow else 7, measured=places)
    up = scale_of(figure["y"], ys, zero=True, most=5)
    names, high = legend(entries, width, 0)
    left = 12 + max((wide_as(tick.label, SMALL) for tick in up.ticks), default=0)
    top = high + 30
    frame = Frame(across, up, left, top, width - 14, top + (210 if narrow else 290))
    heading = text(str(figure["y"].get("label", "")), 0, top - 14, kind="soft")
    return frame, together([names, heading, _grid(frame)])


def _grid(frame: Frame) -> Markup:
    drawn: list[Markup] = []
    for tick in frame.y.ticks:
        y = frame.bottom - tick.at * (frame.bottom - frame.top)
        zero = tick.label.strip("%") == "0"
        drawn.append(line("zero" if zero else "rule", frame.left, y, frame.right, y))
        drawn.append(text(tick.label, frame.left - 8, y + 4, anchor="end"))
    if not any(tick.label.strip("%") == "0" for tick in frame.y.ticks):
        drawn.append(line("rule", frame.left, frame.bottom, frame.right, frame.bottom))
    return together(drawn)


def below(frame: Frame, label: str, missing: Sequence[str]) -> tuple[Markup, float]:
    """Ticks and label of the x axis and what was not measured; and where the drawing ends."""
    length = frame.right - frame.left
    drawn: list[Markup] = []
    depth = 0
    if frame.x.kind == "category":
        room = length / len(frame.x.names) - 6
        for tick in frame.x.ticks:
            lines = wrapped(tick.label, SMALL, room, lines=3)
            depth = max(depth, len(lines))
            x = frame.left + tick.at * length
            drawn += [text(said, x, frame.bottom + 18 + 15 * k, anchor="middle") for k, said in enumerate(lines)]
    else:
        depth = 1
        for tick in _apart(frame.x.ticks, length):
            x = frame.left + tick.at * length
            drawn.append(line("tick", x, frame.bottom, x, frame.bottom + 5))
            drawn.append(text(tick.label, x, frame.bottom + 19, anchor="middle"))
        if frame.x.kind == "symlog" and frame.x.places and min(frame.x.places) <= 0:
            drawn.append(_broken(frame))
    y = frame.bottom + 22 + 15 * depth
    for said in wrapped(label, SMALL, length):
        drawn.append(text(said, (frame.left + frame.right) / 2, y, anchor="middle"))
        y += 16
    hole, end = unmeasured(missing, frame.right + 14, y + 4)
    return together([*drawn, hole]), end


def _apart(ticks: Sequence[Tick], length: float) -> list[Tick]:
    """The ticks whose labels do not run into the one before; the last one is always kept."""
    kept: list[Tick] = []
    for tick in ticks:
        half = wide_as(tick.label, SMALL) / 2
        while kept and kept[-1].at * length + wide_as(kept[-1].label, SMALL) / 2 + 8 > tick.at * length - half:
            if tick is not ticks[-1] or len(kept) == 1:
                break
            kept.pop()
        else:
            kept.append(tick)
    return kept


def _broken(frame: Frame) -> Markup:
    """Two strokes through the axis: zero does not belong to the logarithmic scale beside it."""
    x, y = frame.left + 0.12 * (frame.right - frame.left), frame.bottom
    return together(
        [
            path("paper", [(x - 4, y - 1), (x + 4, y - 1), (x + 4, y + 1), (x - 4, y + 1)], closed=True),
            line("tick", x - 6, y + 5, x - 1, y - 5),
            line("tick", x + 1, y + 5, x + 6, y - 5),
        ]
    )


def unmeasured(missing: Sequence[str], width: float, y: float) -> tuple[Markup, float]:
    """What a chart lacks, in words below it; and where the drawing ends."""
    if not missing:
        return Markup(""), y
    said = "; ".join(missing[:_MOST_MISSING])
    more = f"; and {len(missing) - _MOST_MISSING} more" if len(missing) > _MOST_MISSING else ""
    lines = wrapped(f"Not measured: {said}{more}.", SMALL, width)
    drawn = [text(words, 0, y + 14 + 16 * k, kind="hole") for k, words in enumerate(lines)]
    return together(drawn), y + 8 + 16 * len(lines)


def nothing(width: float) -> Drawing:
    """What stands where a chart would, when nothing that it shows was measured."""
    words = text("Nothing that this figure shows was measured.", width / 2, 44, size=TEXT, anchor="middle", kind="hole")
    return Drawing(words, width, 80)
