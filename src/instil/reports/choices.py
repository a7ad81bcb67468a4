"""What was fixed before a study's first run, in plain words: what was chosen first, what was left open in one line.

plain_choices([["targets", '{"held_in": [{"collection": "pocket-targets", "tasks": ["a", "b"], "cap": null}]}'],
               ["data", "default"], ["seeds", "0, 1"]])

targets   held in: collection: pocket-targets; tasks: a, b
seeds     0, 1
not set   data
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_OPEN = frozenset({"", "default", "none", "null", "{}", "[]", "None"})
"""How a study file's empty keys are written; they decide nothing."""


def plain_choices(choices: Sequence[Sequence[Any]]) -> list[tuple[str, list[str]]]:
    """(what, lines) pairs: each choice with what it says, and last one line that names all keys left empty."""
    told: list[tuple[str, list[str]]] = []
    unset: list[str] = []
    for what, value in choices:
        name = str(what).replace("_", " ")
        lines = _lines(_read(value))
        if lines:
            told.append((name, lines))
        else:
            unset.append(name)
    return [*told, *([("not set", [", ".join(unset)])] if unset else [])]


def _read(value: Any) -> Any:
    """A value as it was before it was written as JSON; a text that is none stays."""
    if not isinstance(value, str):
        return value
    if value.strip() in _OPEN:
        return None
    if value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _lines(value: Any) -> list[str]:
    """A value in lines: a mapping of mappings a line an entry, anything else in one; none where it says nothing."""
    if isinstance(value, Mapping):
        deep = any(isinstance(one, Mapping | list) for one in value.values())
        made = [(str(key).replace("_", " "), _say(one)) for key, one in value.items()]
        told = [f"{key}: {said}" for key, said in made if said]
        return told if deep else ["; ".join(told)] if told else []
    said = _say(value)
    return [said] if said else []


def _say(value: Any) -> str:
    """A value in words, without what is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        made = [(str(key).replace("_", " "), _say(one)) for key, one in value.items()]
        return "; ".join(f"{key}: {said}" for key, said in made if said)
    if isinstance(value, list | tuple):
        between = " | " if any(isinstance(one, Mapping) for one in value) else ", "
        return between.join(said for one in value if (said := _say(one)))
    return str(value)
