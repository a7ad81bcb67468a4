r"""Byte-level BPE over texts whose words were met before: the same ids as the tokenizer's, several times as fast.

    "What is the capital?\n\nThe  capital"
    What | is | the | capital?\n\nThe |  capital        cut before each blank that follows no white space
    ids of each piece, looked up or encoded once, one after the other

Why this is exact: the pre-tokenizers of GPT-2, Llama 3, Qwen and their like cut a text by a pattern that looks ahead
but never back, and no match of which goes from a visible character on to a blank. So they cut there too, and a match
that starts there sees the same text whether it stands alone or not, because a piece ends in a visible character and
white space is all that they look ahead for. Tokens never cross the cuts of a pre-tokenizer. Tokenizers of any other
make are asked for the whole text.
"""

from __future__ import annotations

import json
import re
import threading
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer

#: Patterns of which all this is known: Llama 3 and GPT-4; Qwen.
_PATTERNS = tuple(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in (r"\p{N}{1,3}", r"\p{N}")
)
#: Pieces that are remembered (some 30 MB), and how long they may be: a text without blanks is not a word.
_MOST_PIECES, _LONGEST_PIECE = 1 << 17, 40
#: White space before a blank: as `str.isspace` has it, which is all that any pattern calls white space.
_WHITE = re.compile(r"\s ")
_ASCII_WHITE = tuple(f"{chr(code)} " for code in range(128) if chr(code).isspace())


class Words:
    """Encodes texts from their pieces.

    Args:
        tokenizer: without padding and truncation.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.exact = cuts_before_blanks(json.loads(tokenizer.to_str()))
        """Whether pieces are looked up; else the tokenizer gets whole texts."""
        self._lock = threading.Lock()  # windows are made ahead in a thread
        self._first: dict[str, bytes] = {}
        """Pieces at the beginning of a text -> their ids."""
        self._later: dict[str, bytes] = {}
        """Pieces behind a blank, which is left out of the key."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, special tokens aside."""
        if not self.exact:
            return [item.ids for item in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        pieces = [_pieces(text) for text in texts]
        with self._lock:
            passing = self._learn(self._first, {words[0] for words in pieces}, "")
            passing_later = self._learn(self._later, set().union(*(words[1:] for words in pieces)), " ")
            later = self._later.__getitem__
            joined = [self._first[words[0]] + b"".join(map(later, words[1:])) for words in pieces]
            _forget(self._first, passing)
            _forget(self._later, passing_later)
        return [np.frombuffer(data, dtype=np.int32).tolist() for data in joined]

    def _learn(self, known: dict[str, bytes], words: set[str], blank: str) -> list[str]:
        """Encode the pieces that are new; those among them that are too long to come again."""
        new = list(words.difference(known))
        encoded = self.tokenizer.encode_batch_fast([blank + word for word in new], add_special_tokens=False)
        for word, item in zip(new, encoded, strict=True):
            known[word] = array("i", item.ids).tobytes()  # int32
        return [word for word in new if len(word) > _LONGEST_PIECE]


def _forget(known: dict[str, bytes], passing: Sequence[str]) -> None:
    if len(known) > _MOST_PIECES:
        known.clear()
    for word in passing:
        known.pop(word, None)


def _pieces(text: str) -> list[str]:
    """The text cut before each blank that follows a visible character, without that blank."""
    words = text.split(" ")
    if not text.startswith(" ") and not _has_white_before_blank(text):
        return words
    pieces = [words[0]]
    for before, word in pairwise(words):
        if before and not before[-1].isspace():
            pieces.append(word)
        else:
            pieces[-1] += " " + word
    return pieces


def _has_white_before_blank(text: str) -> bool:
    # Looking for ten pairs of characters is several times as fast as looking for a class of them.
    return any(pair in text for pair in _ASCII_WHITE) if text.isascii() else _WHITE.search(text) is not None


def cuts_before_blanks(settings: dict[str, Any]) -> bool:
    """Whether a tokenizer, as JSON, is of the make described above."""
    model, normalizer, pre_tokenizer = settings["model"], settings["normalizer"], settings["pre_tokenizer"]
    steps = (pre_tokenizer or {}).get("pretokenizers", [pre_tokenizer])
    added = [token for token in settings["added_tokens"] if not token["special"]]
    return (
        model["type"] == "BPE"
        and not model.get("dropout")
        and (normalizer is None or normalizer == {"type": "NFC"})
        and pre_tokenizer is not None
        and any(step["type"] == "ByteLevel" for step in steps)
        and any(_is_known(step) for step in steps)
        and all(_is_known(step) or _is_local(step) for step in steps)
        and all(_stays_in_words(token) for token in added)
    )


def _is_known(step: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer cuts by one of the known patterns."""
    if step["type"] == "ByteLevel":
        return bool(step["use_regex"]) and not step["add_prefix_space"]
    return (
        step["type"] == "Split"
        and step["pattern"] in [{"Regex": pattern} for pattern in _PATTERNS]
        and step["behavior"] == "Isolated"
        and not step["invert"]
    )


def _is_local(step: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer looks at nothing but single characters."""
    return step["type"] == "Digits" or (step["type"] == "ByteLevel" and not step["add_prefix_space"])


def _stays_in_words(token: dict[str, Any]) -> bool:
    """Whether an added token is found in a piece exactly where it is found in the text."""
    free = token["lstrip"] or token["rstrip"] or token["single_word"]
    return not free and not any(character.isspace() for character in token["content"])
