"""CLINC150: one JSON file of splits, each a list of [text, intent]; what is out of scope lies in splits of its own.

    {"train": [["what expression would i use to say i love you if i were an italian", "translate"], ...],
     "oos_train": [["how much is an overdraft fee for bank", "oos"], ...], "val": ..., "test": ...}
    ->  clinc/data_small_train, clinc/data_small_val, clinc/data_small_test, each with its out-of-scope rows

All intents of the file are the options of every row: 151 in the published files, `oos` among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Damage, Source, as_row
from instil.tasks.readers.splits import source_files
from instil.tasks.task import Task

TEMPLATES = (
    direct("intent", "{{ text }}\nWhat is the intent of this request?", options="options"),
    direct("user-wants", 'A user says: "{{ text }}"\nName what they want.', options="options"),
    direct(
        "options",
        "Classify the request as one of these intents: {{ options | join(', ') }}.\n\nRequest: {{ text }}\nIntent:",
        options="options",
        lists_options=True,
    ),
)
CITATION = (
    "Larson et al. 2019, An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, arXiv:1909.02027"
)

_HEAD = re.compile(rb'\{\s*"(?:oos_)?(?:train|val|test)"\s*:\s*\[\s*(?:\[\s*"|\])')


@dataclass(frozen=True)
class Clinc:
    """Reads one file of splits."""

    name: str = "clinc"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A JSON object whose first key is a split that holds a list of lists."""
        return bool(_HEAD.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")))

    def read(self, path: Path) -> Reading:
        """A task a split; the worked examples of val and test are the train split's."""
        source, reading = Source(path), Reading(self.name)
        try:
            content = as_row(source.json())
        except Damage as damage:
            reading.quarantine("file", str(damage))
            return reading
        options = sorted({pair[1] for _, pair in _pairs(content) if _whole(pair)})
        examples = examples_of(_pairs(content), lambda pair: _fields(pair, options), reading)
        files = source_files((path,))
        train = [Example(f"train-{row.key}", row.fields) for row in examples if row.fields["split"] == "train"]
        for split in dict.fromkeys(str(row.fields["split"]) for row in examples):
            reading.tasks.append(
                Task(
                    name=f"clinc/{source.stem}_{split}",
                    cluster="intent classification",
                    collection="clinc",
                    templates=TEMPLATES,
                    examples=[row for row in examples if row.fields["split"] == split],
                    exemplars=None if split == "train" else train or None,
                    licence="CC BY 3.0",
                    source=f"CLINC150, {split}",
                    citation=CITATION,
                    content=f"{files[0].sha256} {split}",
                    files=files,
                )
            )
        return reading


def _pairs(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every pair with its split, in the order of the file."""
    for name, pairs in content.items():
        if not isinstance(pairs, list):
            yield f"split {name[:60]!r}", Damage("no list of texts with intents")
            continue
        for number, pair in enumerate(pairs, start=1):
            split = name.removeprefix("oos_")
            yield f"row {name[:60]}-{number}", (*pair, split) if isinstance(pair, list) else pair


def _whole(pair: Any) -> bool:
    return isinstance(pair, tuple) and len(pair) == 3 and isinstance(pair[1], str) and bool(pair[1].strip())


def _fields(pair: Any, options: list[str]) -> dict[str, object]:
    if not isinstance(pair, tuple) or len(pair) != 3:
        raise RowProblem("not a text with an intent")
    text, intent, split = as_text(pair[0], "text").strip(), as_text(pair[1], "intent"), pair[2]
    if not text:
        raise RowProblem("empty input")
    if not intent.strip():
        raise RowProblem("empty target")
    return {"text": text, "answer": intent, "options": options, "split": split}


READERS = (Clinc(),)
COLLECTIONS = (
    Declared("clinc", "clinc_oos", Clinc(), (".json",), "CLINC150, intents in and out of scope", several=True),
)
