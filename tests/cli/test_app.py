"""The command line as a whole: what every verb says of itself, and how errors end."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from instil.cli import app as application
from instil.cli.app import app, run
from instil.errors import DataError

VERBS = ["quickstart", "tasks", "mix", "tune", "eval", "chat", "pretrain", "recipe"]


def commands() -> list[list[str]]:
    """Every verb, and every verb of a group."""
    root = typer.main.get_command(app)
    found = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [[name, verb] for verb in inner] if inner else [[name]]
    return found


def test_the_verbs_are_the_stable_ones():
    assert {words[0] for words in commands()} >= set(VERBS)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_every_verb_teaches_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert run([*words, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"instil {' '.join(words)} " in shown.partition("Usage:")[2].partition(" ")[2]
    assert "Example" in shown or "A recipe:" in shown


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("instil ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tuen"], "No such command 'tuen'"),
        (["--stpes"], "No such option"),
        (["tune", "--stpes", "3"], "See `instil tune --help`"),
        (["tune"], "neither a recipe nor --model and --data"),
        (["tune", "none.yaml", "--out", "x"], "no recipe at none.yaml"),
        (["recipe", "show"], "Missing argument"),
        (["recipe", "show", "none.yaml"], "no recipe at none.yaml"),
        (["mix", "show", "none.yaml"], "no recipe at none.yaml"),
        (["tune", "r.yaml", "--model", "m", "--out", "x"], "--model and --map are for tuning without a recipe"),
        (["tune", "--model", "m", "--data", "d.jsonl", "--map", "x", "--out", "x"], "is not FIELD=COLUMN"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert told in shown
    assert list(tmp_path.iterdir()) == []


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def verb() -> None:
        raise error

    broken = typer.Typer()
    broken.command("other")(lambda: None)
    broken.command("verb")(verb)
    monkeypatch.setattr(application, "app", broken)
    return run(["verb"])


def test_an_error_of_input_is_its_own_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert fails_with(DataError("row 3\nis \x1b[31mbroken", remedy="Mend it"), monkeypatch) == 2
    assert capsys.readouterr().err == "error: row 3 is [31mbroken. Mend it.\n"


def test_a_full_disk_is_no_crash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert fails_with(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/model"), monkeypatch) == 2
    assert capsys.readouterr().err == (
        "error: No space left on device at out/model. Free some space, or give another --out.\n"
    )


def test_a_file_where_a_folder_is_needed_is_no_crash(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    for out, said in [
        (tmp_path, f"Is a directory at {tmp_path}. Give a file"),
        (file / "card.md", f"at {file}. A file"),
    ]:
        assert run(["mix", "card", "recipes/pocket.yaml", "--out", str(out)]) == 2
        assert said in capsys.readouterr().err


def test_a_locale_without_letters_still_prints_and_explains(tmp_path: Path):
    code = (
        "import sys, typer; from instil.cli import app as application\n"
        "from rich.console import Console\n"
        "def verb():\n    Console().print('caf\\xe9')\n    raise ValueError('\\xb7')\n"
        "application.app = typer.Typer()\n"
        "application.app.command()(verb)\n"
        "print(application.run([]), file=sys.stderr)"
    )
    without = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": str(tmp_path)}
    shown = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **without}, capture_output=True, text=True, check=False
    )
    assert shown.stdout == "caf\\xe9\n"
    assert "Traceback" not in shown.stderr
    assert shown.stderr.endswith("\n1\n")
    (log,) = tmp_path.glob("instil-error-*.log")
    assert "ValueError: \xb7" in log.read_text(encoding="utf-8")


def test_a_crash_is_one_line_that_names_where_its_traceback_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fails_with(ZeroDivisionError("by nought"), monkeypatch) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: unexpected ZeroDivisionError: by nought. The traceback is in ")
    assert shown.count("\n") == 1
    (log,) = tmp_path.glob("instil-error-*.log")
    assert str(log) in shown
    assert "Traceback" in log.read_text()
    assert "ZeroDivisionError: by nought" in log.read_text()


def test_ctrl_c_says_what_was_saved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert fails_with(KeyboardInterrupt("saved at step 3"), monkeypatch) == 130
    assert capsys.readouterr().err == "stopped: saved at step 3\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    code = (
        "import sys, typer; from instil.cli import app as application\n"
        "application.app = typer.Typer()\n"
        "application.app.command()(lambda: print('x' * 1_000_000))\n"
        "code = application.run([]); print(code, file=sys.stderr)"
    )
    shell = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -c "$CODE" | head -c 1'],
        env={**os.environ, "CODE": code},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shell.stdout, shell.stderr) == ("x", "0\n")


def test_a_recipe_is_shown_in_full_and_as_a_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    import json

    import yaml

    path = tmp_path / "r.yaml"
    path.write_text("model: pocket\nmixture:\n  sources: [{collection: pocket}]\n")
    assert run(["recipe", "show", str(path), "--set", "tuning.max_steps=3", "--data", "d"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["name"], shown["tuning"]["max_steps"], shown["data"]) == ("r", 3, "d")
    assert run(["recipe", "schema", "--out", str(tmp_path / "new" / "schema.json")]) == 0
    assert "properties" in json.loads((tmp_path / "new" / "schema.json").read_text())
