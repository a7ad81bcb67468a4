"""LLMBar: an instruction, two outputs, and which of them follows it; the winner is not always the first.

    LLMBar/Natural/dataset.json
    [{"input": "Find the value of ...", "output_1": "...", "output_2": "...", "label": 2}, ...]
    ->  messages [user "Find the value of ..."]  completions [output_1, output_2]  ranks [2, 1]

Every file is called `dataset.json`; a task is named after the folder that it lies in. A label that is neither 1 nor 2
sets its row aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.tasks.preference import Better
from instil.tasks.readers.conversation import message
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Source
from instil.tasks.task import Task

QUESTION = "Which of the two replies follows the instruction better?"
CITATION = "Zeng et al. 2023, Evaluating Large Language Models at Evaluating Instruction Following, arXiv:2310.07641"

_OWN = frozenset({"input", "output_1", "output_2", "label"})


@dataclass(frozen=True)
class LlmBar:
    """Reads one file of pairs."""

    name: str = "llmbar"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with two outputs and a label."""
        return any(set(row) >= _OWN for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every pair."""
        source, reading = Source(path), Reading(self.name)
        examples = examples_of(rows_of(path), _fields, reading)
        if examples:
            reading.tasks.append(
                Task(
                    name=f"llmbar/{title(path)}",
                    cluster="Preferences",
                    collection="llmbar",
                    templates=(Better(question=QUESTION),),
                    examples=examples,
                    metrics=("accuracy",),
                    licence="MIT",
                    source=f"LLMBar {title(path)}",
                    citation=CITATION,
                    content=source.sha256(),
                )
            )
        return reading


def title(path: Path) -> str:
    """The folder's name where the file has none of its own."""
    stem = Source(path).stem
    return path.absolute().parent.name if stem == "dataset" else stem


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    asked = text_in(row, "input").strip()
    completions = [text_in(row, name).strip() for name in ("output_1", "output_2")]
    label = row.get("label")
    if isinstance(label, bool) or label not in (1, 2):
        raise RowProblem("field 'label' is neither 1 nor 2")
    if not asked:
        raise RowProblem("empty input")
    if not all(completions):
        raise RowProblem("empty reply")
    return {
        "messages": [message("user", asked)],
        "completions": completions,
        "ranks": [1, 2] if label == 1 else [2, 1],
    }


READERS = (LlmBar(),)
COLLECTIONS = (
    Declared(
        "llmbar", "llmbar", LlmBar(), (".json",), "LLMBar: which of two outputs follows the instruction", title=title
    ),
)
