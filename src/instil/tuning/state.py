"""What a run remembers from step to step beside weights and optimizer (`state.json`), and how it ended.

Progress(step=20, tokens=81_920, sums={"loss": 45.1, "loss/targets": 40})      a part of every checkpoint
a row of metrics.jsonl      {"step": 20, "loss": 1.1275, "tokens": 81920, ...}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instil.tuning.best import Best

#: Columns of metrics.jsonl that depend on the clock; all others are the same in a resumed run.
TIMING = ("tokens_per_second", "seconds")


@dataclass
class Progress:
    """All that a run remembers beside weights and optimizer; written as JSON."""

    step: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    skipped: int = 0
    """Steps that were not taken: bad ones (`spikes`), and those without a token to train on."""
    skipped_in_a_row: int = 0
    good: dict[str, list[float]] = field(default_factory=dict)
    """Losses and gradient lengths of the last good steps, which tell what a spike is."""
    best: Best = field(default_factory=Best)
    """Which step has been best, where `keep_best` asks for it."""
    tokens_per_batch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    """Summed losses by kind since the last row of metrics, their targets as `<kind>/targets`, and what was measured
    beside them."""

    def add(self, kind: str, targets: int, values: Sequence[float], figures: Sequence[str]) -> None:
        """Take in a piece: its summed loss, then its figures, by their names."""
        for name, value in zip((kind, *figures), values, strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.sums[f"{name}/targets"] = self.sums.get(f"{name}/targets", 0.0) + targets

    @property
    def losses(self) -> dict[str, float]:
        """The mean loss of each kind, and of each figure, since the last row of metrics."""
        kinds = {kind: value for kind, value in self.sums.items() if not kind.endswith("/targets")}
        return {kind: value / self.sums[f"{kind}/targets"] for kind, value in sorted(kinds.items())}

    def row(self, *, learning_rate: float, grad_norm: float, tokens_per_second: float) -> dict[str, object]:
        """The row of metrics.jsonl after a step."""
        return {
            "step": self.step,
            "loss": None,
            **self.losses,
            "learning_rate": learning_rate,
            "grad_norm": _number(grad_norm),
            "tokens": self.tokens,
            "answer_tokens": self.answer_tokens,
            "skipped": self.skipped,
            "tokens_per_second": round(tokens_per_second, 1),
            "seconds": round(self.seconds, 3),
        }

    def asked(self, figures: Mapping[str, Any]) -> dict[str, object]:
        """The row of metrics.jsonl of an evaluation; a figure that is no number (a loss over nothing) is null there."""
        return {"step": self.step, "evaluation": {name: _number(value) for name, value in figures.items()}}


def _number(value: Any) -> Any:
    """The value; None for not-a-number and the infinite, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended."""

    steps: int
    loss: float | None
    """Mean loss of the last row of metrics."""
    tokens: int
    answer_tokens: int
    seconds: float
    skipped: int
    tokens_per_batch: int
    best_step: int | None = None
    """The step whose weights the model has, where `keep_best` chose them."""
    best: float | None = None
    """The figure that they were chosen by."""
    ended_early: bool = False
    """Whether patience ended the run before its last step."""
