from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.studies.tiny_grid import InlinePool, grid_of, recipe, runs_of, write_rows, write_suite, write_world

from instil.errors import DataError, RecipeError, RunError
from instil.experiments import forgetting
from instil.studies import engine, execute, gather
from instil.studies.engine import carry_out
from instil.studies.execute import Job
from instil.studies.grid import Ask, Grid, Run
from instil.studies.identity import Identities
from instil.studies.pool import News
from instil.studies.progress import Progress
from instil.studies.table import Results
from instil.studies.table_files import read_results
from instil.studies.units import survey

Carry = Callable[..., Results]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path / "world")


@pytest.fixture
def carry(monkeypatch: pytest.MonkeyPatch) -> Carry:
    """`carry_out` without processes; what was given to workers since stands in `InlinePool.given`."""
    monkeypatch.setattr(engine, "LocalPool", InlinePool)

    def carried(grid: Grid, out: Path, **how: Any) -> Results:
        InlinePool.given = []
        return carry_out(grid, out, workers=1, **{"say": lambda line: None, **how})

    return carried


def test_every_run_is_tuned_and_asked_and_a_finished_one_never_again(world: Path, carry: Carry, tmp_path: Path) -> None:
    out, seen = tmp_path / "study", list[Progress]()
    first = carry(grid_of(world), out, watch=seen.append)
    assert set(InlinePool.given) == {"base", "tuned/0", "after/0"}
    assert InlinePool.given.index("tuned/0") < InlinePool.given.index("after/0")
    assert [len(scores) for scores in first.units(arm="after").values()] == [6]
    assert first.facts("tuned/0")["steps"] == 4
    assert first.facts("tuned/0")["tasks"] == ["jsonl/my"]
    assert first.facts("base")["parameters"] > 0
    assert (seen[-1].total, seen[-1].finished, seen[-1].found, seen[-1].doing) == (3, 3, 0, ())
    assert any(one.phase == "tuning" for progress in seen for one in progress.doing)
    written = {path.name: path.read_bytes() for path in out.glob("*.parquet")}

    again = carry(grid_of(world), out, watch=seen.append)
    assert InlinePool.given == []
    assert again.scored == first.scored
    assert seen[-1].found == 3
    assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == written
    assert read_results(out).scored == first.scored


def test_a_changed_recipe_redoes_only_what_it_touches(world: Path, carry: Carry, tmp_path: Path) -> None:
    carry(grid_of(world), tmp_path / "study")
    carry(grid_of(world, after={"max_steps": 3}), tmp_path / "study")
    assert InlinePool.given == ["after/0"]
    carry(grid_of(world, max_steps=5), tmp_path / "study")
    assert InlinePool.given == ["tuned/0", "after/0"]


def test_a_changed_suite_asks_again_and_tunes_nothing(world: Path, carry: Carry, tmp_path: Path) -> None:
    first = carry(grid_of(world), tmp_path / "study")
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("study/runs/*/tuned.json")}
    write_suite(world, "sums", max_new_tokens=2)
    again = carry(grid_of(world), tmp_path / "study")
    assert set(InlinePool.given) == {"base", "tuned/0", "after/0"}
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert again.facts("tuned/0") == first.facts("tuned/0")


def test_new_rows_to_train_on_make_new_runs(world: Path, carry: Carry, tmp_path: Path) -> None:
    carry(grid_of(world), tmp_path / "study")
    write_rows(world / "my.jsonl", [{"inputs": f"And {k}?", "targets": "yes"} for k in range(40)])
    carry(grid_of(world), tmp_path / "study")
    assert set(InlinePool.given) == {"tuned/0", "after/0"}


def test_runs_that_are_one_by_content_are_carried_out_once(world: Path, carry: Carry, tmp_path: Path) -> None:
    runs = runs_of(world)
    twin = replace(runs[1], key="twin", axes={"arm": "twin", "seed": 0}, asks=(*runs[1].asks,))
    results = carry(Grid((*runs, twin)), tmp_path / "study")
    assert sorted(InlinePool.given) == ["after/0", "base", "tuned/0"]
    assert results.units(arm="twin") == results.units(arm="tuned")
    assert results.facts("twin") == results.facts("tuned/0")


def test_studies_share_runs_in_one_folder(world: Path, carry: Carry, tmp_path: Path) -> None:
    shared = tmp_path / "runs"
    carry(grid_of(world), tmp_path / "one", runs=shared)
    other = carry(grid_of(world, seeds=2), tmp_path / "two", runs=shared)
    assert set(InlinePool.given) == {"tuned/1", "after/1"}
    assert len(other.runs()) == 5
    assert not (tmp_path / "two" / "runs").exists()


def test_a_run_that_fails_is_told_what_begins_from_it_skipped_and_the_rest_finished(
    world: Path, carry: Carry, tmp_path: Path
) -> None:
    said: list[str] = []
    broken = recipe(world, learning_rate=1e30, max_skipped_in_a_row=1, clip_norm=0.0)
    runs = [run if run.key != "tuned/0" else replace(run, recipe=broken) for run in runs_of(world, seeds=2)]
    results = carry(Grid(tuple(runs)), tmp_path / "study", say=said.append)
    states = {one.run: (one.state, one.reason) for one in results.missing}
    assert set(states) == {"tuned/0", "after/0"}
    assert states["tuned/0"][0] == "failed"
    assert "was not taken" in states["tuned/0"][1] or "were not taken" in states["tuned/0"][1]
    assert states["after/0"] == ("skipped", "it begins from tuned/0, which failed")
    assert results.units(arm="after", seed=1)
    assert any(line.startswith("tuned/0 failed: ") for line in said)
    assert read_results(tmp_path / "study").missing == results.missing
    carry(Grid(tuple(runs)), tmp_path / "study")
    assert InlinePool.given == ["tuned/0"], "a failed run is tried again"


class DyingPool(InlinePool):
    """Its worker dies at the first units that it is given, as often as told."""

    deaths = 1

    def give(self, worker: int, job: Job) -> None:
        if job.key == "tuned/0" and type(self).given.count("tuned/0") < self.deaths:
            type(self).given.append(job.key)
            self._news.append(News(worker, died="signal 9"))
        else:
            super().give(worker, job)


@pytest.mark.parametrize(("deaths", "lost"), [(1, []), (2, ["tuned/0", "after/0"])])
def test_a_worker_that_dies_is_replaced_and_its_run_tried_once_more(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, lost: list[str]
) -> None:
    monkeypatch.setattr(engine, "LocalPool", DyingPool)
    monkeypatch.setattr(DyingPool, "deaths", deaths)
    DyingPool.given = []
    results = carry_out(grid_of(world), tmp_path / "study", workers=1, say=lambda line: None)
    assert DyingPool.given.count("tuned/0") == 2
    assert [one.run for one in results.missing] == lost
    if lost:
        assert "died twice (signal 9)" in results.missing[0].reason


def test_large_weights_stay_only_where_a_run_begins_from_them_or_they_were_asked_for(
    world: Path, carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "_SMALL", 0)
    runs = runs_of(world, seeds=2)
    runs[-1] = replace(runs[-1], keep="model")
    grid = Grid(tuple(runs))
    carry(grid, tmp_path / "study")
    units = survey(grid, tmp_path / "study" / "runs").units.values()
    kept = {unit.key for unit in units if unit.recipe is not None and unit.has_model}
    assert kept == {"tuned/0", "tuned/1", "after/1"}
    assert not list(tmp_path.glob("study/runs/*/checkpoints"))
    carry(grid, tmp_path / "study")
    assert InlinePool.given == [], "answers are enough: nothing is tuned again for weights that nobody needs"


def test_a_model_that_was_not_kept_is_tuned_again_only_for_new_questions(
    world: Path, carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "_SMALL", 0)
    first = carry(grid_of(world), tmp_path / "study")
    more = Ask("again", suite=str(write_suite(world, "again")))
    runs = [replace(run, asks=(*run.asks, more)) if run.key == "after/0" else run for run in runs_of(world)]
    again = carry(Grid(tuple(runs)), tmp_path / "study")
    assert InlinePool.given == ["after/0"]
    assert again.units(suite="again") == again.units(suite="sums", arm="after") == first.units(arm="after")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"recipe": {"mixture": {"sources": [{"collection": "jsonl"}]}, "tunning": {}}}, "tunning"),
        ({"recipe": {"model": "no/such/model/here", "mixture": {"sources": [{"collection": "pocket"}]}}}, "no model"),
        ({"asks": (Ask("x", suite="no-such-suite"),)}, "no suite 'no-such-suite'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_run(
    world: Path, carry: Carry, tmp_path: Path, change: dict[str, Any], error: str
) -> None:
    runs = runs_of(world)
    with pytest.raises(Exception, match=error) as refused:
        carry(Grid((*runs, replace(runs[1], key="wrong", **change))), tmp_path / "study")
    assert isinstance(refused.value, (RecipeError, DataError)) or "Model" in type(refused.value).__name__
    assert InlinePool.given == []


def test_two_studies_cannot_write_to_one_folder(world: Path, carry: Carry, tmp_path: Path) -> None:
    from instil.runs import lock_folder

    (tmp_path / "study").mkdir()
    with lock_folder(tmp_path / "study"), pytest.raises(RunError, match="another process is writing"):
        carry(grid_of(world), tmp_path / "study")


def identity(world: Path, change: dict[str, Any] | None = None, threads: int = 1, key: str = "run") -> str:
    plain = recipe(world)
    run = Run(
        key, {}, recipe={**plain, **(change or {}), "tuning": {**plain["tuning"], **(change or {}).get("tuning", {})}}
    )
    return Identities(Grid((run,)), None, threads).of(run)


def test_a_run_is_named_by_what_decides_it_alone(world: Path, tmp_path: Path) -> None:
    plain = identity(world)
    assert identity(world, key="another key") == plain
    assert identity(world, {"name": "x", "tuning": {"log_every": 3, "save_every": 2}}) == plain
    (tmp_path / "elsewhere").symlink_to(world / "base")
    assert identity(world, {"model": str(tmp_path / "elsewhere")}) == plain, "a model is its content"
    others = [
        identity(world, {"seed": 1}),
        identity(world, {"tuning": {"max_steps": 5}}),
        identity(world, {"tuning": {"learning_rate": 2e-3}}),
        identity(world, threads=2),
    ]
    assert len({plain, *others}) == 5


def test_a_text_that_many_runs_replay_is_read_once_and_names_each_of_them(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str | None] = []
    real = forgetting.text_of

    def text_of(recipe: Any, data: Path | None) -> Any:
        read.append(recipe.replay)
        return real(recipe, data)

    monkeypatch.setattr(forgetting, "text_of", text_of)
    texts = [world / "one.txt", world / "two.txt"]
    for number, text in enumerate(texts):
        text.write_text("\n\n".join(f"Text {number}, part {part}." for part in range(30)))
    plain = recipe(world, replay_share=0.5)
    runs = [
        Run(f"{text.stem}/{seed}", {}, recipe=plain | {"replay": str(text), "seed": seed})
        for text in texts
        for seed in (0, 1, 2)
    ]
    identities = Identities(Grid(tuple(runs)), None, 1)
    assert len({identities.of(run) for run in runs}) == 6
    assert read == [str(text) for text in texts]
    texts[0].write_text(texts[1].read_text())
    again = Identities(Grid(tuple(runs)), None, 1)
    assert again.of(runs[0]) != identities.of(runs[0]), "a text is its content"


def test_answers_are_read_once_and_while_other_runs_are_made(
    world: Path, carry: Carry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []
    real = gather.read_ask

    def read_ask(folder: Path) -> Any:
        done.append((str(folder), len(InlinePool.given)))
        return real(folder)

    monkeypatch.setattr(gather, "read_ask", read_ask)
    first = carry(grid_of(world, seeds=2), tmp_path / "study")
    assert len(first.runs()) == len(done) == len({folder for folder, _ in done}) == 5
    assert [given for _, given in done] == [2, 3, 4, 5, 5], "the last ones are read once nothing is left to give"
    done.clear()
    assert carry(grid_of(world, seeds=2), tmp_path / "study").scored == first.scored
    assert len(done) == 5


def test_a_recipe_that_evaluates_by_itself_is_refused(world: Path) -> None:
    with pytest.raises(RecipeError, match=r"evaluation.suites"):
        identity(world, {"evaluation": {"suites": ["pocket"]}})
