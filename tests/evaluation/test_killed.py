"""An evaluation that is killed, at any moment and again and again, ends as one that was not; what is kept serves."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.tasks import echo, parity
from tests.models.tiny import tiny

from instil.errors import RunError
from instil.evaluation import archive, evaluate, store
from instil.evaluation.asker import Asker
from instil.evaluation.evaluate import evaluate_suite
from instil.evaluation.suite import Cell, Suite
from instil.mixtures.settings import Setting

CHUNK = 6


def suite() -> Suite:
    ranked = (Cell(parity(f"toy/parity{n}"), method="rank", metrics=("accuracy",), rank_by="pmi") for n in range(3))
    written = (Cell(parity(), Setting(shots=2), max_new_tokens=5), Cell(echo(), metrics=("rouge_l",), max_new_tokens=5))
    drawn = Cell(parity(), Setting(cot=True), samples=2, max_new_tokens=5)
    return Suite("toy", (*ranked, *written, drawn))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_CHUNK", {"rank": CHUNK, "generate": CHUNK})


def chunks(out: Path) -> int:
    partial = out / "samples.partial.jsonl"
    return partial.read_text("utf-8").count('{"chunk"') if partial.is_file() else 0


def said(out: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((out / "results.json").read_text("utf-8"))
    return {name: value for name, value in results.items() if name != "seconds"}


def test_an_evaluation_that_is_killed_at_any_moment_ends_as_one_that_was_not(tmp_path: Path) -> None:
    evaluate_suite(tiny(), suite(), out=tmp_path / "whole")
    out, draw = tmp_path / "killed", random.Random(5)
    context = multiprocessing.get_context("fork")
    there, progressed = 0, 0
    for _ in range(6):
        process = context.Process(target=evaluate_suite, args=(tiny(), suite()), kwargs={"out": out})
        process.start()
        wanted = there + draw.randint(0, 3)
        while process.is_alive() and chunks(out) < wanted:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.03))
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert chunks(out) >= there, "what was answered is lost"
        progressed += chunks(out) > there
        there = chunks(out)
    evaluate_suite(tiny(), suite(), out=out)
    assert progressed >= 2
    assert (out / "samples.jsonl").read_bytes() == (tmp_path / "whole" / "samples.jsonl").read_bytes()
    assert said(out) == said(tmp_path / "whole")
    assert sorted(path.name for path in out.iterdir()) == ["results.json", "samples.jsonl"]


def test_a_kill_after_the_results_leaves_nothing_that_the_next_does_not_tidy_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_results", killed_after(store.write_results))
        with pytest.raises(KeyboardInterrupt):
            evaluate_suite(tiny(), suite(), out=tmp_path)
    assert (tmp_path / "results.json").is_file()
    assert (tmp_path / "samples.partial.jsonl").is_file()
    assert evaluate_suite(tiny(), suite(), out=tmp_path).found == "folder"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "samples.jsonl"]


def killed_after(act: Callable[..., None]) -> Callable[..., None]:
    def acting(*given: Any) -> None:
        act(*given)
        raise KeyboardInterrupt

    return acting


def test_only_what_is_missing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, asked = Asker.ask, []

    def stopping(self: Asker, prompts: Any, *rest: Any, **more: Any) -> Any:
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return ask(self, prompts, *rest, **more)

    monkeypatch.setattr(Asker, "ask", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate_suite(tiny(), suite(), out=tmp_path)
    partial = tmp_path / "samples.partial.jsonl"
    whole = partial.read_bytes()
    # A kill within the writing of a chunk: rows without the line that closes them, the last one cut short.
    partial.write_bytes(whole + whole.split(b"\n")[1] + b"\n" + whole.split(b"\n")[1][:-40])
    asked.clear()
    monkeypatch.setattr(
        Asker,
        "ask",
        lambda self, prompts, *rest, **more: asked.append(len(prompts)) or ask(self, prompts, *rest, **more),
    )
    result = evaluate_suite(tiny(), suite(), out=tmp_path)
    assert sum(asked) + 5 * CHUNK == result.results["counts"]["prompts"]


def test_what_was_evaluated_before_is_copied_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    first = evaluate_suite(tiny(), suite(), out=tmp_path / "first", limit=4, cache=kept)
    assert first.found == ""
    with monkeypatch.context() as patched:
        patched.setattr(Asker, "ask", None)
        second = evaluate_suite(tiny(), suite(), out=tmp_path / "second", limit=4, cache=kept)
    assert second.found == "cache"
    assert second.samples == first.samples
    for name in ("results.json", "samples.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    other = evaluate_suite(tiny(), suite(), out=tmp_path / "third", limit=3, cache=kept)
    assert other.found == ""
    assert len(list(kept.iterdir())) == 2
    # What is damaged is asked anew.
    for one in kept.iterdir():
        (one / "results.json").write_text("{")
    assert evaluate_suite(tiny(), suite(), out=tmp_path / "fourth", limit=4, cache=kept).found == ""


@pytest.mark.parametrize("package", ["torch", "numpy", "rouge-score", "sacrebleu"])
def test_another_version_of_what_computes_or_judges_is_asked_anew(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = archive.fingerprint_of(tiny(), suite(), 4)
    version = archive.metadata.version
    monkeypatch.setattr(archive.metadata, "version", lambda name: "0" if name == package else version(name))
    assert archive.fingerprint_of(tiny(), suite(), 4) != before


def test_kept_evaluations_that_are_too_many_go_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for name in ("samples.jsonl", "results.json"):
        (made / name).write_text("x" * 100)
    monkeypatch.setattr(archive, "MOST_BYTES", 500)
    for number in range(4):
        archive.add(tmp_path / "kept", f"m{number}", made)
        os.utime(tmp_path / "kept" / f"m{number}", (number, number))
    archive.add(tmp_path / "kept", "m9", made)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"m3", "m9"}


def test_tainted_items_are_told_apart_even_of_answers_that_were_there(tmp_path: Path) -> None:
    asked = suite()
    evaluate_suite(tiny(), asked, out=tmp_path, limit=4)
    again = evaluate_suite(tiny(), asked, out=tmp_path, limit=4, tainted={"toy/parity0": ["0", "1"]})
    assert again.found == "folder"
    assert again.results["without_tainted"]["prompts"] == again.results["counts"]["prompts"] - 2
    assert said(tmp_path) == {name: value for name, value in again.results.items() if name != "seconds"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        evaluate_suite(tiny(), suite(), out=tmp_path / "file" / "out", limit=1)
