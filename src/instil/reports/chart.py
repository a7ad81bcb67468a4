"""The figures of a study, drawn once for pages and files: lines, arrows, scatter, rows, matrix.

    draw({"kind": "lines", "x": {"label": "examples", "scale": "symlog"}, "y": {"label": "accuracy", "percent": True},
          "series": [{"name": "base", "style": "base", "points": [{"x": 0, "y": 0.1, "low": 0.07, "high": 0.13}]}]},
         width=760)  ->  Drawing(body=<g>..., width=760, height=360)

    80% |              __<>
        |     __<>--''          <> tuned, with its interval
    40% | <>''    __o           o  base
        | o----''
        +--------------------

Every kind can be drawn with values missing (None), and says below the chart which they are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from instil.reports.bars import matrix, rows
from instil.reports.frame import Drawing, Frame, below, framed, nothing
from instil.reports.ink import (
    SMALL,
    Entry,
    arrow,
    cut,
    group,
    line,
    mark,
    path,
    style_of,
    text,
    together,
    told,
    wide_as,
)
from instil.reports.scales import Scale, is_number

_WHISKERS = 12
"""Points of a line that are told apart by marks and whiskers; a longer one gets a band."""
_NAMED = 24
"""Things of a picture that are named beside their marks; more would cover it."""
_GROUPS = ("tuned", "1", "2", "3", "4", "5", "6", "7", "8")
"""Styles of groups, in the order in which they appear."""


def draw(figure: Mapping[str, Any], *, width: float) -> Drawing:
    """A figure (`study_report.Figure`) as a drawing of that width in pixels."""
    kinds: Mapping[str, Callable[..., Drawing]] = {
        "lines": lines,
        "arrows": arrows,
        "scatter": scatter,
        "rows": rows,
        "matrix": matrix,
    }
    return kinds[figure["kind"]](figure, width=width)


def say_interval(scale: Scale, point: Mapping[str, Any]) -> str:
    """A value in words: `61.0% (57.2% to 64.9%), n = 400`."""
    said = scale.say(point["y"], digits=1)
    if is_number(point.get("low")) and is_number(point.get("high")):
        said += f" ({scale.say(point['low'], digits=1)} to {scale.say(point['high'], digits=1)})"
    if point.get("n"):
        said += f", n = {point['n']:,}"
    return f"{said}. {point['note']}" if point.get("note") else said


def _ends(points: Sequence[Mapping[str, Any]]) -> list[object]:
    return [point[key] for point in points for key in ("y", "low", "high") if is_number(point.get(key))]


def lines(figure: Mapping[str, Any], *, width: float) -> Drawing:
    """Values against what varies, a line a series."""
    series = figure["series"]
    styles = [style_of(one.get("style"), number) for number, one in enumerate(series)]
    points = [point for one in series for point in one["points"]]
    if not any(is_number(point.get("y")) for point in points):
        return nothing(width)
    curves = [pair for one in series for pair in one.get("fit") or ()]
    references = figure.get("references") or ()
    xs = [point["x"] for point in points] + [x for x, _ in curves] + [r["x"] for r in references if "x" in r]
    ys = _ends(points) + [y for _, y in curves] + [r["y"] for r in references if "y" in r]
    entries = [Entry(style, one["name"]) for style, one in zip(styles, series, strict=True)]
    places = [point["x"] for point in points]
    frame, ground = framed(figure, xs, ys, width=width, entries=entries, places=places)
    marks = [(frame.across(p["x"]), frame.up(p.get("y"))) for p in points]
    taken = [(x - 14, y - 8, x + 14, y + 8) for x, y in marks if x is not None and y is not None]
    drawn: list[Markup] = []
    names: list[Markup] = []
    for reference in references:
        rule, name = _reference(frame, reference, taken)
        drawn.append(rule)
        names.append(name)
    for number, (one, style) in enumerate(zip(series, styles, strict=True)):
        drawn.append(group(style, _fitted(frame, one), _line(frame, one, style, _dodge(frame, series, number))))
    missing = [
        f"{one['name']} at {frame.x.say(point['x'])}"
        for one in series
        for point in one["points"]
        if not is_number(point.get("y"))
    ]
    foot, end = below(frame, str(figure["x"].get("label", "")), missing)
    return Drawing(together([ground, *drawn, *names, foot]), width, end)


def _dodge(frame: Frame, series: Sequence[Mapping[str, Any]], number: int) -> float:
    """Pixels by which a series stands beside its place, so that intervals at one place do not cover each other."""
    places = sorted({x for one in series for point in one["points"] if (x := frame.across(point["x"])) is not None})
    if len(places) > _WHISKERS or len(series) < 2:
        return 0.0
    gap = min((b - a for a, b in pairwise(places)), default=60.0)
    return (number - (len(series) - 1) / 2) * min(7.0, 0.5 * gap / len(series))


def _line(frame: Frame, series: Mapping[str, Any], style: str, aside: float) -> Markup:
    """One series: its line, broken where a value is missing, its intervals and its marks."""
    runs: list[list[tuple[float, float, Mapping[str, Any]]]] = [[]]
    for point in series["points"]:
        x, y = frame.across(point["x"]), frame.up(point.get("y"))
        if x is None or y is None:
            runs.append([])
        else:
            runs[-1].append((x + aside, y, point))
    many = len(series["points"]) > _WHISKERS
    drawn = [_band(frame, run) for run in runs] if many else []
    drawn += [path("line", [(x, y) for x, y, _ in run]) for run in runs if len(run) > 1]
    for x, y, point in (place for run in runs for place in run):
        tip = f"{series['name']}, {frame.x.say(point['x'])}: {say_interval(frame.y, point)}"
        whisker = Markup("") if many else _whisker(frame, x, point)
        radius = 2.5 if many else 4 if frame.narrow else 5
        drawn.append(told(tip, whisker, mark(style, x, y, radius=radius), at=(x, y)))
    return together(drawn)


def _whisker(frame: Frame, x: float, point: Mapping[str, Any]) -> Markup:
    low, high = frame.up(point.get("low")), frame.up(point.get("high"))
    return Markup("") if low is None or high is None else line("ci", x, low, x, high)


def _band(frame: Frame, run: Sequence[tuple[float, float, Mapping[str, Any]]]) -> Markup:
    ends = [(x, frame.up(point.get("low")), frame.up(point.get("high"))) for x, _, point in run]
    known = [(x, low, high) for x, low, high in ends if low is not None and high is not None]
    if len(known) < 2:
        return Markup("")
    outline = [(x, low) for x, low, _ in known] + [(x, high) for x, _, high in reversed(known)]
    return path("band", outline, closed=True)


def _fitted(frame: Frame, series: Mapping[str, Any]) -> Markup:
    drawn: list[Markup] = []
    band = series.get("band") or ()
    if len(band) > 1:
        outline = [(x, low) for x, low, _ in band] + [(x, high) for x, _, high in reversed(band)]
        drawn.append(path("band", frame.places(outline), closed=True))
    if len(curve := frame.places(series.get("fit") or ())) > 1:
        drawn.append(path("fit", curve))
    return together(drawn)


def _reference(
    frame: Frame, reference: Mapping[str, Any], taken: list[tuple[float, float, float, float]]
) -> tuple[Markup, Markup]:
    """A line across the figure, and its name where neither a mark nor another name stands."""
    said = str(reference.get("label", ""))
    if "y" in reference:
        y = frame.up(reference["y"])
        if y is None:
            return Markup(""), Markup("")
        wide = wide_as(said, SMALL)
        lefts = [frame.right - wide - k * (frame.right - frame.left - wide) / 8 for k in range(9)]
        places = [(left, base) for base in (y - 5, y + 14) if base < frame.bottom for left in lefts]
        left, base = next((at for at in places if _free(_box(*at, wide), taken)), places[0])
        taken.append(_box(left, base, wide))
        rule = line("reference", frame.left, y, frame.right, y)
        return rule, text(said, left + wide, base, anchor="end", kind="named")
    x = frame.across(reference.get("x"))
    if x is None:
        return Markup(""), Markup("")
    over = x > (frame.left + frame.right) / 2
    words = text(said, x - 5 if over else x + 5, frame.top + 9, anchor="end" if over else "start", kind="named")
    return line("reference", x, frame.top - 4, x, frame.bottom), words


def _box(left: float, base: float, wide: float) -> tuple[float, float, float, float]:
    """What a text of that width covers."""
    return left, base - 10, left + wide, base + 2


def _free(box: tuple[float, float, float, float], taken: Sequence[tuple[float, float, float, float]]) -> bool:
    return all(box[2] < a or box[0] > c or box[3] < b or box[1] > d for a, b, c, d in taken)


def arrows(figure: Mapping[str, Any], *, width: float) -> Drawing:
    """One arrow a thing, from where it stood to where it stands."""
    items = figure["items"]
    whole = [item for item in items if all(is_number(value) for value in (*item["from"], *item["to"]))]
    if not whole:
        return nothing(width)
    style = _by_group(items)
    xs: list[object] = [item[end][0] for item in whole for end in ("from", "to")]
    ys: list[object] = [item[end][1] for item in whole for end in ("from", "to")]
    entries = [Entry(kind, f"{name} ({_count(items, name)})", "arrow") for name, kind in style.items()]
    frame, ground = framed(figure, xs, ys, width=width, entries=entries)
    drawn: list[Markup] = []
    tips: list[tuple[float, float, str]] = []
    shafts: list[tuple[float, float]] = []
    for item in whole:
        start, end = frame.places([item["from"], item["to"]])
        words = [f"({frame.x.say(x, digits=1)}, {frame.y.say(y, digits=1)})" for x, y in (item["from"], item["to"])]
        tip = f"{item['label']} ({item['group']}): from {words[0]} to {words[1]}"
        tip += f". {item['note']}" if item.get("note") else ""
        drawn.append(group(style[item["group"]], told(tip, arrow(start, end), at=end)))
        tips.append((*end, item["label"]))
        shafts += _shaft(start, end)
    missing = [item["label"] for item in items if item not in whole]
    foot, bottom = below(frame, str(figure["x"].get("label", "")), missing)
    return Drawing(together([ground, *drawn, _names(frame, tips, shafts), foot]), width, bottom)


def _shaft(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Places along an arrow, close enough that no name fits between them."""
    steps = max(1, round(math.hypot(end[0] - start[0], end[1] - start[1]) / 10))
    ways = [k / steps for k in range(steps)]
    return [(start[0] + way * (end[0] - start[0]), start[1] + way * (end[1] - start[1])) for way in ways]


def scatter(figure: Mapping[str, Any], *, width: float) -> Drawing:
    """One quantity against another, a mark a thing."""
    points = figure["points"]
    whole = [point for point in points if is_number(point.get("y")) and is_number(point.get("x"))]
    if not whole:
        return nothing(width)
    style = _by_group(points)
    curve = figure.get("fit") or ()
    xs: list[object] = [point["x"] for point in whole] + [x for x, _ in curve]
    ys = _ends(whole) + [y for _, y in curve]
    entries = [Entry(kind, f"{name} ({_count(points, name)})", "mark") for name, kind in style.items()]
    frame, ground = framed(figure, xs, ys, width=width, entries=entries)
    drawn = [path("fit soft-line", frame.places(curve))] if len(curve) > 1 else []
    tips: list[tuple[float, float, str]] = []
    covered: list[tuple[float, float]] = []
    beside, step = _beside(frame, whole)
    for point in whole:
        x, y = frame.places([(point["x"], point["y"])])[0]
        at_x = beside[point["x"]]
        x += (at_x.pop(0) if at_x else 0.0) * step
        ends = [frame.up(point.get(key)) for key in ("low", "high")]
        low, high = ((y if end is None else end) for end in ends)
        covered += _shaft((x, high), (x, low))
        tip = (
            f"{point['label']} ({point['group']}): {frame.x.say(point['x'], digits=1)}, {say_interval(frame.y, point)}"
        )
        kind = style[point["group"]]
        drawn.append(group(kind, told(tip, _whisker(frame, x, point), mark(kind, x, y, radius=4), at=(x, y))))
        tips.append((x, y, point["label"]))
    missing = [point["label"] for point in points if point not in whole]
    foot, bottom = below(frame, str(figure["x"].get("label", "")), missing)
    return Drawing(together([ground, *drawn, _names(frame, tips, covered), foot]), width, bottom)


def _beside(frame: Frame, points: Sequence[Mapping[str, Any]]) -> tuple[dict[float, list[float]], float]:
    """Steps aside for points that share a place, so that their intervals do not lie over each other; a step's pixels.

    Only where points stand at a few places, each with several: elsewhere the place itself is what is shown.
    """
    counts = Counter(point["x"] for point in points)
    most = max(counts.values())
    places = sorted(x for value in counts if (x := frame.across(value)) is not None)
    if most < 2 or len(counts) * 2 > len(points):
        return {x: [] for x in counts}, 0.0
    gap = min((b - a for a, b in pairwise(places)), default=120.0)
    return {x: [k - (n - 1) / 2 for k in range(n)] for x, n in counts.items()}, min(10.0, 0.6 * gap / most)


def _by_group(things: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    names = dict.fromkeys(str(thing["group"]) for thing in things)
    return {name: _GROUPS[number % len(_GROUPS)] for number, name in enumerate(names)}


def _count(things: Sequence[Mapping[str, Any]], name: str) -> str:
    return f"{sum(str(thing['group']) == name for thing in things):,}"


def _names(
    frame: Frame, places: Sequence[tuple[float, float, str]], covered: Sequence[tuple[float, float]] = ()
) -> Markup:
    """Names beside their marks where there is room; a page tells the others on request."""
    if len(places) > _NAMED or frame.narrow:
        return Markup("")
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in places] + [(x - 2, y - 2, x + 2, y + 2) for x, y in covered]
    drawn: list[Markup] = []
    for x, y, name in places:
        said = cut(name, SMALL - 1, 190)
        wide = wide_as(said, SMALL - 1)
        for left, base in ((x + 9, y + 4), (x - 9 - wide, y + 4), (x - wide / 2, y - 9), (x - wide / 2, y + 18)):
            box = _box(left, base, wide)
            if (
                _free(box, taken)
                and box[0] >= frame.left
                and box[2] <= frame.right
                and frame.top <= box[1]
                and box[3] < frame.bottom
            ):
                taken.append(box)
                drawn.append(text(said, left, base, size=SMALL - 1, kind="beside"))
                break
    return together(drawn)
