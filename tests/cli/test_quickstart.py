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
