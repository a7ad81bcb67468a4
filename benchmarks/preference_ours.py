"""instil's side of `preferences.py`, on the same rows, in a process of its own.

    python preference_ours.py dpo WORK ROWS THREADS          {"name": "instil", "pairs": 320, "step_seconds": 9.1, ...}
    python preference_ours.py dpo WORK ROWS THREADS bucketed ... each completion behind its own copy of the prompt

One epoch. The reference's pass and the steps are timed apart; the first step is not timed, as on the other side.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAIRS_PER_STEP = 64
#: Ours is this one; the other side's shapes are searched.
TOKENS_PER_BATCH = 1024


def dpo(work: Path, rows: int, threads: int, layout: str = "auto") -> dict[str, Any]:
    """One epoch of DPO."""
    from instil.mixtures.tokenizer import find_encoder
    from instil.models.loading import load
    from instil.records import Message, Ranking
    from instil.runs import RunFolder
    from instil.tuning.dpo import DpoSpec, align_offline
    from instil.tuning.reference_log_probs import HeldTo

    read = [json.loads(line) for line in (work / "rows.jsonl").read_text("utf-8").splitlines()[:rows]]
    rankings = [
        Ranking(tuple(Message(*turn) for turn in row["messages"]), (row["chosen"], row["rejected"]), (1, 2))
        for row in read
    ]
    spec = DpoSpec.model_validate(
        {
            "max_steps": rows // PAIRS_PER_STEP,
            "prompts_per_step": PAIRS_PER_STEP,
            "tokens_per_batch": TOKENS_PER_BATCH,
            "learning_rate": 1e-4,
            "schedule": "constant",
            "warmup_steps": 0,
            "dtype": "float32",
            "threads": threads,
            "log_every": 1,
            "save_every": 0,
            "layout": layout,
        }
    )
    ends: list[float] = []
    asked: list[float] = []
    plain_row, plain_ask = RunFolder.add_metrics, HeldTo.log_probs

    def timed_row(self: RunFolder, row: Mapping[str, object]) -> None:
        ends.append(time.perf_counter())
        plain_row(self, row)

    def timed_ask(self: HeldTo, groups: Sequence[Any], *, name: str) -> Any:
        began = time.perf_counter()
        found = plain_ask(self, groups, name=name)
        asked.append(time.perf_counter() - began)
        return found

    RunFolder.add_metrics, HeldTo.log_probs = timed_row, timed_ask  # type: ignore[assignment, method-assign]
    out = work / "ours"
    shutil.rmtree(out, ignore_errors=True)
    loaded = load(str(work / "model"), device="cpu", dtype="float32")
    with RunFolder.open(out, recipe={}, inputs={}) as run:
        align_offline(loaded, rankings, spec, run, encoder=find_encoder(work / "model"), show_progress=False)
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    losses = [row["loss"] for row in metrics if row.get("loss") is not None]
    return {
        "name": "instil" if layout == "auto" else f"instil, {layout}",
        "pairs": (len(ends) - 1) * PAIRS_PER_STEP,
        "step_seconds": ends[-1] - ends[0],
        "reference_pairs": rows,
        "reference_seconds": sum(asked),
        "tokens": metrics[-1]["tokens"],
        "loss": sum(losses) / len(losses),
        "first_loss": losses[0],
    }


PARTS = {"dpo": dpo}


def main() -> None:
    """Measure, and print one JSON line."""
    part, work, rows, threads, *more = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the run says goes to standard error
    import torch

    torch.set_num_threads(int(threads))  # for what comes before the loop, which sets its own
    result = PARTS[part](Path(work), int(rows), int(threads), *more)
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result), file=out, flush=True)


if __name__ == "__main__":
    main()
