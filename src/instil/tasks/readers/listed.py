r"""The items of a JSON list, one at a time: a file of any length in the memory of one item.

    [{"id": 1}, {"id": 2}, {"id"      ->  {"id": 1}   {"id": 2}   Damage("not JSON (expecting ':' delimiter)")

What stands before the damage is whole, so it is kept; where the damage ends cannot be told, so nothing after it is.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from instil.tasks.readers.source import MAX_LINE_BYTES, Damage, Source, no_repeats

_PIECE = 1 << 20
#: `.`, `e`, `e+`: how much of a number can follow its head before the rest is one again.
_NUMBER_REST = 3
#: `-Infinity`: what of a word or an escape may stand at the end of a text that was cut.
_LONGEST_WORD = 16
_SPACE = " \t\r\n"


def items_of(source: Source) -> Iterator[Any]:
    """The items of the list that a file is; a Damage as the last where it does not end as a list should."""
    text = _Text(source)
    try:
        if text.mark() != "[":
            raise Damage("not a list")
        text.place += 1
        if text.mark() == "]":
            text.place += 1
        else:
            yield from _items(text)
        if text.mark():
            raise Damage("not JSON (extra data)")
    except Damage as damage:
        yield damage


def _items(text: _Text) -> Iterator[Any]:
    while True:
        yield text.value()
        mark = text.mark()
        text.place += 1
        if mark == "]":
            return
        if mark != ",":
            raise Damage("not JSON (expecting ',' delimiter)")
        text.mark()


class _Text:
    """A stretch of a file's text, and the place in it up to which it has been read."""

    def __init__(self, source: Source) -> None:
        self.place = 0
        self._text = ""
        self._pieces = source.pieces(_PIECE)
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._parse = json.JSONDecoder(object_pairs_hook=no_repeats).raw_decode
        self._whole = False

    def mark(self) -> str:
        """The next character that is no blank, where the place then is; empty at the end."""
        while True:
            while self.place < len(self._text) and self._text[self.place] in _SPACE:
                self.place += 1
            if self.place < len(self._text):
                return self._text[self.place]
            if self._whole:
                return ""
            self._more()

    def value(self) -> Any:
        """The value at the place, which moves behind it."""
        while True:
            problem = ""
            try:
                found, end = self._parse(self._text, self.place)
                # Of `1.5` or `1e+9` the head is a number, too.
                cut = isinstance(found, (int, float)) and len(self._text) - end < _NUMBER_REST
            except json.JSONDecodeError as error:
                problem = f"not JSON ({error.msg.lower()})"
                # Text that was cut fails where it ends, and in a string where that starts.
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - _LONGEST_WORD
            except RecursionError:
                raise Damage("not usable JSON (nested too deeply)") from None
            except ValueError:  # an integer of more than 4,300 digits
                raise Damage("not usable JSON (a number is too long)") from None
            if cut and not self._whole:
                if len(self._text) - self.place > MAX_LINE_BYTES:
                    raise Damage(f"longer than {MAX_LINE_BYTES >> 20} MiB")
                self._more()
                continue
            if problem:
                raise Damage(problem)
            self.place = end
            return found

    def _more(self) -> None:
        """Read as much again as is waiting, so that a long item is not parsed too often; forget what has been read."""
        waiting = [self._text[self.place :]]
        wanted, size = max(_PIECE, len(waiting[0])), 0
        while size < wanted and not self._whole:
            piece = next(self._pieces, b"")
            self._whole = not piece
            try:
                waiting.append(self._decode(piece, self._whole))
            except UnicodeDecodeError:
                raise Damage("not UTF-8") from None
            size += len(piece)
        self._text, self.place = "".join(waiting), 0
