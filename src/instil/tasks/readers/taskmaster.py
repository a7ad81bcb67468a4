r"""Taskmaster: dialogues in which an assistant orders coffee through an API, and people's labels of single replies.

    TM-4-2024/reward/reward_00.json     context and generation are JSON inside strings; one reply, labelled 0 or 1
    {"context": "[{\"role\": \"agent\", \"text\": \"Welcome ...\"}, {\"role\": \"user\", ...}]",
     "generation": "{\"role\": \"agent\", \"api\": {...}}", "reward": 1.0}
    ->  messages [assistant "Welcome ...", user ...]  completions ['{"get_menu_items": ...}']  scores [1.0]

    TM-4-2024/data/data_06.json         {"conversation_id": ..., "utterances": [{"speaker": "user", "text": ...}, ...]}
    ->  messages [user "Hello, I'd like to order a Mocha ...", assistant '{"get_menu_items": ...}', tool "...", ...]

A call of the API is a turn of the assistant and its answer one of the tool, both as JSON; in the dialogues they are
read out of the annotations of the utterance that they follow. Labels are single replies, not pairs, and unbalanced.
A reply without a context (the conversation's first) is kept: it has no messages before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.tasks.dialogue import Dialogue
from instil.tasks.preference import RATINGS
from instil.tasks.readers.conversation import (
    Messages,
    as_json,
    as_messages,
    joined_roles,
    message,
    needs_answer,
)
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Damage, Source, parsed
from instil.tasks.task import Task

CITATION = "Byrne et al. 2019, Taskmaster-1, arXiv:1909.05358; Taskmaster-4 (2024)"

_REWARD = frozenset({"context", "generation", "reward"})
_SPEAKERS = {"user": "user", "assistant": "assistant", "agent": "assistant"}


@dataclass(frozen=True)
class Rewards:
    """Reads one file of labelled replies."""

    name: str = "taskmaster-rewards"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with a context, a generation and its reward."""
        return any(set(row) >= _REWARD for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every labelled reply."""
        reading = Reading(self.name)
        examples = examples_of(rows_of(path), _labelled, reading)
        if examples:
            task = _task(self.name, path, "Reply rating", examples)
            reading.tasks.append(Task(**task, templates=RATINGS, metrics=("accuracy",)))
        return reading


@dataclass(frozen=True)
class Dialogues:
    """Reads one file of dialogues."""

    name: str = "taskmaster"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with the utterances of a conversation."""
        return any(set(row) >= {"conversation_id", "utterances"} for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every dialogue."""
        reading = Reading(self.name)
        examples = examples_of(rows_of(path), _dialogue, reading, key="conversation_id")
        if examples:
            task = _task(self.name, path, "Dialogue", examples)
            reading.tasks.append(Task(**task, templates=(Dialogue(),), metrics=("rouge_l",)))
        return reading


def _task(collection: str, path: Path, cluster: str, examples: list[Any]) -> dict[str, Any]:
    source = Source(path)
    return {
        "name": f"{collection}/{source.stem}",
        "cluster": cluster,
        "collection": collection,
        "examples": examples,
        "licence": "CC BY 4.0",
        "source": "Taskmaster",
        "citation": CITATION,
        "content": source.sha256(),
    }


def _labelled(row: Mapping[str, Any]) -> dict[str, object]:
    context = _inside(row, "context")
    if not isinstance(context, list):
        raise RowProblem("field 'context' holds no list")
    replies = as_messages([_inside(row, "generation")], "generation")
    reward = row.get("reward")
    if isinstance(reward, bool) or not isinstance(reward, (int, float)) or reward not in (0, 1):
        raise RowProblem("field 'reward' is neither 0 nor 1")
    if replies[0]["role"] != "assistant":
        raise RowProblem("the reply is not the assistant's")
    if not replies[0]["content"]:
        raise RowProblem("empty reply")
    return {
        "messages": as_messages(context, "context") if context else [],
        "completions": [replies[0]["content"]],
        "scores": [float(reward)],
    }


def _inside(row: Mapping[str, Any], name: str) -> Any:
    """The JSON that stands inside a field's string."""
    try:
        return parsed(text_in(row, name))
    except Damage as damage:
        raise RowProblem(f"field {name!r}: {damage}") from None


def _dialogue(row: Mapping[str, Any]) -> dict[str, object]:
    listed = row.get("utterances")
    if not isinstance(listed, list):
        raise RowProblem("field 'utterances' is no list")
    messages = joined_roles([said for one in listed for said in _said(one)])
    needs_answer(messages)
    return {"messages": messages, "conversation_id": text_in(row, "conversation_id")}


def _said(utterance: object) -> Messages:
    """What an utterance says, and the calls that followed it with their answers."""
    if not isinstance(utterance, Mapping):
        raise RowProblem("field 'utterances' holds something other than objects")
    speaker = utterance.get("speaker")
    role = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise RowProblem("an utterance has an unknown speaker")
    return [message(role, text_in(utterance, "text").strip()), *_calls(utterance.get("annotations"))]


def _calls(annotations: object) -> Iterator[dict[str, str]]:
    """api_call, request, api_response, response: four annotations in a row make a call and its answer."""
    called = ""
    for one in annotations if isinstance(annotations, list) else ():
        if not isinstance(one, Mapping):
            raise RowProblem("an annotation is no object")
        name, value = one.get("name"), one.get("value")
        if name == "api_call":
            called = text_in(one, "value")
        elif name in ("request", "response") and called:
            role = "assistant" if name == "request" else "tool"
            yield message(role, as_json({called: _decoded(value)}))


def _decoded(value: object) -> object:
    """What stands in an annotation: mostly JSON, sometimes broken by its template; then its text."""
    try:
        return parsed(value) if isinstance(value, str) else value
    except Damage:
        return value


READERS = (Rewards(), Dialogues())
COLLECTIONS = (
    Declared(
        "taskmaster",
        "taskmaster",
        Dialogues(),
        (".json",),
        "Taskmaster dialogues",
        makes_task=lambda path: path.parent.name != "reward",
    ),
    Declared(
        "taskmaster-rewards",
        "taskmaster",
        Rewards(),
        (".json",),
        "Taskmaster replies that people labelled good or bad",
        makes_task=lambda path: path.parent.name == "reward",
    ),
)
