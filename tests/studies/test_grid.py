from __future__ import annotations

import pytest

from instil.errors import RecipeError
from instil.studies.grid import RESERVED, Ask, Grid, Run


def tuned(key: str, start: str = "", **axes: int) -> Run:
    return Run(key, axes, recipe={"model": "pocket"}, start=start)


def test_every_run_comes_after_the_one_that_it_begins_from() -> None:
    grid = Grid((tuned("c", "b"), tuned("b", "a"), tuned("d"), tuned("a")))
    assert [run.key for run in grid.in_order()] == ["a", "b", "c", "d"]
    assert [run.key for run in grid.line("c")] == ["a", "b", "c"]
    assert grid["b"].start == "a"
    assert [run.key for run in grid] == ["c", "b", "d", "a"], "tables list runs as the question did"


def test_axes_are_those_of_all_runs_in_the_order_of_their_first() -> None:
    assert Grid((tuned("a", seed=0), tuned("b", size=1, seed=0))).axes == ("seed", "size")


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ((tuned("a"), tuned("a")), "two runs 'a'"),
        ((tuned("a", "b"),), "'b', which is no run of the study"),
        ((tuned("a", "b"), tuned("b", "a")), "starts from itself"),
        ((tuned("a", "a"),), "starts from itself"),
        ((Run("a", {}, model="pocket"), tuned("b", "a")), "'a', which tunes nothing"),
        ((Run("a", {}),), "names no model"),
        ((Run("a", {"task": 1}, model="pocket"),), "axis 'task', which is a column"),
        ((Run("a", {}, model="pocket", asks=(Ask("x", "pocket"), Ask("x", "bbh"))),), "asked 'x' twice"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_in_one_line(runs: tuple[Run, ...], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as refused:
        Grid(runs)
    assert refused.value.remedy


def test_an_ask_is_of_a_suite_or_of_held_out_rows() -> None:
    with pytest.raises(RecipeError, match="either a suite or held-out rows"):
        Ask("x")
    with pytest.raises(RecipeError, match="either a suite or held-out rows"):
        Ask("x", suite="pocket", held_out={})


def test_no_axis_can_hide_a_column_or_a_filter_of_the_results() -> None:
    import inspect

    from instil.studies.table import Results

    assert set(inspect.signature(Results.select).parameters) - {"self", "axes"} <= set(RESERVED)
