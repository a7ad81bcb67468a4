"""Every architecture: a run that is killed, anywhere and any number of times, ends bitwise equal to one that was not.

Five kills at random moments in `make test`, fifty and one at every file operation of saving in `make soak`. The same
test must fail where the seed of a step is not set, and where checkpoints are written in place and believed unread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_models import documents, tiny_loaded, window, window_seq2seq
from tests.tuning.killing import (
    End,
    Life,
    deadly_bytes,
    end_of,
    lived,
    same,
    survives_deaths_in_saving,
    survives_random_kills,
)

from instil.runs import RunFolder
from instil.tuning import checkpoint, loop
from instil.tuning.loop import CHANGEABLE
from instil.tuning.sft import TuningSpec, tune

KEYS: dict[str, Any] = {
    "max_steps": 24,
    "learning_rate": 3e-3,
    "log_every": 4,
    "save_every": 5,
    "tokens_per_batch": 96,
    "warmup_steps": 3,
}
DROPS = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.1}
#: Each with dropout; the causal one reads pre-training text as well, the masked ones look for masked words.
RUNS: dict[str, dict[str, Any]] = {
    "causal": {"kind": "gpt2", "model": {"resid_pdrop": 0.2, "embd_pdrop": 0.1, "attn_pdrop": 0.1},
               "keys": {"replay_share": 0.3, "replay_row_tokens": 32}},
    "seq2seq": {"kind": "t5", "model": {"dropout_rate": 0.2}, "keys": {"optimizer": "adafactor"}},
    "masked": {"kind": "bert", "model": {**DROPS, "answer_slots": 4}, "keys": {"mlm_share": 0.3}},
}  # fmt: skip


def life_of(name: str, **more: Any) -> Life:
    """What begins or continues a run of this architecture."""
    made = RUNS[name]
    spec = TuningSpec.model_validate({**KEYS, **made["keys"], **more})

    def life(path: Path) -> None:
        loaded = tiny_loaded(made["kind"], **made["model"])
        recipe = {"tuning": spec.model_dump(mode="json")}
        changeable = [f"tuning.{key}" for key in CHANGEABLE]
        with RunFolder.open(
            path, recipe=recipe, inputs={"data": "d"}, changeable=changeable, resume=True, echo=lambda message: None
        ) as run:
            prompts = window_seq2seq if name == "seq2seq" else window
            tune(loaded, prompts, spec, run, replay=documents, show_progress=False)

    return life


@dataclass(frozen=True)
class Whole:
    """A run that was not killed."""

    name: str
    end: End
    seconds: float


@pytest.fixture(scope="module", params=RUNS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return _whole(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def whole_causal(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return _whole("causal", tmp_path_factory)


def _whole(name: str, folders: pytest.TempPathFactory) -> Whole:
    path = folders.mktemp(name)
    code, seconds = lived(lambda: life_of(name)(path))
    assert code == 0
    end = end_of(path)
    assert end[1][-1]["step"] == KEYS["max_steps"]
    return Whole(name, end, seconds)


def test_killed_at_random_moments(tmp_path: Path, whole: Whole) -> None:
    assert survives_random_kills(life_of(whole.name), tmp_path, whole.end, kills=5, seconds=whole.seconds)


@pytest.mark.soak
def test_killed_at_fifty_random_moments(tmp_path: Path, whole: Whole) -> None:
    survived = survives_random_kills(life_of(whole.name), tmp_path, whole.end, kills=50, seconds=whole.seconds)
    assert survived, (tmp_path / "told.txt").read_text()


@pytest.mark.soak
def test_killed_at_every_file_operation_of_saving(tmp_path: Path, whole: Whole) -> None:
    assert survives_deaths_in_saving(life_of(whole.name, save_every=1), tmp_path, whole.end, range(40)) >= 17


@pytest.mark.soak
def test_killed_in_the_middle_of_a_file(tmp_path: Path, whole: Whole) -> None:
    """Which the kernel does, at so many bytes: within weights, within the optimizer's state."""
    life = life_of(whole.name, save_every=1)
    deaths = 0
    for size in (4_096, 20_000, 60_000, 100_000, 150_000, 200_000):
        assert lived(lambda: life(tmp_path / "warm"))[0] == 0
        deaths += lived(lambda size=size: (deadly_bytes(size), life(tmp_path / "run")))[0] < 0
    assert deaths >= 2
    assert lived(lambda: life(tmp_path / "run"))[0] == 0
    assert same(end_of(tmp_path / "run"), whole.end)


def test_control_without_the_seed_of_the_step(
    tmp_path: Path, whole_causal: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator goes on from wherever a process begins: what the test above asks for is not so."""
    life = life_of("causal")
    monkeypatch.setattr(loop, "seed_step", lambda seed, step: None)
    code, seconds = lived(lambda: life(tmp_path / "whole"))
    assert code == 0
    assert lived(lambda: life(tmp_path / "again"))[0] == 0
    expected = end_of(tmp_path / "whole")
    assert same(end_of(tmp_path / "again"), expected)  # not killed, it is still the same
    assert not survives_random_kills(life, tmp_path / "killed", expected, kills=5, seconds=seconds)


@contextlib.contextmanager
def in_place(target: Path) -> Iterator[Path]:
    """As `writing_folder`, without its folder aside."""
    target.mkdir(parents=True, exist_ok=True)
    yield target


def test_control_saving_in_place(tmp_path: Path, whole_causal: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    life = life_of("causal", save_every=1)
    few = range(3)
    assert survives_deaths_in_saving(life, tmp_path / "1", whole_causal.end, few) == 3
    monkeypatch.setattr(checkpoint, "writing_folder", in_place)
    assert survives_deaths_in_saving(life, tmp_path / "2", whole_causal.end, few) == 0
