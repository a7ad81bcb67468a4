"""The verbs `instil tasks list | show | render | check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tasks.readers.damage import COT, FILES, damaged, write
from typer.testing import CliRunner

from instil.cli.app import run
from instil.cli.tasks import app
from instil.errors import DataError

RUNNER = CliRunner()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "flan_cot").mkdir()
    write(tmp_path / "flan_cot", "gsm8k_train.tsv", COT + b"\x1b[31mred\tone column too few\n")
    return tmp_path


def _run(*arguments: str | Path) -> str:
    result = RUNNER.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_collections_and_tasks(root: Path) -> None:
    assert "flan" in _run("list").lower()
    assert "cot" in json.loads(_run("list", "--json"))["collections"]
    shown = _run("list", "cot", "--data", root)
    assert "cot/gsm8k" in shown
    assert "1 tasks, 6 rows; 1 rows set aside" in shown
    listed = json.loads(_run("list", "cot", "--data", root, "--json"))
    assert listed["quarantined"] == 1
    assert listed["tasks"][0]["rows"] == 6


def test_show_tells_where_a_task_comes_from(root: Path) -> None:
    shown = json.loads(_run("show", "cot/gsm8k", "--data", root, "--json"))
    assert (shown["licence"], shown["rows"], len(shown["templates"])) == ("MIT", 6, 16)
    assert "licence" in _run("show", "cot/gsm8k", "--data", root)


def test_render_gives_inputs_and_targets(root: Path) -> None:
    rendered = json.loads(_run("render", "cot/gsm8k", "--data", root, "-n", "2", "--json"))["rendered"]
    assert [item["template"] for item in rendered] == ["direct-plain", "direct-qa"]
    one = _run("render", "cot/gsm8k", "--data", root, "-n", "1", "--template", "cot-step-by-step")
    assert "Let's think step by step." in one
    assert ">>> Count on from 0. So the answer is yes." in one


def test_rows_of_ones_own_can_be_rendered(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "1+1?", "answer": 2}\n')
    maps = ("--map", "inputs=question", "--map", "targets=answer")
    shown = _run("render", "jsonl/mine", "--path", tmp_path / "mine.jsonl", *maps)
    assert "1+1?" in shown
    assert ">>> 2" in shown


def test_check_gives_a_row_a_file_and_json_for_machines(root: Path) -> None:
    for number, (name, (content, _, _)) in enumerate(FILES.items()):
        write(root, name, damaged(content, number))
    found = json.loads(_run("check", root, "--json"))
    assert set(found) == {"files", "totals", "reasons"}
    assert sum(one["rows"] for one in found["reasons"]) == found["totals"]["quarantined"]
    assert found["totals"]["files"] == len(found["files"]) == len(FILES) + 1
    for row in found["files"]:
        assert set(row) == {"path", "format", "tasks", "read", "accepted", "quarantined", "reasons"}
        assert row["read"] == row["accepted"] + row["quarantined"]
    table = _run("check", root)
    assert "flan_cot/gsm8k_train.tsv" in table
    assert f"{found['totals']['read']:,} rows read" in table
    commonest = found["reasons"][0]
    assert f"{commonest['rows']:,}  {commonest['reason']} ({commonest['files']} file" in table


def test_a_strict_check_stops_at_the_first_row_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [b'{"inputs": "a", "targets": "b"}\n', b'{"inputs": "a", "targets": ""}\n', b"no json\n"]
    (tmp_path / "one.jsonl").write_bytes(rows[0])
    assert run(["tasks", "check", str(tmp_path), "--strict"]) == 0
    (tmp_path / "two.jsonl").write_bytes(b"".join(rows))
    assert run(["tasks", "check", str(tmp_path), "--strict", "--json"]) == 2
    assert "two.jsonl, line 2: empty target." in capsys.readouterr().err
    (tmp_path / "other.bin").write_bytes(b"\x00\x01")
    assert run(["tasks", "check", str(tmp_path), "--strict"]) == 2
    assert "other.bin, file: no reader knows this format." in capsys.readouterr().err


def test_rows_of_ones_own_that_no_reader_knows_are_told_how_to_be_read(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"question": "1 + 1?", "answer": "2"}\n')
    assert "--map inputs=question --map targets=answer" in _run("check", str(tmp_path))
    assert "1 tasks, 1 rows" in _run(
        "list", "jsonl", "--path", str(mine), "--map", "inputs=question", "--map", "targets=answer"
    )
    mine.write_text('{"inputs": "1 + 1?", "targets": "2"}\n')
    assert "--map" not in _run("check", str(tmp_path))


def test_control_characters_of_files_never_reach_the_terminal(root: Path) -> None:
    (root / "mine.jsonl").write_text('{"inputs": "\\u001b[31mred", "targets": "\\u009b2J"}\n')
    shown = _run("render", "jsonl/mine", "--path", root / "mine.jsonl")
    assert "\x1b" not in shown
    assert "\x9b" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "/nowhere/at/all"), "nothing to check"),
        (("show", "cot"), "names no task"),
        (("show", "cot/gsm9k"), "Did you mean 'gsm8k'"),
        (("render", "cot/gsm8k", "--template", "none"), "has no template 'none'"),
        (("list", "jsonl", "--path", "x", "--map", "inputs"), "is not FIELD=COLUMN"),
    ],
)
def test_mistakes_are_one_clear_error(root: Path, arguments: tuple[str, ...], words: str) -> None:
    data = () if arguments[0] == "check" else ("--data", str(root))
    with pytest.raises(DataError, match=words):
        RUNNER.invoke(app, [*arguments, *data], catch_exceptions=False)


def test_a_template_that_was_set_aside_says_why(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "ice"}\n')
    text = "templates:\n  a: !Template {name: good, jinja: 'x ||| y'}\n  b: !Template {name: torn, jinja: 'x'}\n"
    (tmp_path / "some.yaml").write_text(text)
    own = ["jsonl/rows", "--path", str(tmp_path / "rows.jsonl"), "--templates", str(tmp_path / "some.yaml")]
    result = RUNNER.invoke(app, ["render", *own, "--template", "torn"])
    assert "some.yaml: template 'torn' was set aside: no ||| between input and target" in str(result.exception)
