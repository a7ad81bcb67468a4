"""PPO and its kin: a run that is killed, anywhere and any number of times, ends bitwise equal to one that was not.

One kill at a random moment in `make test`, twenty-five in `make soak`. The same test must fail where a rollout is made
again from the weights as they are, where prompts come from a stream, where answers are drawn by the process, and where
beta is remembered in memory alone.
"""

from __future__ import annotations

import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_models import tiny_loaded
from tests.tuning import bandit
from tests.tuning.bandit import SmallWords, learnt
from tests.tuning.killing import End, Life, end_of, lived, same, survives_random_kills

from instil.tuning import rollout_maker, rollouts
from instil.tuning.ppo import Ppo
from instil.tuning.rollout_keeper import RolloutKeeper
from instil.tuning.rollouts import RolloutFolder

KEYS: dict[str, Any] = {
    "max_steps": 26,
    "learning_rate": 3e-3,
    "log_every": 4,
    "save_every": 5,
    "prompts_per_rollout": 4,
    "completions_per_prompt": 2,
    "max_new_tokens": 5,
    "warmup_steps": 3,
    "minibatches": 2,
    "inner_epochs": 2,
}
#: Dropout of the model changes nothing: policies are trained without.
DROPS = {"resid_pdrop": 0.2, "embd_pdrop": 0.1, "attn_pdrop": 0.1}
RUNS: dict[str, dict[str, Any]] = {
    "ppo": {
        "kind": "gpt2", "model": DROPS, "method": "ppo", "keys": {"target_kl": 0.2, "kl_horizon": 40, "ema": 0.9},
    },
    "grpo seq2seq": {"kind": "t5", "model": {}, "method": "grpo", "keys": {"optimizer": "adafactor"}},
    "reinforce": {
        "kind": "gpt2", "model": {}, "method": "reinforce", "keys": {"baseline": "running", "minibatches": 1},
    },
}  # fmt: skip


def life_of(name: str) -> Life:
    """What begins or continues a run of this kind."""
    made = RUNS[name]

    def life(path: Path) -> None:
        loaded = tiny_loaded(made["kind"], **made["model"])
        learnt(path, loaded, made["method"], [SmallWords()], **{**KEYS, **made["keys"]})

    return life


@dataclass(frozen=True)
class Whole:
    """A run that was not killed."""

    end: End
    seconds: float


def _whole(name: str, path: Path) -> Whole:
    code, seconds = lived(lambda: life_of(name)(path / "whole"))
    assert code == 0
    end = end_of(path / "whole")
    assert end[1][-1]["step"] == KEYS["max_steps"]
    every = 2 if name == "reinforce" else 4
    assert [row["step"] for row in end[1] if "rollout" in row] == list(range(0, 26, every))
    return Whole(end, seconds)


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


def test_killed_before_every_operation_on_the_files_of_rollouts(tmp_path: Path) -> None:
    """Between the answers and what names them, between these and the row of metrics, while old ones are removed."""
    whole = _whole("ppo", tmp_path)

    def deadly(number: int) -> None:
        left = [number]

        def wrapped(real: Any) -> Any:
            def call(*given: Any, **more: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*given, **more)

            return call

        for name in ("write_bytes", "write_text"):
            setattr(rollouts, name, wrapped(getattr(rollouts, name)))
        for name in ("_row", "_kept"):
            setattr(RolloutKeeper, name, wrapped(getattr(RolloutKeeper, name)))
        RolloutFolder.prune = wrapped(RolloutFolder.prune)  # type: ignore[method-assign]
        life_of("ppo")(tmp_path / "killed")

    for number in range(1, 8):
        assert lived(lambda number=number: deadly(number))[0] == -signal.SIGKILL  # type: ignore[misc]
    assert lived(lambda: life_of("ppo")(tmp_path / "killed"))[0] == 0
    assert same(end_of(tmp_path / "killed"), whole.end)


def _caught(tmp_path: Path, name: str) -> None:
    """With the fault, a run that is not killed is the same twice, and one that is killed is not."""
    life, (code, seconds) = life_of(name), lived(lambda: life_of(name)(tmp_path / "whole"))
    assert code == 0
    expected = end_of(tmp_path / "whole")
    assert lived(lambda: life(tmp_path / "again"))[0] == 0
    assert same(end_of(tmp_path / "again"), expected)
    assert not survives_random_kills(life, tmp_path / "killed", expected, kills=6, seconds=seconds)


def test_control_a_rollout_made_again_from_the_weights_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(keeper: RolloutKeeper, step: int, model: Any) -> None:
        number = keeper.spec.rollout_of(step)
        if number != keeper._number:
            before = keeper.folder.summary(number - 1) if number else None
            rollout, summary = keeper.maker.make(number, model, keeper.maker.method.carried(before))
            keeper.folder.write(number, rollout, key="", summary=summary)
            keeper._number, keeper._held = number, (rollout, keeper.maker.method.learned(rollout))

    monkeypatch.setattr(RolloutKeeper, "prepare", again)
    _caught(tmp_path, "ppo")


def test_control_prompts_from_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which begins anew wherever a process begins."""
    steps: dict[int, int] = {}
    count = itertools.count()
    real = bandit.asked

    def streamed(number: int, prompts: int) -> Any:
        if number not in steps:
            steps[number] = next(count)
        return real(steps[number], prompts)

    monkeypatch.setitem(learnt.__kwdefaults__, "asking", streamed)
    _caught(tmp_path, "grpo seq2seq")


def test_control_answers_drawn_by_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count()
    monkeypatch.setattr(rollout_maker, "keyed_int", lambda *parts, n: next(count))
    _caught(tmp_path, "reinforce")


def test_control_beta_remembered_in_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, known = Ppo.carried, [0.02]

    def carried(method: Ppo, before: Any) -> dict[str, float]:
        found = real(method, None if before is None else {**before, "beta": known[0]})
        known[0] = found["beta"]
        return found

    monkeypatch.setattr(Ppo, "carried", carried)
    _caught(tmp_path, "ppo")
