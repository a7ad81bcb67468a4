from __future__ import annotations

from pathlib import Path

from instil.studies.schedule import Schedule
from instil.studies.units import Unit


def unit(name: str, start: str = "") -> Unit:
    return Unit(name, Path(name), None, "pocket", start, runs=[f"run {name}"])


def schedule(*units: Unit, **seconds: float) -> Schedule:
    return Schedule(units, seconds)


def test_what_most_depends_on_is_first_then_the_longest() -> None:
    plan = schedule(
        unit("base"), unit("long"), unit("tuned"), unit("after"), unit("last", "after"),
        base=5, long=50, tuned=20, after=30, last=25,
    )  # fmt: skip
    given = [plan.next() for _ in range(5)]
    assert [one.identity if one else None for one in given] == ["after", "long", "tuned", "base", None]
    plan.finish("after")
    found = plan.next()
    assert found is not None
    assert found.identity == "last"
    assert plan.next() is None


def test_a_failure_takes_the_whole_line_along_and_nothing_else() -> None:
    plan = schedule(unit("a"), unit("b", "a"), unit("c", "b"), unit("d"), a=1, b=1, c=1, d=9)
    first, second = plan.next(), plan.next()
    assert first is not None
    assert second is not None
    assert (first.identity, second.identity) == ("d", "a")
    plan.fail("a", "the disk is full")
    assert plan.skipped == {
        "b": "it begins from run a, which failed",
        "c": "it begins from run b, which failed",
    }
    assert plan.next() is None
    assert not plan.is_over
    plan.finish("d")
    assert plan.is_over


def test_a_unit_whose_start_is_done_already_may_begin_at_once() -> None:
    plan = schedule(unit("b", "done before"), b=1)
    found = plan.next()
    assert found is not None
    assert found.identity == "b"


def test_the_time_left_is_no_less_than_the_longest_line() -> None:
    plan = schedule(unit("a"), unit("b", "a"), unit("c"), a=10, b=20, c=2)
    assert plan.seconds_left(1) == 32
    assert plan.seconds_left(4) == 30
    plan.finish("a")
    assert plan.seconds_left(1) == 22
