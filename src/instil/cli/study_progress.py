"""How far the grid of a study is: a live view on a terminal, a line now and then elsewhere.

14 runs: 5 done (2 found), 1 failed   0:02:10 gone, about 0:03:30 left
  worker 0  tuned/pocket/seed-0   tuning          20 / 40
  worker 1  base/pocket           asking pocket  118 / 420
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from instil.studies.progress import Progress, Watch

#: Seconds between two lines where there is no terminal and nothing was finished.
_QUIET = 60.0


@contextmanager
def watching() -> Iterator[Watch]:
    """A context whose value shows a `Progress`."""
    from rich.console import Console

    screen = Console(file=sys.stderr)
    if screen.is_terminal:
        with _live(screen) as watch:
            yield watch
        return
    yield _LineByLine()


@contextmanager
def _live(screen: Console) -> Iterator[Watch]:
    from rich.live import Live

    with Live(console=screen, transient=True, refresh_per_second=4) as live:
        yield lambda progress: live.update(_view(progress))


def _view(progress: Progress) -> Text:
    """All lines of the live view."""
    from rich.text import Text

    width = max((len(one.run) for one in progress.doing), default=0)
    phase = max((len(one.phase) for one in progress.doing), default=0)
    lines = [headline(progress)]
    for one in sorted(progress.doing, key=lambda one: one.worker):
        far = f"{one.done:>6,} / {one.total:,}" if one.total else ""
        lines.append(f"  worker {one.worker}  {one.run:<{width}}  {one.phase:<{phase}}  {far}")
    return Text("\n".join(lines))


def headline(progress: Progress) -> str:
    """How far all of it is, in one line."""
    found = f" ({progress.found:,} found)" if progress.found else ""
    parts = [f"{progress.finished:,} of {progress.total:,} runs done{found}"]
    parts += [f"{progress.failed:,} failed"] if progress.failed else []
    parts += [f"{progress.skipped:,} skipped"] if progress.skipped else []
    parts.append(f"{_clock(progress.seconds)} gone")
    if progress.left_seconds is not None:
        parts.append(f"about {_clock(progress.left_seconds)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class _LineByLine:
    """Prints where something was finished, and now and then."""

    def __init__(self) -> None:
        self._told, self._at = -1, 0.0

    def __call__(self, progress: Progress) -> None:
        done = progress.finished + progress.failed + progress.skipped
        if done == self._told and time.monotonic() - self._at < _QUIET:
            return
        self._told, self._at = done, time.monotonic()
        print(headline(progress), file=sys.stderr, flush=True)
