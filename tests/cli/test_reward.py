"""`instil reward` from the command line: a file of one's own, a recipe, and one line where something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.experiments.ranked import raw_of, written
from tests.tiny_models import tiny_folder
from tests.tuning.made_up_rankings import rankings

from instil.cli.app import run
from instil.experiments.reward_recipe import resolve_reward
from instil.recipe import dump_yaml


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("base"), "llama")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data") / "ranked.jsonl", rankings(80))


def test_a_file_of_ones_own_becomes_a_reward_model(
    base: Path, ranked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    words = ["reward", "--model", str(base), "--data", str(ranked), "--out", str(out), "--set", "tuning.log_every=50"]
    monkeypatch.setattr("sys.argv", ["instil", *words])
    assert run(words) == 0
    said = capsys.readouterr()
    assert "# no recipe was given; this one is made up" in said.out
    assert "collection: comparisons" in said.out
    assert f"align to it: rewards: [{{model: {out}}}]" in said.out
    assert "held-out prompts" in said.err
    assert {"model", "report.html", "report.json", "rewards.json", "recipe.yaml"} <= {one.name for one in out.iterdir()}
    report = json.loads((out / "report.json").read_text())
    assert report["made"]["command"].startswith("instil reward --model ")
    assert run([*words, "--resume"]) == 0


def test_pairs_are_taken_as_they_are(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = [
        {"prompt": f"w{k} w{k + 1}", "chosen": f"w{k % 30} w{k % 7}", "rejected": f"w{30 + k % 30}"} for k in range(50)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "run"
    assert run(["reward", "--model", str(base), "--data", str(path), "--out", str(out)]) == 0
    assert json.loads((out / "report.json").read_text())["data"]["completions"] == {"2": 50}


def test_members_make_an_ensemble_and_the_last_line_says_how_to_use_it(
    base: Path, ranked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(dump_yaml(resolve_reward(raw_of(base, ranked, max_steps=2))))
    out = tmp_path / "run"
    assert run(["reward", str(recipe), "--members", "2", "--out", str(out)]) == 0
    assert f"models: [{out / 'reward-0'}, {out / 'reward-1'}]" in capsys.readouterr().out


def test_a_dry_run_only_says(base: Path, ranked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reward", "--model", str(base), "--data", str(ranked), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "steps of 4 prompts" in said
    assert "judged: " in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "neither a recipe nor --model and --data"),
        (["--model", "pocket"], "neither a recipe nor --model and --data"),
        (["absent.yaml", "--out", "x"], "no recipe at absent.yaml"),
        (["absent.yaml", "--model", "pocket"], "--model is for a reward model without a recipe"),
        (["--model", "pocket", "--data", "absent.jsonl"], "no file at absent.jsonl"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reward", *words]) == 2
    errors = capsys.readouterr().err.strip()
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_without_a_folder_nothing_begins(base: Path, ranked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reward", "--model", str(base), "--data", str(ranked)]) == 2
    assert "--out is missing" in capsys.readouterr().err
