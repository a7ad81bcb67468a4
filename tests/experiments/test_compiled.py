"""A run on a compiled mixture is the run without it: the same losses, the same weights, the same refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from instil.errors import DataError, RecipeError, RunError
from instil.experiments.recipe import Recipe, resolve
from instil.experiments.tune import RunResult, dry_run, tune
from instil.fingerprint import fingerprint_file
from instil.mixtures.build import Opening, build


def run(recipe: Recipe, out: Path, **more: Any) -> RunResult:
    return tune(recipe, out, say=lambda line: None, show_progress=False, **more)


def outcome(out: Path) -> tuple[str, list[float], str]:
    """Weights, losses, and what the run said of its prompts."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    said = [line for line in (out / "log.txt").read_text().splitlines() if " trained on" in line]
    return (
        fingerprint_file(out / "model" / "model.safetensors"),
        [row["loss"] for row in rows],
        said[-1].partition("  ")[2],
    )


def built(raw: dict[str, Any], out: Path, *, prompts: int = 48, window: int = 8) -> Path:
    opening = Opening(raw, raw["model"], raw.get("data"), (raw["tuning"] or {}).get("max_length"))
    build(opening, out, prompts=prompts, window=window)
    return out


def with_compiled(raw: dict[str, Any], folder: Path, **more: str) -> dict[str, Any]:
    return {**raw, "compiled": {"path": str(folder), **more}}


@pytest.mark.parametrize("window", [4, 8])
def test_a_compiled_run_learns_exactly_what_a_streamed_one_learns(
    window: int, raw: dict[str, Any], tmp_path: Path
) -> None:
    raw["mixture"]["settings"] = {"zero-shot": 0.5, "few-shot-2": 0.5}
    raw["tuning"]["max_length"] = 40
    folder = built(raw, tmp_path / "built", window=window)
    run(resolve(raw), tmp_path / "streamed")
    run(resolve(with_compiled(raw, folder)), tmp_path / "compiled")
    assert outcome(tmp_path / "compiled") == outcome(tmp_path / "streamed")
    assert "lost exemplars" in outcome(tmp_path / "compiled")[2]


def test_a_run_may_begin_streamed_and_go_on_compiled(raw: dict[str, Any], tmp_path: Path) -> None:
    raw["tuning"]["schedule"] = "constant"
    folder = built(raw, tmp_path / "built")
    run(resolve(raw), tmp_path / "whole")
    run(resolve(raw, ["tuning.max_steps=3"]), tmp_path / "parts")
    run(resolve(with_compiled(raw, folder)), tmp_path / "parts", resume=True)
    assert outcome(tmp_path / "parts")[:2] == outcome(tmp_path / "whole")[:2]


def test_past_the_end_is_told_before_the_run_or_streamed(raw: dict[str, Any], tmp_path: Path) -> None:
    folder = built(raw, tmp_path / "built", prompts=20)
    with pytest.raises(RecipeError, match=r"holds 20 prompts, and 6 steps of 8 read 48\. Build it with --prompts 48"):
        run(resolve(with_compiled(raw, folder)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run(resolve(with_compiled(raw, folder, past_end="stream")), tmp_path / "compiled")
    run(resolve(raw), tmp_path / "streamed")
    assert outcome(tmp_path / "compiled") == outcome(tmp_path / "streamed")


def test_what_does_not_fit_is_refused_by_name_before_the_run(raw: dict[str, Any], rows: Path, tmp_path: Path) -> None:
    folder = built(raw, tmp_path / "built")
    recipe = with_compiled(raw, folder)
    for change, said in (
        ("mixture.seed=9", "mixture.seed was 0 and is 9 now"),
        ("tuning.max_length=32", "encoder.max_length was 512 and is 32 now"),
    ):
        with pytest.raises(DataError, match=said):
            run(resolve(recipe, [change]), tmp_path / "run")
    with pytest.raises(RecipeError, match="built in windows of 8 prompts, which do not make up steps of 12"):
        run(resolve(recipe, ["tuning.prompts_per_step=12"]), tmp_path / "run")
    rows.write_text(rows.read_text().replace("What is 7", "What is 8"))
    with pytest.raises(DataError, match=r"source file .*my\.jsonl has changed"):
        run(resolve(recipe), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_shard_that_is_damaged_during_the_run_stops_it_in_one_line(raw: dict[str, Any], tmp_path: Path) -> None:
    folder = built(raw, tmp_path / "built")
    shard = folder / "shards" / "00003.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"00003\.arrow is damaged"):
        run(resolve(with_compiled(raw, folder)), tmp_path / "run")
    built(raw, folder)
    run(resolve(with_compiled(raw, folder)), tmp_path / "run", resume=True)
    run(resolve(raw), tmp_path / "streamed")
    assert outcome(tmp_path / "run")[:2] == outcome(tmp_path / "streamed")[:2]


def test_the_command_builds_and_tunes(raw: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from instil.cli.app import run as instil

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(raw))
    folder = str(tmp_path / "built: a folder")
    words = ["mix", "build", str(recipe), "--prompts", "48", "--out", folder, "--workers", "1", "--json"]
    assert instil(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["prompts"] == 48
    assert facts["report"]["prompts"] == 48
    assert instil(["tune", str(recipe), "--compiled", folder, "--out", str(tmp_path / "run")]) == 0
    written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert written["compiled"] == {"path": folder, "past_end": "error"}
    assert instil(["tune", "--model", "pocket", "--data", "x.jsonl", "--compiled", folder, "--out", "y"]) == 2
    assert "--compiled goes with a recipe" in capsys.readouterr().err


def test_a_dry_run_reads_the_compiled_mixture(raw: dict[str, Any], tmp_path: Path) -> None:
    folder = built(raw, tmp_path / "built")
    assert dry_run(resolve(with_compiled(raw, folder))).tokens == dry_run(resolve(raw)).tokens


def test_going_on_with_another_mixture_is_refused_as_before(raw: dict[str, Any], tmp_path: Path) -> None:
    run(resolve(raw, ["tuning.max_steps=3"]), tmp_path / "run")
    raw["mixture"]["seed"] = 4
    folder = built(raw, tmp_path / "built")
    with pytest.raises(RunError, match=r"mixture\.seed = 0"):
        run(resolve(with_compiled(raw, folder)), tmp_path / "run", resume=True)
