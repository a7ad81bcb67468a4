"""Charts: each kind is drawn, tells its numbers, says what is missing, and lets no text become markup."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest
from tests.reports import study_reports as made

from instil.reports.chart import draw
from instil.reports.ink import cut, wide_as, wrapped
from instil.reports.study_tables import figure_table

FIGURES: dict[str, Callable[[], dict[str, Any]]] = {
    "lines": made.budget_figure,
    "fits": made.scaling_figure,
    "curves": made.learning_figure,
    "categories": made.categories_figure,
    "arrows": made.arrows_figure,
    "scores": lambda: made.rows_figure(True),
    "differences": lambda: made.rows_figure(False),
    "matrix": made.matrix_figure,
    "scatter": made.scatter_figure,
}
WIDTHS = (760, 360)


def body(figure: dict[str, Any], width: float = 760) -> str:
    return str(draw(figure, width=width).body)


def emptied(value: Any, hole: Any) -> Any:
    """The figure with every measured number gone."""
    if isinstance(value, dict):
        gone = {"y", "value", "low", "high"} if not isinstance(value.get("y"), dict) else set()
        return {key: hole if key in gone else emptied(one, hole) for key, one in value.items()}
    if isinstance(value, list):
        return [emptied(one, hole) for one in value]
    return value


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", FIGURES)
def test_every_kind_is_well_formed_and_stays_inside_its_width(name: str, width: int):
    drawing = draw(FIGURES[name](), width=width)
    root = ET.fromstring(f"<svg>{drawing.body}</svg>")
    places = [float(number) for node in root.iter("text") for number in [node.attrib["x"]]]
    assert places
    assert all(-1 <= place <= drawing.width for place in places)
    assert drawing.width == width
    for path in root.iter("path"):
        numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path.attrib["d"])]
        assert max(numbers) < max(drawing.width, drawing.height) + 20


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("hole", [None, float("nan")])
@pytest.mark.parametrize("name", ["lines", "fits", "curves", "categories", "scores", "differences"])
def test_a_figure_of_which_nothing_was_measured_says_so(name: str, hole: Any, width: int):
    figure = emptied(FIGURES[name](), hole)
    assert "Nothing that this figure shows was measured" in body(figure, width)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_anything_in_it_says_so(name: str):
    figure = copy.deepcopy(FIGURES[name]())
    for key in ("series", "items", "points", "rows", "columns", "values"):
        if key in figure:
            figure[key] = []
    assert "Nothing that this figure shows was measured" in body(figure)
    assert figure_table(figure).rows == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lines", "Not measured: instruction-tuned at 256."),
        ("arrows", "Not measured: dates apart."),
        ("scatter", "Not measured: draw 9."),
        ("scores", "Not measured: Unseen compositions of skills that were tuned, tuned."),
        ("matrix", "Not measured: strings × dates."),
    ],
)
def test_what_is_missing_is_named_below_the_chart(name: str, words: str):
    assert words in body(FIGURES[name]())


def test_a_line_is_broken_where_a_value_is_missing():
    figure = made.budget_figure()
    whole = {**figure, "series": [made.series("tuned", "tuned", [0.1, 0.2, 0.3, 0.4, 0.5])], "references": []}
    holed = {**figure, "series": [made.series("tuned", "tuned", [0.1, 0.2, None, 0.4, 0.5])], "references": []}
    strokes = [len(re.findall(r'class="line" d="M[^"]*L', body(one))) for one in (whole, holed)]
    assert strokes[1] == strokes[0] + 1
    assert len(re.findall(r'class="line" d="[^"]*"', body(whole))[-1].split("L")) == 5


def test_marks_tell_their_numbers_with_their_intervals():
    assert 'data-tip="instruction-tuned, 64: 58.0% (54.5% to 61.5%), n = 1,200"' in body(made.budget_figure())
    assert "tuned on numbers, asked dates: +20.3 points (+16.3 to +24.3)" in body(made.matrix_figure())
    assert "Control: shuffled targets, gain: +0.4 points (−1.6 to +2.4)" in body(made.rows_figure(False))
    assert "rotate left (held-out): from (2.0%, 30.0%) to (35.0%, 38.0%). 3 seeds" in body(made.arrows_figure())


def test_marks_stand_where_their_numbers_say():
    drawn = body(made.budget_figure())
    rules = {float(y): None for y in re.findall(r'class="rule" d="M[\d.]+ ([\d.]+)L', drawn)}
    zero = float(re.findall(r'class="zero" d="M[\d.]+ ([\d.]+)L', drawn)[0])
    twenty = zero - (zero - min(rules)) / 4  # the highest rule stands at 80%
    place = re.search(r'data-tip="base, 256: 44.0%[^"]*" data-x="[\d.]+" data-y="([\d.]+)"', drawn)
    assert place is not None
    assert float(place[1]) == pytest.approx(zero - 0.44 / 0.2 * (zero - twenty), abs=0.2)


def test_intervals_at_one_place_do_not_cover_each_other():
    figure = made.budget_figure()
    drawn = body(figure)
    columns = re.findall(r'data-tip="[^"]*, 64: [^"]*" data-x="([\d.]+)"', drawn)
    assert len(columns) == len(set(columns)) == len(figure["series"])


@pytest.mark.parametrize("name", FIGURES)
def test_hostile_names_stay_text(name: str):
    text = repr(FIGURES[name]())
    for word in ("'base'", "'held-in'", "'tuned'", "'strings'", "'4 tasks'", "'Tuned'", "'CoT only'"):
        text = text.replace(f"'name': {word}", f"'name': {made.HOSTILE!r}").replace(f": {word}", f": {made.HOSTILE!r}")
    figure = eval(text.replace(f"'series': {made.HOSTILE!r}", "'series': 'tuned'"), {"nan": float("nan")})
    figure["title"] = made.HOSTILE
    drawn = body(figure)
    assert "<script" not in drawn
    assert "\x00" not in drawn
    ET.fromstring(f"<svg>{drawn}</svg>")


def test_a_matrix_of_many_columns_grows_wider_instead_of_unreadable():
    drawing = draw(made.matrix_figure(30), width=760)
    assert drawing.width > 760
    assert draw(made.matrix_figure(6), width=760).width == 760


def test_the_table_has_every_number_of_the_figure():
    figure = made.budget_figure()
    rows = figure_table(figure).rows
    assert len(rows) == sum(len(series["points"]) for series in figure["series"])
    assert ["base", "16", "8.0%", "4.5% to 11.5%", "1,200"] in rows
    assert ["instruction-tuned", "256", "not measured", "", ""] in rows
    assert ["dates apart", "held-in", "10.0%", "not measured", "20.0%", "30.0%"] in figure_table(
        made.arrows_figure()
    ).rows
    assert figure_table(made.matrix_figure()).rows[1][4] == "–"


def test_text_is_cut_and_wrapped_by_its_width():
    assert wide_as("iii", 12) < wide_as("WWW", 12)
    assert cut("a short one", 12, 200) == "a short one"
    assert cut("a very long name of a task", 12, 60).endswith("…")
    lines = wrapped("one two three four five six seven", 12, 80)
    assert " ".join(lines) == "one two three four five six seven"
    assert all(wide_as(line, 12) <= 80 for line in lines)
    assert len(wrapped("one two three four five six seven", 12, 80, lines=2)) == 2
