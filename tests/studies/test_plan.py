"""What a study would take: counted before it starts, nothing written, finished runs taken off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.studies.tiny_grid import InlinePool, grid_of, write_world

from instil.errors import DataError, RecipeError
from instil.studies import engine, questions
from instil.studies.grid import Grid
from instil.studies.plan import StudyPlan, plan_of
from instil.studies.spec import StudySpec


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def spec(world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StudySpec:
    """A study whose grid is a base, two tunings, and one after each."""
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))

    class Asked:
        Spec = StudySpec

        @staticmethod
        def grid(spec: Any) -> Grid:
            return grid_of(world, seeds=len(spec.seeds))

    for place in ("plan", "questions"):
        monkeypatch.setattr(f"instil.studies.{place}.question_of", lambda name: Asked)
    return StudySpec(
        name="mine", question=next(iter(questions.QUESTIONS)), recipe={}, models=[str(world / "base")], seeds=[0, 1]
    )


def test_runs_steps_prompts_flops_time_and_disk_are_told_before_anything_is_written(
    spec: StudySpec, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan = plan_of(spec, out, workers=2)
    assert not out.exists()
    assert (plan.runs, plan.there, plan.workers) == (5, 0, 2)
    assert {kind: (work.runs, work.amount) for kind, work in plan.tuning.items()} == {"tuned": (2, 8), "after": (2, 4)}
    assert (plan.asking.runs, plan.asking.amount) == (5, 30)
    assert plan.flops > 0
    assert plan.seconds > 0
    assert plan.peak_bytes > plan.disk_bytes > 0
    told = plan.lines()
    assert told[0] == "mine: 5 runs"
    assert told[1].endswith("2 seeds")
    assert any(line.startswith("  disk: ") for line in told)
    assert "with 2 workers on this machine" in told[-1]


def test_twice_the_steps_are_twice_the_flops(spec: StudySpec, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = plan_of(spec, None)

    class Longer:
        @staticmethod
        def grid(spec: Any) -> Grid:
            return grid_of(world, seeds=2, max_steps=8)

    monkeypatch.setattr("instil.studies.plan.question_of", lambda name: Longer)
    twice = plan_of(spec, None)
    assert twice.tuning["tuned"].amount == 2 * once.tuning["tuned"].amount
    assert twice.tuning["tuned"].flops == pytest.approx(2 * once.tuning["tuned"].flops, rel=0.2)
    assert twice.tuning["after"].flops == pytest.approx(once.tuning["after"].flops)


def test_what_is_done_costs_nothing_and_is_subtracted(
    spec: StudySpec, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    InlinePool.given = []
    monkeypatch.setattr(engine, "LocalPool", InlinePool)
    done = Grid(tuple(grid_of(world, seeds=1)))
    engine.carry_out(done, out, say=lambda line: None)
    there = sorted(path for path in out.rglob("*") if path.is_file())
    before = plan_of(spec, None)
    plan = plan_of(spec, out)
    assert (plan.runs, plan.there) == (5, 3)
    assert plan.flops < before.flops
    assert plan.tuning["tuned"].runs == 1
    assert plan.lines()[0] == "mine: 5 runs, 3 of them there already"
    assert sorted(path for path in out.rglob("*") if path.is_file()) == there
    half = StudySpec(**{**spec.model_dump(), "seeds": [0]})
    assert plan_of(half, out).lines()[-1] == "  nothing is left to do but to write the page"


@pytest.mark.parametrize(
    ("devices", "asked", "expected"),
    [("0,1,2", None, 3), ("0,1,2", 2, 2), ("0", None, 1), ("0,1,2,3,4,5,6,7", None, 5), ("-1", 4, 4)],
)
def test_as_many_workers_are_planned_as_the_engine_would_start(
    spec: StudySpec,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    devices: str,
    asked: int | None,
    expected: int,
) -> None:
    """One a GPU, where there are some: five runs, on machines of one to eight of them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    monkeypatch.setattr("instil.studies.plan._add", lambda *_: 1.0)  # what it costs is another test's
    started: list[int] = []

    class Refusing(InlinePool):
        def __init__(self, size: int, **how: Any) -> None:
            started.append(size)
            raise DataError("enough is known", remedy="None")

    monkeypatch.setattr(engine, "LocalPool", Refusing)
    with pytest.raises(DataError, match="enough is known"):
        engine.carry_out(grid_of(world, seeds=2), tmp_path / "out", workers=asked)
    assert started == [plan_of(spec, None, workers=asked).workers] == [expected]


def test_no_worker_is_refused_by_the_plan_as_by_the_engine(spec: StudySpec, world: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="workers is 0"):
        plan_of(spec, None, workers=0)
    with pytest.raises(RecipeError, match="workers is 0"):
        engine.carry_out(grid_of(world), tmp_path / "out", workers=0)


def test_measurements_are_kept_for_the_next_plan(spec: StudySpec, tmp_path: Path) -> None:
    first = plan_of(spec, None)
    kept = sorted((tmp_path / "cache" / "costs").glob("*.json"))
    assert kept
    assert all(isinstance(json.loads(path.read_text()), dict) for path in kept)
    again = plan_of(spec, None)
    assert sorted((tmp_path / "cache" / "costs").glob("*.json")) == kept
    assert again.lines() == first.lines()


def test_costs_that_are_not_known_are_said_to_be(world: Path) -> None:
    plan = StudyPlan("mine", 3, 1, 2, pretraining={"gpt": None, "other": 1e12}, tuning_flops={"other": 1e10})
    told = "\n".join(plan.lines())
    assert "pre-training of gpt: not known (give its tokens as pretraining_tokens)" in told
    assert "tuning here is 1.00% of that" in told
