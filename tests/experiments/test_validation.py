"""Evaluation while tuning: on examples that are held out, never on the test; the best weights become the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from instil.errors import DataError, RecipeError
from instil.experiments.recipe import resolve
from instil.experiments.tune import RunResult, prepare, tune
from instil.fingerprint import fingerprint_file
from instil.mixtures.held_out import without_examples


@pytest.fixture
def own(raw: dict[str, Any]) -> dict[str, Any]:
    """A recipe that keeps 8 of its 40 examples for validation."""
    raw["mixture"]["hold_out"] = {"examples": 8}
    raw["tuning"] |= {"evaluate_every": 2, "keep_best": "loss"}
    return raw


def run(raw: dict[str, Any], out: Path, *assignments: str, **more: Any) -> RunResult:
    return tune(resolve(raw, assignments), out, say=lambda line: None, show_progress=False, **more)


def evaluations(out: Path) -> list[tuple[int, dict[str, float]]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["evaluation"]) for row in rows if "evaluation" in row]


def test_held_out_examples_are_asked_and_never_trained_on(own: dict[str, Any], tmp_path: Path) -> None:
    result = run(own, tmp_path / "run")
    found = evaluations(result.out)
    assert [step for step, _ in found] == [0, 2, 4, 6]
    assert set(found[0][1]) == {"loss", "score", "validation", "validation/held_in"}
    assert found[-1][1]["loss"] < found[0][1]["loss"]
    best = min(found, key=lambda row: row[1]["loss"])
    assert (result.training.best_step, result.training.best) == (best[0], best[1]["loss"])
    prepared = prepare(resolve(own))
    (held,) = prepared.mixture.held_out
    trained = {prompt.input for prompt in prepared.mixture[: len(prepared.mixture)]}  # type: ignore[union-attr]
    assert len(trained) == 32
    assert held.size == 8
    assert trained.isdisjoint(str(example.fields["inputs"]) for example in held.examples)


def test_the_model_that_is_saved_has_the_best_weights(own: dict[str, Any], tmp_path: Path) -> None:
    """With a rate that ruins the model, the best is the base: what is saved is the base itself."""
    out = run(own, tmp_path / "run", "tuning.learning_rate=10", "tuning.schedule=constant", "tuning.patience=2").out
    run(own, tmp_path / "base", "tuning.learning_rate=0", "tuning.max_steps=2")
    assert [step for step, _ in evaluations(out)] == [0, 2, 4]
    assert fingerprint_file(out / "model/model.safetensors") == fingerprint_file(
        tmp_path / "base/model/model.safetensors"
    )


def test_a_continued_run_ends_as_one_that_was_not_cut(own: dict[str, Any], tmp_path: Path) -> None:
    own["tuning"] |= {"schedule": "constant", "save_every": 2}
    whole = run(own, tmp_path / "whole")
    run(own, tmp_path / "parts", "tuning.max_steps=3")
    parts = run(own, tmp_path / "parts", resume=True)
    assert evaluations(parts.out) == evaluations(whole.out)
    assert fingerprint_file(parts.out / "model/model.safetensors") == fingerprint_file(
        whole.out / "model/model.safetensors"
    )


def test_a_budget_counts_what_is_left_after_validation(own: dict[str, Any]) -> None:
    own["mixture"]["limit"] = 30
    prepared = prepare(resolve(own))
    assert (prepared.mixture.tasks[0].size, prepared.mixture.held_out[0].size) == (30, 8)


def test_at_most_half_of_a_task_is_held_out(own: dict[str, Any]) -> None:
    own["mixture"]["hold_out"] = {"examples": 1000}
    prepared = prepare(resolve(own))
    assert (prepared.mixture.tasks[0].size, prepared.mixture.held_out[0].size) == (20, 20)
    assert any("20 examples are held out for validation, not 1,000" in one for one in prepared.mixture.remarks)


def test_the_draw_of_held_out_examples_names_their_task(own: dict[str, Any]) -> None:
    (task,) = prepare(
        resolve(own, ["mixture.hold_out.examples=0", "tuning.evaluate_every=0", "tuning.keep_best=null"])
    ).mixture.tasks
    (one, out), (two, _) = without_examples(task, 8), without_examples(task, 8)
    assert one.fingerprint == two.fingerprint != task.fingerprint != out.fingerprint
    assert sorted(example.key for part in (one, out) for example in part.examples) == sorted(
        example.key for example in task.examples
    )


def suite(path: Path, rows: Path, name: str = "mine") -> str:
    content = {"name": name, "max_new_tokens": 4, "sources": [{"collection": "jsonl", "path": str(rows)}]}
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_suite_of_the_test_cannot_validate_whatever_it_is_called(
    raw: dict[str, Any], suite_file: Path, tmp_path: Path
) -> None:
    raw["tuning"]["evaluate_every"] = 2
    copy = tmp_path / "copied.jsonl"
    copy.write_text((tmp_path / "test.jsonl").read_text())
    for name in (str(suite_file), suite(tmp_path / "copied.yaml", copy)):
        with pytest.raises(DataError, match="a checkpoint must not be chosen on the test"):
            run(raw | {"evaluation": {"suites": [str(suite_file)]}, "validation": {"suites": [name]}}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_watched_test_has_a_curve_and_chooses_nothing(own: dict[str, Any], suite_file: Path, tmp_path: Path) -> None:
    own |= {"evaluation": {"suites": [str(suite_file)], "before": False}, "validation": {"watched": [str(suite_file)]}}
    for name in ("sums", "watched/sums", "watched/sums/unseen"):
        with pytest.raises(RecipeError, match="must not be chosen on the test"):
            run(own, tmp_path / "run", f"tuning.keep_best={name}")
    out = run(own, tmp_path / "run").out
    assert {"watched/sums", "watched/sums/unseen"} <= set(evaluations(out)[0][1])


def test_a_suite_of_ones_own_validates(raw: dict[str, Any], suite_file: Path, tmp_path: Path) -> None:
    raw["validation"] = {"suites": [str(suite_file)], "limit": 4}
    raw["tuning"] |= {"evaluate_every": 3, "keep_best": "sums/unseen", "patience": 1}
    result = run(raw, tmp_path / "run")
    assert set(evaluations(result.out)[0][1]) == {"loss", "score", "sums", "sums/unseen"}
    assert result.training.best_step == 0, "a random model answers nothing right, and of equal scores the first stays"
    assert result.training.ended_early


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evaluate_every": 0, "keep_best": None}, "validation needs tuning.evaluate_every"),
        ({"keep_best": "accuracy"}, "Choose one of these: loss, score, validation, validation/held_in"),
    ],
)
def test_validation_that_would_not_be_used_is_told(
    own: dict[str, Any], tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    own["tuning"] |= changes
    with pytest.raises(RecipeError, match=told):
        run(own, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluating_nothing_is_told(raw: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing to ask"):
        run(raw, tmp_path / "run", "tuning.evaluate_every=2")


def test_trained_examples_cannot_validate(raw: dict[str, Any], rows: Path, tmp_path: Path) -> None:
    path = tmp_path / "leak.yaml"
    path.write_text(
        f"name: leak\nsources: [{{collection: jsonl, path: {rows}, map: {{inputs: question, targets: answer}}}}]\n"
    )
    raw["tuning"]["evaluate_every"] = 2
    with pytest.raises(DataError, match="is in the mixture and in suite 'leak'"):
        run(raw | {"validation": {"suites": [str(path)]}}, tmp_path / "run")


def test_held_out_examples_that_are_not_asked_are_still_kept_out(own: dict[str, Any], tmp_path: Path) -> None:
    own["validation"] = {"held_out": False}
    own["tuning"] |= {"evaluate_every": 0, "keep_best": None}
    result = run(own, tmp_path / "run")
    assert not evaluations(result.out)
    mixture = prepare(resolve(own)).mixture
    assert (len(mixture), mixture.held_out[0].size) == (32, 8)


def test_held_out_examples_are_asked_by_the_methods_that_the_recipe_names(own: dict[str, Any]) -> None:
    def method() -> str:
        validation = prepare(resolve(own)).validation
        assert validation is not None
        return validation.suites[0].cells[0].method

    own["mixture"]["sources"] = [{"collection": "pocket-targets", "tasks": ["skills/first"]}]
    assert method() == "rank"
    own["validation"] = {"methods": ["generate"]}
    assert method() == "generate"
