r"""Flan 2022's sub-mixtures as published on the hub: rendered prompts, each with its task and the setting it is in.

    t0_zsopt.jsonl.gz (or Parquet)
    {"inputs": "Is the review positive?\n\n...", "targets": "yes", "task_source": "P3", "task_name": "imdb",
     "template_type": "zs_opt"}
    ->  Task flan/imdb, one for each task_name; template_type is kept: zs_opt, zs_noopt, fs_opt, fs_noopt

The columns are also called `task` and `_task_name`, `_template_type`, ... The prompts are texts already: with their
exemplars (fs) and options (opt) or without. `template_type` stays a field, so that the four can be told apart.

Several files with rows of the same tasks (the shards of a sub-mixture) are read by the collection `hub`, with
`task_column: task_name`: here each file is read by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.fingerprint import fingerprint
from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in, texts_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Source
from instil.tasks.task import Task

TEMPLATE = direct("flan", "{{ inputs }}", "{{ targets | choice }}", references="targets")
CITATION = "Longpre et al. 2023, The Flan Collection, arXiv:2301.13688"

#: What the columns are called, by what they hold; the first that a row has counts.
COLUMNS = {
    "task_name": ("task_name", "_task_name", "task"),
    "task_source": ("task_source", "_task_source"),
    "template_type": ("template_type", "_template_type"),
}


@dataclass(frozen=True)
class Flan:
    """Reads one file of one sub-mixture."""

    name: str = "flan"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with inputs, targets and the task that they belong to."""
        return any(fits(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task for each task name, in the order in which they come."""
        source, reading = Source(path), Reading(self.name)
        tasks: dict[str, list[Example]] = {}
        for example in examples_of(rows_of(path), fields_of, reading):
            tasks.setdefault(str(example.fields["task_name"]), []).append(example)
        content = source.sha256() if tasks else ""
        reading.tasks += [_task(name, rows, fingerprint([content, name])) for name, rows in tasks.items()]
        return reading


def _task(name: str, rows: list[Example], content: str) -> Task:
    sources = dict.fromkeys(str(row.fields["task_source"]) for row in rows if row.fields["task_source"])
    return Task(
        name=f"flan/{name}",
        cluster=", ".join(sources) or name,
        collection="flan",
        templates=(TEMPLATE,),
        examples=rows,
        metrics=("exact_match", "rouge_l"),
        licence="not stated",
        source=", ".join(sources) or name,
        citation=CITATION,
        content=content,
    )


def fits(row: Mapping[str, Any]) -> bool:
    """Whether a row is a rendered prompt that names its task."""
    return {"inputs", "targets"} <= set(row) and any(isinstance(row.get(one), str) for one in COLUMNS["task_name"])


def fields_of(row: Mapping[str, Any]) -> dict[str, object]:
    """What a row holds.

    Raises:
        RowProblem: if it has no input, no target or no task.
    """
    inputs, targets = text_in(row, "inputs"), texts_in(row, "targets")
    if not targets:
        raise RowProblem("empty target")
    if not inputs.strip():
        raise RowProblem("empty input")
    said = {name: _first(row, columns).strip() for name, columns in COLUMNS.items()}
    if not said["task_name"]:
        raise RowProblem("no task name")
    return {"inputs": inputs, "targets": targets, **said}


def _first(row: Mapping[str, Any], columns: tuple[str, ...]) -> str:
    return next((text_in(row, name) for name in columns if row.get(name) is not None), "")


READERS = (Flan(),)
COLLECTIONS = (
    Declared(
        "flan",
        "flan",
        Flan(),
        (".jsonl", ".json", ".parquet"),
        "Flan 2022 sub-mixtures: rendered prompts",
        several=True,
    ),
)
