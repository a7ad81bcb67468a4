from __future__ import annotations

from pathlib import Path

import pytest

from instil.cli.app import run
from instil.tuning.stopping import Interrupted


def test_a_stopped_quickstart_says_how_a_quickstart_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise Interrupted("saved at step 62 of 500: go on with --resume")

    monkeypatch.setattr("instil.pocket.quickstart.run", stopped)
    assert run(["quickstart", "--out", str(tmp_path / "out")]) == 130
    said = capsys.readouterr().err
    assert "the same command goes on" in said
    assert "--resume" not in said


def test_a_stopped_quickstart_of_preferences_does_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise Interrupted("saved at step 62 of 120: go on with --resume")

    monkeypatch.setattr("instil.pocket.align.run", stopped)
    assert run(["quickstart", "align", "--out", str(tmp_path / "out")]) == 130
    said = capsys.readouterr().err
    assert "the same command goes on" in said
    assert "--resume" not in said


def test_a_finished_quickstart_of_preferences_is_not_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.json").write_text('{"verdict": "PPO helped."}')
    assert run(["quickstart", "align", "--out", str(tmp_path)]) == 0
    assert "PPO helped." in capsys.readouterr().out


@pytest.mark.parametrize("architecture", ["seq2seq", "masked"])
def test_preferences_begin_with_the_causal_base(architecture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quickstart", "align", "--architecture", architecture]) == 2
    assert "begins with the causal base" in capsys.readouterr().err
