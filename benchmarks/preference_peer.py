"""The peer of `preferences.py`: TRL's trainers on the same rows. Runs in an environment of its own (`make bench-peer`).

    python preference_peer.py dpo WORK ROWS THREADS NAME [NAME ...]     -> one JSON line a setting
    {"name": "batch 8 x 8, reference first", "units": 320, "step_seconds": 41.0, "before_units": 384, ...}

    dpo DPOTrainer     reward RewardTrainer (pairs)     grpo GRPOTrainer     rloo RLOOTrainer

One epoch over ROWS pairs (grpo, rloo: prompts); steps of as many units in every setting. Where the reference is asked
before the first step, its pass is timed apart; where it is asked within the steps, it is a part of them. The first step
is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"

import torch
from datasets import Dataset, disable_caching, disable_progress_bars
from preference_shapes import ANSWERS, BETA, NEW_TOKENS, PER_STEP, judged
from transformers import AutoTokenizer, LlamaForCausalLM, LlamaForSequenceClassification, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    RLOOConfig,
    RLOOTrainer,
)

#: Everything else is a trainer's own default.
COMMON = {
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
}


def settings(part: str) -> dict[str, dict[str, Any]]:
    """Every setting that is tried: the batches that a step is cut into, their order, when the reference is asked.

    `padding_free` does nothing for DPO in TRL 1.16 (it warns and pads), and preferences cannot be grouped by length:
    the sampler looks for a column that they do not have. So the rows are also given sorted by length, and read in that
    order, which no run would do.
    """
    units = PER_STEP[part].units

    def cut(size: int) -> dict[str, Any]:
        return {"per_device_train_batch_size": size, "gradient_accumulation_steps": units // size}

    if part in ("grpo", "rloo"):
        return {f"batch {size} x {units // size}": cut(size) for size in (8, 16, 32, 64)}
    orders = {"": "random", ", sorted by length": "sequential"}
    firsts = {", reference first": True, "": False} if part == "dpo" else {"": None}
    if part == "reward":
        orders = {"": "random"}  # all rows are of one length
    return {
        f"batch {size} x {units // size}{order}{first}": {
            **cut(size),
            "train_sampling_strategy": sampling,
            **({} if at_first is None else {"precompute_ref_log_probs": at_first}),
        }
        for first, at_first in firsts.items()
        for order, sampling in orders.items()
        for size in ((4, 8, 16) if part == "dpo" else (2, 4, 8, 16, 32))
    }


class Clock(TrainerCallback):
    """Notes when each optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: object, state: object, control: object, **rest: object) -> None:
        """Called by the trainer."""
        self.ends.append(time.perf_counter())


def letters(completions: list[str], **rest: object) -> list[float]:
    """The reward of sampled answers."""
    return [judged(text) for text in completions]


def trainer_of(part: str, name: str, work: Path, rows: int, clock: Clock) -> Any:
    """The trainer of a part, under one setting."""
    given = {"output_dir": str(work / "peer"), **COMMON, **settings(part)[name]}
    tokenizer = AutoTokenizer.from_pretrained(work / "model")
    shared = {"processing_class": tokenizer, "callbacks": [clock]}
    if part in ("dpo", "reward"):
        data = Dataset.from_list(_pairs(work, rows, tokenizer, ordered="sorted" in name))
        if part == "dpo":
            model = LlamaForCausalLM.from_pretrained(work / "model", dtype=torch.float32)
            return DPOTrainer(model, args=DPOConfig(beta=BETA[part], **given), train_dataset=data, **shared)
        scored = LlamaForSequenceClassification.from_pretrained(work / "model", num_labels=1, dtype=torch.float32)
        return RewardTrainer(scored, args=RewardConfig(**given), train_dataset=data, **shared)
    lines = (work / "rows.jsonl").read_text("utf-8").splitlines()[:rows]
    data = Dataset.from_list([{"prompt": json.loads(line)["prompt"]} for line in lines])
    model = LlamaForCausalLM.from_pretrained(work / "model", dtype=torch.float32)
    sampled = {"num_generations": ANSWERS, "max_completion_length": NEW_TOKENS, "beta": BETA[part], **given}
    if part == "grpo":
        return GRPOTrainer(model, reward_funcs=letters, args=GRPOConfig(**sampled), train_dataset=data, **shared)
    return RLOOTrainer(model, reward_funcs=letters, args=RLOOConfig(**sampled), train_dataset=data, **shared)


def _pairs(work: Path, rows: int, tokenizer: Any, *, ordered: bool) -> list[dict[str, str]]:
    pairs: list[dict[str, str]] = [
        json.loads(line) for line in (work / "pairs.jsonl").read_text("utf-8").splitlines()[:rows]
    ]
    if not ordered:
        return pairs

    def length(pair: dict[str, str]) -> int:
        return max(len(tokenizer(pair["prompt"] + pair[side]).input_ids) for side in ("chosen", "rejected"))

    return sorted(pairs, key=length)


def measure(part: str, name: str, work: Path, rows: int) -> dict[str, Any]:
    """One epoch under one setting."""
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
        trainer = trainer_of(part, name, work, rows, clock)
        trainer.train()
    finally:
        DPOTrainer._precompute_ref_logps = plain
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    lengths = [row["completions/mean_length"] for row in trainer.state.log_history if "completions/mean_length" in row]
    return {
        "name": name,
        "units": (len(clock.ends) - 1) * PER_STEP[part].units,
        "step_seconds": clock.ends[-1] - clock.ends[0],
        "before_units": rows if asked else 0,
        "before_seconds": sum(asked),
        "tokens": getattr(trainer, "_total_train_tokens", None) or trainer.state.num_input_tokens_seen,
        "loss": sum(losses) / len(losses),
        "first_loss": losses[0],
        "length": sum(lengths) / len(lengths) if lengths else 0.0,
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
    for name in names or settings(part):
        print(json.dumps(measure(part, name, Path(work), int(rows))), file=out, flush=True)


if __name__ == "__main__":
    main()
