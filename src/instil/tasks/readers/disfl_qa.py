"""Disfl-QA: a JSON object of questions by SQuAD id, each as it was written and as somebody stumbling would say it.

{"5a665142846392001a1e1ac0": {"original": "What did the government want Thoreau to do?",
                              "disfluent": "Who did no What did the government want Thoreau to do?"}, ...}
fluent      Who did no What did the government want Thoreau to do?    ->  What did the government want Thoreau to do?
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of, keyed_rows
from instil.tasks.readers.splits import read_split

TARGET = "{{ original }}"
TEMPLATES = (
    direct("fluent", "Rewrite this question without its false starts and corrections.\n{{ disfluent }}", TARGET),
    direct("meant", 'Somebody asked: "{{ disfluent }}"\nWhat did they mean to ask?', TARGET),
    direct("disfluency", "Disfluent question: {{ disfluent }}\nFluent question:", TARGET),
)
CITATION = "Gupta et al. 2021, Disfl-QA: Understanding Disfluencies in Question Answering, arXiv:2106.04016"

_HEAD = re.compile(rb'\{\s*"[^"]+"\s*:\s*\{\s*"(?:original|disfluent)"\s*:')


@dataclass(frozen=True)
class DisflQa:
    """Reads one split."""

    name: str = "disfl-qa"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A JSON object whose first entry has a question in its original or disfluent form."""
        return (
            bool(_HEAD.match(head.lstrip(b"\xef\xbb\xbf \t\r\n"))) and b'"disfluent"' in head and b'"original"' in head
        )

    def read(self, path: Path) -> Reading:
        """One task; its worked examples are the train split's."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="disfl_qa",
            cluster="question rewriting",
            templates=TEMPLATES,
            metrics=("rouge_l", "exact_match"),
            licence="CC BY 4.0",
            source="Disfl-QA",
            citation=CITATION,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(keyed_rows(path), _fields, reading, key="id")


def _fields(entry: tuple[str, dict[str, Any]]) -> dict[str, object]:
    key, row = entry
    original, disfluent = text_in(row, "original").strip(), text_in(row, "disfluent").strip()
    if not original:
        raise RowProblem("empty target")
    if not disfluent:
        raise RowProblem("empty input")
    return {"id": key, "original": original, "disfluent": disfluent}


READERS = (DisflQa(),)
COLLECTIONS = (Declared("disfl_qa", "disfl_qa", DisflQa(), (".json",), "Disfl-QA, stumbling questions made fluent"),)
