"""`--engine ray` gives the bytes that this process gives, and tells a failed run in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conftest import ROOT, absent
from tests.studies.tiny_grid import InlinePool, grid_of, write_world

from instil.studies import engine

#: In a process of its own, because Ray leaves threads and warnings behind.
SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from instil.studies.engine import carry_out
from instil.studies.grid import Grid
from tests.studies.tiny_grid import recipe, runs_of

world, out = Path(sys.argv[1]), Path(sys.argv[2])
runs = runs_of(world)
carry_out(Grid(tuple(runs)), out, workers=2, engine="ray")
broken = recipe(world, learning_rate=1e30, max_skipped_in_a_row=1, clip_norm=0.0)
runs[1] = replace(runs[1], recipe=broken)
results = carry_out(Grid(tuple(runs)), out.with_name("broken"), workers=2, engine="ray", say=lambda line: None)
print(json.dumps([[one.run, one.state, one.reason] for one in results.missing]))
"""


def test_a_study_on_a_local_ray_gives_the_same_bytes_and_tells_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("ray") is None:
        absent("no Ray here (pip install -e '.[ray]')")
    world = write_world(tmp_path / "world")
    monkeypatch.setattr(engine, "LocalPool", InlinePool)
    InlinePool.given = []
    engine.carry_out(grid_of(world), tmp_path / "here", workers=1)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(world), str(tmp_path / "ray")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "RAY_ADDRESS": "local", "INSTIL_CACHE": "off", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    for name in ("results.parquet", "items.parquet", "results.csv"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    (first, failed, why), (second, skipped, _) = json.loads(done.stdout.splitlines()[-1])
    assert (first, failed, second, skipped) == ("tuned/0", "failed", "after/0", "skipped")
    assert "taken" in why
    assert "\n" not in why
