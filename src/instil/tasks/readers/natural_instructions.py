"""Natural Instructions v2: one task a file, with a definition, worked examples and instances.

    Definition: In this task, you answer a question ...          said once
    Positive Example 1 -                                         from "Positive Examples", in a few-shot prompt
    Input: Question: Who was the man behind The Chipmunks? ...
    Output:                                                      A
    Now complete the following example -                         from "Instances"
    Input: Question: What star sign is Jamie Lee Curtis? ...
    Output:                                                      B

That is the encoding of Tk-Instruct (definitions and inputs end in punctuation, or get a full stop); zero-shot is the
definition alone. An instance has one or more references: one is drawn as target, all are accepted. Files in the wild
write single texts where the schema says lists (`Categories`, `Definition`, `output`): both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.reading import Declared, Keys, Reading, RowProblem, as_text, text_in, texts_in
from instil.tasks.readers.source import Damage, Repeating, Source, as_row
from instil.tasks.task import Task
from instil.tasks.template import Template

TEMPLATE = Template(
    name="definition",
    instruction="Definition: {{ definition | sentence }}",
    input="Now complete the following example -\nInput: {{ input | sentence }}\nOutput:",
    target="{{ outputs | choice }}",
    exemplar=("Positive Example {{ number }} -\nInput: {{ input | sentence }}\nOutput:", "{{ outputs | first }}"),
    references="outputs",
)

#: Categories whose answers are labels, besides those that say so in their name.
LABELLED = frozenset(
    {
        "Answer Verification",
        "Basic Sentiment Analysis",
        "Coreference Resolution",
        "Dialogue Act Recognition",
        "Fact Verification",
        "Intent Identification",
        "Irony Detection",
        "Language Identification",
        "Negotiation Strategy Detection",
        "Sentiment Analysis",
        "Speaker Identification",
        "Stance Detection",
        "Text Categorization",
        "Text Matching",
        "Text Quality Evaluation",
        "Textual Entailment",
        "Toxic Language Detection",
        "Word Analogy",
    }
)
_V1_KEYS = re.compile(rb'"(Things to Avoid|Emphasis & Caution)"\s*:')
_KEYS = re.compile(rb'"(Positive Examples|Negative Examples|Instances|Categories|Definition|Input_language)"\s*:')
CITATION = "Wang et al. 2022, Super-NaturalInstructions, arXiv:2204.07705"


@dataclass(frozen=True)
class NaturalInstructions:
    """Reads one task file."""

    name: str = "natural-instructions"

    def recognises(self, path: Path, head: bytes) -> bool:
        """JSON with at least three of the schema's own keys, and none of version 1's."""
        if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or _V1_KEYS.search(head):
            return False
        return len(set(_KEYS.findall(head))) >= 3

    def read(self, path: Path) -> Reading:
        """One task, or none where the file is damaged as a whole."""
        source, reading = Source(path), Reading(self.name)
        try:
            content = source.json()
            if isinstance(content, Repeating):
                raise Damage(f"key {content.key[:60]!r} stands twice")
            if not isinstance(content, dict) or not isinstance(content.get("Instances"), list):
                raise Damage("no list of Instances")
        except Damage as damage:
            reading.quarantine("file", str(damage))
            return reading
        definition = _first(content, "Definition")
        keys, examples = Keys(), []
        for number, instance in enumerate(content["Instances"], start=1):
            try:
                if not definition.strip():
                    raise RowProblem("no Definition")
                examples.append(_example(as_row(instance), definition, keys, number))
            except (Damage, RowProblem) as problem:
                reading.quarantine(f"instance {number}", str(problem))
        reading.accepted = len(examples)
        if examples:
            reading.tasks.append(_task(source, content, definition, examples))
        return reading


def _task(source: Source, content: Mapping[str, Any], definition: str, examples: list[Example]) -> Task:
    category = _first(content, "Categories") or "Misc."
    labelled = category in LABELLED or "classification" in category.lower()
    return Task(
        name=f"ni/{source.stem}",
        cluster=category,
        collection="ni",
        templates=(TEMPLATE,),
        examples=examples,
        exemplars=_worked(content, definition) or None,
        metrics=("exact_match", "rouge_l") if labelled else ("rouge_l", "exact_match"),
        licence=", ".join(_texts(content, "Instance License")) or "not stated",
        language=_first(content, "Output_language") or "English",
        source=", ".join(_texts(content, "Source")) or source.stem,
        citation=CITATION,
        content=source.sha256(),
    )


def _example(row: Mapping[str, Any], definition: str, keys: Keys, number: int) -> Example:
    outputs = texts_in(row, "output")
    if not outputs:
        raise RowProblem("empty target")
    fields = {"definition": definition, "input": text_in(row, "input"), "outputs": outputs}
    return Example(keys.take(row.get("id"), number), fields)


def _worked(content: Mapping[str, Any], definition: str) -> list[Example]:
    """The positive examples that are whole."""
    listed = content.get("Positive Examples")
    worked: list[Example] = []
    for number, item in enumerate(listed if isinstance(listed, list) else [], start=1):
        try:
            row = as_row(item)
            example = _example(row, definition, Keys(), number)
        except (Damage, RowProblem):
            continue
        explanation = row.get("explanation")
        fields = {**example.fields, "explanation": explanation if isinstance(explanation, str) else ""}
        worked.append(Example(f"positive-{number}", fields))
    return worked


def _texts(content: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts, or the one text that stands in its place; what is no text is left out."""
    value = content.get(name)
    found: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        try:
            found.append(as_text(item, name).strip())
        except RowProblem:
            continue
    return [text for text in found if text]


def _first(content: Mapping[str, Any], name: str) -> str:
    return next(iter(_texts(content, name)), "")


READERS = (NaturalInstructions(),)
COLLECTIONS = (
    Declared("ni", "natural_instructions/tasks", NaturalInstructions(), (".json",), "Natural Instructions v2"),
)
