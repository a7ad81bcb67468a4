"""A place of a mixture as JSON and back: short to write, because a compiled mixture holds millions.

    Prompt(input="2 + 3?", target="5", ...)   <->  ["2 + 3?","5",[],...]    the values of its fields, in order
    Hole(7, "sums", "zero-shot", ("bad",))    <->  {"index":7,"task":"sums",...}

Which fields stand where is kept once, as `FIELDS`. A reader goes by those names, so that records may gain fields.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any

from instil.mixtures.mixture import Hole
from instil.records import Prompt

Layout = Mapping[str, list[str]]
"""Name of a record -> the names of its fields, in the order in which values are written."""


@cache
def _names(record: Any) -> tuple[str, ...]:
    return tuple(item.name for item in fields(record))


def _values(record: Any) -> Any:
    """What the JSON encoder writes for a record inside a prompt, or for a mapping other than dict."""
    if isinstance(record, Mapping):
        return dict(record)
    kind: Any = type(record)
    return [getattr(record, name) for name in _names(kind)]


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_values)


def write_place(place: Prompt | Hole) -> bytes:
    """The place as JSON. Half a surrogate pair, which UTF-8 cannot hold, is kept as it is."""
    content = asdict(place) if isinstance(place, Hole) else _values(place)
    return _ENCODER.encode(content).encode("utf-8", "surrogatepass")


def read_place(data: bytes, layout: Layout) -> Prompt | Hole:
    """The place that `write_place` wrote; a field that the writer did not know has its default."""
    content = json.loads(data.decode("utf-8", "surrogatepass"))
    if isinstance(content, dict):
        return Hole(**{**content, "reasons": tuple(content["reasons"])})
    prompt: Prompt = _record(content, Prompt, layout)
    return prompt


def records_in(record: type) -> dict[str, list[str]]:
    """The fields of a record and of every record inside it, by the record's name."""
    found = {record.__name__: list(_names(record))}
    for annotation in typing.get_type_hints(record).values():
        for part in (annotation, *typing.get_args(annotation)):
            if isinstance(part, type) and is_dataclass(part):
                found.update(records_in(part))
    return found


def _record(values: list[Any], record: type, layout: Layout) -> Any:
    readers = _readers(record)
    named = dict(zip(layout[record.__name__], values, strict=True))
    return record(**{name: readers[name](value, layout) for name, value in named.items() if name in readers})


@cache
def _readers(record: type) -> dict[str, Callable[[Any, Layout], Any]]:
    hints = typing.get_type_hints(record)
    return {item.name: _reader(hints[item.name]) for item in fields(record) if item.init or item.default is MISSING}


def _reader(annotation: Any) -> Callable[[Any, Layout], Any]:
    """How a value of this type is made from JSON."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = _reader(next(part for part in arguments if part is not type(None)))
        return lambda value, layout: None if value is None else inner(value, layout)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value, layout: tuple(item(one, layout) for one in value)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return lambda value, layout: _record(value, annotation, layout)
    return lambda value, layout: value


#: How this version writes prompts; a compiled mixture keeps the one that it was written with.
FIELDS: Layout = records_in(Prompt)
