from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from instil.errors import RunError
from instil.studies.gather import read_ask
from instil.studies.grid import Run
from instil.studies.table import PER_TOKEN, Missing, Results, Scored
from instil.studies.table_files import read_results, write_results


def scored(run: str, task: str, metric: str = "exact_match", *scores: float, group: str = "held_out") -> Scored:
    items = tuple(f"plain|{number}" for number in range(len(scores)))
    return Scored(run, "pocket", task, "words", (group,), "zero-shot", "generate", metric, metric == "exact_match",
                  items, scores)  # fmt: skip


@pytest.fixture
def results() -> Results:
    runs = (
        Run("base", {"arm": "base", "seed": 0}, model="pocket"),
        Run("tuned/0", {"arm": "tuned", "seed": 0, "size": 1.5}, model="pocket"),
        Run("tuned/1", {"arm": "tuned", "seed": 1, "size": 1.5}, model="pocket"),
        Run("lost", {"arm": "lost", "seed": 0}, model="pocket"),
    )
    table = [
        scored("base", "a", "exact_match", 0.0, 0.0),
        scored("base", "a", "starts_with", 1.0, 0.0),
        scored("tuned/0", "a", "exact_match", 1.0, 0.0),
        scored("tuned/0", "b", "exact_match", 1.0, group="held_in"),
        scored("tuned/1", "a", "exact_match", 1.0, 1.0),
    ]
    facts = {"tuned/0": {"steps": 4, "curve": [{"step": 2, "evaluation": {"score": 0.5}}]}}
    return Results(runs, table, facts, (Missing("lost", "failed", "the disk is full"),))


def test_units_are_item_scores_by_task_of_all_that_fits(results: Results) -> None:
    assert results.units(arm="tuned", seed=0) == {"a": [1.0, 0.0], "b": [1.0]}
    assert results.units(arm="tuned", groups="held_out") == {"a": [1.0, 0.0, 1.0, 1.0]}
    assert results.units(arm=["base", "tuned"], seed={0}, tasks="a") == {"a": [0.0, 0.0, 1.0, 0.0]}
    assert results.units(run="tuned/1") == {"a": [1.0, 1.0]}
    assert results.units(suite="another") == {}


def test_where_no_metric_is_asked_for_the_first_of_each_cell_counts(results: Results) -> None:
    assert results.units(arm="base") == {"a": [0.0, 0.0]}
    assert results.units(arm="base", metric="starts_with") == {"a": [1.0, 0.0]}


def test_items_are_found_again_by_their_keys(results: Results) -> None:
    assert results.items(arm="tuned", seed=0, tasks="a") == {"a": {"plain|0": 1.0, "plain|1": 0.0}}


def test_runs_and_values_follow_the_grid_and_facts_of_a_lost_run_are_empty(results: Results) -> None:
    assert [run.key for run in results.runs(arm="tuned")] == ["tuned/0", "tuned/1"]
    assert results.values("seed", arm="tuned") == [0, 1]
    assert results.axes == ("arm", "seed", "size")
    assert results.facts("tuned/0")["steps"] == 4
    assert results.facts("lost") == {}


def test_results_come_back_from_their_files_as_they_were(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    again = read_results(tmp_path)
    assert again.scored == results.scored
    assert again.facts_by_run == results.facts_by_run
    assert again.missing == results.missing
    assert [(run.key, run.axes) for run in again.runs_asked] == [(run.key, run.axes) for run in results.runs_asked]


def test_the_table_is_tidy_in_parquet_and_csv(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    table = pq.read_table(tmp_path / "results.parquet")
    assert table.column_names == [
        "run", "arm", "seed", "size", "suite", "task", "cluster", "groups", "setting", "method", "metric", "headline",
        "score", "n",
    ]  # fmt: skip
    rows = table.to_pylist()
    assert [(row["run"], row["seed"], row["size"], row["score"], row["n"]) for row in rows[2:4]] == [
        ("tuned/0", 0, 1.5, 0.5, 2),
        ("tuned/0", 0, 1.5, 1.0, 1),
    ]
    lines = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert len(lines) == len(rows) == 5
    assert lines[0] | {"size": "", "groups": "held_out"} == lines[0]
    assert pq.read_table(tmp_path / "items.parquet").num_rows == 9


def test_an_axis_of_different_kinds_is_text_in_the_files(tmp_path: Path) -> None:
    runs = (Run("a", {"count": 4}, model="x"), Run("b", {"count": "all"}, model="x"))
    write_results(Results(runs, [scored("a", "t", "exact_match", 1.0), scored("b", "t", "exact_match", 1.0)]), tmp_path)
    assert pq.read_table(tmp_path / "results.parquet")["count"].to_pylist() == ["4", "all"]
    assert read_results(tmp_path).values("count") == [4, "all"]


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no results of a study"):
        read_results(tmp_path)


def row(example: str, **more: object) -> dict[str, object]:
    return {
        "task": "t", "cluster": "c", "groups": ["g"], "setting": "zero-shot", "method": "generate", "metric": "f1",
        "template": "plain", "example": example, "scores": {"f1": 0.5, "exact_match": 0.0}, **more,
    }  # fmt: skip


def test_every_metric_of_a_sample_becomes_a_column_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row(name)) + "\n" for name in ("one", "two")))
    found = read_ask(tmp_path)
    assert [(one.metric, one.headline, one.scores, one.items) for one in found] == [
        ("f1", True, (0.5, 0.5), ("plain|one", "plain|two")),
        ("exact_match", False, (0.0, 0.0), ("plain|one", "plain|two")),
    ]


def test_options_that_were_ranked_by_their_sum_are_ranked_per_token_too(tmp_path: Path) -> None:
    options = [
        {"text": "a long one", "loglikelihood": -4.0, "tokens": 4},
        {"text": "short", "loglikelihood": -2.0, "tokens": 1},
    ]
    of = {"method": "rank", "metric": "accuracy", "scores": {"accuracy": 0.0}, "rank_by": "sum", "options": options}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row("one", references=["a long one"], **of)) + "\n")
    assert {one.metric: one.scores for one in read_ask(tmp_path)} == {"accuracy": (0.0,), PER_TOKEN: (1.0,)}


def test_answers_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"task": ')
    with pytest.raises(RunError, match=r"samples.jsonl cannot be read"):
        read_ask(tmp_path)
