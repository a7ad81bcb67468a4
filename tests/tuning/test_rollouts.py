"""Files of rollouts: what was written comes back, and what was damaged does not."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tuning.test_ppo import _rollout

from instil.tuning.rollouts import Rollout, RolloutFolder


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if isinstance(one, tuple) and one and not isinstance(one[0], str):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if hasattr(one, "prompt"):
        return _same(one.prompt, other.prompt) and _same(one.completions, other.completions)
    if isinstance(one, dict):
        return bool(one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items()))
    return bool(one == other)


def written(tmp_path: Path) -> tuple[RolloutFolder, Rollout]:
    folder = RolloutFolder(tmp_path / "rollouts")
    rollout = _rollout(3, bad=(1,))
    parts = {"a": rollout.rewards, "b/c": rollout.rewards * 2}
    rollout = replace(rollout, parts=parts, texts=("é", *rollout.texts[1:]), state={"beta": 0.1 + 0.2})
    folder.write(12, rollout, key="of these weights", summary={"reward": 0.3, "kl": None})
    return folder, rollout


def test_a_rollout_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    folder, rollout = written(tmp_path)
    for key in (None, "of these weights"):
        found = folder.read(12, key=key)
        assert found is not None
        for one in fields(Rollout):
            assert _same(getattr(rollout, one.name), getattr(found, one.name)), one.name
    assert folder.summary(12) == {"reward": 0.3, "kl": None, "beta": 0.1 + 0.2}


def test_written_again_it_has_the_same_bytes(tmp_path: Path) -> None:
    folder, rollout = written(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.folder.iterdir()}
    folder.write(12, rollout, key="of these weights", summary={"reward": 0.3, "kl": None})
    assert {path.name: path.read_bytes() for path in folder.folder.iterdir()} == before


def test_one_that_is_of_other_weights_or_not_there_is_not_read(tmp_path: Path) -> None:
    folder, _ = written(tmp_path)
    assert folder.read(12, key="of others") is None
    assert folder.read(13) is None
    assert folder.summary(13) is None


@pytest.mark.parametrize("name", ["00012.safetensors", "00012.json"])
def test_one_that_was_changed_anywhere_is_not_read(tmp_path: Path, name: str) -> None:
    folder, _ = written(tmp_path)
    path = folder.folder / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        assert folder.read(12) is None, place
    path.write_bytes(whole[: len(whole) // 2])
    assert folder.read(12) is None
    path.write_bytes(whole)
    assert folder.read(12) is not None


def test_a_file_under_the_number_of_another_is_not_read(tmp_path: Path) -> None:
    folder, _ = written(tmp_path)
    for end in ("json", "safetensors"):
        (folder.folder / f"00012.{end}").rename(folder.folder / f"00013.{end}")
    assert folder.read(13) is None


def test_old_rollouts_lose_their_answers_and_keep_what_they_came_to(tmp_path: Path) -> None:
    folder, rollout = written(tmp_path)
    folder.write(13, rollout, key="", summary={})
    folder.prune(13)
    assert folder.read(12) is None
    assert folder.summary(12) is not None
    assert folder.read(13) is not None


def test_values_of_tokens_stand_in_the_rows_of_their_answers() -> None:
    rollout = _rollout(5)
    padded = rollout.padded(np.arange(rollout.sizes.sum()))
    assert padded[rollout.mask].tolist() == list(range(rollout.sizes.sum()))
    assert rollout.mask.sum(1).tolist() == rollout.sizes.tolist()
    assert not padded[~rollout.mask].any()


def test_the_kl_of_an_answer_is_the_sum_over_its_tokens() -> None:
    rollout = _rollout(6)
    apart = rollout.padded(rollout.policy.astype(np.float64) - rollout.reference)
    assert torch.from_numpy(rollout.kl).allclose(apart.sum(1), atol=1e-5)
    assert not replace(rollout, reference=rollout.reference[:0]).kl.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_reward_that_is_no_number_leaves_out_all_answers_of_its_prompt(value: float) -> None:
    rollout = _rollout(7, samples=3, groups=2)
    rollout.rewards[4] = value
    assert rollout.judged.tolist() == [True, True, True, False, False, False]
