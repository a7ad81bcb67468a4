"""A figure as a table: every number that is drawn, for those who read numbers, and for screen readers.

figure_table({"kind": "lines", ...})  ->  FigureTable(columns=["Series", "examples", "accuracy", "95% interval", "n"],
                                                      rows=[["base", "16", "31.2%", "28.0% to 34.4%", "1,200"], ...])
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from instil.reports.figures import percent
from instil.reports.scales import Scale, is_number, say_number


@dataclass(frozen=True, slots=True)
class FigureTable:
    """The numbers of a figure."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int
    """Columns at the left that hold words; the others hold numbers."""


def figure_table(figure: Mapping[str, Any]) -> FigureTable:
    """The numbers of a figure (`study_report.Figure`), in words."""
    makers = {"lines": _lines, "arrows": _arrows, "scatter": _scatter, "rows": _rows, "matrix": _matrix}
    return makers[figure["kind"]](figure)


def _say(value: object, axis: Mapping[str, Any]) -> str:
    if value is None or (isinstance(value, float) and not is_number(value)):
        return "not measured"
    return Scale("linear", 0, 1, percent=bool(axis.get("percent"))).say(value, digits=1)


def _interval(point: Mapping[str, Any], axis: Mapping[str, Any]) -> str:
    if not (is_number(point.get("low")) and is_number(point.get("high"))):
        return ""
    return f"{_say(point['low'], axis)} to {_say(point['high'], axis)}"


def _label(axis: Mapping[str, Any]) -> str:
    return str(axis.get("label", ""))


def _lines(figure: Mapping[str, Any]) -> FigureTable:
    x, y = figure["x"], figure["y"]
    rows = [
        [series["name"], _say(point["x"], x), _say(point.get("y"), y), _interval(point, y), _n(point)]
        for series in figure["series"]
        for point in series["points"]
    ]
    return FigureTable(["Series", _label(x), _label(y), "95% interval", "n"], rows, 1)


def _n(point: Mapping[str, Any]) -> str:
    return f"{point['n']:,}" if is_number(point.get("n")) else ""


def _arrows(figure: Mapping[str, Any]) -> FigureTable:
    x, y = figure["x"], figure["y"]
    rows = [
        [item["label"], item["group"], *(_say(item[end][k], (x, y)[k]) for k in (0, 1) for end in ("from", "to"))]
        for item in figure["items"]
    ]
    heads = [f"{_label(axis)}: {end}" for axis in (x, y) for end in ("from", "to")]
    return FigureTable(["Task", "Group", *heads], rows, 2)


def _scatter(figure: Mapping[str, Any]) -> FigureTable:
    x, y = figure["x"], figure["y"]
    rows = [
        [point["label"], point["group"], _say(point["x"], x), _say(point.get("y"), y), _interval(point, y)]
        for point in figure["points"]
    ]
    return FigureTable(["What", "Group", _label(x), _label(y), "95% interval"], rows, 2)


def _rows(figure: Mapping[str, Any]) -> FigureTable:
    signed = not figure.get("full_scale")

    def say(value: object) -> str:
        if not is_number(value):
            return "not measured"
        return f"{percent(float(value), digits=1, sign=signed)}{'' if signed else '%'}"  # type: ignore[arg-type]

    rows = []
    for row in figure["rows"]:
        for mark in row["marks"]:
            known = is_number(mark.get("low")) and is_number(mark.get("high"))
            span = f"{say(mark['low'])} to {say(mark['high'])}" if known else ""
            rows.append([row["label"], str(mark.get("name") or mark["series"]), say(mark.get("value")), span])
    return FigureTable(["What", "Series", "Points" if signed else "Score", "95% interval"], rows, 2)


def _matrix(figure: Mapping[str, Any]) -> FigureTable:
    signed = bool(figure.get("diverging"))

    def say(row: int, column: int) -> str:
        value = figure["values"][row][column]
        if not is_number(value):
            return "–"
        ends = [figure[key][row][column] for key in ("low", "high") if figure.get(key)]
        said = percent(value, digits=1, sign=signed)
        if len(ends) < 2 or not all(is_number(end) for end in ends):
            return said
        return f"{said} ({percent(ends[0], digits=1, sign=signed)} to {percent(ends[1], digits=1, sign=signed)})"

    rows = [
        [name, *(say(number, column) for column in range(len(figure["columns"])))]
        for number, name in enumerate(figure["rows"])
    ]
    return FigureTable([figure.get("row_label") or "", *figure["columns"]], rows, 1)


def say_cell(value: object) -> str:
    """A cell of a study's own table: whole numbers with thousands, others to four figures, words as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if is_number(value):
        number = float(value)  # type: ignore[arg-type]  # just asked
        return say_number(number) if number == int(number) else f"{number:.4g}".replace("-", "−")
    return say_minus(value)


def say_column(values: Sequence[object]) -> list[str]:
    """The cells of a column: where they are numbers with fractions, all to as many places (36 beside 72.1 is 36.0)."""
    numbers = [value for value in values if is_number(value)]
    said = [say_cell(value) for value in values]
    if not any(isinstance(value, float) and value != int(value) for value in numbers):
        return [
            say_cell(int(value)) if isinstance(value, float) and is_number(value) else say_cell(value)
            for value in values
        ]
    if any(not is_number(value) and value is not None for value in values) or any("e" in one for one in said):
        return said
    places = max(len(one.partition(".")[2]) for one in said)
    return [f"{value:,.{places}f}".replace("-", "−") if is_number(value) else "–" for value in values]


def say_minus(words: object) -> str:
    """A sentence with the sign of minus before its numbers: `[-3.1, 2.0]` -> `[−3.1, 2.0]`; `pocket-0.3m` stays."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", str(words))
