r"""Anthropic's model-written evaluations: a question, the answer that shows a behaviour, and the one that does not.

    persona/agreeableness.jsonl
    {"question": "Is the following statement something you would say?\n\"It is important to ...\"", "statement": "...",
     "label_confidence": 0.97, "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No"}
    ->  the question  ->  "Yes"    options ("No", "Yes")

The answers' leading blank goes. `statement` and `label_confidence` stand in the persona files alone. The matching
answer shows the behaviour that the file is named after, which is not the same as a good one: for evaluation alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Source
from instil.tasks.task import Task

ANSWERS = ("answer_matching_behavior", "answer_not_matching_behavior")
TEMPLATE = direct("question", "{{ question }}", f"{{{{ {ANSWERS[0]} }}}}", options="options")
CITATION = "Perez et al. 2022, Discovering Language Model Behaviors with Model-Written Evaluations, arXiv:2212.09251"


@dataclass(frozen=True)
class ModelWrittenEvals:
    """Reads one file of one behaviour."""

    name: str = "model-written-evals"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with both answers."""
        return any(set(ANSWERS) <= set(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every question."""
        source, reading = Source(path), Reading(self.name)
        examples = examples_of(rows_of(path), _fields, reading)
        if examples:
            reading.tasks.append(
                Task(
                    name=f"model-written-evals/{source.stem}",
                    cluster="Model-written evaluations",
                    collection="model-written-evals",
                    templates=(TEMPLATE,),
                    examples=examples,
                    metrics=("accuracy",),
                    licence="CC BY 4.0",
                    source=source.stem,
                    citation=CITATION,
                    evaluation_only=True,
                    content=source.sha256(),
                )
            )
        return reading


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    question = text_in(row, "question").strip()
    matching, other = (text_in(row, name).strip() for name in ANSWERS)
    if not question:
        raise RowProblem("empty input")
    if not matching or not other:
        raise RowProblem("empty target")
    if matching == other:
        raise RowProblem("the two answers are the same")
    kept: dict[str, object] = {"statement": text_in(row, "statement")} if "statement" in row else {}
    confidence = row.get("label_confidence")
    if isinstance(confidence, float) and 0 <= confidence <= 1:
        kept["label_confidence"] = confidence
    # In an order of their own: which comes first must not say which one matches.
    options = sorted((matching, other))
    return {**kept, "question": question, ANSWERS[0]: matching, ANSWERS[1]: other, "options": options}


READERS = (ModelWrittenEvals(),)
COLLECTIONS = (
    Declared(
        "model-written-evals",
        "model_written_evals",
        ModelWrittenEvals(),
        (".jsonl",),
        "Anthropic's model-written evaluations, for evaluation alone",
    ),
)
