"""TRL's row types, as JSON lines, a JSON list or Parquet: conversations, prompts with completions, preferences, labels.

    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}       conversation
    {"prompt": [{"role": "user", ...}], "completion": [{"role": "assistant", ...}]}                    conversation
    {"prompt": "Hi", "chosen": "Hello", "rejected": "No"}       or with messages, or without a prompt    preference
    {"prompt": "Hi", "completion": "Hello", "label": true}      or with messages                         label

A conversation may come with `tools`, the schemas of what it calls. In a prompt with a completion only the completion's
turns are learnt. Texts alone (`prompt`, `completion`) are `plain` rows. A preference without a prompt has what both
replies share as its prompt: their first messages, or their first words. Where `chosen` and `rejected` repeat the
prompt's messages, as many published sets do, those are not repeated. Preferences and labels may name who gave them
(`annotator`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.dialogue import Dialogue
from instil.tasks.preference import PREFERENCES, RATINGS
from instil.tasks.readers.annotator import annotator_in
from instil.tasks.readers.conversation import Messages, as_messages, is_messages, message, messages_in, needs_answer
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, text_in
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.splits import read_split
from instil.tasks.readers.tools import tools_in
from instil.tasks.template import Renderer


@dataclass(frozen=True)
class Trl:
    """Reads one file of one row type."""

    name: str
    # A function is shown with its place in memory, and what a reader is shown as must say the same in every process.
    fits: Callable[[Mapping[str, Any]], bool] = field(repr=False)
    fields: Callable[[Mapping[str, Any]], dict[str, object]] = field(repr=False)
    cluster: str
    templates: tuple[Renderer, ...]
    metrics: tuple[str, ...]

    def recognises(self, path: Path, head: bytes) -> bool:
        """By the names of the fields, and whether they hold texts or messages."""
        return any(self.fits(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every whole row."""
        return read_split(
            self.name,
            path,
            self._examples,
            collection=self.name,
            cluster=self.cluster,
            templates=self.templates,
            metrics=self.metrics,
            licence="not stated",
            language="not stated",
            source=path.name,
        )

    def _examples(self, path: Path, reading: Reading) -> list[Example]:
        return examples_of(rows_of(path), self.fields, reading)


def _is_chat(row: Mapping[str, Any]) -> bool:
    if {"completions", "chosen", "label"} & set(row):
        return False
    return is_messages(row.get("messages")) or is_messages(row.get("completion"))


def _chat(row: Mapping[str, Any]) -> dict[str, object]:
    if "completion" not in row:
        messages = messages_in(row, "messages")
        needs_answer(messages)
        return {"messages": messages, **tools_in(row)}
    prompt = said(row, "prompt", "user")
    messages = prompt + said(row, "completion", "assistant")
    needs_answer(messages, len(prompt))
    return {"messages": messages, "answers_from": len(prompt), **tools_in(row)}


def _is_preference(row: Mapping[str, Any]) -> bool:
    """Two replies; transcripts that start with `Human:` and have no prompt are hh-rlhf's."""
    both = [row.get("chosen"), row.get("rejected")]
    if not {"chosen", "rejected"} <= set(row):
        return False
    texts = [text for text in both if isinstance(text, str)]
    return "prompt" in row or not any(text.lstrip().startswith(("Human:", "Assistant:")) for text in texts)


def _preference(row: Mapping[str, Any]) -> dict[str, object]:
    both = [said(row, name, "assistant") for name in ("chosen", "rejected")]
    if "prompt" in row:
        prompt = said(row, "prompt", "user")
        both = [reply[len(prompt) :] if reply[: len(prompt)] == prompt else reply for reply in both]
    elif len(both[0]) == len(both[1]) == 1:
        prompt, both = _shared_words(both)
    else:
        shared = _shared(*both)
        prompt, both = both[0][:shared], [reply[shared:] for reply in both]
    if [len(reply) for reply in both] != [1, 1] or any(reply[0]["role"] != "assistant" for reply in both):
        raise RowProblem("the replies differ before the last turn")
    chosen, rejected = (reply[0]["content"] for reply in both)
    if not (chosen and rejected):
        raise RowProblem("empty reply")
    if chosen == rejected:
        raise RowProblem("the two replies are the same")
    return {"messages": prompt, "completions": [chosen, rejected], "ranks": [1, 2], **annotator_in(row)}


def _shared_words(both: list[Messages]) -> tuple[Messages, list[Messages]]:
    """Two texts without a prompt: the words that they start with in common are the prompt."""
    texts = [reply[0]["content"] for reply in both]
    shared = texts[0][: _shared(*texts)].rpartition(" ")[0]
    prompt = [message("user", shared)] if shared else []
    return prompt, [[message("assistant", text[len(shared) :].strip())] for text in texts]


def _shared(one: Sequence[object], other: Sequence[object]) -> int:
    """How many items two sequences start with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))


def _is_labelled(row: Mapping[str, Any]) -> bool:
    return {"prompt", "completion", "label"} <= set(row)


def _labelled(row: Mapping[str, Any]) -> dict[str, object]:
    label, prompt, reply = row.get("label"), said(row, "prompt", "user"), said(row, "completion", "assistant")
    if label not in (0, 1):  # True and False are 1 and 0
        raise RowProblem("field 'label' is neither true nor false")
    if len(reply) != 1 or not reply[0]["content"]:
        raise RowProblem("empty reply" if len(reply) == 1 else "the completion is not one message")
    return {"messages": prompt, "completions": [reply[0]["content"]], "scores": [float(label)], **annotator_in(row)}


def said(row: Mapping[str, Any], name: str, role: str) -> Messages:
    """The messages of a field that holds messages, or a text that stands for one of them.

    Raises:
        RowProblem: if it holds neither.
    """
    value = row.get(name)
    if isinstance(value, (list, tuple)):
        return as_messages(value, name)
    text = text_in(row, name).strip()
    if not text and role == "user":
        raise RowProblem("empty prompt")
    return [message(role, text)]


CHAT = Trl("chat", _is_chat, _chat, "Dialogue", (Dialogue(),), ("rouge_l",))
PREFERENCE = Trl("preference", _is_preference, _preference, "Preferences", PREFERENCES, ("accuracy",))
LABELLED = Trl("labelled", _is_labelled, _labelled, "Reply rating", RATINGS, ("accuracy",))

READERS = (CHAT, PREFERENCE, LABELLED)

_SUFFIXES = (".jsonl", ".json", ".parquet")
COLLECTIONS = (
    Declared("chat", "chat", CHAT, _SUFFIXES, "conversations of one's own: TRL's messages, or prompt + completion"),
    Declared("preference", "preference", PREFERENCE, _SUFFIXES, "pairs of one's own: prompt, chosen, rejected"),
    Declared("labelled", "labelled", LABELLED, _SUFFIXES, "replies of one's own: prompt, completion, label"),
)
