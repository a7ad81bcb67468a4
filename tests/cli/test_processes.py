"""Verbs under torchrun, by what it says in the environment: who works, and who speaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from instil.cli.app import run


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The second of two processes on one machine."""
    said = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


WORK_FOR_ONE = [
    ["quickstart", "--out", "made"],
    ["eval", "--model", "pocket", "--suite", "pocket", "--out", "made"],
    ["chat", "pocket", "--prompt", "Write the word red."],
    ["merge", "pocket", "adapter", "--out", "made"],
    ["mix", "build", "r.yaml", "--prompts", "10", "--out", "made"],
    ["tasks", "list"],
    ["recipe", "show", "r.yaml"],
]


@pytest.mark.parametrize("words", WORK_FOR_ONE, ids=lambda words: words[0])
def test_work_for_one_process_is_refused_in_several_and_told_once(
    words: list[str],
    second: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second.chdir(tmp_path)
    assert run(words) == 2
    assert capsys.readouterr().err == ""
    second.setenv("RANK", "0")
    second.setenv("LOCAL_RANK", "0")
    assert run(words) == 2
    assert capsys.readouterr().err == (
        f"error: `instil {words[0]}` is work for one process, and torchrun started 2. "
        "Start it without torchrun: only tune, pretrain, reward and align take several.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tune", "none.yaml", "--out", "x"], "no recipe at none.yaml"),
        (["tune", "none.yaml", "--dry-run"], "no recipe at none.yaml"),
        (["pretrain", "none.yaml", "--out", "x"], "no recipe at none.yaml"),
        (["tune", "--stpes", "3"], "No such option"),
    ],
)
def test_what_all_processes_of_a_machine_meet_is_told_by_its_first(
    words: list[str],
    told: str,
    second: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    second.chdir(tmp_path)
    assert run(words) == 2
    assert capsys.readouterr().err == ""
    second.setenv("RANK", "0")
    second.setenv("LOCAL_RANK", "0")
    assert run(words) == 2
    assert told in capsys.readouterr().err


def test_a_file_that_another_machine_misses_is_told_by_that_machine(
    second: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second.chdir(tmp_path)
    second.setenv("LOCAL_RANK", "0")
    assert run(["tune", "none.yaml", "--out", "x"]) == 2
    assert "no recipe at none.yaml" in capsys.readouterr().err


def test_one_process_of_torchrun_does_everything(
    second: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        second.setenv(name, value)
    assert run(["tasks", "list", "--help"]) == 0
    assert run(["recipe", "show", str(tmp_path / "none.yaml")]) == 2
    assert "no recipe at" in capsys.readouterr().err
