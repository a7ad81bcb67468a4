"""Whatever happens to a checkpoint on the disk, it is noticed, and the one before it is used: never a wrong weight."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from instil.errors import RunError
from instil.tuning import checkpoint
from instil.tuning.checkpoint import checkpoints, restore_newest, save_checkpoint
from instil.tuning.optimizers import Optimizers, OptimizerSpec

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
STEPS = (1, 2, 3)
Tensors = dict[str, torch.Tensor]
Damage = Callable[[Path, np.random.Generator], str]


def net(seed: int) -> tuple[nn.Module, Optimizers]:
    """A model small enough that a thousand checkpoints of it are read in a few seconds."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
    return model, Optimizers(model, OptimizerSpec())


def move(model: nn.Module, optimizers: Optimizers) -> None:
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    optimizers.step(0.01)


def held(model: nn.Module, optimizers: Optimizers) -> Tensors:
    return {name: value.clone() for name, value in {**model.state_dict(), **optimizers.tensors()}.items()}


def equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Tensors]]:
    """Three checkpoints in a row, and what each must give back."""
    folder, expected = tmp_path_factory.mktemp("whole"), {}
    model, optimizers = net(0)
    for step in STEPS:
        move(model, optimizers)
        save_checkpoint(folder, model, optimizers, {"step": step, "good": {"loss": [1.0 / step]}}, keep_last=9)
        expected[step] = held(model, optimizers)
    return folder, expected


@pytest.fixture
def fresh(whole: tuple[Path, dict[int, Tensors]], tmp_path: Path) -> Callable[[], Path]:
    """Whole checkpoints to be damaged, anew at each call."""

    def copy() -> Path:
        place = tmp_path / "checkpoints"
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(whole[0], place))

    return copy


def newest(folder: Path) -> Path:
    return folder / f"step-{STEPS[-1]:08d}"


def any_file(folder: Path, generator: np.random.Generator) -> Path:
    return newest(folder) / str(generator.choice(FILES))


def truncated(folder: Path, generator: np.random.Generator) -> str:
    path = any_file(folder, generator)
    data = path.read_bytes()
    path.write_bytes(data[: int(generator.integers(len(data)))])
    return path.name


def flipped(folder: Path, generator: np.random.Generator) -> str:
    path = any_file(folder, generator)
    data = bytearray(path.read_bytes())
    for place in generator.choice(len(data), int(generator.integers(1, 4)), replace=False):
        data[place] ^= 1 << int(generator.integers(8))
    path.write_bytes(data)
    return path.name


def zeroed(folder: Path, generator: np.random.Generator) -> str:
    """A stretch that was never written, as a file system leaves it after a power cut."""
    path = any_file(folder, generator)
    data = path.read_bytes()
    while True:
        begin = int(generator.integers(len(data)))
        length = int(generator.integers(1, 64))
        hole = data[:begin] + bytes(len(data[begin : begin + length])) + data[begin + length :]
        if hole != data:
            path.write_bytes(hole)
            return path.name


def longer(folder: Path, generator: np.random.Generator) -> str:
    path = any_file(folder, generator)
    path.write_bytes(path.read_bytes() + generator.bytes(int(generator.integers(1, 9))))
    return path.name


def deleted(folder: Path, generator: np.random.Generator) -> str:
    path = any_file(folder, generator)
    path.unlink()
    return path.name


def swapped_within(folder: Path, generator: np.random.Generator) -> str:
    one, other = generator.choice(FILES, 2, replace=False)
    aside = newest(folder) / "aside"
    (newest(folder) / str(one)).rename(aside)
    (newest(folder) / str(other)).rename(newest(folder) / str(one))
    aside.rename(newest(folder) / str(other))
    return f"{one} and {other}"


def of_an_earlier_one(folder: Path, generator: np.random.Generator) -> str:
    """One, two, three or all files, the manifest too, are those of another checkpoint."""
    names = generator.choice(FILES, int(generator.integers(1, 5)), replace=False)
    other = folder / f"step-{int(generator.choice(STEPS[:-1])):08d}"
    for name in names:
        shutil.copy(other / str(name), newest(folder) / str(name))
    return f"{sorted(names)} of {other.name}"


DAMAGES: tuple[Damage, ...] = (truncated, flipped, zeroed, longer, deleted, swapped_within, of_an_earlier_one)
EACH = 200


def restored(folder: Path) -> tuple[dict[str, Any] | None, Tensors, list[str]]:
    said: list[str] = []
    model, optimizers = net(9)
    state = restore_newest(folder, model, optimizers, said.append)
    return state, held(model, optimizers), said


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_is_noticed_and_the_checkpoint_before_is_used(
    whole: tuple[Path, dict[int, Tensors]], fresh: Callable[[], Path], damage: Damage
) -> None:
    generator = np.random.default_rng([int(os.environ.get("INSTIL_SEED", "0")), DAMAGES.index(damage)])
    for _ in range(EACH):
        folder = fresh()
        what = damage(folder, generator)
        state, tensors, said = restored(folder)
        assert state == {"step": 2, "good": {"loss": [0.5]}}, what
        assert equal(tensors, whole[1][2]), what
        assert len(said) == 1, what
        assert "step-00000003 is damaged" in said[0], what
        assert checkpoints(folder)[-1].name == "step-00000002", what


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_no_bit_and_no_byte_of_the_small_files_is_without_meaning(fresh: Callable[[], Path], name: str) -> None:
    path = newest(fresh()) / name
    data = path.read_bytes()
    assert not checkpoint._fault(path.parent)
    for place in range(len(data)):
        path.write_bytes(data[:place])
        assert checkpoint._fault(path.parent), f"cut to {place} bytes"
        for bit in range(8):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
            assert checkpoint._fault(path.parent), f"bit {bit} of byte {place}"


def test_files_that_two_checkpoints_exchanged_damage_both(
    whole: tuple[Path, dict[int, Tensors]], fresh: Callable[[], Path]
) -> None:
    for name in FILES:
        folder = fresh()
        two, three = folder / "step-00000002" / name, folder / "step-00000003" / name
        data = two.read_bytes()
        two.write_bytes(three.read_bytes())
        three.write_bytes(data)
        state, tensors, said = restored(folder)
        assert state is not None
        assert state["step"] == 1
        assert equal(tensors, whole[1][1])
        assert [line[:24] for line in said] == ["checkpoint step-00000003", "checkpoint step-00000002"]


def test_damage_to_an_earlier_one_does_not_matter(
    whole: tuple[Path, dict[int, Tensors]], fresh: Callable[[], Path]
) -> None:
    folder = fresh()
    (folder / "step-00000002" / "model.safetensors").unlink()
    state, tensors, said = restored(folder)
    assert (state or {})["step"] == 3
    assert equal(tensors, whole[1][3])
    assert not said


def test_where_all_are_damaged_nothing_is_loaded(fresh: Callable[[], Path]) -> None:
    folder = fresh()
    for path in checkpoints(folder):
        (path / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="every checkpoint"):
        restored(folder)
    assert len(checkpoints(folder)) == len(STEPS)


def test_a_whole_checkpoint_of_a_model_of_other_shape_is_refused(fresh: Callable[[], Path]) -> None:
    """Its names are the same, and its rows would even be spread over the others."""
    folder = fresh()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
    model[0].weight = nn.Parameter(torch.zeros(3, 8, 4))
    before = model[0].weight.clone()
    with pytest.raises(RunError, match="belongs to another model"):
        restore_newest(folder, model, Optimizers(model, OptimizerSpec()), lambda line: None)
    assert torch.equal(model[0].weight, before)


def test_control_sizes_alone_would_not_do(fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With checksums that are never compared, flipped bits reach the weights: the tests above would see it."""
    folder = fresh()
    marks = {
        path.name: json.loads((newest(folder) / "manifest.json").read_text())[path.name]["sha256"]
        for path in newest(folder).iterdir()
        if path.name != "manifest.json"
    }
    monkeypatch.setattr(checkpoint, "fingerprint_file", lambda path: marks[path.name])
    path = newest(folder) / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    state, _, said = restored(folder)
    assert (state or {})["step"] == 3
    assert not said
