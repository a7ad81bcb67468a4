r"""AQuA-RAT: JSON lines (in files named `.json`) of question, five options, rationale and the right letter.

    {"question": "... their speed in miles per minute?", "options": ["A)32400", "B)6000", ...], "correct": "A", ...}
    letter   ... (A) 32400 (B) 6000 ...      ->  A
    text     ... in miles per minute?        ->  32400
    cot      ... Let's think step by step.   ->  To calculate ... 32400 So the answer is 32400.

`options` and `correct` stay as the file has them, because promptsource's templates of aqua_rat read them so; `choices`
and `answer` are the same without their letters and final full stops.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct, inverse, reasoned
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in, texts_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.splits import read_split

_LISTED = "{% for letter in letters %}({{ letter }}) {{ choices[loop.index0] }}\n{% endfor %}"
TEMPLATES = (
    direct("text", "{{ question }}", options="texts"),
    direct("text-qa", "Q: {{ question }}\nA:", options="texts"),
    direct(
        "letter",
        f"{{{{ question }}}}\n{_LISTED}Which one is right?",
        "{{ correct }}",
        options="letters",
        lists_options=True,
    ),
    reasoned("cot", "{{ question }}\nLet's think step by step.", options="texts"),
    reasoned(
        "cot-letter",
        f"{{{{ question }}}}\n{_LISTED}Reason step by step, and end with the letter.",
        "{{ rationale | sentence }}\nThe answer is {{ correct }}.",
        options="letters",
        lists_options=True,
        answer="{{ correct }}",
    ),
    inverse("ask", "Make up a problem whose answer is: {{ answer }}", "{{ question }}"),
    inverse("ask-solved", "{{ rationale }}\n\nWhich problem does this solve?", "{{ question }}", cot=True),
    inverse("explain", "{{ question }}\nThe answer is {{ answer }}. Show why.", "{{ rationale }}", cot=True),
    inverse(
        "ask-and-solve",
        "Make up a problem whose answer is {{ answer }}, and solve it.",
        "Problem: {{ question }}\nSolution: {{ rationale }}",
        cot=True,
    ),
)
CITATION = "Ling et al. 2017, Program Induction by Rationale Generation, arXiv:1705.04146"

_OPTION = re.compile(r"\(?([A-Z])\s*\)\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Aqua:
    """Reads one split."""

    name: str = "aqua"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows of question, options, rationale and correct."""
        return any({"question", "options", "rationale", "correct"} <= set(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task; its worked examples are the train split's."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="aqua",
            cluster="math word problems",
            templates=TEMPLATES,
            licence="Apache-2.0",
            source="AQuA-RAT",
            citation=CITATION,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(rows_of(path), _fields, reading)


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    question, correct = text_in(row, "question").strip(), text_in(row, "correct").strip()
    rationale, options = text_in(row, "rationale").strip(), texts_in(row, "options")
    if not question:
        raise RowProblem("empty question")
    if not rationale:
        raise RowProblem("empty rationale")
    matches = [_OPTION.fullmatch(option.strip()) for option in options]
    choices = {match[1]: match[2].strip().removesuffix(".").strip() for match in matches if match}
    if len(choices) != len(options) or len(options) < 2:
        raise RowProblem("the options are not a text after each letter")
    if correct not in choices:
        raise RowProblem("the answer is none of the options")
    if not choices[correct]:
        raise RowProblem("empty target")
    return {
        "question": question,
        "options": options,
        "choices": list(choices.values()),
        # As answers to rank, a text counts once, and no text is none.
        "texts": [choice for choice in dict.fromkeys(choices.values()) if choice],
        "letters": list(choices),
        "correct": correct,
        "answer": choices[correct],
        "rationale": rationale,
    }


READERS = (Aqua(),)
COLLECTIONS = (Declared("aqua", "aqua", Aqua(), (".json", ".jsonl"), "AQuA-RAT, multiple choice with rationales"),)
