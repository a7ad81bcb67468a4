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


def _copy(settings: dict[str, Any]) -> Tokenizer:
    if settings["model"]["type"] == "Unigram":
        _hide_special_pieces(settings)
    copy = Tokenizer.from_str(json.dumps(settings))
    copy.no_padding()
    copy.no_truncation()
    copy.encode_special_tokens = True
    return copy


def _hide_special_pieces(settings: dict[str, Any]) -> None:
    """Rename special tokens, in place, to what no text holds: Unigram finds any piece of its vocabulary, `</s>` too."""
    for token in settings["added_tokens"]:
        vocabulary = settings["model"]["vocab"]
        if token["special"] and token["id"] < len(vocabulary):
            token["content"] = f"\ufdd0{token['content']}\ufdd0"
            vocabulary[token["id"]][0] = token["content"]


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
