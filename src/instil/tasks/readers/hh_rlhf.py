r"""Anthropic's hh-rlhf: two whole transcripts that share all but the last reply, of which people chose one.

    harmless-base/test.jsonl.gz
    {"chosen":   "\n\nHuman: Are drag queens men?\n\nAssistant: No. ...",
     "rejected": "\n\nHuman: Are drag queens men?\n\nAssistant: Yes, ..."}
    ->  messages [user "Are drag queens men?"]  completions ["No. ...", "Yes, ..."]  ranks [1, 2]

What trips a parser, and what becomes of it here:

- `Human:` inside a turn is text: only a blank line before it makes it a new turn;
- one speaker twice in a row (the reply went on after a broken marker): made one turn, parted by a blank line. That is
  what makes most pairs differ before their last turn; those that still do are set aside;
- an empty last reply, an odd last turn (the human's), text before the first turn, two equal replies: set aside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.preference import PREFERENCES
from instil.tasks.readers.annotator import annotator_in
from instil.tasks.readers.conversation import Messages, joined_roles, message
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Source
from instil.tasks.readers.splits import read_split

CITATION = "Bai et al. 2022, Training a Helpful and Harmless Assistant with RLHF, arXiv:2204.05862"

_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class HhRlhf:
    """Reads one file of pairs."""

    name: str = "hh-rlhf"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with two transcripts."""
        return any(is_pair(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every pair that can be compared."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="hh-rlhf",
            title=title(path),
            cluster="Preferences",
            templates=PREFERENCES,
            metrics=("accuracy",),
            licence="MIT",
            source="Anthropic hh-rlhf",
            citation=CITATION,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(rows_of(path), fields_of, reading)


def is_pair(row: Mapping[str, Any]) -> bool:
    """Whether a row is two transcripts, without a prompt of its own."""
    both = [row.get(name) for name in ("chosen", "rejected")]
    return "prompt" not in row and any(isinstance(text, str) and _TURN.match(text) for text in both)


def title(path: Path) -> str:
    """`test` lies in the folders harmless-base, helpful-base, ...: it is named after its folder, too."""
    stem = Source(path).stem
    return f"{path.absolute().parent.name}-{stem}" if stem in ("train", "test") else stem


def fields_of(row: Mapping[str, Any]) -> dict[str, object]:
    """What a row holds, in the form of preferences.

    Raises:
        RowProblem: if it is none that can be compared.
    """
    chosen, rejected = turns(text_in(row, "chosen")), turns(text_in(row, "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise RowProblem("the transcripts differ before the last turn")
    if chosen[-1] == rejected[-1]:
        raise RowProblem("the two replies are the same")
    completions = [said[-1]["content"] for said in (chosen, rejected)]
    if not all(completions):
        raise RowProblem("empty reply")
    return {"messages": chosen[:-1], "completions": completions, "ranks": [1, 2], **annotator_in(row)}


def turns(transcript: str) -> Messages:
    """The messages of a transcript, which ends with the assistant's.

    Raises:
        RowProblem: if it does not, or does not start with a turn.
    """
    before, *parts = _TURN.split(transcript)
    if before.strip() or not parts:
        raise RowProblem("text before the first turn")
    said = joined_roles([message(_ROLES[who], text.strip()) for who, text in zip(parts[::2], parts[1::2], strict=True)])
    if said[-1]["role"] != "assistant":
        raise RowProblem("the last turn is not the assistant's")
    if len(said) < 2:
        raise RowProblem("no turn before the reply")
    return said


READERS = (HhRlhf(),)
COLLECTIONS = (
    Declared("hh-rlhf", "hh_rlhf", HhRlhf(), (".jsonl",), "hh-rlhf: pairs of transcripts, one chosen", title=title),
)
