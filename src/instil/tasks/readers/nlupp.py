"""NLU++: a JSON list of utterances, each with any number of intents and slots, either of them left out where empty.

    {"text": "how do i cancel my restaurant booking of the 20th of April",
     "intents": ["how", "cancel_close_leave_freeze", "restaurant", "booking"],
     "slots": {"date": {"text": "20th of April", "span": [45, 58], "value": {"day": 20, "month": 4, "year": 2022}}}}
    intents   ... Which intents does it have?     ->  how, cancel_close_leave_freeze, restaurant, booking
    slots     ... Which details does it give?     ->  date: 20th of April
    (an utterance without them)                   ->  none

A fold of a domain is two tasks: `nlupp/hotels_fold0_intents` and `nlupp/hotels_fold0_slots`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Source
from instil.tasks.readers.splits import source_files
from instil.tasks.task import Task

NONE = "none"
INTENTS, SLOTS = "{{ intents | join(', ') or 'none' }}", "{{ slots | join('; ') or 'none' }}"
KINDS = {
    "intents": (
        "intent classification",
        (
            direct("intents", '"{{ text }}"\nWhich intents does this request have?', INTENTS),
            direct("intents-list", "Request: {{ text }}\nIntents, separated by commas:", INTENTS),
            direct(
                "intents-of",
                "Which of these intents does the request have: {{ labels | join(', ') }}?\n{{ text }}",
                INTENTS,
            ),
        ),
    ),
    "slots": (
        "span extraction",
        (
            direct("slots", '"{{ text }}"\nWhich details does this request give?', SLOTS),
            direct("slots-list", "Request: {{ text }}\nIts details, as `name: words` separated by semicolons:", SLOTS),
        ),
    ),
}
CITATION = "Casanueva et al. 2022, NLU++: A Multi-Label, Slot-Rich, Generalisable Dataset, arXiv:2204.13021"


@dataclass(frozen=True)
class NluPlusPlus:
    """Reads one fold of one domain."""

    name: str = "nlupp"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A list of utterances with a text, and intents in a list or slots by name."""
        return Source(path).suffix == ".json" and any(map(_fits, first_rows(path, head)))

    def read(self, path: Path) -> Reading:
        """Two tasks: the intents and the slots of every utterance."""
        reading = Reading(self.name)
        examples = examples_of(rows_of(path), _fields, reading)
        labels = sorted({label for row in examples for label in _strings(row.fields["intents"])})
        for row in examples:
            row.fields["labels"] = labels  # type: ignore[index]  # still being made
        files = source_files((path,))
        for kind, (cluster, templates) in KINDS.items() if examples else ():
            reading.tasks.append(
                Task(
                    name=f"nlupp/{path.parent.name}_{Source(path).stem}_{kind}",
                    cluster=cluster,
                    collection="nlupp",
                    templates=templates,
                    examples=examples,
                    licence="CC BY 4.0",
                    source=f"NLU++, {path.parent.name}",
                    citation=CITATION,
                    content=f"{files[0].sha256} {kind}",
                    files=files,
                )
            )
        return reading


def _fits(row: Mapping[str, Any]) -> bool:
    return (
        isinstance(row.get("text"), str)
        and set(row) <= {"text", "intents", "slots"}
        and (isinstance(row.get("intents"), list) or isinstance(row.get("slots"), dict))
    )


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _fields(row: Mapping[str, Any]) -> dict[str, object]:
    text = text_in(row, "text").strip()
    if not text:
        raise RowProblem("empty input")
    intents, slots = row.get("intents", []), row.get("slots", {})
    if not isinstance(intents, list):
        raise RowProblem("field 'intents' is no list")
    if not isinstance(slots, Mapping) or not all(isinstance(slot, Mapping) for slot in slots.values()):
        raise RowProblem("field 'slots' is no object of slots")
    return {
        "text": text,
        "intents": [as_text(intent, "intents") for intent in intents],
        "slots": [f"{as_text(name, 'slots')}: {text_in(slot, 'text')}" for name, slot in slots.items()],
    }


READERS = (NluPlusPlus(),)
COLLECTIONS = (
    Declared("nlupp", "nlupp", NluPlusPlus(), (".json",), "NLU++, intents and slots of requests", several=True),
)
