"""Training a reward model: killed anywhere and any number of times, it ends bitwise equal to a run that was not.

One kill in `make test`, twenty, and one at every file operation of saving, in `make soak`. The same test must fail
where the seed of a step is not set, where rows are drawn by a generator that goes on, and where checkpoints are written
in place and believed unread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny_models import tiny_loaded
from tests.tuning.killing import (
    End,
    Life,
    end_of,
    lived,
    same,
    survives_deaths_in_saving,
    survives_random_kills,
)
from tests.tuning.made_up_rankings import rankings

from instil.runs import RunFolder
from instil.tuning import checkpoint, loop, preference_rows
from instil.tuning.loop import CHANGEABLE
from instil.tuning.reward import Rewards, RewardSpec, train_reward
from instil.tuning.reward_model import encoder_for
from instil.tuning.reward_rows import reward_rows

KEYS: dict[str, Any] = {
    "max_steps": 24,
    "prompts_per_step": 8,
    "learning_rate": 3e-3,
    "log_every": 4,
    "save_every": 5,
    "evaluate_every": 6,
    "tokens_per_batch": 96,
    "warmup_steps": 3,
}
DROPS = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.1}
#: Each with dropout; more steps than one epoch has.
RUNS: dict[str, dict[str, Any]] = {
    "causal": {"kind": "gpt2", "model": {"resid_pdrop": 0.2, "embd_pdrop": 0.1, "attn_pdrop": 0.1}, "keys": {}},
    "masked": {"kind": "bert", "model": DROPS, "keys": {"ties": "half", "keep_best": "mean_reward"}},
}


def life_of(name: str, **more: Any) -> Life:
    """What begins or continues a run of this architecture, which is asked while it learns."""
    made = RUNS[name]
    spec = RewardSpec.model_validate({**KEYS, **made["keys"], **more})

    def life(path: Path) -> None:
        loaded = tiny_loaded(made["kind"], **made["model"])
        rows = reward_rows(rankings(150), encoder_for(loaded), ties=spec.ties)
        watched = [row.group for row in rows[:10]]

        def asked(rewards: Rewards) -> dict[str, float]:
            return {"mean_reward": float(np.mean([value for row in rewards(watched) for value in row]))}

        recipe = {"tuning": spec.model_dump(mode="json")}
        changeable = [f"tuning.{key}" for key in CHANGEABLE]
        with RunFolder.open(
            path, recipe=recipe, inputs={"data": "d"}, changeable=changeable, resume=True, echo=lambda message: None
        ) as run:
            train_reward(loaded, rows, spec, run, evaluate=asked, show_progress=False)

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
    assert "reward_head.weight" in end[0]
    return Whole(name, end, seconds)


def test_killed_at_a_random_moment(tmp_path: Path, whole: Whole) -> None:
    assert survives_random_kills(life_of(whole.name), tmp_path, whole.end, kills=1, seconds=whole.seconds)


@pytest.mark.soak
def test_killed_at_twenty_random_moments(tmp_path: Path, whole: Whole) -> None:
    survived = survives_random_kills(life_of(whole.name), tmp_path, whole.end, kills=20, seconds=whole.seconds)
    assert survived, (tmp_path / "told.txt").read_text()


@pytest.mark.soak
def test_killed_at_every_file_operation_of_saving(tmp_path: Path, whole: Whole) -> None:
    assert survives_deaths_in_saving(life_of(whole.name, save_every=1), tmp_path, whole.end, range(40)) >= 17


def test_control_without_the_seed_of_the_step(
    tmp_path: Path, whole_causal: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The generator goes on from wherever a process begins: what the test above asks for is not so."""
    life = life_of("causal")
    monkeypatch.setattr(loop, "seed_step", lambda seed, step: None)
    code, seconds = lived(lambda: life(tmp_path / "whole"))
    assert code == 0
    expected = end_of(tmp_path / "whole")
    assert not survives_random_kills(life, tmp_path / "killed", expected, kills=3, seconds=seconds)


def test_control_rows_drawn_by_a_generator_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a step that depend on how often they were asked for: killed, the run ends otherwise."""
    life = life_of("causal")

    def window(self: preference_rows.EpochOrder, step: int) -> list[int]:
        if not hasattr(self, "_generator"):
            self._generator = np.random.default_rng(0)  # type: ignore[attr-defined]
        drawn: list[int] = self._generator.integers(0, self.rows, self.size).tolist()  # type: ignore[attr-defined]
        return drawn

    monkeypatch.setattr(preference_rows.EpochOrder, "window", window)
    code, seconds = lived(lambda: life(tmp_path / "whole"))
    assert code == 0
    expected = end_of(tmp_path / "whole")
    assert lived(lambda: life(tmp_path / "again"))[0] == 0
    assert same(end_of(tmp_path / "again"), expected)  # not killed, it is still the same
    assert not survives_random_kills(life, tmp_path / "killed", expected, kills=3, seconds=seconds)


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
