"""How long to train, how to move the weights, and what to keep: the keys that every recipe's training section has.

tuning: {max_steps: 600, learning_rate: 1.0e-3, save_every: 200}       what only tuning knows is added in `sft`
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from instil.tuning.best import BestSpec
from instil.tuning.optimizers import OptimizerSpec
from instil.tuning.sharding import Parallel
from instil.tuning.spikes import SpikeSpec

#: Keys of a LoopSpec that may change when a run is continued: they change its length and its record, not its steps.
CHANGEABLE = (
    "max_steps", "save_every", "log_every", "keep_last", "evaluate_every", "patience", "max_skipped_in_a_row",
    "parallel",
)  # fmt: skip


class LoopSpec(BestSpec, SpikeSpec, OptimizerSpec):
    """How long to train, how to move the weights, and what to keep."""

    #: What to do where step after step had no token to train on.
    nothing_to_learn: ClassVar[str] = "Check the mixture with `instil mix show`, or raise tuning.prompts_per_step"

    max_steps: int = Field(default=1000, ge=1)
    """Optimizer steps of the whole run, resumed parts included."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """The most tokens, padding included, in memory at once; a step takes as many pieces as it needs. By default
    1,024 on a CPU, where small pieces are padded less and stay in its cache, and 8,192 on a GPU."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Gradients longer than this are shortened to it; 0 leaves them as they are."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the products. `auto` is bfloat16 on a GPU that has it, else float32; weights stay float32."""
    parallel: Parallel = "auto"
    """Under torchrun, how the processes hold the model: `ddp` whole in each, `fsdp` a part of every weight in each;
    `auto` cuts only what a GPU would not hold whole. The steps are the same either way."""
    seed: int = 0
    """Decides dropout."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; all by default."""
    log_every: int = Field(default=10, ge=1)
    """Steps between rows of metrics.jsonl."""
    save_every: int = Field(default=200, ge=0)
    """Steps between checkpoints; 0 saves only when the run is stopped."""
    keep_last: int = Field(default=2, ge=1)
    """Checkpoints to keep."""

    @property
    def skips_allowed(self) -> int:
        """So many steps in a row may be left out before a run ends."""
        return self.max_skipped_in_a_row

    @model_validator(mode="after")
    def _evaluations_decide(self) -> Self:
        if self.patience and self.keep_best is None:
            raise ValueError("patience asks which figure it waits for: give keep_best, such as `loss`")
        if self.keep_best is not None and not self.evaluate_every:
            raise ValueError("keep_best needs evaluations while training: give evaluate_every")
        return self


def piece_tokens(spec: LoopSpec, device: torch.device) -> int:
    """The `tokens_per_batch` of a spec on a device."""
    if spec.tokens_per_batch is not None:
        return spec.tokens_per_batch
    return 1024 if device.type == "cpu" else 8192


def product_dtype(spec: LoopSpec, device: torch.device) -> torch.dtype:
    """What products are made in on a device."""
    if spec.dtype != "auto":
        return torch.bfloat16 if spec.dtype == "bfloat16" else torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
