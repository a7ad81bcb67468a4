r"""Self-Instruct: JSON lines of one instruction each, with its instances (mostly one) inside the row.

    {"id": "seed_task_1", "name": "antonym_relation", "instruction": "What is the relation between the given pairs?",
     "instances": [{"input": "Night : Day :: Right : Left", "output": "... they are opposites."}],
     "is_classification": false}
    ->  What is the relation between the given pairs?\nNight : Day :: Right : Left   ->   ... they are opposites.

An input may be empty: the instruction says all. The user-oriented file for evaluation has `motivation_app` where the
seeds have `name` and `is_classification`. A row counts once, however many instances it holds, and is set aside whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Keys, Reading, RowProblem, text_in
from instil.tasks.readers.source import Damage, Source, as_row
from instil.tasks.readers.splits import content_of, source_files
from instil.tasks.task import Task

TARGET = "{{ output }}"
TEMPLATES = (
    direct("plain", "{{ instruction }}{% if input %}\n{{ input }}{% endif %}", TARGET),
    direct("task", "Task: {{ instruction }}{% if input %}\n\nInput: {{ input }}{% endif %}\n\nOutput:", TARGET),
    direct("input-first", "{% if input %}{{ input }}\n\n{% endif %}{{ instruction }}", TARGET),
)
CITATION = (
    "Wang et al. 2023, Self-Instruct: Aligning Language Models with Self-Generated Instructions, arXiv:2212.10560"
)


@dataclass(frozen=True)
class SelfInstruct:
    """Reads one file of instructions."""

    name: str = "self-instruct"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows of an instruction with a list of instances."""
        return any(
            isinstance(row.get("instruction"), str) and isinstance(row.get("instances"), list)
            for row in first_rows(path, head)
        )

    def read(self, path: Path) -> Reading:
        """One task with every instance of every whole row."""
        reading, examples, keys = Reading(self.name), [], Keys()
        for where, row in rows_of(path):
            try:
                if isinstance(row, Damage):
                    raise row
                found = _instances(row)
            except (Damage, RowProblem) as problem:
                reading.quarantine(where, str(problem))
                continue
            name = keys.take(row.get("id"), int(where.rpartition(" ")[2]))
            suffixes = [f"-{number}" for number in range(1, len(found) + 1)] if len(found) > 1 else [""]
            examples += [Example(name + suffix, fields) for suffix, fields in zip(suffixes, found, strict=True)]
            reading.accepted += 1
        if examples:
            files = source_files((path,))
            reading.tasks.append(
                Task(
                    name=f"self_instruct/{Source(path).stem}",
                    cluster="open-ended instructions",
                    collection="self_instruct",
                    templates=TEMPLATES,
                    examples=examples,
                    metrics=("rouge_l", "exact_match"),
                    licence="Apache-2.0",
                    source="Self-Instruct",
                    citation=CITATION,
                    content=content_of(files),
                    files=files,
                )
            )
        return reading


def _instances(row: Mapping[str, Any]) -> list[dict[str, object]]:
    instruction, listed = text_in(row, "instruction").strip(), row.get("instances")
    if not instruction:
        raise RowProblem("empty instruction")
    if not isinstance(listed, list) or not listed:
        raise RowProblem("no list of instances")
    app = row.get("motivation_app", "")
    found: list[dict[str, object]] = []
    for item in listed:
        instance = as_row(item)
        output = text_in(instance, "output").strip()
        if not output:
            raise RowProblem("empty target")
        found.append(
            {
                "instruction": instruction,
                "input": text_in(instance, "input").strip(),
                "output": output,
                "is_classification": bool(row.get("is_classification")),
                "motivation_app": app if isinstance(app, str) else "",
            }
        )
    return found


READERS = (SelfInstruct(),)
COLLECTIONS = (
    Declared("self_instruct", "self_instruct", SelfInstruct(), (".jsonl",), "Self-Instruct, one instruction a row"),
)
