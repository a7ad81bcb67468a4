"""The line between what a model reads and what it is trained to write, kept by every kind of tokenizer.

    reads "Capital of France? Answer:"   writes " Paris"

                    in the whole sentence   as a continuation here   naive encode(" Paris")
    byte-level BPE  ... Answer : ĠParis     ĠParis                   ĠParis
    Metaspace       ... ▁Answer : ▁Paris    ▁Paris                   ▁ ▁Paris (a blank that nobody wrote)

Tokenizers that put a blank before every text do so for a text's first word. A continuation has no first word, so it is
encoded by a copy of the tokenizer without that blank (and without the stripping of blanks on the left). It is encoded
alone, so it never merges with what stands before: at inference the model sees exactly the tokens that it saw in
training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer


def reader(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that encodes texts from their beginning: no padding, no truncation, special tokens are plain text.

    A row of data that holds `</s>` would otherwise end an answer in its middle.
    """
    return _copy(json.loads(tokenizer.to_str()))


def writer(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that encodes texts as continuations: no blank put in front, none stripped there."""
    settings = json.loads(tokenizer.to_str())
    settings["normalizer"] = _continuing_normalizer(settings.get("normalizer"))
    settings["pre_tokenizer"] = _continuing_pre_tokenizer(settings.get("pre_tokenizer"))
    return _copy(settings)


def prefix_ids(tokenizer: Tokenizer) -> list[int]:
    """What the tokenizer's own post-processor puts before a text: the beginning-of-text token, or nothing."""
    encoded = reader(tokenizer).encode("a")
    prefix: list[int] = []
    for token, special in zip(encoded.ids, encoded.special_tokens_mask, strict=True):
        if not special:
            break
        prefix.append(token)
    return prefix


#: Breaks a special token where it stands in data; removed again before the text is cut into tokens. No row holds
#: U+FDD1, a code point that is never a character.
BREAK = "\ufdd1"


class TemplateTokens:
    r"""A tokenizer for texts that a chat template wrote: its special tokens count, those inside data do not.

    data "Say </s> now" -> protected "Say <\ufdd1/s> now"; template "<|user|>Say <\ufdd1/s> now</s>"
    ids  <|user|>  Say  <  /s  >  now  </s>           the last is the special token, the first is letters

    Args:
        tokenizer: of the model.
        continuing: whether texts go on from what stands before, instead of beginning anew.
    """

    def __init__(self, tokenizer: Tokenizer, *, continuing: bool = False) -> None:
        settings = json.loads(tokenizer.to_str())
        special = {token["content"]: token["id"] for token in settings["added_tokens"] if token["special"]}
        if continuing:
            settings["normalizer"] = _continuing_normalizer(settings.get("normalizer"))
            settings["pre_tokenizer"] = _continuing_pre_tokenizer(settings.get("pre_tokenizer"))
        steps = [{"type": "Replace", "pattern": {"String": BREAK}, "content": ""}, settings["normalizer"]]
        settings["normalizer"] = {"type": "Sequence", "normalizers": [step for step in steps if step is not None]}
        for token in settings["added_tokens"]:
            token["normalized"] = token["normalized"] and not token["special"]  # found before the breaks are removed
        self._copy = _copy(settings, special_tokens=True)
        # A token whose piece is hidden from the model gets a number of its own: it is put right afterwards.
        renamed = {self._copy.token_to_id(content): token for content, token in special.items()}
        self._renamed = {mine: token for mine, token in renamed.items() if mine != token}
        self.special: Mapping[str, int] = special
        """The special tokens' texts and ids."""
        texts = "|".join(re.escape(content) for content in sorted(special, key=len, reverse=True) if content)
        self._inside = re.compile(f"(?=(?:{texts}))(.)", re.DOTALL) if texts else None
        # A text that ends as a special token begins, and one that begins as it ends, could make one with its neighbour.
        heads = {content[:cut] for content in special for cut in range(1, len(content))}
        tails = {content[cut:] for content in special for cut in range(1, len(content))}
        self._heads, self._tails = tuple(heads), tuple(tails)

    def protected(self, text: str) -> str:
        """A text of data whose special tokens will be read as letters."""
        if self._inside is None:
            return text
        text = self._inside.sub(lambda match: match[1] + BREAK, text)
        if text.endswith(self._heads):
            text += BREAK
        return BREAK + text if text.startswith(self._tails) else text

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        found = [item.ids for item in self._copy.encode_batch_fast(list(texts), add_special_tokens=False)]
        if not self._renamed:
            return found
        return [[self._renamed.get(token, token) for token in ids] for ids in found]


def _copy(settings: dict[str, Any], *, special_tokens: bool = False) -> Tokenizer:
    """The tokenizer of these settings; `special_tokens` says whether a text may hold special tokens."""
    _hide_special_pieces(settings, keep_names=special_tokens)
    copy = Tokenizer.from_str(json.dumps(settings))
    copy.no_padding()
    copy.no_truncation()
    copy.encode_special_tokens = not special_tokens
    return copy


def _hide_special_pieces(settings: dict[str, Any], *, keep_names: bool) -> None:
    """Rename special tokens, in place, to what no text holds: some models find any piece of their vocabulary in a text.

    Unigram does, `</s>` too; WordPiece and WordLevel, and BPE that takes whole words first, where a word is just that.
    """
    model = settings["model"]
    vocabulary = model["vocab"]
    if model["type"] == "BPE" and not model.get("ignore_merges"):
        return
    merged = {"".join(merge) for merge in model.get("merges", ())}
    for token in settings["added_tokens"]:
        if not token["special"] or token["content"] in merged or token["content"] == model.get("unk_token"):
            continue
        hidden = f"\ufdd0{token['content']}\ufdd0"
        if model["type"] == "Unigram":
            if token["id"] >= len(vocabulary):
                continue
            vocabulary[token["id"]][0] = hidden
        elif token["content"] in vocabulary:
            vocabulary[hidden] = vocabulary.pop(token["content"])
        else:
            continue
        if not keep_names:
            token["content"] = hidden


def _continuing_normalizer(normalizer: dict[str, Any] | None) -> dict[str, Any] | None:
    if normalizer is None or normalizer["type"] == "Prepend":
        return None
    changes: dict[str, Any] = {}
    if normalizer["type"] == "Strip":
        changes = {"strip_left": False}
    elif normalizer["type"] == "Sequence":
        steps = map(_continuing_normalizer, normalizer["normalizers"])
        changes = {"normalizers": [step for step in steps if step is not None]}
    return {**normalizer, **changes}


def _continuing_pre_tokenizer(pre_tokenizer: dict[str, Any] | None) -> dict[str, Any] | None:
    if pre_tokenizer is None:
        return None
    changes: dict[str, Any] = {}
    if pre_tokenizer["type"] == "Metaspace":
        changes = {"prepend_scheme": "never"}
    elif pre_tokenizer["type"] == "ByteLevel":
        changes = {"add_prefix_space": False}
    elif pre_tokenizer["type"] == "Sequence":
        changes = {"pretokenizers": [_continuing_pre_tokenizer(step) for step in pre_tokenizer["pretokenizers"]]}
    return {**pre_tokenizer, **changes}
