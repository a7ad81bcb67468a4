"""`--engine ray` gives the bits that local processes give, continues what they began, and fails in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conftest import absent
from tests.mixtures.compiling import contents, write_sources

from instil.errors import RecipeError
from instil.mixtures.build import Job, Opening, build
from instil.mixtures.ray_engine import make_shards

#: In a process of its own, because Ray leaves threads and warnings behind.
SCRIPT = """
import json, sys
from pathlib import Path
from instil.errors import DataError
from instil.mixtures.build import Opening, build

raw, out = json.loads(sys.argv[1]), Path(sys.argv[2])
opening = Opening(raw, raw["model"], raw["data"])
sizes = {"prompts": 96, "window": 8, "shard_prompts": 16, "workers": 2, "engine": "ray"}
told = []
built = build(opening, out, progress=told.append, **sizes)
print(json.dumps([built.kept, sum(told)]))
try:
    build(opening, out.with_name("strict"), strict=True, **sizes)
except DataError as error:
    print(json.dumps(str(error)))
"""


def needs_ray() -> None:
    if find_spec("ray") is None:
        absent("no Ray here (pip install -e '.[ray]')")


def test_two_workers_of_a_local_ray_go_on_with_a_build_and_give_the_same_bits(tmp_path: Path) -> None:
    needs_ray()
    raw = write_sources(tmp_path / "data")
    opening = Opening(raw, raw["model"], raw["data"])
    for name in ("plain", "out"):
        build(opening, tmp_path / name, prompts=96, window=8, shard_prompts=16)
    (tmp_path / "out" / "manifest.json").unlink()
    for number in (1, 2, 4):
        (tmp_path / "out" / "shards" / f"{number:05d}.arrow").unlink()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(raw), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RAY_ADDRESS": "local"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    counts, error = map(json.loads, done.stdout.splitlines())
    assert counts == [3, 96]
    assert "of task 'promptsource/sums' is a hole" in error
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_a_process_that_lives_on_opens_another_plan_anew(tmp_path: Path) -> None:
    """Called as Ray calls it, twice, with another recipe's data in between."""
    raw = write_sources(tmp_path / "data")
    opening = Opening(raw, raw["model"], raw["data"])
    job = json.dumps(asdict(Job(opening, str(tmp_path / "out"))))
    for rows in (60, 30):
        rows_of = (tmp_path / "data" / "my.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "data" / "my.jsonl").write_text("".join(rows_of[:rows]))
        built = build(opening, tmp_path / "out", prompts=16, window=8)
        answer = json.loads(make_shards({"shard": [0], "job": [job]})["answer"][0])
        assert answer["record"]["sha256"] == built.manifest["shards"][0]["sha256"]
        shutil.rmtree(tmp_path / "out")


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    raw = write_sources(tmp_path / "data")
    with pytest.raises(RecipeError, match=r"Install it with: pip install 'instil\[ray\]'"):
        build(Opening(raw, raw["model"], raw["data"]), tmp_path / "out", prompts=16, window=8, engine="ray")


def test_a_cluster_that_does_not_answer_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_ray()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    raw = write_sources(tmp_path / "data")
    words = [sys.executable, "-c", SCRIPT, json.dumps(raw), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert "RunError: no Ray cluster answers at 127.0.0.1:1 (Connection refused)" in done.stderr
