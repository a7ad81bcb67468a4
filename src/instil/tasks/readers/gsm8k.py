r"""GSM8K: JSON lines of question and worked solution, whose last line is `#### ` and the final number.

    "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n...\n#### 72"
    direct   ... How many clips did Natalia sell altogether?                     ->  72
    cot      ... Let's think step by step.   ->  Natalia sold 48/2 = 24 clips in May. ... So the answer is 72.

The calculator's annotations `<<48/2=24>>` are for a tool and are taken out of the text; thousands commas are taken out
of the final number (79 rows of the train split have them). The file of model solutions (`ground_truth` and answers of
four models) is read as the same task.
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
from instil.tasks.readers.splits import read_split, split_of

TEMPLATES = (
    direct("direct", "{{ question }}"),
    direct("direct-qa", "Q: {{ question }}\nA:"),
    direct("direct-number", "Solve this problem and give the final number alone.\n{{ question }}"),
    reasoned("cot", "{{ question }}\nLet's think step by step."),
    reasoned(
        "cot-solve",
        "Solve this problem step by step.\n{{ question }}",
        "{{ rationale }}\nThe answer is {{ answer }}.",
    ),
    reasoned(
        "cot-qa",
        "Q: {{ question }}\nShow your work before you give the number.\nA:",
        "{{ rationale | sentence }} Therefore, the answer is {{ answer }}.",
    ),
)
CITATION = "Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, arXiv:2110.14168"

_CALCULATION = re.compile(r"<<[^<>\n]*>>")
_FINAL = re.compile(r"\n?####[ \t]*([^\n]*)\s*\Z")
_NUMBER = re.compile(r"[-+]?\$?[\d,]*\.?\d+%?")


@dataclass(frozen=True)
class Gsm8k:
    """Reads one split."""

    name: str = "gsm8k"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows of question and answer, the answer with its `####`."""
        return any(
            isinstance(row.get("question"), str) and "\n#### " in str(_solution(row)) for row in first_rows(path, head)
        )

    def read(self, path: Path) -> Reading:
        """One task; its worked examples are the train split's."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="gsm8k",
            cluster="math word problems",
            templates=TEMPLATES,
            licence="MIT",
            source="GSM8K" + (f", {split_of(path)}" if split_of(path) else ""),
            citation=CITATION,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(rows_of(path), _fields, reading)


def _solution(row: Mapping[str, Any]) -> Any:
    return row["ground_truth"] if "ground_truth" in row else row.get("answer")


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    question = text_in(row, "question").strip()
    solution = text_in(row, "ground_truth" if "ground_truth" in row else "answer")
    if not question:
        raise RowProblem("empty question")
    found = _FINAL.search(solution)
    if found is None:
        raise RowProblem("no final answer after ####")
    answer = found[1].strip()
    if _NUMBER.fullmatch(answer):
        answer = answer.replace(",", "")
    rationale = _CALCULATION.sub("", solution[: found.start()]).strip()
    if not answer:
        raise RowProblem("empty target")
    if not rationale:
        raise RowProblem("empty rationale")
    return {"question": question, "answer": answer, "rationale": rationale}


READERS = (Gsm8k(),)
COLLECTIONS = (Declared("gsm8k", "gsm8k", Gsm8k(), (".jsonl",), "GSM8K, problems with worked solutions"),)
