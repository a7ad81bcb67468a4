"""A build ends the same, bit by bit: killed anywhere, by any number of workers, on a full disk and after."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.mixtures.compiling import InMemory, contents, in_a_child
from tests.mixtures.conftest import Made

from instil.errors import DataError, InstilError, RunError
from instil.mixtures.build import build
from instil.mixtures.mixture import Mixture
from instil.runs import write_json

SIZES: dict[str, Any] = {"prompts": 60, "window": 4, "shard_prompts": 12}


@pytest.fixture(scope="module")
def source(made: Made) -> Mixture:
    return made.mixed(made.task("sums", made.rows(40)), seed=1)


@pytest.fixture(scope="module")
def whole(source: Mixture, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an uninterrupted build gives."""
    out = tmp_path_factory.mktemp("whole") / "out"
    build(InMemory(source), out, **SIZES)
    return contents(out)


@contextlib.contextmanager
def counting(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act(n)` before and after every touch of the disk that a build makes, n counting from 0."""
    count = [0]
    patched: list[tuple[Any, str, Any]] = []

    def tick() -> None:
        act(count[0])
        count[0] += 1

    def around(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def touching(*arguments: Any, **named: Any) -> Any:
            tick()
            result = real(*arguments, **named)
            tick()
            return result

        patched.append((owner, name, real))
        setattr(owner, name, touching)

    for name in ("open", "replace", "unlink", "mkdir", "chmod"):
        around(Path, name)
    for owner, name in ((os, "fsync"), (tempfile, "mkstemp"), (os, "fdopen")):
        around(owner, name)
    try:
        yield
    finally:
        for owner, name, real in patched:
            setattr(owner, name, real)


SMALL = {**SIZES, "prompts": 20}  # two shards, of which the last is short


def touches_that_lose_a_build(source: Mixture, folder: Path, *, at_least: int) -> Iterator[int]:
    """At which touches of the disk a kill leaves what the next build cannot make whole."""
    touches: list[int] = []
    with counting(touches.append):
        build(InMemory(source), folder / "plain", **SMALL)
    assert len(touches) > at_least
    expected = contents(folder / "plain")

    def kill_at(last: int, out: Path) -> None:
        with counting(lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == last else None):
            build(InMemory(source), out, **SMALL)

    for last in touches:
        out = folder / str(last)
        status = in_a_child(lambda last=last, out=out: kill_at(last, out))  # type: ignore[misc]
        assert status == signal.SIGKILL
        try:
            build(InMemory(source), out, **SMALL)
        except InstilError:
            yield last
        else:
            if contents(out) != expected:
                yield last


def test_killed_at_every_touch_of_the_disk_it_goes_on_and_ends_the_same(source: Mixture, tmp_path: Path) -> None:
    assert not list(touches_that_lose_a_build(source, tmp_path, at_least=60))


def test_a_save_that_is_not_atomic_is_caught_by_the_same_kills(
    source: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_place(path: Path, content: object) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content))

    monkeypatch.setattr("instil.mixtures.build.write_json", in_place)
    assert any(touches_that_lose_a_build(source, tmp_path, at_least=20))


def test_shards_that_are_believed_unread_are_caught_by_the_same_kills(
    source: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_place(path: Path, data: memoryview) -> None:
        record = path.with_suffix(".json")
        sha256 = hashlib.sha256(data).hexdigest()
        told = {"file": f"shards/{path.name}", "sha256": sha256, "bytes": data.nbytes, "rows": 0}
        write_json(record, {**told, "report": {}, "holes": {}, "refused": {}})
        with path.open("wb") as file:
            file.write(data)

    monkeypatch.setattr("instil.mixtures.build._write", in_place)
    monkeypatch.setattr("instil.mixtures.build.check_bytes", lambda path, sha256: None)
    assert any(touches_that_lose_a_build(source, tmp_path, at_least=20))


def test_killed_at_random_moments_again_and_again_it_ends_the_same(
    source: Mixture, whole: dict[str, bytes], tmp_path: Path
) -> None:
    begun = time.monotonic()
    build(InMemory(source), tmp_path / "timed", **SIZES)
    takes = time.monotonic() - begun
    out, killed, moments = tmp_path / "out", 0, [0.13, 0.71, 0.37, 0.92, 0.05, 0.58, 0.44, 0.83]
    for moment in moments * 3:
        killed += bool(in_a_child(lambda: build(InMemory(source), out, **SIZES), kill_after=moment * takes / 3))
    assert killed
    build(InMemory(source), out, **SIZES)
    assert contents(out) == whole


def test_finished_shards_are_kept(source: Mixture, whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"

    class EnoughError(Exception):
        pass

    done: list[int] = []

    def stop(prompts: int) -> None:
        done.append(prompts)
        if sum(done) > 30:
            raise EnoughError

    with pytest.raises(EnoughError):
        build(InMemory(source), out, progress=stop, **SIZES)
    assert not (out / "manifest.json").exists()
    times = {path.name: path.stat().st_mtime_ns for path in (out / "shards").glob("*.arrow")}
    assert len(times) == 2
    told: list[int] = []
    lines: list[str] = []
    assert build(InMemory(source), out, progress=told.append, say=lines.append, **SIZES).kept == 2
    assert sum(told) == 60
    assert lines == ["2 of 5 shards are there already"]
    assert {name: (out / "shards" / name).stat().st_mtime_ns for name in times} == times
    assert contents(out) == whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": 48}, "prompts was 60 and is 48 now"),
        ({"shard_prompts": 20}, "shard_prompts was 12 and is 20 now"),
        ({"text": False}, "text was True and is False now"),
    ],
)
def test_another_build_in_the_same_folder_is_refused(
    change: dict[str, Any], said: str, source: Mixture, tmp_path: Path
) -> None:
    build(InMemory(source), tmp_path / "out", **SIZES)
    before = contents(tmp_path / "out")
    with pytest.raises(RunError, match=said):
        build(InMemory(source), tmp_path / "out", **{**SIZES, **change})
    assert contents(tmp_path / "out") == before


def test_another_recipe_in_the_same_folder_is_refused(source: Mixture, made: Made, tmp_path: Path) -> None:
    build(InMemory(source), tmp_path / "out", **SIZES)
    other = made.mixed(made.task("sums", made.rows(41)), seed=1)
    with pytest.raises(RunError, match="begun as another build: task sums has changed"):
        build(InMemory(other), tmp_path / "out", **SIZES)


def test_a_folder_with_something_else_is_left_alone(source: Mixture, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"holds no build \(it has thesis\.txt\)"):
        build(InMemory(source), tmp_path, **SIZES)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_another_process_builds_is_left_alone(source: Mixture, tmp_path: Path) -> None:
    from instil.runs import lock_folder

    (tmp_path / "out").mkdir()
    with lock_folder(tmp_path / "out"), pytest.raises(RunError, match="another process is writing"):
        build(InMemory(source), tmp_path / "out", **SIZES)


@pytest.mark.parametrize("failing", range(0, 22, 3))
def test_a_full_disk_is_one_line_and_the_build_goes_on_once_there_is_room(
    failing: int, source: Mixture, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = os.fsync, [0]

    def full(handle: int) -> None:
        count[0] += 1
        if count[0] > failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"the disk is full: .* was not written"):
        build(InMemory(source), tmp_path / "out", **SIZES)
    monkeypatch.setattr(os, "fsync", real)
    assert not [path for path in (tmp_path / "out").rglob(".*") if path.name != ".lock"]
    build(InMemory(source), tmp_path / "out", **SIZES)
    assert contents(tmp_path / "out") == whole


def test_strict_stops_at_the_first_hole(made: Made, tmp_path: Path) -> None:
    bad = made.mixed(made.task("sums", made.rows(4)), made.task("bad", made.rows(20, bad=True)))
    with pytest.raises(DataError, match="of task 'bad' is a hole: the row is bad"):
        build(InMemory(bad), tmp_path / "strict", strict=True, **SIZES)
    built = build(InMemory(bad), tmp_path / "out", **SIZES)
    assert built.manifest["holes"]["the row is bad"] == 60 - built.report.prompts
    # A place is left empty after nine draws.
    assert built.manifest["refused"]["the row is bad"] == 9 * (60 - built.report.prompts)


def test_draws_that_were_refused_are_counted_whoever_drew_them(made: Made, tmp_path: Path) -> None:
    rows = made.rows(20) + made.rows(20, prefix="bad", bad=True)
    built = build(InMemory(made.mixed(made.task("half", rows))), tmp_path / "out", **SIZES)
    mixture = made.mixed(made.task("half", rows))
    list(mixture.read(0, 60))
    assert built.manifest["refused"] == {"the row is bad": mixture.refused.total()}
    assert mixture.refused.total() > 20
