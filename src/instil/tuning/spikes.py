"""Bad steps: a loss or gradient that is no number, or far above those of the last good steps, moves no weight.

    last good gradient lengths  1.1 0.9 1.0 1.2 1.0 ...   median 1.0, deviation 0.15   limit = 1.0 + 30 x 0.15 = 5.5
    this step                   37.2                      "its gradient length 37.2 is a spike: the limit is 5.5"

Median and deviation (1.4826 x the median distance from the median, which is the standard deviation where values are
normal) are not moved by the spikes themselves. What the limit is made of is a part of the checkpoint, so that a
continued run decides as one that was never stopped.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from pydantic import Field

from instil.recipe import Section

#: The least deviation. Of gradient lengths, as a share of their median: at 30 deviations nothing below four times the
#: median is a spike. Of losses, in nats: one near zero is lifted far by a single hard prompt, and that is no spike.
_LEAST_SHARE, _LEAST_NATS = 0.1, 0.05


class SpikeSpec(Section):
    """Which steps are not taken. One whose loss or gradient is not finite never is."""

    spike_deviations: float = Field(default=30.0, ge=0)
    """A step whose loss or gradient length is so many robust deviations above the median of the last good steps is
    skipped; 0 takes every finite step. Ordinary steps of the pocket stay within 12."""
    spike_window: int = Field(default=64, ge=8)
    """The good steps that a step is compared with; until there are so many, no finite step is skipped."""
    max_skipped_in_a_row: int = Field(default=10, ge=1)
    """So many skipped steps in a row end the run with advice."""


def fault(spec: SpikeSpec, good: Mapping[str, Sequence[float]], *, loss: float, gradient: float) -> str:
    """Why a step must not be taken; empty where it may be.

    Args:
        spec: what counts as a spike.
        good: what `remember` kept of the last good steps.
        loss: of the whole step.
        gradient: its length, before it is shortened.
    """
    for name, value in (("loss", loss), ("gradient length", gradient)):
        if not math.isfinite(value):
            return f"its {name} is not finite"
    limits = {
        "loss": spike_limit(spec, good.get("loss", ()), nats=_LEAST_NATS),
        "gradient length": spike_limit(spec, good.get("gradient length", ()), share=_LEAST_SHARE),
    }
    for name, value in (("loss", loss), ("gradient length", gradient)):
        if value > limits[name]:
            return f"its {name} {value:.4g} is a spike: the limit is {limits[name]:.4g}"
    return ""


def spike_limit(spec: SpikeSpec, values: Sequence[float], *, share: float = 0.0, nats: float = 0.0) -> float:
    """The highest value that is no spike: infinite without spikes, and until the window is full.

    spike_limit(30 deviations, [1.0, 1.2, 0.9, 1.1, 1.0, 0.8, 1.0, 1.3]) -> 1.0 + 30 x 1.4826 x 0.1 = 5.4478
    """
    if not spec.spike_deviations or len(values) < spec.spike_window:
        return math.inf
    middle = statistics.median(values)
    deviation = 1.4826 * statistics.median(abs(value - middle) for value in values)
    return middle + spec.spike_deviations * max(deviation, share * middle, nats)


def remember(spec: SpikeSpec, good: dict[str, list[float]], *, loss: float, gradient: float) -> None:
    """Add a good step to the window, and let the oldest go."""
    for name, value in (("loss", loss), ("gradient length", gradient)):
        good[name] = [*good.get(name, []), value][-spec.spike_window :]
