"""Looking words up gives the ids that the tokenizer gives, for any text; where this cannot be known it is not tried."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from instil.mixtures import words as module
from instil.mixtures.boundary import reader, writer
from instil.mixtures.words import _PATTERNS, Words, cuts_before_blanks

CORPUS = ["It's the capital of France, isn't it?  Yes.\n\n1234 5 and\tso on; I'll   say 'no'.\r\n \n end" * 3] * 20
MAKES = ("gpt2", "llama3", "qwen", "digits", "added")


@cache
def made(make: str, vocabulary: int = 420) -> Tokenizer:
    """A small tokenizer of a make."""
    tokenizer = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    mapped = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    steps: dict[str, Any] = {
        "llama3": [pre_tokenizers.Split(Regex(_PATTERNS[0]), "isolated"), mapped],
        "qwen": [pre_tokenizers.Split(Regex(_PATTERNS[1]), "isolated"), mapped],
        "digits": [pre_tokenizers.Digits(individual_digits=True), plain],
    }
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps[make]) if make in steps else plain
    if make == "qwen":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if make == "added":
        tokenizer.add_tokens([AddedToken("<call>", normalized=False), "capital"])
    return tokenizer


@cache
def words(make: str) -> Words:
    """One for all examples, so that most pieces were met before, in other texts."""
    return Words(reader(made(make)))


BLANKS = st.sampled_from(
    [" ", " ", " ", "  ", "\n", "\n\n", " \n", "\n ", "\t", "\r\n", "\u00a0", "\u2003", "\x1c", "\x85"]
)
MORSELS = st.sampled_from(
    [
        "capital",
        "It's",
        "'s",
        "1234",
        "Ⅷ",
        "?",
        "...",
        "é",
        "e\u0301",
        "\u0301",
        "</s>",
        "<call>",
        "\u200b",
        "日本",
        "🙂",
    ]
)
TEXTS = st.lists(BLANKS | MORSELS | st.text(max_size=3), max_size=25).map("".join)


@pytest.mark.parametrize("make", MAKES)
@given(texts=st.lists(TEXTS, max_size=4))
@example(texts=["a  b", " a", "a ", "", " ", "a\n b", "a \nb", "a\u00a0 b", "x\x1c y", "' s", "a 's b"])
def test_looked_up_is_what_the_tokenizer_says(make: str, texts: list[str]) -> None:
    assert words(make).exact
    for copy in (words(make), Words(writer(made(make)))):
        direct = [item.ids for item in copy.tokenizer.encode_batch(texts, add_special_tokens=False)]
        assert copy.encode(texts) == direct


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PIECES", 50)
    some = Words(reader(made("gpt2")))
    for turn in range(20):
        texts = [f"word{turn} other{turn}x{k} " + "long" * 20 for k in range(10)]
        assert some.encode(texts) == [item.ids for item in some.tokenizer.encode_batch(texts)]
        assert len(some._later) <= 50
        assert not any(len(word) > 40 for word in some._later)


def other(change: dict[str, Any]) -> dict[str, Any]:
    """GPT-2's make as JSON, with something else about it."""
    return {**json.loads(made("gpt2").to_str()), **change}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": None},
        {"pre_tokenizer": {**BYTES, "add_prefix_space": True}},
        {"pre_tokenizer": {**BYTES, "use_regex": False}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, BYTES]}},
        {"normalizer": {"type": "Prepend", "prepend": "▁"}},
        {"model": {"type": "Unigram"}},
        {"model": {"type": "BPE", "dropout": 0.1}},
        {
            "added_tokens": [
                {"content": "a b", "special": False, "lstrip": False, "rstrip": False, "single_word": False}
            ]
        },
        {"added_tokens": [{"content": "ab", "special": False, "lstrip": True, "rstrip": False, "single_word": False}]},
    ],
)
def test_tokenizers_of_other_makes_are_asked_for_whole_texts(change: dict[str, Any]) -> None:
    assert cuts_before_blanks(other({}))
    assert not cuts_before_blanks(other(change))


def test_a_tokenizer_of_another_make_still_encodes() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert Words(tokenizer).encode(["a b", "c"]) == [[0, 1], [2]]
