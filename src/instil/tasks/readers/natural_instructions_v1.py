"""Natural Instructions v1: one subtask a file, with a longer instruction than version 2 has.

    Title: Constructing questions regarding relations in the given paragraph
    Prompt: Write a question about the background paragraph and the story.
    Definition: You are given a background paragraph that describes ...
    Things to Avoid: The generated question should not be answerable without ...       "-" where there is none
    Emphasis & Caution: 1. Write a question about the story that ...                    likewise
    Negative Example - Input: ... Output: ... Reason: ... Suggestion: ...               in the template `full`
    Input: Background Paragraph: Passive transport occurs when ...    Output:  Which cup has a higher concentration ...?

The texts are plain, not lists as in version 2, and instances have no ids. The positive examples are the worked ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in, texts_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Damage, Source, as_row
from instil.tasks.readers.splits import content_of, source_files
from instil.tasks.task import Task

TARGET = "{{ outputs | choice }}"
_QUERY = "Input: {{ input }}\nOutput:"
_FULL = (
    "{{ title }}\n{% if prompt %}Prompt: {{ prompt }}\n{% endif %}Definition: {{ definition }}\n"
    "{% if avoid %}Things to Avoid: {{ avoid }}\n{% endif %}"
    "{% if caution %}Emphasis & Caution: {{ caution }}\n{% endif %}"
    "{% for bad in negatives[:1] %}Negative Example -\nInput: {{ bad.input }}\nOutput: {{ bad.output }}\n"
    "{% if bad.reason %}Reason: {{ bad.reason }}\n{% endif %}"
    "{% if bad.suggestion %}Suggestion: {{ bad.suggestion }}\n{% endif %}{% endfor %}"
)
TEMPLATES = (
    direct("definition", _QUERY, TARGET, references="outputs", instruction="Definition: {{ definition | sentence }}"),
    direct("prompt", _QUERY, TARGET, references="outputs", instruction="{{ prompt or definition }}"),
    direct("full", _QUERY, TARGET, references="outputs", instruction=_FULL),
)
CITATION = (
    "Mishra et al. 2022, Cross-Task Generalization via Natural Language Crowdsourcing Instructions, arXiv:2104.08773"
)

#: The categories of version 2, by the last words of a subtask's name.
CATEGORIES = {
    "question_generation": "Question Generation",
    "incorrect_answer_generation": "Wrong Candidate Generation",
    "answer_generation": "Question Answering",
    "story_generation": "Story Composition",
}
_KEYS = re.compile(rb'"(Things to Avoid|Emphasis & Caution)"\s*:')


@dataclass(frozen=True)
class NaturalInstructionsV1:
    """Reads one subtask."""

    name: str = "natural-instructions-v1"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A JSON object with one of version 1's own keys."""
        return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and bool(_KEYS.search(head))

    def read(self, path: Path) -> Reading:
        """One task, or none where the file is damaged as a whole."""
        source, reading = Source(path), Reading(self.name)
        try:
            content = as_row(source.json())
            if not isinstance(content.get("Instances"), list):
                raise Damage("no list of Instances")
        except Damage as damage:
            reading.quarantine("file", str(damage))
            return reading
        shared = _shared(content)
        rows = ((f"instance {number}", item) for number, item in enumerate(content["Instances"], start=1))
        examples = examples_of(rows, lambda item: _fields(as_row(item), shared), reading)
        if examples:
            files = source_files((path,))
            reading.tasks.append(
                Task(
                    name=f"ni_v1/{source.stem}",
                    cluster=next((said for end, said in CATEGORIES.items() if source.stem.endswith(end)), "Misc."),
                    collection="ni_v1",
                    templates=TEMPLATES,
                    examples=examples,
                    exemplars=_worked(content, shared) or None,
                    metrics=("rouge_l", "exact_match"),
                    licence="Apache-2.0 (collection); "
                    + ("CC BY 4.0 (ROPES)" if "_ropes_" in source.stem else "not stated (source)"),
                    source=source.stem,
                    citation=CITATION,
                    content=content_of(files),
                    files=files,
                )
            )
        return reading


def _shared(content: Mapping[str, Any]) -> dict[str, object]:
    """What is said to every instance."""
    return {
        "title": _said(content, "Title"),
        "prompt": _said(content, "Prompt"),
        "definition": _said(content, "Definition"),
        "avoid": _said(content, "Things to Avoid"),
        "caution": _said(content, "Emphasis & Caution"),
        "negatives": [
            {name: _said(row, name) for name in ("input", "output", "reason", "suggestion")}
            for row in _listed(content, "Negative Examples")
        ],
    }


def _said(content: Mapping[str, Any], name: str) -> str:
    """A text, empty where it is `-` or none."""
    value = content.get(name)
    text = value.strip() if isinstance(value, str) else ""
    return "" if text == "-" else text


def _listed(content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The whole examples of a kind; `["-"]` stands for none."""
    held = content.get("Examples")
    listed = held.get(name) if isinstance(held, Mapping) else None
    return [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []


def _fields(row: Mapping[str, Any], shared: Mapping[str, object]) -> dict[str, object]:
    if not shared["definition"]:
        raise RowProblem("no Definition")
    outputs = texts_in(row, "output")
    if not outputs:
        raise RowProblem("empty target")
    shown = text_in(row, "input").strip()
    if not shown:
        raise RowProblem("empty input")
    return {**shared, "input": shown, "outputs": outputs}


def _worked(content: Mapping[str, Any], shared: Mapping[str, object]) -> list[Example]:
    """The positive examples that are whole, with their reason as the explanation."""
    worked: list[Example] = []
    for number, row in enumerate(_listed(content, "Positive Examples"), start=1):
        try:
            fields = _fields(row, shared)
        except RowProblem:
            continue
        worked.append(Example(f"positive-{number}", {**fields, "explanation": _said(row, "reason")}))
    return worked


READERS = (NaturalInstructionsV1(),)
COLLECTIONS = (
    Declared("ni_v1", "natural_instructions_v1", NaturalInstructionsV1(), (".json",), "Natural Instructions v1"),
)
