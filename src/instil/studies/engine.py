"""A grid carried out: what is there is found, the rest goes to workers, what fails is told and the rest is finished.

    results = carry_out(grid, Path("studies/first"), workers=2)

    grid -> units (by content) -> those that are left -> workers -> runs/<identity>/ -> Results
                                                                                        results.parquet, results.csv,
                                                                                        items.parquet, facts.json

The same call goes on where an earlier one was stopped, however that was: finished runs stay untouched, half ones go on
from their checkpoints. With one seed and one number of threads the results are the same bytes either way.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from instil.runs import disk_errors, lock_folder
from instil.studies.execute import job_of
from instil.studies.gather import Answers, gathered
from instil.studies.grid import Grid
from instil.studies.pool import LocalPool, News, Pool, gpus, workers_of
from instil.studies.progress import Doing, Progress, Watch, unwatched
from instil.studies.schedule import Schedule
from instil.studies.table import Missing, Results
from instil.studies.table_files import write_results
from instil.studies.units import Survey, Unit, survey
from instil.tuning.stopping import Interrupted

Engine = Literal["local", "ray"]
Say = Callable[[str], None]

#: How often who watches is told, where nothing happens.
_BEAT_SECONDS = 0.5


def carry_out(
    grid: Grid,
    out: Path,
    *,
    runs: Path | None = None,
    workers: int | None = None,
    threads: int | None = None,
    engine: Engine = "local",
    data: Path | None = None,
    pool: LocalPool | None = None,
    first: Callable[[], None] = lambda: None,
    watch: Watch = unwatched,
    say: Say | None = None,
) -> Results:
    """Carry out every run of a grid that is not done yet, and give what all of them answered.

    Args:
        grid: the runs.
        out: the study's folder; it gets the tables.
        runs: the folder of the runs, which several studies may share; `out/runs` by default.
        workers: runs at a time; by default one a GPU, or as many as the cores allow.
        threads: torch threads of each run; 1 by default. They decide the last bits, so they are part of what names it.
        engine: `local`, processes on this machine; or `ray`, tasks of a Ray cluster.
        data: the root of the data sets.
        pool: workers that are started already, with as many threads; others are added to them.
        first: is called before the first run, while workers start; what it raises ends the study.
        watch: shows how far it is.
        say: shows a line to the person; the standard error stream by default.

    Raises:
        InstilError: if a recipe, a model, a mixture or a suite cannot be used, or `out` is not free to be written.
        Interrupted: after Ctrl-C, once what is being tuned is saved.
    """
    begun = time.monotonic()
    say = say or _tell
    threads = threads or 1
    if data is not None:
        data = data.absolute()
    runs = (runs or out / "runs").absolute()
    with contextlib.ExitStack() as held:
        # Workers import torch while this process looks at what is there, and whether it may begin.
        crew = _crew(pool, engine, workers_of(workers, threads=threads, runs=len(grid)), threads)
        answers, gently = Answers(), False
        try:
            with _stopped_by_sigterm():
                found = survey(grid, runs, data=data, threads=threads)
                first()
                held.enter_context(lock_folder(_made(out)))
                _made(runs)
                schedule = Schedule(found.left(), {name: unit.weight() for name, unit in found.units.items()})
                _Foreman(found, schedule, crew, answers, data, threads, watch, say, begun).work()
        except KeyboardInterrupt:
            gently = True
            say("stopping: what is being tuned is saved first (once more to stop at once)")
            raise Interrupted("finished runs are kept, and the same command goes on with the rest") from None
        finally:
            crew.stop(gently=gently)
        results = gathered(grid, found, _missing(found, schedule), answers)
        write_results(results, out)
        return results


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM ends a study as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def _made(folder: Path) -> Path:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _crew(begun: LocalPool | None, engine: Engine, size: int, threads: int) -> Pool:
    if begun is not None:
        begun.grow(size)
        return begun
    if engine == "ray":
        from instil.studies.ray_engine import RayPool

        return RayPool(size, threads=threads)
    return LocalPool(size, threads=threads, devices=gpus())


def _missing(found: Survey, schedule: Schedule) -> list[Missing]:
    missing = []
    for identity, unit in found.units.items():
        for key in unit.runs:
            if identity in schedule.failed:
                missing.append(Missing(key, "failed", schedule.failed[identity]))
            elif identity in schedule.skipped:
                missing.append(Missing(key, "skipped", schedule.skipped[identity]))
    return missing


class _Foreman:
    """Gives units to workers, and hears what becomes of them."""

    def __init__(
        self,
        found: Survey,
        schedule: Schedule,
        pool: Pool,
        answers: Answers,
        data: Path | None,
        threads: int,
        watch: Watch,
        say: Say,
        begun: float,
    ) -> None:
        self.found, self.schedule, self.pool, self.answers = found, schedule, pool, answers
        self.data, self.threads, self.watch, self.say, self.begun = data, threads, watch, say, begun
        self.held: dict[int, Unit] = {}
        """What each worker is at."""
        self.at: dict[int, News] = {}
        self.died: set[str] = set()
        """Units whose worker died once."""
        self.took: list[tuple[float, float]] = []
        """Of each unit that was carried out, what was expected and how long it took."""
        self.done: list[Unit] = []
        """Units whose answers are not read yet."""

    def work(self) -> None:
        """Until nothing is left."""
        known = len(self.found.units) - len(self.schedule.left)
        if known:
            self.say(f"{known:,} of {len(self.found.units):,} runs are there already")
        while not self.schedule.is_over:
            for worker in range(self.pool.size):
                if worker not in self.held:
                    self._give(worker, self.schedule.next())
            while self.done and not self.schedule.is_over:  # while workers are at others; the last ones are read then
                self.answers.read_ahead(self.done.pop())
            self.watch(self.progress())
            news = self.pool.hear(_BEAT_SECONDS)
            if news is not None and news.worker in self.held:
                self._take(news)
        self.watch(self.progress())

    def _give(self, worker: int, unit: Unit | None) -> None:
        if unit is None:
            return
        begins_from = self.found.units[unit.start].model_folder if unit.start else None
        self.held[worker] = unit
        self.pool.give(worker, job_of(unit, begins_from=begins_from, data=self.data, threads=self.threads))

    def _take(self, news: News) -> None:
        unit = self.held[news.worker]
        if news.phase:
            self.at[news.worker] = news
            return
        self.at.pop(news.worker, None)
        if news.died:
            self.pool.replace(news.worker)
            if unit.identity not in self.died:
                self.died.add(unit.identity)
                self.say(f"{unit.key}: its worker died ({news.died}); it is tried once more")
                self._give(news.worker, unit)
                return
            self._fail(unit, f"its worker died twice ({news.died}), perhaps for lack of memory")
        elif news.error is not None:
            self._fail(unit, _told(news.error))
        elif unit.unanswered():
            self._fail(unit, f"a worker answered, and nothing of it is in {unit.folder}: all machines must share it")
        else:
            self.took.append((self.schedule.seconds[unit.identity], news.seconds))
            self.schedule.finish(unit.identity)
            self.done.append(unit)
        del self.held[news.worker]

    def _fail(self, unit: Unit, reason: str) -> None:
        self.schedule.fail(unit.identity, reason)
        self.say(f"{unit.key} failed: {reason}")

    def progress(self) -> Progress:
        """How far all of it is."""
        units, schedule = self.found.units, self.schedule
        left = {unit.identity for unit in schedule.left}
        found = sum(len(unit.runs) for identity, unit in units.items() if identity not in left)

        def runs(identities: Iterable[str]) -> int:
            return sum(len(units[identity].runs) for identity in identities)

        doing = tuple(self._doing(worker, unit) for worker, unit in sorted(self.held.items()))
        return Progress(
            total=sum(len(unit.runs) for unit in units.values()),
            finished=found + runs(schedule.finished),
            found=found,
            failed=runs(schedule.failed),
            skipped=runs(schedule.skipped),
            doing=doing,
            seconds=time.monotonic() - self.begun,
            left_seconds=self._left(),
        )

    def _doing(self, worker: int, unit: Unit) -> Doing:
        news = self.at.get(worker)
        return Doing(worker, unit.key, *((news.phase, news.done, news.total) if news else ("opening", 0, 0)))

    def _left(self) -> float | None:
        """By how long what is done took, measured against what was expected of it."""
        expected = sum(one for one, _ in self.took)
        if not expected:
            return None
        pace = sum(seconds for _, seconds in self.took) / expected
        return self.schedule.seconds_left(self.pool.size) * pace


def _told(error: Mapping[str, str]) -> str:
    """An error in one line; of one that is nobody's fault but ours, what Python says of it."""
    message = error["message"] if error["kind"] else error["message"].partition("\n")[0]
    return f"{message}. {error['remedy']}" if error["remedy"] else message
