"""Reads the rows of sources as rankings, with an account of every one of them.

    line 1   "Name a fruit."   Apple 1, A chair 2                kept
    line 2   "Name a fruit."   Apple 1, A chair 2                dropped: repeats another row
    line 3   "Hi"              a 1, a 2                          dropped: identical completions in different ranks
    line 4   "Order a mocha."  "Anything else?"     scored 1     }  together a ranking of two completions,
    line 5   "Order a mocha."  "No."                scored 0     }  which is made of two rows
    line 6   not JSON                                            dropped: not JSON (...)

read 6 = 3 in rankings + 3 dropped: after `together`, every row stands in one of its rankings or is counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from instil.errors import DataError
from instil.mixtures.filters import with_licence
from instil.mixtures.held_out import some_examples
from instil.mixtures.ranking_rows import NOT_A_RANKING, Dropped, clean, exact_key, joined, ranking_of, same_key
from instil.mixtures.rankings_report import SourceRows
from instil.mixtures.sources import open_source
from instil.mixtures.spec import SourceSpec
from instil.records import Ranking
from instil.tasks.licences import LicenceClass

if TYPE_CHECKING:
    from instil.tasks.task import Task

REPEATS = "repeats another row"
SCORED_TWICE = "one completion with two scores"
_FORMS = "comparisons, preference, labelled, hh-rlhf, llmbar and taskmaster-rewards are such collections"


@dataclass(slots=True)
class RankingRows:
    """Rows as they are read. See the module."""

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that are left out, by reason."""
    completions_dropped: Counter[str] = field(default_factory=Counter)
    """Completions that are left out of rows that are not, by reason."""
    sources: list[SourceRows] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _kept: list[tuple[Ranking, int]] = field(default_factory=list)
    """Each with the number of its source."""
    _seen: set[str] = field(default_factory=set)

    def take_source(
        self,
        source: SourceSpec,
        number: int,
        data: Path | None,
        *,
        limit: int | None = None,
        licence: Sequence[LicenceClass] | None = None,
        skip_absent: bool = False,
        strict: bool = False,
    ) -> None:
        """Read the rows of a source's tasks.

        Args:
            source: a collection.
            number: tells sources apart: completions scored one by one stand together within one.
            data: see `open_source`; so are `skip_absent` and `strict`.
            limit: only the first so many rows of each task.
            licence: only tasks whose licence is of these classes.
            skip_absent: see there.
            strict: see there.

        Raises:
            DataError: if a task holds no rankings.
        """
        opened = open_source(source, data, skip_absent=skip_absent, strict=strict)
        self.remarks += opened.remarks
        tasks = list(opened.tasks) if licence is None else with_licence(opened.tasks, licence)
        if gone := len(opened.tasks) - len(tasks):
            self.remarks.append(f"{source.name}: {gone:,} of its tasks are left out for their licence")
        for row in opened.quarantined if tasks else ():
            self._add(Dropped(row.reason), Counter(), number)
        for task in tasks:
            self._take_task(task if limit is None else some_examples(task, limit), number)

    def take_rankings(self, rankings: Iterable[Ranking], name: str) -> None:
        """Take rankings that a program made, as if they were the rows of a source."""
        before = self.read
        for ranking in rankings:
            gone: Counter[str] = Counter()
            self._add(clean(ranking, gone), gone, len(self.sources))
        self.sources.append(SourceRows(name, name, "", "", self.read - before))

    def _take_task(self, task: Task, number: int) -> None:
        rows: list[tuple[Ranking | Dropped, Counter[str]]] = []
        for example in task.examples:
            gone: Counter[str] = Counter()
            rows.append((ranking_of(example, task.name, gone), gone))
        if all(isinstance(row, Dropped) and row.reason == NOT_A_RANKING for row, _ in rows):
            raise DataError(f"{task.name}: its {len(rows):,} rows hold {NOT_A_RANKING}", remedy=_FORMS)
        for row, gone in rows:
            self._add(row, gone, number)
        files = tuple((file.path, file.sha256) for file in task.files)
        self.sources.append(SourceRows(task.name, task.collection, task.licence, task.citation, len(rows), files))

    def _add(self, row: Ranking | Dropped, completions_dropped: Counter[str], source: int) -> None:
        self.read += 1
        if isinstance(row, Dropped):
            self.dropped[row.reason] += 1
            return
        if (same := same_key(row)) in self._seen:
            self.dropped[REPEATS] += 1
            return
        self._seen.add(same)
        self._kept.append((row, source))
        self.completions_dropped += completions_dropped  # without zeros

    def together(self) -> list[tuple[Ranking, int]]:
        """Rankings with the number of rows that each is made of: completions scored one by one stand together.

        Those of one prompt that one annotator scored in one source are a ranking, where the first of them stands. It
        has no ranks where all score alike. A completion with two scores is left out with both.
        """
        found: list[list[Ranking]] = []
        places: dict[tuple[int, str, str], int] = {}
        for row, source in self._kept:
            if len(row.completions) > 1:
                found.append([row])
                continue
            place = places.setdefault((source, row.annotator, exact_key(row.messages)), len(found))
            if place == len(found):
                found.append([])
            found[place].append(row)
        made = []
        for rows in found:
            scores: dict[str, set[float]] = {}
            for row in rows if len(rows) > 1 else ():
                scores.setdefault(row.completions[0], set()).add(row.scores[0])
            certain = [row for row in rows if len(scores.get(row.completions[0], ())) < 2]
            self.dropped.update({SCORED_TWICE: len(rows) - len(certain)} if len(certain) < len(rows) else {})
            if certain:
                made.append((certain[0] if len(certain) == 1 else joined(certain), len(certain)))
        return made
