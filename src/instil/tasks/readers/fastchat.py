"""FastChat's benchmarks (vicuna_bench, MT-bench): questions of one or two turns, and reference answers in another file.

    vicuna_bench/question.jsonl               {"question_id": 61, "category": "coding", "turns": ["Develop a C++ ..."]}
    vicuna_bench/reference_answer/gpt-4.jsonl {"question_id": 61, "choices": [{"index": 0, "turns": ["Here's a ..."]}]}
    ->  messages [user "Develop a C++ ...", assistant "Here's a ..."]     joined by question_id

Only some questions have a reference (10 of vicuna_bench's 80). The others are kept as what a model can be asked, with
their user turns alone; no prompt for training can be made of them. A question's own `reference` list counts as well.
For evaluation alone, as its publishers use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.dialogue import Dialogue
from instil.tasks.readers.conversation import Messages, message
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Damage, Source
from instil.tasks.readers.splits import content_of, source_files
from instil.tasks.task import Task

CITATION = "Zheng et al. 2023, Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena, arXiv:2306.05685"


@dataclass(frozen=True)
class Questions:
    """Reads one file of questions, joined with the reference answers beside it."""

    name: str = "fastchat"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with a question's id and its turns."""
        return any({"question_id", "turns"} <= set(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every question."""
        source, reading = Source(path), Reading(self.name)
        questions = examples_of(rows_of(path), _question, reading)
        beside = sorted(path.absolute().parent.glob("reference_answer/*.jsonl*"))
        answers = {key: turns for file in beside for key, turns in _references(file).items()}
        examples = [Example(one.key, _joined(one.fields, answers)) for one in questions]
        if examples:
            title = path.absolute().parent.name if source.stem == "question" else source.stem
            files = source_files([path, *beside])
            reading.tasks.append(
                Task(
                    name=f"fastchat/{title}",
                    cluster="Open-ended instructions",
                    collection="fastchat",
                    templates=(Dialogue(),),
                    examples=examples,
                    metrics=("rouge_l",),
                    licence="Apache-2.0",
                    source=title,
                    citation=CITATION,
                    evaluation_only=True,
                    content=content_of(files),
                    files=files,
                )
            )
        return reading


@dataclass(frozen=True)
class Answers:
    """Counts one file of answers; they make a task with their questions."""

    name: str = "fastchat-answers"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with a question's id and choices."""
        return any({"question_id", "choices"} <= set(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """No task: an account of the rows."""
        reading = Reading(self.name)
        examples_of(rows_of(path), _answer, reading)
        return reading


def _question(row: Mapping[str, Any]) -> dict[str, object]:
    turns = _texts(row.get("turns"), "turns")
    own = row.get("reference")
    return {
        "question_id": _identity(row),
        "category": as_text(row.get("category", ""), "category"),
        "turns": turns,
        "answers": _texts(own, "reference") if own else [],
    }


def _answer(row: Mapping[str, Any]) -> dict[str, object]:
    choices = row.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, Mapping):
        raise RowProblem("field 'choices' lists no answer")
    return {"question_id": _identity(row), "turns": _texts(first.get("turns"), "turns")}


def _references(file: Path) -> dict[object, list[str]]:
    """The turns of each answer in a file; its damage is set aside where the file itself is read."""
    found: dict[object, list[str]] = {}
    for _, row in rows_of(file):
        try:
            answer: Mapping[str, Any] = {} if isinstance(row, Damage) else _answer(row)
        except RowProblem:
            continue
        if answer:
            found.setdefault(answer["question_id"], answer["turns"])
    return found


def _joined(question: Mapping[str, Any], answers: Mapping[object, list[str]]) -> dict[str, object]:
    """The question with its reference answers as the assistant's turns; its first turn alone where it has none."""
    known = question["answers"] or answers.get(question["question_id"], [])
    messages: Messages = []
    for place, asked in enumerate(question["turns"]):
        messages.append(message("user", asked))
        if place >= len(known):
            break
        messages.append(message("assistant", known[place]))
    kept = {name: question[name] for name in ("question_id", "category", "turns")}
    return {**kept, "messages": messages, "references": list(known)}


def _identity(row: Mapping[str, Any]) -> str:
    return as_text(row["question_id"], "question_id") if "question_id" in row else ""


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, (list, tuple)) or not value:
        raise RowProblem(f"field {name!r} lists nothing")
    texts = [as_text(one, name).strip() for one in value]
    if not all(texts):
        raise RowProblem(f"field {name!r} holds an empty turn")
    return texts


READERS = (Questions(), Answers())
COLLECTIONS = (
    Declared(
        "fastchat",
        "fastchat",
        Questions(),
        (".jsonl",),
        "vicuna_bench and MT-bench questions, for evaluation alone",
        title=lambda path: path.absolute().parent.name if Source(path).stem == "question" else Source(path).stem,
        makes_task=lambda path: path.parent.name not in ("reference_answer", "model_answer"),
    ),
)
