"""Where answers are kept: in memory, or in a folder, row by row while they come and whole in the end.

samples.partial.jsonl   {"fingerprint": "9f.."}                                     what the rows below belong to
                        {"key": "ni/task428|zero-shot|...", "prompt": ..., "completion": ..., "scores": ...}
                        {"key": "ni/task428|zero-shot|...", "cell": ..., "refused": "missing field"}
                        {"chunk": 0}                                                a chunk is whole
samples.jsonl           every row, in the suite's order
results.json            written last: where it stands, the evaluation is whole

A process that is killed leaves whole chunks behind, which the next one finds, and perhaps the beginning of another,
which is cut off and asked again: chunks are cut in the same places, so the answers are those of a run that was not
killed. Of a folder's rows only marks and places in the file are held in memory; texts are read when they are looked at.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from instil.errors import RunError
from instil.evaluation.results import Answered
from instil.evaluation.results_file import write_results
from instil.evaluation.row_file import Kept, RowFile, Span
from instil.evaluation.rows import mark_of, refused_row, sample_row
from instil.evaluation.scoring import Mark, Refused, SampleScore
from instil.evaluation.suite import Cell, Suite
from instil.runs import disk_errors, sync

PARTIAL, SAMPLES, RESULTS = "samples.partial.jsonl", "samples.jsonl", "results.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item of a chunk with what came of it."""

    cell: Cell
    place: int
    """Its number in the cell."""
    key: str
    answer: SampleScore | Refused


class Store(Protocol):
    """Keeps the answers of one evaluation, chunk by chunk."""

    chunks: int
    """How many chunks are there."""

    def keep(self, answers: Iterable[Outcome]) -> None:
        """Add the next chunk."""

    def answered(self) -> tuple[Answered, ...]:
        """What is there, cell by cell."""


@dataclass(slots=True)
class _Tally:
    """What memory holds of a cell's answers."""

    marks: dict[str, Mark] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)


class Memory:
    """Answers that are held, texts and all."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.chunks = 0
        self._samples: dict[str, dict[str, SampleScore]] = {cell.name: {} for cell in suite.cells}
        self._refused: dict[str, Counter[str]] = {cell.name: Counter() for cell in suite.cells}

    def keep(self, answers: Iterable[Outcome]) -> None:
        """Add the next chunk."""
        for one in answers:
            if isinstance(one.answer, Refused):
                self._refused[one.cell.name][one.answer.reason] += 1
            else:
                self._samples[one.cell.name][one.key] = one.answer
        self.chunks += 1

    def answered(self) -> tuple[Answered, ...]:
        """What is there, cell by cell."""
        return tuple(
            Answered(cell, self._samples[cell.name], dict(self._refused[cell.name])) for cell in self.suite.cells
        )


class Folder:
    """Answers that are kept in a folder.

    Args:
        out: the folder, made where absent.
        suite: what is asked.
        model: the fingerprint of the model.
        fingerprint: names all that decides the answers: model, suite, limit, number format, versions.

    Raises:
        RunError: if the folder holds the results of another model or suite, or cannot be written.
    """

    def __init__(self, out: Path, suite: Suite, *, model: str, fingerprint: str) -> None:
        self.out = out
        self.suite = suite
        self.fingerprint = fingerprint
        self.chunks = 0
        self._tallies = {cell.name: _Tally() for cell in suite.cells}
        self._spans: dict[str, dict[str, Span]] = {cell.name: {} for cell in suite.cells}
        self._marks: dict[object, Mark] = {}
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
        self.results = self._read_results(model)
        """Those of an evaluation that is whole; None where it is not."""
        self._file = RowFile(out / (PARTIAL if self.results is None else SAMPLES), writing=self.results is None)
        if self.results is None:
            self._find_chunks()
        else:
            (out / PARTIAL).unlink(missing_ok=True)  # whoever wrote the results may have been killed before this
            self._find_whole(self.results)

    def _read_results(self, model: str) -> dict[str, Any] | None:
        path = self.out / RESULTS
        if not path.is_file():
            return None
        try:
            there = json.loads(path.read_text("utf-8"))
            known = (there["model"]["fingerprint"], there["suite"]["fingerprint"])
            names = f"{there['suite']['name']} by {there['model']['path']}"
        except (ValueError, KeyError, TypeError):
            raise RunError(f"{path} is not what `instil eval` writes", remedy="Give another --out") from None
        if known != (model, self.suite.fingerprint):
            raise RunError(f"{path} holds other results ({names})", remedy="Give another --out")
        whole = there.get("fingerprint") == self.fingerprint and (self.out / SAMPLES).is_file()
        return dict(there) if whole else None

    def _find_whole(self, results: Mapping[str, Any]) -> None:
        """Take in an evaluation that is whole."""
        self._index((span, row) for span, row in self._file.rows() if row)
        for cell, row in zip(self.suite.cells, results["tasks"], strict=True):
            self._tallies[cell.name].refused.update(row["refused_because"])

    def _find_chunks(self) -> None:
        """Take in every whole chunk, and cut off what follows them."""
        rows = self._file.rows()
        span, begun = next(rows, (Span(0, 0), {}))
        if begun.get("fingerprint") != self.fingerprint:
            self._file.cut(0)
            self._file.add([{"fingerprint": self.fingerprint}])
            return
        end = span.start + span.length
        waiting: list[tuple[Span, Mapping[str, Any]]] = []
        for span, row in rows:
            if "chunk" not in row:
                waiting.append((span, row))
                continue
            if row["chunk"] != self.chunks or not all(one for _, one in waiting):
                break  # A row is damaged: from here on all is asked again.
            self._index(waiting)
            waiting = []
            self.chunks += 1
            end = span.start + span.length
        self._file.cut(end)

    def _index(self, rows: Iterable[tuple[Span, Mapping[str, Any]]]) -> None:
        """Hold the marks of rows, and where they stand."""
        for span, row in rows:
            key = row["key"]
            if "refused" in row:
                self._tallies[row["cell"]].refused[row["refused"]] += 1
                continue
            name = key.removesuffix(f"|{row['template']}|{row['example']}")
            mark = mark_of(row)
            # Few marks differ: most items share one with all that were answered alike.
            same = (tuple(mark.scores.items()), mark.template, mark.chance, mark.finished, mark.cut, mark.empty)
            self._tallies[name].marks[key] = self._marks.setdefault((*same, mark.extracted, mark.shots), mark)
            self._spans[name][key] = span

    def keep(self, answers: Iterable[Outcome]) -> None:
        """Add the next chunk."""
        rows = [
            refused_row(one.cell, one.key, one.answer)
            if isinstance(one.answer, Refused)
            else sample_row(one.cell, one.key, one.answer, one.place)
            for one in answers
        ]
        self._index(zip(self._file.add([*rows, {"chunk": self.chunks}]), rows, strict=False))
        self.chunks += 1

    def answered(self) -> tuple[Answered, ...]:
        """What is there, cell by cell."""
        found = []
        for cell in self.suite.cells:
            tally = self._tallies[cell.name]
            samples = Kept(self._file, self._spans[cell.name], cell, self.suite.seed)
            found.append(Answered(cell, samples, dict(tally.refused), tally.marks))
        return tuple(found)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write samples.jsonl in the suite's order, and results.json; the partial file is not needed any more."""
        (self.out / RESULTS).unlink(missing_ok=True)
        target, beside = self.out / SAMPLES, self.out / f".{SAMPLES}.part"
        with disk_errors(target):
            with beside.open("wb") as file:
                for spans in self._spans.values():
                    for key, span in spans.items():
                        spans[key] = Span(file.tell(), span.length)
                        file.write(self._file.read(span))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
            sync(self.out)
            self._file = RowFile(target)
        write_results(self.out / RESULTS, results)
        (self.out / PARTIAL).unlink(missing_ok=True)

    def rewrite(self, results: Mapping[str, Any]) -> None:
        """Say something else of the same answers."""
        write_results(self.out / RESULTS, results)
