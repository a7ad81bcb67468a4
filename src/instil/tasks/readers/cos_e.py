"""CoS-E: explanations in one file, the CommonsenseQA questions that they explain in another, joined by id.

    cose_dev_v1.0_processed.jsonl   {"id": "31d7...", "explanation": {"open-ended": "while we seeing ...", ...}}
    dev_rand_split.jsonl            {"id": "31d7...", "question": {"stem": ..., "choices": [{"label", "text"}]}, ...}
    direct   The artist was sitting quietly pondering, then suddenly he began to paint ...        ->  inspiration
    cot      ... Let's think step by step.      ->  while we seeing ... So the answer is inspiration.

The file of explanations makes the task. The file of questions is counted on its own, and makes a task of direct
templates where no explanations lie beside it. Columns are named as promptsource's templates of cos_e name them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct, reasoned
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Damage, Source
from instil.tasks.readers.splits import beside, content_of, pool, source_files, split_of, train_beside
from instil.tasks.task import Task

_LISTED = "{{ question }}\nOptions:\n{% for choice in choices %}- {{ choice }}\n{% endfor %}"
DIRECT = (
    direct("direct", "{{ question }}", options="choices"),
    direct("direct-qa", "Q: {{ question }}\nA:", options="choices"),
    direct("direct-choose", f"{_LISTED}Which option is right?", options="choices", lists_options=True),
)
COT = (
    reasoned("cot", "{{ question }}\nLet's think step by step.", options="choices"),
    reasoned("cot-choose", f"{_LISTED}Explain first, then give the answer.", options="choices", lists_options=True),
    reasoned("cot-qa", "Q: {{ question }}\nA, with the reason before it:", options="choices"),
)
CITATION = (
    "Rajani et al. 2019, Explain Yourself!, arXiv:1906.02361; Talmor et al. 2019, CommonsenseQA, arXiv:1811.00937"
)
_VERSION = re.compile(r"_v(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Explanations:
    """Reads one split: the explanations, joined with their questions."""

    name: str = "cos-e"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with an id and an explanation of two kinds."""
        return any("id" in row and _explained(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task; its worked examples are the train split's."""
        reading = Reading(self.name)
        examples = _joined(path, reading)
        if examples:
            train = train_beside(path)
            parts = (path, _questions_file(path), train, train and _questions_file(train))
            reading.tasks.append(_task(path, parts, examples, pool(train, _joined), (*DIRECT, *COT)))
        return reading


@dataclass(frozen=True)
class Questions:
    """Reads the questions of one split."""

    name: str = "commonsense-qa"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows whose question is a stem with choices."""
        return any(
            isinstance(row.get("question"), dict) and {"stem", "choices"} <= set(row["question"])
            for row in first_rows(path, head)
        )

    def read(self, path: Path) -> Reading:
        """The account of the rows; a task only where no explanations lie beside."""
        reading = Reading(self.name)
        examples = _asked(path, reading)
        explained = any(split_of(file) == split_of(path) for file in path.parent.glob("cose_*_processed.jsonl*"))
        if examples and not explained:
            train = train_beside(path)
            reading.tasks.append(_task(path, (path, train), examples, pool(train, _asked), DIRECT))
        return reading


def _task(
    path: Path, parts: tuple[Path | None, ...], examples: list[Example], shots: list[Example] | None, templates: Any
) -> Task:
    files = source_files(parts)
    return Task(
        name=f"cos_e/{title(path)}",
        cluster="commonsense question answering",
        collection="cos_e",
        templates=templates,
        examples=examples,
        exemplars=shots,
        licence="BSD-3-Clause (CoS-E); MIT (CommonsenseQA)",
        source="CoS-E" if "cose" in path.name else "CommonsenseQA",
        citation=CITATION,
        content=content_of(files),
        files=files,
    )


def title(path: Path) -> str:
    """`v1.0_dev` for `cose_dev_v1.0_processed.jsonl`, the stem for others."""
    version = _VERSION.search(path.name)
    return f"v{version[1]}_{split_of(path)}" if version and split_of(path) else Source(path).stem


def _explained(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("explanation"), dict) and "open-ended" in row["explanation"]


def _questions_file(path: Path) -> Path | None:
    return beside(path, f"{split_of(path)}_rand_split.jsonl")


def _asked(path: Path, reading: Reading) -> list[Example]:
    return examples_of(rows_of(path), _question, reading, key="id")


def _joined(path: Path, reading: Reading) -> list[Example]:
    """The explanations with their questions; an explanation without a question is set aside."""
    file = _questions_file(path)
    found: dict[str, Mapping[str, object]] = {}
    if file is not None:
        for example in _asked(file, Reading("questions")):
            found.setdefault(str(example.fields["id"]), example.fields)
    missing = (
        f"no question of this id in {split_of(path)}_rand_split.jsonl" if file else "no file of questions beside it"
    )

    def fields(row: Mapping[str, Any]) -> dict[str, object]:
        name = text_in(row, "id")
        if not _explained(row):
            raise RowProblem("no explanation")
        if name not in found:
            raise RowProblem(missing)
        rationale = text_in(row["explanation"], "open-ended").strip()
        if not rationale:
            raise RowProblem("empty rationale")
        chosen = row["explanation"].get("selected")
        return {
            **found[name],
            "rationale": rationale,
            "abstractive_explanation": rationale,
            "extractive_explanation": chosen.strip() if isinstance(chosen, str) else "",
        }

    return examples_of(rows_of(path), fields, reading, key="id")


def _question(row: Mapping[str, Any]) -> dict[str, object]:
    asked = row.get("question")
    if not isinstance(asked, Mapping) or not isinstance(asked.get("choices"), list):
        raise Damage("no question with choices")
    choices: dict[str, str] = {}
    for choice in asked["choices"]:
        if not isinstance(choice, Mapping):
            raise RowProblem("a choice is no label with a text")
        choices[text_in(choice, "label")] = text_in(choice, "text").strip()
    question, letter = text_in(asked, "stem").strip(), text_in(row, "answerKey").strip()
    if not question:
        raise RowProblem("empty question")
    if letter not in choices:
        raise RowProblem("the answer is none of the options")
    if not choices[letter]:
        raise RowProblem("empty target")
    texts = list(choices.values())
    return {
        "id": text_in(row, "id"),
        "question": question,
        "choices": texts,
        "options": texts,
        "answer": choices[letter],
        "letter": letter,
    }


READERS = (Explanations(), Questions())
COLLECTIONS = (
    Declared(
        "cos_e",
        "cos_e",
        Explanations(),
        (".jsonl",),
        "CoS-E, commonsense questions with explanations",
        title=title,
        makes_task=lambda path: path.name.startswith("cose_"),
    ),
)
