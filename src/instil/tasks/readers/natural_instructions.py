"""Natural Instructions v2: one task a file, with a definition, worked examples and instances.

    Definition: In this task, you answer a question ...          said once
    Positive Example 1 -                                         from "Positive Examples", in a few-shot prompt
    Input: Question: Who was the man behind The Chipmunks? ...
    Output:                                                      A
    Now complete the following example -                         from "Instances"
    Input: Question: What star sign is Jamie Lee Curtis? ...
    Output:                                                      B

That is the encoding of Tk-Instruct (definitions and inputs end in punctuation, or get a full stop); zero-shot is the
definition alone. Its other encodings have the file's examples in the instruction, whatever the setting; a recipe names
them, as in `phrasings: [definition+pos]`:

    definition+pos                  two positive examples after the definition (the published default)
    definition+pos+neg              and two negative ones
    definition+pos+explanation      and why each is right (or wrong, in definition+pos+neg+explanation)
    pos                             the positive examples without a definition

An instance has one or more references: one is drawn as target, all are accepted. Files in the wild
write single texts where the schema says lists (`Categories`, `Definition`, `output`): both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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

#: How many examples of a kind an encoding shows, as in the paper.
SHOWN = 2


def _encoding(name: str) -> Template:
    """An encoding by its name, which lists what stands before the instance."""
    parts = name.split("+")
    why = "{% if shown.explanation %}\nExplanation: {{ shown.explanation | sentence }}{% endif %}"
    texts = ["Definition: {{ definition | sentence }}"] if "definition" in parts else []
    for part, kind in (("pos", "Positive"), ("neg", "Negative")):
        if part in parts:
            texts.append(
                # An instance may repeat one of the examples, which would give its answer away.
                f"{{% for shown in {kind.lower()}s if shown.input|trim|lower != input|trim|lower %}}"
                f"{{% if loop.index <= {SHOWN} %}}{{% if not loop.first %}}\n\n{{% endif %}}{kind} Example "
                "{{ loop.index }} -\nInput: {{ shown.input | sentence }}\nOutput: {{ shown.output | sentence }}"
                f"{why if 'explanation' in parts else ''}{{% endif %}}{{% endfor %}}"
            )
    # A few-shot prompt goes on where the instruction stopped: with the positive examples that it did not show.
    return replace(
        TEMPLATE,
        name=name,
        instruction="\n\n".join(texts),
        exemplar=(
            f"Positive Example {{{{ number + {SHOWN} }}}} -\nInput: {{{{ input | sentence }}}}\nOutput:",
            f"{{% if rank is not defined or rank > {SHOWN} %}}{{{{ outputs | first }}}}{{% endif %}}",
        ),
    )


ENCODINGS = tuple(
    _encoding(name)
    for name in (
        "definition+pos",
        "definition+pos+neg",
        "definition+pos+explanation",
        "definition+pos+neg+explanation",
        "pos",
    )
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
        shared = {
            "definition": definition,
            "positives": _shown(content, "Positive"),
            "negatives": _shown(content, "Negative"),
        }
        keys, examples = Keys(), []
        for number, instance in enumerate(content["Instances"], start=1):
            try:
                if not definition.strip():
                    raise RowProblem("no Definition")
                examples.append(_example(as_row(instance), shared, keys, number))
            except (Damage, RowProblem) as problem:
                reading.quarantine(f"instance {number}", str(problem))
        reading.accepted = len(examples)
        if examples:
            reading.tasks.append(_task(source, content, shared, examples))
        return reading


def _task(source: Source, content: Mapping[str, Any], shared: Mapping[str, Any], examples: list[Example]) -> Task:
    category = _first(content, "Categories") or "Misc."
    labelled = category in LABELLED or "classification" in category.lower()
    return Task(
        name=f"ni/{source.stem}",
        cluster=category,
        collection="ni",
        templates=(TEMPLATE,),
        examples=examples,
        exemplars=_worked(content, shared) or None,
        metrics=("exact_match", "rouge_l") if labelled else ("rouge_l", "exact_match"),
        licence=", ".join(_texts(content, "Instance License")) or "not stated",
        language=_first(content, "Output_language") or "English",
        source=", ".join(_texts(content, "Source")) or source.stem,
        citation=CITATION,
        content=source.sha256(),
    )


def _example(row: Mapping[str, Any], shared: Mapping[str, Any], keys: Keys, number: int) -> Example:
    outputs = texts_in(row, "output")
    if not outputs:
        raise RowProblem("empty target")
    fields = {**shared, "input": text_in(row, "input"), "outputs": outputs}
    return Example(keys.take(row.get("id"), number), fields)


def _worked(content: Mapping[str, Any], shared: Mapping[str, Any]) -> list[Example]:
    """The positive examples that are whole."""
    listed = content.get("Positive Examples")
    worked: list[Example] = []
    for number, item in enumerate(listed if isinstance(listed, list) else [], start=1):
        try:
            row = as_row(item)
            example = _example(row, shared, Keys(), number)
        except (Damage, RowProblem):
            continue
        explanation = row.get("explanation")
        fields = {**example.fields, "explanation": explanation if isinstance(explanation, str) else ""}
        worked.append(Example(f"positive-{number}", fields | {"rank": len(worked) + 1}))
    return worked


def _shown(content: Mapping[str, Any], kind: str) -> list[dict[str, str]]:
    """The positive or negative examples that are whole, as plain texts."""
    listed = content.get(f"{kind} Examples")
    shown = []
    for item in listed if isinstance(listed, list) else []:
        try:
            row = as_row(item)
            texts = {"input": text_in(row, "input"), "output": texts_in(row, "output")[0]}
        except (Damage, RowProblem, IndexError):
            continue
        explanation = row.get("explanation")
        shown.append(texts | {"explanation": explanation if isinstance(explanation, str) else ""})
    return shown


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
    Declared(
        "ni",
        "natural_instructions/tasks",
        NaturalInstructions(),
        (".json",),
        "Natural Instructions v2",
        phrasings=ENCODINGS,
    ),
)
