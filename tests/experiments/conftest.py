"""A tiny random model as a folder, rows of one's own, a suite file, and a recipe over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.models.tiny import build, wrap

from instil.models.loading import save


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    save(wrap(build("llama")), folder, card="a random model")
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "my.jsonl"
    lines = [{"question": f"What is {k} + 1?", "answer": str(k + 1)} for k in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    lines = [{"inputs": f"What is {k} + 1?", "targets": str(k + 1)} for k in range(40, 50)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = tmp_path / "sums.yaml"
    path.write_text(
        "name: sums\nsettings: [zero-shot, few-shot-2]\nmax_new_tokens: 4\n"
        f"sources: [{{collection: jsonl, path: {tmp_path / 'test.jsonl'}, group: unseen}}]\n"
    )
    return path


@pytest.fixture
def raw(tiny_base: Path, rows: Path) -> dict[str, Any]:
    """A recipe without an evaluation, as plain data."""
    return {
        "name": "first",
        "model": str(tiny_base),
        "mixture": {
            "sources": [{"collection": "jsonl", "path": str(rows), "map": {"inputs": "question", "targets": "answer"}}]
        },
        "tuning": {"max_steps": 6, "prompts_per_step": 8, "save_every": 3, "log_every": 1, "learning_rate": 1e-3},
    }
