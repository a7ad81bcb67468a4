"""What a study begins early decides nothing, waits for nothing, and leaves nothing running."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.studies.tiny_grid import write_rows, write_suite

from instil.errors import RecipeError
from instil.recipe import parse
from instil.studies import check
from instil.studies.check import overlaps
from instil.studies.early import Early
from instil.studies.pool import LocalPool
from instil.studies.scaling import Spec
from instil.studies.spec import StudySpec, read_study


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """Forty rows to train on, and a suite of eight, two of which are of them."""
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))
    rows = [
        {"inputs": f"Which of the {k} lighthouses on the {k}th island was painted first?", "targets": f"tower {k}"}
        for k in range(46)
    ]
    write_rows(tmp_path / "my.jsonl", rows[:40])
    write_rows(tmp_path / "test.jsonl", rows[38:])
    suite = write_suite(tmp_path, "islands")
    raw = {
        "name": "mine",
        "question": "scaling",
        "models": ["pocket"],
        "recipe": {"mixture": {"sources": [{"collection": "jsonl", "path": str(tmp_path / "my.jsonl")}]}},
        "suites": [str(suite)],
        "held_out": ["unseen"],
        "instances": [4, 8],
    }
    return parse(Spec, raw, origin="mine.yaml")


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "cache").glob("overlap-*.json"))


def test_what_the_early_look_finds_is_what_this_process_would_find(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Early(worker=False) as ahead:
        ahead.begin(spec)
        ahead.looked()
        assert len(kept(tmp_path)) == 1
    with monkeypatch.context() as patched:
        patched.setattr(check, "_look", lambda *_: pytest.fail("it was looked at already"))
        found = overlaps(spec)
    for path in kept(tmp_path):
        path.unlink()
    assert overlaps(spec) == found
    assert [(one.items, one.rows, sum(one.found.values())) for one in found] == [(8, 40, 2)]


def test_a_look_that_fails_says_nothing_and_leaves_the_saying_to_this_process(spec: Spec, tmp_path: Path) -> None:
    spec = spec.model_copy(update={"suites": [str(tmp_path / "none.yaml")]})
    with Early(worker=False) as ahead:
        ahead.begin(spec)
        ahead.looked()
        assert ahead._look is not None
        assert ahead._look.returncode == 1
    assert kept(tmp_path) == []
    with pytest.raises(Exception, match="none"):
        overlaps(spec)


def test_nobody_looks_where_nothing_could_be_kept(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTIL_CACHE", "off")
    with Early(worker=False) as ahead:
        ahead.begin(spec)
        ahead.looked()
        assert ahead._look is None


def test_at_the_end_nothing_is_left_running(spec: Spec) -> None:
    with Early(worker=True) as ahead:
        ahead.begin(spec)
        pool, look = ahead.pool, ahead._look
        assert isinstance(pool, LocalPool)
        assert look is not None
        ahead.begin(spec)
        assert (ahead.pool, ahead._look) == (pool, look), "it is begun once"
        pool.grow(2)
        assert (pool.size, len(pool._crew)) == (2, 2)
        pool.grow(1)
        assert pool.size == 2, "a worker that is there stays"
    assert [process.poll() is None for process in (*pool._crew, look)] == [False] * 3


def test_the_look_and_the_start_of_a_worker_need_no_torch(spec: Spec) -> None:
    """They are there to spare the time that its import takes."""
    code = (
        "import json, sys; from instil.studies import early; from instil.studies.questions import question_of; "
        "from instil.studies.check import overlaps; given = json.loads(sys.argv[1]); "
        "found = overlaps(question_of(given['question']).Spec.model_validate(given)); "
        "print(len(found), 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    plain = spec.model_dump(mode="json")
    done = subprocess.run([sys.executable, "-c", code, json.dumps(plain)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False", "False"]


def test_a_study_file_is_handed_on_before_its_recipe_is_checked() -> None:
    seen: list[StudySpec] = []
    with pytest.raises(RecipeError, match="tunning"):
        read_study("scaling", "quick", ["recipe.tunning.max_steps=1"], parsed=seen.append)
    assert [spec.name for spec in seen] == ["scaling-quick"]
