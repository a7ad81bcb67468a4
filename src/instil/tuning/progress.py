"""What a person sees while a model learns.

on a terminal    tuning ━━━━━━━━━━╸━━━━━━━━━  412/1000  loss 1.234  13,412 tok/s  0:01:20 left
in a log         step 412/1000  loss 1.234  13,412 tok/s  0:01:20 left        (every half a minute)
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

_QUIET_SECONDS = 30.0


class ProgressLine:
    """A bar on a terminal, a line now and then elsewhere, nothing where `shown` is false."""

    def __init__(self, title: str, *, total: int, done: int, shown: bool = True) -> None:
        self._console = Console(stderr=True)
        self._total, self._done, self._began_at = total, done, done
        self._shown = shown
        self._start = self._said = time.monotonic()
        self._bar: Progress | None = None
        if shown and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
                refresh_per_second=2,  # a fast step takes milliseconds, and drawing takes some of them
            )
            self._task = self._bar.add_task(title, total=total, completed=done, figures="")

    def update(self, done: int, *, loss: float | None, tokens_per_second: float) -> None:
        """Show that `done` steps are behind us."""
        if not self._shown:
            return
        self._done = done
        figures = f"loss {'-' if loss is None else f'{loss:.3f}'}  {tokens_per_second:,.0f} tok/s  {self._left()} left"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=figures)
        elif done == self._total or time.monotonic() - self._said > _QUIET_SECONDS:
            self._said = time.monotonic()
            sys.stderr.write(f"step {done}/{self._total}  {figures}\n")

    def _left(self) -> str:
        spent = time.monotonic() - self._start
        each = spent / max(1, self._done - self._began_at)
        return str(timedelta(seconds=round(each * (self._total - self._done))))

    def __enter__(self) -> ProgressLine:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
