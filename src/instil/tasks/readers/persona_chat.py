r"""Synthetic-Persona-Chat: CSV with cells of many lines; two people, each with a persona, talk.

    user 1 personas,user 2 personas,Best Generated Conversation
    "I love to bake cookies.\nI have a dogs. ...","I am a boy. ...","User 1: Hi!\nUser 2: Hello!\nUser 1: What is ..."
    ->  messages [system "I am a boy. ...", user "Hi!", assistant "Hello!", user "What is ...", ...]

User 2 is the assistant, and its persona what the system says. Turns are also marked `* User 1:`, `*User 1:*` or
`**User 1:**`; a line without a mark (a scene, a recipe) belongs to the turn before it, a line of stars is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from instil.records import Example
from instil.tasks.dialogue import Dialogue
from instil.tasks.readers.conversation import Messages, joined_roles, message, needs_answer
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text
from instil.tasks.readers.rows import csv_rows, examples_of, first_csv_rows
from instil.tasks.readers.source import Damage, Source
from instil.tasks.readers.splits import read_split

HEADER = ("user 1 personas", "user 2 personas", "best generated conversation")
CITATION = "Jandaghi et al. 2023, Faithful Persona-based Conversational Dataset Generation, arXiv:2312.10007"

_TURN = re.compile(r"^[\s*]*user ?([12])\b[\s*]*:[\s*]*", re.IGNORECASE)
_STARS = re.compile(r"^[\s*]*$")
_ROLES = {"1": "user", "2": "assistant"}


@dataclass(frozen=True)
class PersonaChat:
    """Reads one CSV file."""

    name: str = "persona-chat"

    def recognises(self, path: Path, head: bytes) -> bool:
        """CSV with its header."""
        return Source(path).suffix == ".csv" and any(_is_header(row) for row in islice(first_csv_rows(head), 1))

    def read(self, path: Path) -> Reading:
        """One task with every conversation."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="persona-chat",
            cluster="Dialogue",
            templates=(Dialogue(),),
            metrics=("rouge_l",),
            licence="CC BY 4.0",
            source="Synthetic-Persona-Chat",
            citation=CITATION,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(_rows(path), _fields, reading)


def _is_header(row: list[str]) -> bool:
    return tuple(name.strip().lower() for name in row) == HEADER


def _rows(path: Path) -> Iterator[tuple[str, list[str] | Damage]]:
    """The rows below the header, which is none."""
    for number, (where, row) in enumerate(csv_rows(path)):
        if not (number == 0 and not isinstance(row, Damage) and _is_header(row)):
            yield where, row


def _fields(row: list[str]) -> dict[str, object]:
    if len(row) != len(HEADER):
        raise RowProblem(f"{len(row)} columns, not {len(HEADER)}")
    first, second, said = (as_text(cell, name) for cell, name in zip(row, HEADER, strict=True))
    personas = [[line.strip() for line in cell.split("\n") if line.strip()] for cell in (first, second)]
    turns = _turns(said)
    needs_answer(turns)
    system = [message("system", "\n".join(personas[1]))] if personas[1] else []
    return {"messages": system + turns, "user_1_persona": personas[0], "user_2_persona": personas[1]}


def _turns(said: str) -> Messages:
    found: Messages = []
    for line in said.split("\n"):
        marked = _TURN.match(line)
        if marked:
            found.append(message(_ROLES[marked[1]], _content(line[marked.end() :], line)))
        elif found and not _STARS.match(line):
            found[-1] = message(found[-1]["role"], f"{found[-1]['content']}\n{line.strip()}".strip())
    return joined_roles(found, "\n")


def _content(text: str, line: str) -> str:
    """What is said, without the star that closes a turn which one opened."""
    text = text.strip()
    return text.removesuffix("*").rstrip() if line.lstrip().startswith("*") else text


READERS = (PersonaChat(),)
COLLECTIONS = (
    Declared(
        "persona-chat",
        "synthetic_persona_chat",
        PersonaChat(),
        (".csv",),
        "Synthetic-Persona-Chat: dialogues of two personas",
    ),
)
