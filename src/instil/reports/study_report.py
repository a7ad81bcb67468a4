"""What a study found, as plain JSON: the question's module writes it, `reports/study.py` makes a page of it.

    analyse(spec, results)  ->  StudyReport  ->  study.json, verdict.json, index.html, figures/*.svg and *.png

    {"question": "Should I instruction-tune this model?", "title": "should-i: pocket",
     "verdict": {"verdict": "yes", "gain": 0.41, "ci95": [0.36, 0.46], "n": 1200, "sentence": "Yes: ...", ...},
     "figures": [{"kind": "lines", "name": "budget-held-out", "series": [{"name": "base", "points": [...]}]}], ...}

All shares lie between 0 and 1; a page writes them as percent. What is not known is left out, never made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict


class Verdict(TypedDict):
    """The answer to the study's question; a question adds figures of its own beside these (verdict.json has them all).

    What it adds is plain JSON: numbers, sentences, or mappings of them; the page lists the numbers by their keys.
    """

    verdict: Literal["yes", "no", "not shown"]
    sentence: str
    """The headline of the page: what the numbers carry, and no more."""
    gain: float | None
    ci95: Sequence[float] | None
    n: int
    covers: str
    """What the interval covers: `seeds, tasks and items`, `items (one seed, one task)`, ..."""


class Claim(TypedDict):
    """A claim of the literature, and whether it shows here."""

    claim: str
    source: str
    """Where it was made: `Longpre et al. 2023, section 3.3`."""
    shown: Literal["yes", "no", "not shown", "not tested"]
    here: str
    """What was measured here, with its interval."""
    why: str
    """Why it may not show at this scale; empty where nothing needs saying."""


class Axis(TypedDict):
    """An axis of a figure."""

    label: str
    scale: NotRequired[Literal["linear", "log", "symlog", "category"]]
    """`symlog`: zero stands apart at the left of a logarithmic axis; `category`: places in `ticks` or in order."""
    ticks: NotRequired[Sequence[float | str]]
    """Places that are named; the figure finds round ones where they are left out."""
    percent: NotRequired[bool]
    """Values are shares, written as percent."""


class Point(TypedDict):
    """A value at a place, with its interval and what else a reader may ask of it."""

    x: float | str
    """On a category axis a name."""
    y: float | None
    """None: was to be measured and is missing; the figure says so."""
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    n: NotRequired[int]
    note: NotRequired[str]


class Series(TypedDict):
    """A line of a figure."""

    name: str
    style: NotRequired[str | int]
    """`base`, `tuned`, `gain`, or 1 to 8; in order where it is left out."""
    points: Sequence[Point]
    fit: NotRequired[Sequence[Sequence[float]]]
    """[x, y] pairs of a fitted curve, drawn dashed."""
    band: NotRequired[Sequence[Sequence[float]]]
    """[x, low, high] triples: where the fitted curve may lie."""


class Reference(TypedDict):
    """A line across a figure: at a height `y` or at a place `x`."""

    label: str
    x: NotRequired[float | str]
    y: NotRequired[float]


class Lines(TypedDict):
    """Scores against what varies: budgets, numbers of tasks, steps, shares."""

    kind: Literal["lines"]
    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    references: NotRequired[Sequence[Reference]]


# `from` is a keyword of Python, so this one key cannot be written as a class's field.
ArrowItem = TypedDict(
    "ArrowItem",
    {
        "label": str,
        "group": str,
        "from": Sequence[float | None],
        "to": Sequence[float | None],
        "note": NotRequired[str],
    },
)


class Arrows(TypedDict):
    """The Pareto picture: one arrow a task, from (x, y) of the base to (x, y) of the tuned model."""

    kind: Literal["arrows"]
    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    items: Sequence[ArrowItem]


class RowMark(TypedDict):
    """A value of a row with its interval."""

    series: str
    """`base`, `tuned`, `gain` or 1 to 8."""
    value: float | None
    low: float | None
    high: float | None
    name: NotRequired[str]


class FigureRow(TypedDict):
    """A line of an interval plot."""

    label: str
    marks: Sequence[RowMark]
    note: NotRequired[str]
    strong: NotRequired[bool]


class Rows(TypedDict):
    """Values with intervals, one line a thing; `full_scale`: scores from 0 to 1, else differences around 0."""

    kind: Literal["rows"]
    name: str
    title: str
    caption: str
    rows: Sequence[FigureRow]
    full_scale: NotRequired[bool]


class Matrix(TypedDict):
    """Values by row and column, as colours and numbers: the transfer matrix."""

    kind: Literal["matrix"]
    name: str
    title: str
    caption: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    low: NotRequired[Sequence[Sequence[float | None]]]
    high: NotRequired[Sequence[Sequence[float | None]]]
    diverging: NotRequired[bool]
    """Differences around zero: two colours with the page's own between them."""
    row_label: NotRequired[str]
    column_label: NotRequired[str]


class ScatterPoint(TypedDict):
    """A thing at a place."""

    x: float
    y: float | None
    label: str
    group: str
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class Scatter(TypedDict):
    """One quantity against another, one mark a thing."""

    kind: Literal["scatter"]
    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    points: Sequence[ScatterPoint]
    fit: NotRequired[Sequence[Sequence[float]]]


Figure: TypeAlias = Lines | Arrows | Rows | Matrix | Scatter

Cell: TypeAlias = str | int | float | bool | None


class Table(TypedDict):
    """Numbers to read; a float is written as it is, so shares that are to be percent are written by the question."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: NotRequired[str]


class Made(TypedDict):
    """How the study was made, enough to make it again."""

    command: NotRequired[str]
    recipe: NotRequired[str]
    """The study file, as YAML."""
    fingerprint: NotRequired[str]
    versions: NotRequired[Mapping[str, str]]
    machine: NotRequired[str]
    phases: NotRequired[Mapping[str, float]]
    """Seconds by kind of work."""
    seconds: NotRequired[float]


class StudyReport(TypedDict):
    """One study, whole."""

    question: str
    title: str
    verdict: Mapping[str, Any]
    """A `Verdict`, and the question's own figures beside it."""
    findings: Sequence[str]
    """Sentences that say what was found, the most important first."""
    claims: NotRequired[Sequence[Claim]]
    figures: Sequence[Figure]
    tables: NotRequired[Sequence[Table]]
    method: NotRequired[Sequence[str]]
    """Paragraphs: what was done, in words."""
    choices: NotRequired[Sequence[Sequence[Cell]]]
    """[what, value]: everything that was fixed before the first run."""
    missing: NotRequired[Sequence[str]]
    """Runs that failed or were skipped, and what a figure lacks because of it."""
    made: NotRequired[Made]
