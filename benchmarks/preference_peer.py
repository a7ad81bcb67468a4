"""The peer of `preferences.py`: TRL's trainers on the same rows. Runs in an environment of its own (`make bench-peer`).

    python preference_peer.py dpo WORK ROWS THREADS NAME [NAME ...]     DPOTrainer   -> one JSON line a setting
    {"name": "batch 8 x 8, reference first", "pairs": 320, "step_seconds": 41.0, "reference_pairs": 384, ...}

One epoch, steps of 64 pairs as on the other side, in every setting. Where the reference is asked before the first step,
its pass is timed apart; where it is asked within the steps, it is a part of them. The first step is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import torch
from datasets import Dataset, disable_caching, disable_progress_bars
from transformers import AutoTokenizer, LlamaForCausalLM, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import DPOConfig, DPOTrainer

PAIRS_PER_STEP = 64


def dpo_settings() -> dict[str, dict[str, Any]]:
    """Every setting that is tried: the batches that a step is cut into, their order, when the reference is asked.

    `padding_free` is there and does nothing in TRL 1.16 (it warns and pads), and rows cannot be grouped by length: the
    sampler looks for a column that preferences do not have. So the rows are also given sorted by length, and read in
    that order, which no run would do.
    """
    orders = {"": "random", ", sorted by length": "sequential"}
    when = {", reference first": True, "": False}
    return {
        f"batch {size} x {PAIRS_PER_STEP // size}{order}{first}": {
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": PAIRS_PER_STEP // size,
            "train_sampling_strategy": orders[order],
            "precompute_ref_log_probs": when[first],
        }
        for first in when
        for order in orders
        for size in (4, 8, 16)
    }


class Clock(TrainerCallback):
    """Notes when each optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: object, state: object, control: object, **rest: object) -> None:
        """Called by the trainer."""
        self.ends.append(time.perf_counter())


def dpo(name: str, work: Path, rows: int) -> dict[str, Any]:
    """One epoch of DPO under one setting."""
    read = [json.loads(line) for line in (work / "rows.jsonl").read_text("utf-8").splitlines()[:rows]]
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    sizes = [len(tokenizer(row["prompt"]).input_ids) for row in read]
    data = Dataset.from_list(
        [
            {
                "prompt": row["prompt"],
                "chosen": f" {row['chosen']}",
                "rejected": f" {row['rejected']}",
                "length": size + max(len(tokenizer(row[side]).input_ids) for side in ("chosen", "rejected")),
            }
            for row, size in zip(read, sizes, strict=True)
        ]
    )
    if "sorted" in name:
        data = data.sort("length")
    data = data.remove_columns("length")
    clock = Clock()
    asked: list[float] = []
    plain = DPOTrainer._precompute_ref_logps

    def timed(self: DPOTrainer, *given: Any, **more: Any) -> Any:
        began = time.perf_counter()
        found = plain(self, *given, **more)
        asked.append(time.perf_counter() - began)
        return found

    DPOTrainer._precompute_ref_logps = timed
    try:
        trainer = DPOTrainer(
            model=LlamaForCausalLM.from_pretrained(work / "model", dtype=torch.float32),
            args=DPOConfig(
                **{
                    "output_dir": str(work / "peer"),
                    "use_cpu": True,
                    "bf16": False,
                    "gradient_checkpointing": False,
                    "num_train_epochs": 1,
                    "logging_steps": 1,
                    "save_strategy": "no",
                    "report_to": [],
                    "learning_rate": 1e-4,
                    "lr_scheduler_type": "constant",
                    "optim": "adamw_torch_fused",
                    "disable_tqdm": True,
                    **dpo_settings()[name],
                }
            ),
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=[clock],
        )
        trainer.train()
    finally:
        DPOTrainer._precompute_ref_logps = plain
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {
        "name": name,
        "pairs": (len(clock.ends) - 1) * PAIRS_PER_STEP,
        "step_seconds": clock.ends[-1] - clock.ends[0],
        "reference_pairs": rows if asked else 0,
        "reference_seconds": sum(asked),
        "tokens": trainer._total_train_tokens,
        "loss": sum(losses) / len(losses),
        "first_loss": losses[0],
    }


PARTS: dict[str, tuple[Callable[[str, Path, int], dict[str, Any]], Callable[[], dict[str, dict[str, Any]]]]] = {
    "dpo": (dpo, dpo_settings),
}


def main() -> None:
    """Measure the settings named on the command line, one JSON line each."""
    part, work, rows, threads, *names = sys.argv[1:]
    torch.set_num_threads(int(threads))
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    disable_caching()  # what was prepared for one setting is prepared again for the next
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print goes to standard error
    measure, settings = PARTS[part]
    for name in names or settings():
        print(json.dumps(measure(name, Path(work), int(rows))), file=out, flush=True)


if __name__ == "__main__":
    main()
