"""How far a grid is: what a view of it shows.

Progress(total=14, finished=5, found=2, failed=1, skipped=0,
         doing=(Doing(worker=0, run="tuned/pocket/seed-0", phase="tuning", done=20, total=40), ...))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Doing:
    """What a worker is at."""

    worker: int
    run: str
    phase: str
    """`tuning`, `asking held-out`, or `opening`."""
    done: int = 0
    total: int = 0
    """Steps or prompts; 0 where it is not known yet."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far all of it is."""

    total: int
    """Runs of the grid."""
    finished: int = 0
    """Runs that are done, those found included."""
    found: int = 0
    """Runs that were done before."""
    failed: int = 0
    skipped: int = 0
    doing: tuple[Doing, ...] = ()
    seconds: float = 0.0
    """Since the start."""
    left_seconds: float | None = None
    """How long it will still take, where that can be told."""


Watch = Callable[[Progress], None]
"""Called whenever something changed, and every half second."""


def unwatched(progress: Progress) -> None:
    """Shows nothing."""
