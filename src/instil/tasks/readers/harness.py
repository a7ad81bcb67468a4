"""What lm-evaluation-harness leaves behind: results (one JSON file a run) and samples (JSON lines, one file a task).

    results_2024-....json     {"results": {"arc_easy": {"acc,none": 0.62, ...}}, "configs": ..., "versions": ...}
    samples_arc_easy_....jsonl {"doc_id": 0, "doc": {...}, "target": "1", "resps": [[...]],
                                "arguments": {"gen_args_0": {"arg_0": "Question: ...", "arg_1": " heat"}, ...}}
    ->  inputs "Question: ..."   targets ["heat"]   options ["cold", "heat", ...]

Results are counted, one for each task, and make no task of their own. A sample is a row: its first context is the
input; where its requests differ in their continuations, those are the options and a target that is a number names one
of them. What the model answered is not read. For evaluation alone: these are test sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.tasks.readers.plain import TEMPLATE, first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Damage, Source, as_row
from instil.tasks.task import Task

_SAMPLE = frozenset({"doc_id", "doc", "target", "arguments"})
_RESULT_KEYS = re.compile(rb'"(configs|versions|n-shot|higher_is_better|n-samples|config|group_subtasks)"\s*:')


@dataclass(frozen=True)
class HarnessResults:
    """Counts the results of one run."""

    name: str = "lm-eval-results"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A JSON object that starts with `results`, beside or before the harness's other keys."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if Source(path).suffix != ".json" or not re.match(rb'\{\s*"results"\s*:\s*\{', start):
            return False
        return len(set(_RESULT_KEYS.findall(head))) >= 2 or (
            b'"alias"' in head or re.search(rb'"\w+,[\w-]+"\s*:', head) is not None
        )

    def read(self, path: Path) -> Reading:
        """No task: an account of what was evaluated."""
        reading = Reading(self.name)
        try:
            results = as_row(as_row(Source(path).json()).get("results"))
        except Damage as damage:
            reading.quarantine("file", str(damage))
            return reading
        for name, scores in results.items():
            if isinstance(scores, dict):
                reading.accepted += 1
            else:
                reading.quarantine(f"result {name[:60]!r}", "not an object")
        return reading


@dataclass(frozen=True)
class HarnessSamples:
    """Reads the samples of one task."""

    name: str = "lm-eval-samples"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with a document, its target and the arguments of its requests."""
        return any(set(row) >= _SAMPLE for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every sample that has a target."""
        source, reading = Source(path), Reading(self.name)
        examples = examples_of(rows_of(path), _fields, reading)
        if examples:
            reading.tasks.append(
                Task(
                    name=f"lm-eval/{source.stem}",
                    cluster="lm-evaluation-harness",
                    collection="lm-eval",
                    templates=(TEMPLATE,),
                    examples=examples,
                    metrics=("accuracy", "exact_match") if examples[0].fields["options"] else ("exact_match",),
                    licence="not stated",
                    language="not stated",
                    source=path.name,
                    evaluation_only=True,
                    content=source.sha256(),
                )
            )
        return reading


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    requests = _requests(row.get("arguments"))
    inputs = as_text(requests[0][0], "arguments")
    continuations = [as_text(one[1], "arguments").strip() for one in requests if isinstance(one[1], str)]
    options = continuations if len(continuations) == len(requests) > 1 else []
    target = as_text(row.get("target"), "target").strip()
    if options and target not in options and target.isascii() and target.isdigit() and int(target) < len(options):
        target = options[int(target)]
    if not target:
        raise RowProblem("empty target")
    if not inputs.strip():
        raise RowProblem("empty input")
    return {"inputs": inputs, "targets": [target], "options": options if target in options else []}


def _requests(arguments: object) -> list[tuple[object, object]]:
    """Context and continuation (or settings) of each request: lists in older versions, objects in newer ones."""
    listed = list(arguments.values()) if isinstance(arguments, Mapping) else arguments
    if not isinstance(listed, (list, tuple)) or not listed:
        raise RowProblem("field 'arguments' lists no request")
    found: list[tuple[object, object]] = []
    for one in listed:
        parts = list(one.values()) if isinstance(one, Mapping) else one
        if not isinstance(parts, (list, tuple)) or not parts:
            raise RowProblem("field 'arguments' holds something other than requests")
        found.append((parts[0], parts[1] if len(parts) > 1 else None))
    return found


READERS = (HarnessResults(), HarnessSamples())
COLLECTIONS = (
    Declared(
        "lm-eval",
        "lm-eval",
        HarnessSamples(),
        (".jsonl",),
        "samples of lm-evaluation-harness, for evaluation alone",
    ),
)
