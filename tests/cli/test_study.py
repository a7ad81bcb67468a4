"""`instil study`: what is wrong with the words or the file is told in one line, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from instil.cli.app import run

STUDY = """
question: scaling
models: [pocket]
suites: [pocket/direct]
held_out: [unseen_skills]
counts: [1, 4]
recipe:
  mixture: {sources: [{collection: pocket, tasks: ["pocket/skills/*"]}]}
  tuning: {max_steps: 2}
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["scaling", "--preset", "pockt", "--out", "x"], "study scaling has no preset 'pockt'. Its presets are full"),
        (["scaling", "mine.yaml", "--preset", "quick", "--out", "x"], "a study file and --preset name two studies"),
        (["scaling", "--preset", "mine.yaml", "--out", "x"], "--preset mine.yaml is a file, not a name"),
        (["scaling", "mine.yaml"], "--out is missing"),
        (["scaling"], "neither a study file nor --preset. Give one; the presets are full, pocket, quick"),
        (["scaling", "mine.yaml", "--set", "cuonts=[1]", "--out", "x"], "did you mean 'counts'?"),
        (["scaling", "mine.yaml", "--set", "recipe.tuning.max_stpes=3", "--out", "x"], "did you mean 'max_steps'?"),
        (["scaling", "none.yaml", "--out", "x"], "none.yaml"),
        (["cot", "mine.yaml", "--out", "x"], "is a study of 'scaling', not of 'cot'"),
        (["scaling", "mine.yaml", "--set", "counts=[1,500]", "--plan"], "500 are asked for, and the mixture has 68"),
        (["scalling"], "No such command 'scalling'"),
        (["show", "."], "holds no finished study"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(STUDY)
    assert run(["study", *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert told in shown
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("budgets=[16,5000]", "rows besides the 32 that are tested on, fewer than the budget of 5,000"),
        ("targets.held_out=[{collection: pocket-targets, tasks: [skills/nobody]}]", "skills/nobody"),
    ],
)
def test_should_i_refuses_what_its_data_cannot_give(
    assignment: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "targets.held_in=[]"
    one = "targets.held_out=[{collection: pocket-targets, tasks: [unseen-cluster/odd_one]}]"
    words = ["should-i", "--preset", "quick", "--plan", "--set", small, "--set", one, "--set", assignment]
    assert run(["study", *words]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert told in shown
