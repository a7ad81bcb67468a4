"""A run is one folder, held by one process, and continued only from what it was begun with."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from instil import runs
from instil.errors import RunError
from instil.runs import RunFolder, write_json, write_text, writing_folder

RECIPE: dict[str, Any] = {"tuning": {"max_steps": 10, "learning_rate": 0.1}, "sources": [{"cap": 3}]}
INPUTS = {"data": "d1", "model": "m1"}


def begin(path: Path, **changes: Any) -> RunFolder:
    given: dict[str, Any] = {"recipe": RECIPE, "inputs": INPUTS, "changeable": ("tuning.max_steps",), **changes}
    return RunFolder.open(path, **given)


def test_a_new_run_keeps_its_recipe_and_what_it_came_from(tmp_path: Path) -> None:
    with begin(tmp_path / "run") as run:
        assert not run.resumed
        run.note(threads=2)
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text()) == RECIPE
    mark = json.loads((tmp_path / "run" / "fingerprint.json").read_text())
    assert mark["inputs"] == INPUTS
    assert mark["execution"] == {"threads": 2}
    assert {"python", "torch"} <= mark["versions"].keys()


def test_a_folder_with_other_files_is_refused_with_and_without_resume(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for resume in (False, True):
        with pytest.raises(RunError, match=r"not empty and holds no run \(it has thesis.tex\)"):
            begin(tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_is_not_begun_twice_but_resumed(tmp_path: Path) -> None:
    begin(tmp_path).close()
    with pytest.raises(RunError, match="--resume"):
        begin(tmp_path)
    with begin(tmp_path, resume=True) as run:
        assert run.resumed


def test_resuming_nothing_begins_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    with begin(tmp_path / "run", resume=True, echo=said.append) as run:
        assert not run.resumed
    assert "nothing to resume" in said[0]
    assert "nothing to resume" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("recipe", "cause"),
    [
        ({**RECIPE, "tuning": {"max_steps": 10, "learning_rate": 0.2}}, "tuning.learning_rate = 0.1, .* 0.2"),
        ({**RECIPE, "sources": [{"cap": 4}]}, "sources.0.cap = 3, .* 4"),
        ({**RECIPE, "sources": [{"cap": 3}, {"cap": 3}]}, "sources.1.cap = nothing, .* 3"),
        ({**RECIPE, "seed": 1}, "seed = nothing, .* 1"),
    ],
)
def test_a_changed_recipe_is_refused_by_name(tmp_path: Path, recipe: dict[str, Any], cause: str) -> None:
    begin(tmp_path).close()
    with pytest.raises(RunError, match=cause):
        begin(tmp_path, recipe=recipe, resume=True)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == RECIPE


def test_a_changeable_key_may_change(tmp_path: Path) -> None:
    begin(tmp_path).close()
    longer = {**RECIPE, "tuning": {"max_steps": 20, "learning_rate": 0.1}}
    begin(tmp_path, recipe=longer, resume=True).close()
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == longer


@pytest.mark.parametrize("name", ["data", "model"])
def test_changed_inputs_are_refused_by_name(tmp_path: Path, name: str) -> None:
    begin(tmp_path).close()
    with pytest.raises(RunError, match=f"the {name} of .* changed"):
        begin(tmp_path, inputs={**INPUTS, name: "other"}, resume=True)


def test_another_version_of_a_library_is_said(tmp_path: Path) -> None:
    begin(tmp_path).close()
    path = tmp_path / "fingerprint.json"
    mark = json.loads(path.read_text())
    mark["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(mark))
    said: list[str] = []
    begin(tmp_path, resume=True, echo=said.append).close()
    assert "torch was 1.0" in said[0]


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with begin(tmp_path), pytest.raises(RunError, match="another process"):
        begin(tmp_path, resume=True)
    begin(tmp_path, resume=True).close()


def test_a_row_that_a_kill_cut_short_is_passed_over(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.add_metrics({"step": 1, "loss": 0.5})
        run.add_metrics({"step": 2, "loss": 0.25})
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 3, "lo')
        assert [row["step"] for row in run.metrics()] == [1, 2]
        run.keep_metrics(lambda row: row["step"] < 2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n'


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"x": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="the disk is full"):
        write_text(tmp_path / "a.json", "half")
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with writing_folder(tmp_path / "model") as folder:
            (folder / "weights").write_text(text)
    third = writing_folder(tmp_path / "model")
    (third.__enter__() / "weights").write_text("third")
    stopped = ValueError("stopped")
    assert not third.__exit__(ValueError, stopped, None)
    assert (tmp_path / "model" / "weights").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "file" / "below", "x")
    with pytest.raises(RunError, match="cannot be written"):
        begin(tmp_path / "file")


def test_a_folder_comes_back_where_the_one_that_should_replace_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("mine")
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if (path / "new").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(RunError, match="what was there before is untouched"), writing_folder(tmp_path / "model") as new:
        (new / "new").write_text("better")
    assert (tmp_path / "model" / "old").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_other_threads_or_another_device_are_said_when_a_run_goes_on(tmp_path: Path) -> None:
    with begin(tmp_path) as run:
        run.note(threads=2, device="cpu")
    said: list[str] = []
    with begin(tmp_path, resume=True, echo=said.append) as run:
        run.note(threads=1, device="cpu")
    assert said == ["threads was 2 and is 1 now: the result may differ in its last digits"]
    assert json.loads((tmp_path / "fingerprint.json").read_text())["execution"] == {"threads": 1, "device": "cpu"}


def test_errors_that_are_not_the_disks_pass_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError), runs.disk_errors(tmp_path):
        raise KeyError("x")
