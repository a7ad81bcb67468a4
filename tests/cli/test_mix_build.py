"""`instil mix build`: what a person sees of it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.mixtures.compiling import write_sources

from instil.cli.app import run
from instil.mixtures.compiled import Compiled


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(write_sources(tmp_path / "data")))
    return path


def words(recipe: Path, *more: str) -> list[str]:
    return ["mix", "build", str(recipe), "--prompts", "64", "--workers", "1", *more]


def test_it_says_what_was_built_and_nothing_else(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(recipe, "--out", str(tmp_path / "out"))) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert "prompts, " in lines[0]
    assert "trained on" in lines[0]
    assert "places are empty: not two parts" in lines[1]
    assert "draws were refused, and others drawn in their place: not two parts" in lines[2]
    assert "8 shards" in lines[3]
    assert len(Compiled(tmp_path / "out")) == 64


def test_options_reach_the_build(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ["--layout", "bucketed", "--length", "100", "--shard-size", "32", "--no-text", "--set", "mixture.seed=9"]
    assert run(words(recipe, "--out", str(out), *more)) == 0
    manifest = Compiled(out).manifest
    assert manifest["packing"] == {"kind": "bucketed", "length": 100}
    assert (manifest["window"], manifest["shard_prompts"], manifest["text"]) == (8, 32, False)
    assert manifest["mixture"]["spec"]["seed"] == 9
    assert sorted(manifest["sources"]) == ["my.jsonl", "sums.jsonl", "templates.yaml"]


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"model": None}, [], "names no model whose tokenizer could be used"),
        ({}, ["--shard-size", "20"], "Give --shard-size 16"),
        ({}, ["--length", "32"], "rows of 32 tokens cannot hold prompts of up to 64"),
        ({}, ["--tokenizer", "/nowhere"], "no tokenizer.json at /nowhere"),
        ({}, ["--prompts", "0"], "Invalid value for .--prompts."),
        ({}, ["--set", "mixture.seed"], "is not KEY=VALUE"),
        ({}, ["--strict"], "is a hole: not two parts"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    change: dict[str, Any], more: list[str], said: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(json.dumps({**json.loads(recipe.read_text()), **change}))
    assert run(words(recipe, "--out", str(tmp_path / "out"), *more)) == 2
    error = capsys.readouterr().err
    assert re.search(said, error)
    assert len(error.strip().splitlines()) == 1


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left(recipe: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "instil", *words(recipe, "--out", str(tmp_path / "out"))],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert done.wait() == 0
    text = shown.decode()
    assert "building" in text
    assert "64/64" in text
    assert "prompts/s" in text
    assert "left" in text
