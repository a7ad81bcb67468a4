"""Policies in two processes, weights whole or cut: they answer and learn as one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_models import documents, tiny_loaded
from tests.tuning.bandit import SmallWords, asked, spec_of
from tests.tuning.made_up_rankings import encoder_of
from tests.tuning.processes import figures, in_processes

from instil.errors import RecipeError, ToldElsewhereError
from instil.tuning.distributed import World, open_run
from instil.tuning.policy import align_policy
from instil.tuning.ptx import Ptx

KINDS: dict[str, dict[str, Any]] = {
    "ppo": {"minibatches": 2},
    "rloo": {"lora": {"rank": 4}},
}


def life(path: Path, method: str, **keys: Any) -> None:
    """Six steps in the processes that there are; each goes on with what an earlier part left."""
    given = {"max_steps": 6, "prompts_per_rollout": 6, "completions_per_prompt": 2, "max_new_tokens": 5}
    spec = spec_of(method, **{**given, "learning_rate": 3e-3, "tokens_per_batch": 96, "save_every": 3, **keys})
    loaded = tiny_loaded("gpt2")
    more = {"ptx": Ptx(documents=documents)} if method == "ppo" else {}
    recipe = {key: value for key, value in spec.model_dump(mode="json").items() if key not in ("max_steps", "parallel")}
    with open_run(World.current(), path, recipe=recipe, inputs={}, resume=True, echo=lambda message: None) as run:
        align_policy(
            loaded, asked, spec, run, encoder=encoder_of(loaded), rewards=[SmallWords()], show_progress=False, **more
        )


@pytest.mark.parametrize("method", KINDS)
def test_two_processes_learn_as_one_does(tmp_path: Path, method: str) -> None:
    torch.set_num_threads(1)

    def work(world: World) -> None:
        for parallel in ("ddp", "fsdp"):
            for steps in (3, 6):  # the second part begins in the midst of a rollout of ppo
                life(tmp_path / parallel, method, parallel=parallel, max_steps=steps, schedule_steps=6, **KINDS[method])

    life(tmp_path / "alone", method, schedule_steps=6, **KINDS[method])
    assert in_processes(2, work) == [0, 0]
    alone = figures(tmp_path / "alone")
    assert sum("rollout" in row for row in alone) == (3 if method == "ppo" else 6)
    for parallel in ("ddp", "fsdp"):
        found = figures(tmp_path / parallel)
        assert len(found) == len(alone)
        for row, wanted in zip(found, alone, strict=True):
            assert row.keys() == wanted.keys()
            for name in row:
                assert row[name] == pytest.approx(wanted[name], rel=2e-3, abs=2e-4), (parallel, row["step"], name)


def test_an_average_of_weights_that_are_cut_is_refused(tmp_path: Path) -> None:
    def work(world: World) -> None:
        with pytest.raises((RecipeError, ToldElsewhereError), match="keeps an average of whole weights"):
            life(tmp_path / "run", "ppo", parallel="fsdp", ema=0.9)

    assert in_processes(2, work) == [0, 0]
