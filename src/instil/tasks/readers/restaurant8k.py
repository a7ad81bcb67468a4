"""RESTAURANTS-8K: what a caller says and which spans of it fill the slots of a booking, as protobuf writes JSON.

    {"userInput": {"text": "13"}, "context": {"requestedSlots": ["time"]},
     "labels": [{"slot": "time", "valueSpan": {"endIndex": 2}}]}
    slots    The caller was asked for: time. They say: "13"          ->  time: 13

Protobuf leaves out what is empty or zero: no `labels` means no slots (`none`), no `context` nothing that was asked for,
no `startIndex` that the span starts at the first character.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.splits import beside, read_split

_ASKED = "{% if requested %}The caller was asked for: {{ requested | join(', ') }}.\n{% endif %}"
TARGET = "{{ slots | join('; ') or 'none' }}"
TEMPLATES = (
    direct("slots", f'{_ASKED}The caller says: "{{{{ text }}}}"\nWhich details of the booking do they give?', TARGET),
    direct(
        "fill",
        f"{_ASKED}Find the first name, last name, people, date and time in the sentence; say none if it gives none.\n"
        "{{ text }}",
        TARGET,
    ),
    direct("list", f"{_ASKED}Sentence: {{{{ text }}}}\nSlots, as `name: words` separated by semicolons:", TARGET),
)
CITATION = "Coope et al. 2020, Span-ConveRT: Few-shot Span Extraction for Dialog, arXiv:2005.08866"


@dataclass(frozen=True)
class Restaurants8k:
    """Reads one split."""

    name: str = "restaurant8k"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A list of rows with a user's input and its labels or context."""
        known = {"userInput", "labels", "context", "conversationId"}
        return any(isinstance(row.get("userInput"), dict) and set(row) <= known for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task; its worked examples are the train split's."""
        # As published; train_1 and so on are subsets of train_0.
        train = None if path.name.startswith("train") else beside(path, "train_0.json")
        return read_split(
            self.name,
            path,
            _examples,
            collection="restaurant8k",
            train=train,
            cluster="span extraction",
            templates=TEMPLATES,
            licence="CC BY 4.0",
            source="RESTAURANTS-8K",
            citation=CITATION,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(rows_of(path), _fields, reading)


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    said = row.get("userInput")
    text = as_text(said.get("text", ""), "text") if isinstance(said, Mapping) else ""
    if not text.strip():
        raise RowProblem("empty input")
    labels, context = row.get("labels", []), row.get("context", {})
    requested = context.get("requestedSlots", []) if isinstance(context, Mapping) else None
    if not isinstance(labels, list) or not isinstance(requested, list):
        raise RowProblem("labels or requested slots are no list")
    return {
        "text": text,
        "requested": [as_text(slot, "requestedSlots") for slot in requested],
        "slots": [f"{slot}: {value}" for slot, value in (_span(label, text) for label in labels)],
    }


def _span(label: Any, text: str) -> tuple[str, str]:
    if not isinstance(label, Mapping):
        raise RowProblem("a label is no object")
    span = label.get("valueSpan", {})
    start, end = (
        (span.get(name, 0) for name in ("startIndex", "endIndex")) if isinstance(span, Mapping) else (None, None)
    )
    if type(start) is not int or type(end) is not int:
        raise RowProblem("a span is no pair of whole numbers")
    if not 0 <= start < end <= len(text):
        raise RowProblem("a span is empty or lies outside the text")
    return text_in(label, "slot"), text[start:end]


READERS = (Restaurants8k(),)
COLLECTIONS = (
    Declared("restaurant8k", "restaurant8k", Restaurants8k(), (".json",), "RESTAURANTS-8K, slots of a booking"),
)
