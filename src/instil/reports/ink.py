"""The pieces that charts are drawn with: text that is measured, marks of several shapes, intervals, a legend.

    wide_as("base + single-task", 12)   -> 100.8 pixels, about
    wrapped("a long caption ...", 12, 300)   -> lines of at most 300 pixels
    mark("tuned", 40, 60)   ->  <path class="shape" d="M40 52.5..."/>, a diamond; `base` is a hollow circle

Everything is SVG in pixels, coloured by class (`s-base`, `s-tuned`, `s-gain`, `s-1` to `s-8`): a page colours them for
light and dark, a file for paper. Series differ in shape, too, never in colour alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

SMALL, TEXT, HEAD = 12, 13, 16
"""Sizes of type, in pixels."""
# Advance widths of Roboto in hundredths of its size, from the space to the tilde, each as the sign of that number + 32.
_WIDTHS = [
    ord(sign) - 32
    for sign in "9:@^Xi^1BCKY4<:IXXXXXXXXXX85SWTOza^abYWdg;W_Vwge_e^[\\a`y_\\\\;I;JM?VXTXUCXW88S8xWYXYBTAWPkRORB8Bd"
]
_SLACK = 1.07
"""A page is set in the reader's own type, which may be a little wider."""
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML cannot hold, or nobody can see."""
_SHAPES = {
    "circle": "M{l} {y}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0Z",
    "diamond": "M{x} {T}L{R} {y}L{x} {B}L{L} {y}Z",
    "square": "M{l} {t}H{r_}V{b}H{l}Z",
    "up": "M{x} {T}L{R} {b}H{L}Z",
    "down": "M{x} {B}L{R} {t}H{L}Z",
    "lens": "M{x} {T}L{r_} {y}L{x} {B}L{l} {y}Z",
}
_SHAPE_OF = {
    "base": "circle",
    "tuned": "diamond",
    "gain": "diamond",
    "1": "square",
    "2": "up",
    "3": "circle",
    "4": "down",
    "5": "lens",
    "6": "square",
    "7": "diamond",
    "8": "up",
}
STYLES = tuple(_SHAPE_OF)


def style_of(style: object, number: int) -> str:
    """The style of a series: its own where that exists, else by its number among its neighbours."""
    return str(style) if str(style) in _SHAPE_OF else str(1 + number % 8)


def wide_as(text: str, size: float) -> float:
    """About how many pixels a text takes."""
    hundredths = sum(_WIDTHS[ord(c) - 32] if 32 <= ord(c) < 127 else 62 if ord(c) < 0x2E80 else 100 for c in text)
    return hundredths / 100 * size * _SLACK


def cut(text: str, size: float, most: float) -> str:
    """The text, or as much of it as fits, with an ellipsis."""
    if wide_as(text, size) <= most:
        return text
    while text and wide_as(text + "…", size) > most:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, size: float, most: float, *, lines: int = 99) -> list[str]:
    """The text in lines that fit, broken between words; a word that does not fit, and what is too much, is cut."""
    made: list[str] = []
    for word in text.split():
        if made and wide_as(f"{made[-1]} {word}", size) <= most:
            made[-1] = f"{made[-1]} {word}"
        else:
            made.append(word)
    if len(made) > lines:
        made = [*made[: lines - 1], " ".join(made[lines - 1 :])]
    return [cut(line, size, most) for line in made]


def clean(words: str) -> str:
    """A text without what no SVG file may hold: control characters and halves of surrogate pairs."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", words)


def fixed(value: float) -> str:
    """A place in the drawing, to a tenth of a pixel: 3.14159 -> `3.1`, 3.0 -> `3`."""
    text = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def text(
    words: str, x: float, y: float, *, size: float = SMALL, anchor: str = "start", kind: str = "soft", turn: float = 0
) -> Markup:
    """A line of text; `y` is its base line, `kind` its class."""
    where = Markup(' transform="rotate({} {} {})"').format(fixed(turn), fixed(x), fixed(y)) if turn else Markup("")
    return Markup('<text class="{}" x="{}" y="{}" font-size="{}" text-anchor="{}"{}>{}</text>').format(
        kind, fixed(x), fixed(y), fixed(size), anchor, where, clean(words)
    )


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line."""
    return Markup('<path class="{}" d="M{} {}L{} {}"/>').format(kind, fixed(x1), fixed(y1), fixed(x2), fixed(y2))


def path(kind: str, places: Sequence[tuple[float, float]], *, closed: bool = False) -> Markup:
    """A line through places, or the area inside them."""
    route = "L".join(f"{fixed(x)} {fixed(y)}" for x, y in places)
    return Markup('<path class="{}" d="M{}{}"/>').format(kind, route, "Z" if closed else "")


def mark(style: str, x: float, y: float, *, radius: float = 5) -> Markup:
    """The mark of a series."""
    big = radius * 1.3
    near, far = {"l": x - radius, "r_": x + radius, "t": y - radius, "b": y + radius}, {"L": x - big, "R": x + big}
    places = near | far | {"T": y - big, "B": y + big, "x": x, "y": y, "r": radius, "d": 2 * radius}
    drawn = _SHAPES[_SHAPE_OF[style]].format(**{name: fixed(place) for name, place in places.items()})
    return Markup('<path class="shape" d="{}"/>').format(drawn)


def arrow(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    """From a hollow dot to a head; what did not move is a hollow dot alone."""
    (x1, y1), (x2, y2) = start, end
    dot = Markup('<circle class="open" cx="{}" cy="{}" r="3"/>').format(fixed(x1), fixed(y1))
    length = math.hypot(x2 - x1, y2 - y1)
    if length < 6:
        return dot
    across, up = (x2 - x1) / length, (y2 - y1) / length
    back = (x2 - 9 * across, y2 - 9 * up)
    head = [(x2, y2), (back[0] - 4 * up, back[1] + 4 * across), (back[0] + 4 * up, back[1] - 4 * across)]
    return together([line("line", x1 + 3 * across, y1 + 3 * up, *back), path("head", head, closed=True), dot])


def group(style: str, *inside: Markup) -> Markup:
    """Things in the colour of a series."""
    return Markup('<g class="s-{}">{}</g>').format(style, Markup("").join(inside))


def told(tip: str, *inside: Markup, at: tuple[float, float]) -> Markup:
    """Marks that say their numbers: a page shows `tip` when they are pointed at or reached by key."""
    x, y = at
    return Markup('<g class="told" data-tip="{}" data-x="{}" data-y="{}">{}</g>').format(
        clean(tip), fixed(x), fixed(y), Markup("").join(inside)
    )


def together(parts: Iterable[Markup]) -> Markup:
    """Several pieces as one."""
    return Markup("").join(parts)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a legend says of a series."""

    style: str
    name: str
    kind: Literal["line", "mark", "arrow"] = "line"
    """What is drawn of it: marks that a line joins, marks alone, arrows."""


def legend(entries: Sequence[Entry], width: float, top: float) -> tuple[Markup, float]:
    """The names of the series in as many lines as they need, and how high they are; nothing for a single one."""
    drawn: list[Markup] = []
    x, y = 0.0, top + 12
    for entry in entries:
        name = cut(entry.name, TEXT, width - 34)
        needs = 34 + wide_as(name, TEXT)
        if x and x + needs > width:
            x, y = 0.0, y + 22
        if entry.kind == "arrow":
            drawn.append(group(entry.style, arrow((x + 4, y - 4), (x + 28, y - 4))))
        else:
            rule = line("line", x + 1, y - 4, x + 27, y - 4) if entry.kind == "line" else Markup("")
            drawn.append(group(entry.style, rule, mark(entry.style, x + 14, y - 4)))
        drawn.append(text(name, x + 34, y, size=TEXT, kind="ink"))
        x += needs + 20
    return together(drawn), (y - top + 10 if entries else 0.0)
