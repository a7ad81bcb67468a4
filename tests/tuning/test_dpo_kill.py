"""DPO, IPO and KTO: a run that is killed, anywhere and any number of times, ends bitwise equal to one that was not.

One kill at a random moment in `make test`, twenty-five in `make soak`. The same test must fail where rows come from a
stream instead of the step's number, where the seed of a step is not set, and where the reference is taken from the
policy as it was saved.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.tiny_models import tiny_loaded
from tests.tuning.killing import End, Life, end_of, lived, same, survives_random_kills
from tests.tuning.made_up_rankings import aligned, rankings

from instil.tuning import dpo, loop, reference_log_probs
from instil.tuning.checkpoint import checkpoints, put_weights
from instil.tuning.preference_rows import EpochOrder

KEYS: dict[str, Any] = {
    "max_steps": 24,
    "learning_rate": 3e-3,
    "log_every": 4,
    "save_every": 5,
    "prompts_per_step": 4,
    "warmup_steps": 3,
}
DROPS = {"resid_pdrop": 0.2, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
#: Each with dropout; rows are read more than once.
RUNS: dict[str, dict[str, Any]] = {
    "dpo": {"kind": "gpt2", "model": DROPS, "keys": {"sft_weight": 0.2, "label_smoothing": 0.1}},
    "ipo seq2seq": {"kind": "t5", "model": {"dropout_rate": 0.2}, "keys": {"method": "ipo", "optimizer": "adafactor"}},
    "kto": {"kind": "gpt2", "model": DROPS, "keys": {"method": "kto", "beta": 0.5}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a kill may come between the files of the reference."""
    monkeypatch.setattr(reference_log_probs, "PROMPTS_PER_PART", 8)


def life_of(name: str) -> Life:
    """What begins or continues a run of this kind."""
    made, train_on = RUNS[name], rankings(30, seed=4)

    def life(path: Path) -> None:
        aligned(path, tiny_loaded(made["kind"], **made["model"]), train_on, **{**KEYS, **made["keys"]})

    return life


@dataclass(frozen=True)
class Whole:
    """A run that was not killed."""

    name: str
    end: End
    seconds: float


def _whole(name: str, path: Path) -> Whole:
    code, seconds = lived(lambda: life_of(name)(path / "whole"))
    assert code == 0
    end = end_of(path / "whole")
    assert end[1][-1]["step"] == KEYS["max_steps"]
    return Whole(name, end, seconds)


@pytest.mark.parametrize("name", RUNS)
def test_killed_once_at_a_random_moment(tmp_path: Path, name: str) -> None:
    whole = _whole(name, tmp_path)
    survived = survives_random_kills(life_of(name), tmp_path / "killed", whole.end, kills=1, seconds=whole.seconds)
    assert survived, (tmp_path / "killed" / "told.txt").read_text()


@pytest.mark.soak
@pytest.mark.parametrize("name", RUNS)
def test_killed_at_twenty_five_random_moments(tmp_path: Path, name: str) -> None:
    whole = _whole(name, tmp_path)
    survived = survives_random_kills(life_of(name), tmp_path / "killed", whole.end, kills=25, seconds=whole.seconds)
    assert survived, (tmp_path / "killed" / "told.txt").read_text()


def _caught(tmp_path: Path, name: str) -> None:
    """With the fault, a run that is not killed is the same twice, and one that is killed is not."""
    life, (code, seconds) = life_of(name), lived(lambda: life_of(name)(tmp_path / "whole"))
    assert code == 0
    expected = end_of(tmp_path / "whole")
    assert lived(lambda: life(tmp_path / "again"))[0] == 0
    assert same(end_of(tmp_path / "again"), expected)
    assert not survives_random_kills(life, tmp_path / "killed", expected, kills=5, seconds=seconds)


def test_control_without_the_seed_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "seed_step", lambda seed, step: None)
    _caught(tmp_path, "dpo")


def test_control_rows_from_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which begins anew wherever a process begins."""
    real = EpochOrder.window
    steps: dict[int, int] = {}
    count = itertools.count()

    def streamed(order: EpochOrder, step: int) -> list[int]:
        if step not in steps:
            steps[step] = next(count)
        return real(order, steps[step])

    monkeypatch.setattr(EpochOrder, "window", streamed)
    _caught(tmp_path, "dpo")


def test_control_the_reference_taken_from_the_policy_as_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dpo.reference_of

    def moved(loaded: Any, spec: Any, run: Any, **more: Any) -> Any:
        for newest in checkpoints(run.path / "checkpoints")[-1:]:
            put_weights(loaded.model, load_file(newest / "model.safetensors"))
        shutil.rmtree(run.path / "reference", ignore_errors=True)
        return real(loaded, spec, run, **more)

    monkeypatch.setattr(dpo, "reference_of", moved)
    _caught(tmp_path, "kto")
