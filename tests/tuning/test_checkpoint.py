"""A checkpoint is whole or it is not used, and a full disk leaves the one before it alone."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.tiny_models import tiny_model

from instil import runs
from instil.errors import RunError
from instil.tuning.checkpoint import checkpoints, restore_newest, save_checkpoint
from instil.tuning.optimizers import Optimizers, OptimizerSpec


def made(step: int) -> tuple[torch.nn.Module, Optimizers]:
    """A model and optimizer after one step, the same for the same number."""
    model = tiny_model("gpt2")
    optimizers = Optimizers(model, OptimizerSpec())
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 0.1 * step)
    optimizers.step(0.01 * step)
    return model, optimizers


def save(folder: Path, step: int, keep_last: int = 2) -> None:
    model, optimizers = made(step)
    save_checkpoint(folder, model, optimizers, {"step": step}, keep_last=keep_last)


def restored_step(folder: Path) -> tuple[int | None, list[str]]:
    """The step of the newest whole checkpoint, after a check that weights and optimizer are that step's."""
    said: list[str] = []
    model = tiny_model("gpt2", seed=9)
    optimizers = Optimizers(model, OptimizerSpec())
    state = restore_newest(folder, model, optimizers, said.append)
    if state is None:
        return None, said
    expected, moved = made(state["step"])
    for ours, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert {name: value.tolist() for name, value in optimizers.tensors().items()} == {
        name: value.tolist() for name, value in moved.tensors().items()
    }
    return state["step"], said


def test_the_newest_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    assert restored_step(tmp_path) == (None, [])
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    assert restored_step(tmp_path) == (3, [])


def test_no_file_of_a_checkpoint_is_a_pickle(tmp_path: Path) -> None:
    save(tmp_path, 1)
    names = {path.name for path in checkpoints(tmp_path)[0].iterdir()}
    assert names == {"model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "gone"])
def test_any_damaged_file_sends_us_to_the_checkpoint_before(tmp_path: Path, name: str, damage: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "step-00000002" / name
    data = path.read_bytes()
    middle = len(data) // 2
    if damage == "gone":
        path.unlink()
    else:
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"truncated": data[:middle], "flipped": flipped, "empty": b""}[damage])
    step, said = restored_step(tmp_path)
    assert step == 1
    assert "step-00000002 is damaged" in said[0]
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000001"]


def test_only_damaged_checkpoints_are_refused_not_ignored(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-00000001" / "state.json").unlink()
    with pytest.raises(RunError, match="every checkpoint"):
        restored_step(tmp_path)


def refusal(folder: Path) -> str:
    """What is said when the second checkpoint cannot be written; empty where it can."""
    try:
        save(folder, 2, keep_last=9)
    except RunError as error:
        return str(error)
    return ""


def test_a_disk_that_is_full_at_any_write_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    writes = {"os.fsync": os.fsync, "rename": Path.rename, "sync": runs.sync}
    left = [0]

    def counted(name: str) -> object:
        def write(*given: object, **more: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return writes[name](*given, **more)  # type: ignore[operator]

        return write

    monkeypatch.setattr(os, "fsync", counted("os.fsync"))
    monkeypatch.setattr(Path, "rename", counted("rename"))
    failures = 0
    for allowed in range(100):
        left[0] = allowed
        error = refusal(tmp_path)
        if error:
            failures += 1
            assert "the disk is full" in error
            left[0] = 1000
            assert restored_step(tmp_path)[0] in (1, 2)  # 2: all but the last flush of the folder's name was done
            if checkpoints(tmp_path)[-1].name.endswith("2"):
                break
        else:
            break
    assert failures >= 6
    left[0] = 1000
    save(tmp_path, 3)
    assert restored_step(tmp_path) == (3, [])


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 800 kB, of which a checkpoint takes half."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root; a full disk is also injected at every write")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full_leaves_the_checkpoint_before(tiny_disk: Path) -> None:
    save(tiny_disk, 1)
    refused = 0
    for filling in range(0, 420, 30):
        fill = tiny_disk / "fill"
        with open(fill, "wb") as file:  # noqa: PTH123 - unbuffered, to fill it to the last byte
            try:
                file.write(b"x" * 1024 * filling)
                file.flush()
            except OSError:
                pass
        error = refusal(tiny_disk)
        fill.unlink()
        if error:
            refused += 1
            assert "the disk is full" in error
            assert restored_step(tiny_disk) == (1, [])
        else:
            for path in (tiny_disk / "step-00000002").iterdir():
                path.unlink()
            (tiny_disk / "step-00000002").rmdir()
        assert not list(tiny_disk.glob(".*"))
    assert 3 < refused < 14
