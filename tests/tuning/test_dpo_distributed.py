"""DPO and KTO in two processes, weights whole or cut, learn as they do in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import encoder_of, rankings
from tests.tuning.processes import figures, in_processes

from instil.tuning import reference_log_probs
from instil.tuning.distributed import World, open_run
from instil.tuning.dpo import DpoSpec, align_offline

KINDS: dict[str, dict[str, Any]] = {
    "dpo": {"sft_weight": 0.3},
    "kto": {"method": "kto", "beta": 0.5},
    "adapter": {"lora": {"rank": 4}},
}


def life(path: Path, **keys: Any) -> None:
    """Twelve steps in the processes that there are."""
    loaded = tiny_loaded("gpt2")
    given = {"max_steps": 12, "learning_rate": 3e-3, "log_every": 1, "prompts_per_step": 6, "tokens_per_batch": 96}
    spec = DpoSpec.model_validate({**given, "save_every": 0, **keys})
    with open_run(World.current(), path, recipe={}, inputs={}, echo=lambda message: None) as run:
        align_offline(loaded, rankings(20), spec, run, encoder=encoder_of(loaded), show_progress=False)


@pytest.mark.parametrize("name", KINDS)
def test_two_processes_learn_as_one_does(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_log_probs, "PROMPTS_PER_PART", 8)
    torch.set_num_threads(1)

    def work(world: World) -> None:
        for parallel in ("ddp", "fsdp"):
            life(tmp_path / parallel, parallel=parallel, **KINDS[name])

    life(tmp_path / "alone", **KINDS[name])
    assert in_processes(2, work) == [0, 0]
    alone = figures(tmp_path / "alone")
    assert len(alone) == 12
    for parallel in ("ddp", "fsdp"):
        found = figures(tmp_path / parallel)
        # accuracy has steps: rounding may move a pair across its threshold
        smooth = [{key: value for key, value in row.items() if key != "accuracy"} for row in found]
        wanted = [{key: value for key, value in row.items() if key != "accuracy"} for row in alone]
        assert smooth == [pytest.approx(row, rel=1e-3, abs=1e-4) for row in wanted]
