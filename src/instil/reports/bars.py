"""Charts whose lines have names: values with their intervals, one line a thing; a matrix of numbers.

rows    unseen skills   |      o--|                 4% (1% to 7%)
                        |               |--<>--|    61% (57% to 65%)

matrix             lists   strings   dates
        lists       +41       +12      −2          darker is more; two colours around zero
        strings      +8       +39       –          – was not measured
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from instil.reports.figures import percent
from instil.reports.frame import NARROW, Drawing, nothing, unmeasured
from instil.reports.ink import (
    SMALL,
    TEXT,
    Entry,
    cut,
    fixed,
    group,
    legend,
    line,
    mark,
    path,
    style_of,
    text,
    together,
    told,
    wide_as,
    wrapped,
)
from instil.reports.scales import Scale, is_number, scale_of

_LANE = 20
_CELL = 34
_MOST_LABEL = 210
_FAR = 2.0
"""How many times as far from zero as four fifths of all ends something must be for the axis to be cut before it."""


def rows(figure: Mapping[str, Any], *, width: float) -> Drawing:
    """Values with their intervals, one line a thing and one lane a value."""
    lines = figure["rows"]
    full = bool(figure.get("full_scale"))
    marks = [one for row in lines for one in row["marks"] if is_number(one.get("value"))]
    if not marks:
        return nothing(width)
    narrow = width < NARROW
    label = 0.0 if narrow else min(_MOST_LABEL, 16 + max(_label_width(row) for row in lines))
    left, right = label + 4, width - ((140 if not full else 104) if narrow else 156)
    ends = _within(marks)
    scale = Scale("linear", 0, 1, (), True, (0, 0.25, 0.5, 0.75, 1)) if full else _differences(ends, narrow=narrow)
    entries = _entries(lines)
    drawn, high = legend(entries, width, 0) if len(entries) > 1 else (Markup(""), 0.0)
    body, y = [drawn], high + 6
    top = y
    for row in lines:
        said, y = _row(row, scale, y, (label, left, right, width), signed=not full)
        body.append(said)
    ruled = [_rule(scale, tick.at, tick.label, left, right, top, y, signed=not full) for tick in scale.ticks]
    missing = [
        f"{row['label']}{', ' + (one.get('name') or str(one['series'])) if len(row['marks']) > 1 else ''}"
        for row in lines
        for one in row["marks"]
        if not is_number(one.get("value"))
    ]
    hole, end = unmeasured(missing, width, y + 26)
    return Drawing(together([*ruled, *body, hole]), width, max(end, y + 26))


def _within(marks: Sequence[Mapping[str, Any]]) -> list[float]:
    """The ends that an axis must hold: all, unless a few far ones would press the others into a corner.

    An axis that is cut still holds every value that is near the middle ones, and what passes it is drawn as an arrow
    at the edge; its numbers stand at the right as ever.
    """
    ends = sorted(float(one[key]) for one in marks for key in ("value", "low", "high") if is_number(one.get(key)))
    values = sorted(float(one["value"]) for one in marks)
    if len(values) < 4:
        return ends
    near = sorted(ends, key=abs)[: math.ceil(0.8 * len(ends))]
    most = _FAR * max(abs(near[-1]), 1e-9)
    return ends if abs(ends[0]) <= most and abs(ends[-1]) <= most else [end for end in ends if abs(end) <= most]


def _differences(ends: Sequence[float], *, narrow: bool) -> Scale:
    return scale_of({"percent": True}, list(ends), zero=True, most=4 if narrow else 6)


def _label_width(row: Mapping[str, Any]) -> float:
    return max(wide_as(row["label"], TEXT), wide_as(row.get("note") or "", SMALL - 1))


def _entries(lines: Sequence[Mapping[str, Any]]) -> list[Entry]:
    names: dict[str, str] = {}
    for one in (one for row in lines for one in row["marks"]):
        names.setdefault(style_of(one["series"], 0), str(one.get("name") or one["series"]))
    return [Entry(style, name) for style, name in names.items()]


def _rule(
    scale: Scale, at: float, label: str, left: float, right: float, top: float, bottom: float, *, signed: bool
) -> Markup:
    x = left + at * (right - left)
    zero = label == "0%" and signed
    said = label if not signed or zero or label.startswith("−") else f"+{label}"
    said = said.removesuffix("%") if signed else said
    return together([line("zero" if zero else "rule", x, top, x, bottom), text(said, x, bottom + 17, anchor="middle")])


def _row(
    row: Mapping[str, Any], scale: Scale, y: float, columns: tuple[float, float, float, float], *, signed: bool
) -> tuple[Markup, float]:
    """A line of the chart, and where it ends."""
    label, left, right, width = columns
    kind = "ink strong" if row.get("strong") else "ink"
    names = wrapped(row["label"], TEXT, label - 12 if label else width, lines=2)
    notes = wrapped(row.get("note") or "", SMALL - 1, label - 12 if label else width, lines=2)
    heights = [16.0] * len(names) + [14.0] * len(notes)
    lanes = _LANE * len(row["marks"])
    tall = max(sum(heights), lanes) + 12 if label else sum(heights) + lanes + 14
    base = y + (tall - sum(heights)) / 2 if label else y + 4
    drawn: list[Markup] = []
    over = "" if label else " over"
    for number, said in enumerate([*names, *notes]):
        base += heights[number]
        size, look = (TEXT, kind) if number < len(names) else (SMALL - 1, "soft")
        drawn.append(text(said, 0, base - 4, size=size, kind=look + over))
    first = y + (tall - lanes) / 2 if label else base + 2
    for number, one in enumerate(row["marks"]):
        place = first + _LANE * (number + 0.5)
        drawn.append(_value(row["label"], one, scale, place, left, right, signed=signed))
    return together(drawn), y + tall


def _value(
    label: str, one: Mapping[str, Any], scale: Scale, y: float, left: float, right: float, *, signed: bool
) -> Markup:
    style = style_of(one["series"], 0)
    if not is_number(one.get("value")):
        return text("not measured", right + 14, y + 4, kind="hole")

    def across(value: float) -> float:
        return left + min(max(scale.at(value) or 0.0, 0.0), 1.0) * (right - left)

    def say(value: float) -> str:
        return percent(value, sign=signed, digits=1 if signed else 0)

    unit = " points" if signed else "%"
    known = is_number(one.get("low")) and is_number(one.get("high"))
    span = f" ({say(one['low'])} to {say(one['high'])})" if known else ""
    tip = f"{label}, {one.get('name') or one['series']}: {say(one['value'])}{unit}{span}"
    whisker = line("ci", across(one["low"]), y, across(one["high"]), y) if known else Markup("")
    value = text(f"{say(one['value'])}{'' if signed else '%'}", right + 14, y + 4, size=SMALL, kind="ink strong")
    start = right + (58 if signed else 52)
    interval = text(span.strip(" ()"), start, y + 4, size=SMALL - 1) if known else Markup("")
    cuts = [
        _cut_off(scale.at(end), left, right, y) for end in (one["value"], *((one["low"], one["high"]) if known else ()))
    ]
    shown = 0 <= (scale.at(one["value"]) or 0.0) <= 1
    marked = group(style, whisker, *([mark(style, across(one["value"]), y)] if shown else []), *dict.fromkeys(cuts))
    return together([told(tip, marked, at=(across(one["value"]), y)), value, interval])


def _cut_off(at: float | None, left: float, right: float, y: float) -> Markup:
    """An arrow at the edge of the axis that what is drawn passes; nothing for what lies within."""
    if at is None or -1e-9 <= at <= 1 + 1e-9:
        return Markup("")
    edge, way = (right, 1) if at > 1 else (left, -1)
    return path("head", [(edge + 7 * way, y), (edge - 2 * way, y - 5), (edge - 2 * way, y + 5)], closed=True)


def matrix(figure: Mapping[str, Any], *, width: float) -> Drawing:
    """Numbers by row and column, their sizes as colours. Wider than asked where its columns need it."""
    names, columns, values = figure["rows"], figure["columns"], figure["values"]
    known = [value for row in values for value in row if is_number(value)]
    if not known:
        return nothing(width)
    diverging = bool(figure.get("diverging"))
    most = max(max(abs(value) for value in known), 1e-9) if diverging else max(*known, 1e-9, 0.0)
    label = min(_MOST_LABEL if width >= NARROW else 110, 12 + max(wide_as(name, SMALL) for name in names))
    cell = min(72.0, max(_CELL, (width - label - 30) / max(len(columns), 1)))
    whole = max(width, label + cell * len(columns) + 30)
    turned = any(wide_as(name, SMALL) > cell - 6 for name in columns)
    longest = max((min(wide_as(name, SMALL), 150) for name in columns), default=0)
    y = (longest * 0.72 + 16 if turned else 22.0) + (18 if figure.get("column_label") else 0)
    head = [_column(name, label + cell * (k + 0.5), y - 6, turned=turned) for k, name in enumerate(columns)]
    if figure.get("column_label"):
        head.append(text(figure["column_label"], label, 12))
    if figure.get("row_label"):
        head.append(text(cut(figure["row_label"], SMALL, label - 8), 0, y - 6))
    high = min(cell, 36.0)
    body: list[Markup] = []
    missing: list[str] = []
    for number, name in enumerate(names):
        base = y + high * (number + 0.5)
        body.append(text(cut(name, SMALL, label - 8), label - 8, base + 4, anchor="end", kind="ink"))
        for place, column in enumerate(columns):
            value = values[number][place]
            if not is_number(value):
                missing.append(f"{name} × {column}")
            which = f"{figure.get('row_label', '')} {name}, {figure.get('column_label', '')} {column}".strip()
            tip = f"{which}: {_told_cell(figure, number, place, diverging=diverging)}"
            body.append(_cell(value, most, label + cell * place, base, cell, high, tip, diverging=diverging))
    hole, end = unmeasured(missing, width, y + high * len(names) + 4)
    return Drawing(together([*head, *body, hole]), whole, end + 4)


def _column(name: str, x: float, y: float, *, turned: bool) -> Markup:
    said = cut(name, SMALL, 150)
    return text(said, x, y, turn=-42, kind="ink") if turned else text(said, x, y, anchor="middle", kind="ink")


def _told_cell(figure: Mapping[str, Any], row: int, column: int, *, diverging: bool) -> str:
    value = figure["values"][row][column]
    if not is_number(value):
        return "not measured"
    said = f"{percent(value, digits=1, sign=diverging)}{' points' if diverging else '%'}"
    ends = [(figure.get(key) or [])[row][column] if figure.get(key) else None for key in ("low", "high")]
    if not all(is_number(end) for end in ends):
        return said
    low, high = (percent(end, digits=1, sign=diverging) for end in ends if end is not None)
    return f"{said} ({low} to {high})"


def _cell(
    value: float | None, most: float, left: float, y: float, wide: float, high: float, tip: str, *, diverging: bool
) -> Markup:
    middle = left + wide / 2
    if value is None or not is_number(value):
        return told(tip, text("–", middle, y + 4, anchor="middle", kind="hole"), at=(middle, y))
    strength = min(abs(value) / most, 1.0) if diverging or value > 0 else 0.0
    square = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="3" fill-opacity="{:.2f}"/>').format(
        "less" if value < 0 else "more",
        fixed(left + 1),
        fixed(y - high / 2 + 1),
        fixed(wide - 2),
        fixed(high - 2),
        0.05 + 0.47 * strength,
    )
    said = text(percent(value, sign=diverging), middle, y + 4, anchor="middle", kind="ink")
    return told(tip, square, said, at=(middle, y))
