"""BIG-Bench-Mistake: a model's chain of thought on a BIG-Bench Hard row, and the first step of it that is wrong.

    {"input": "{ [ [ [ { [ ] } ] ]", "target": "] }", "answer": "}",
     "steps": ["We should process each input ...", "stack: empty", ...], "mistake_index": 12}
    first-mistake   ... Step 13: ] ; stack: { ... Which step is the first wrong one?    ->  13
    is-it-right     ... Is every step right?                                            ->  no

The file counts from 0, the text from 1; null means that no step is wrong. Made from BIG-bench: for evaluation alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Source
from instil.tasks.readers.splits import content_of, source_files
from instil.tasks.task import Task

NONE = "none"
_TRACE = "{{ input }}\n{% for step in steps %}Step {{ loop.index }}: {{ step }}\n{% endfor %}"
TEMPLATES = (
    direct(
        "first-mistake",
        _TRACE + "Which step is the first wrong one? Say none if all are right.",
        "{{ first_mistake }}",
        options="numbers",
    ),
    direct(
        "first-mistake-task",
        "Find the first mistake in this reasoning and give the number of its step, or none.\n\n" + _TRACE,
        "{{ first_mistake }}",
        options="numbers",
    ),
    direct("is-it-right", _TRACE + "Is every step right?", options="options"),
)
CITATION = "Tyen et al. 2023, LLMs cannot find reasoning errors, but can correct them!, arXiv:2311.08516"


@dataclass(frozen=True)
class BigBenchMistake:
    """Reads the traces of one task."""

    name: str = "bbh-mistake"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows of steps with the index of the mistake."""
        return any({"input", "steps", "mistake_index"} <= set(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task."""
        reading = Reading(self.name)
        examples = examples_of(rows_of(path), _fields, reading)
        if examples:
            files = source_files((path,))
            reading.tasks.append(
                Task(
                    name=f"bbh_mistake/{Source(path).stem}",
                    cluster="finding mistakes",
                    collection="bbh_mistake",
                    templates=TEMPLATES,
                    examples=examples,
                    licence="Apache-2.0",
                    source=f"BIG-Bench-Mistake, {Source(path).stem}",
                    citation=CITATION,
                    evaluation_only=True,
                    content=content_of(files),
                    files=files,
                )
            )
        return reading


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    shown, listed, mistake = text_in(row, "input").strip(), row.get("steps"), row.get("mistake_index")
    if not shown:
        raise RowProblem("empty input")
    if not isinstance(listed, list) or not listed:
        raise RowProblem("no list of steps")
    steps = [as_text(step, "steps").strip() for step in listed]
    if "mistake_index" not in row:
        raise RowProblem("no field 'mistake_index'")
    if mistake is not None and (type(mistake) is not int or not 0 <= mistake < len(steps)):
        raise RowProblem("the mistake is at none of the steps")
    return {
        "input": shown,
        "steps": steps,
        "numbers": [*(str(number) for number in range(1, len(steps) + 1)), NONE],
        "first_mistake": NONE if mistake is None else str(mistake + 1),
        "answer": "yes" if mistake is None else "no",
        "options": ["yes", "no"],
        "target": target if isinstance(target := row.get("target"), str) else "",
    }


READERS = (BigBenchMistake(),)
COLLECTIONS = (
    Declared(
        "bbh_mistake",
        "bbh_mistake",
        BigBenchMistake(),
        (".jsonl",),
        "BIG-Bench-Mistake, first mistakes in reasoning, for evaluation alone",
    ),
)
