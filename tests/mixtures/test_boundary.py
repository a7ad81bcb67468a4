"""The line between what is read and what is trained on, over any text and every family of tokenizers.

ids = encode(prompt) + encode_continuation(target), the same as at inference; the continuation gains no blank and merges
with nothing; special tokens in data are letters. Naive encoders fail the same properties, as a control.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.mixtures.families import BYTES, FAMILIES, LOSSLESS, SPECIAL, tokenizer_of
from tokenizers import Tokenizer

from instil.mixtures.boundary import TemplateTokens, reader, writer
from instil.mixtures.encode import Encoder
from instil.records import Exemplar, Message, Prompt, PromptFormat

FORMS = [
    PromptFormat(),
    PromptFormat(separator="\nAnswer: "),
    PromptFormat(separator=" "),
    PromptFormat(separator="  ", exemplar_separator=" "),
    PromptFormat(assistant="Assistant:", turn_separator="\n\n"),
]
#: Characters that tokenizers treat in ways of their own, beside all others: blanks, line ends, controls, joiners.
ODD = " \t\n\r\v\f\x00\x1b\x85\xa0\u2003\u2028\u200b\u200d\ufeff\u0301▁Ġ漢é�🙂\U0001f468"
#: Texts that look like tokens of the file, whole and in pieces, and what could be pieced together with them.
LOOKALIKES = [*SPECIAL, "</", "s>", "<", ">", "<s", "<<s>", "</s></s>", "unk", "a", " ", "\n"]

characters = st.characters(exclude_categories=("Cs",), exclude_characters="\ufdd0\ufdd1")
texts = st.text(st.one_of(characters, st.sampled_from(ODD)), max_size=40)
targets = texts.filter(lambda text: bool(text.strip()))
hostile = st.lists(st.one_of(st.sampled_from(LOOKALIKES), texts), max_size=8).map("".join)


@cache
def encoder_of(family: str, form: PromptFormat) -> Encoder:
    return Encoder(tokenizer_of(family), form=form, max_length=1 << 16, eos_id=1)


def harmless(*said: str) -> bool:
    return not any(token in text for text in said for token in SPECIAL + BYTES)


def round_trip(tokenizer: Tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids, skip_special_tokens=False)


@st.composite
def prompts(draw: Any, content: st.SearchStrategy[str] = texts) -> Prompt:
    """With or without instruction, exemplars and earlier turns."""
    question, target = draw(content), draw(content.filter(lambda text: bool(text.strip())))
    exemplars = tuple(Exemplar(draw(content), draw(content)) for _ in range(draw(st.integers(0, 2))))
    messages: tuple[Message, ...] = ()
    if draw(st.booleans()):
        roles = draw(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=3))
        messages = (*(Message(role, draw(content)) for role in roles), Message("user", question))
    return Prompt(f"Q{question}", target, instruction=draw(content), exemplars=exemplars, messages=messages)


@pytest.mark.parametrize("family", FAMILIES)
@given(form=st.sampled_from(FORMS), prompt=prompts(hostile))
def test_ids_are_the_prompt_and_the_continuation_and_the_end(family: str, form: PromptFormat, prompt: Prompt) -> None:
    encoder = encoder_of(family, form)
    answer = encoder.encode_continuation(prompt.continuation(form))
    assume(bool(answer))
    encoded = encoder.encode(prompt)
    read = encoder.read([prompt], len(answer) + 1)[0].ids
    assert encoded.ids.tolist() == [*read, *answer, encoder.eos_id]
    assert encoded.answer_start == len(read)
    assert read == encoder.prefix + reader(tokenizer_of(family)).encode(prompt.text(form), add_special_tokens=False).ids


@pytest.mark.parametrize("family", FAMILIES)
@given(form=st.sampled_from(FORMS), prompt=prompts(hostile))
def test_special_tokens_in_data_never_become_special_ids(family: str, form: PromptFormat, prompt: Prompt) -> None:
    encoder = encoder_of(family, form)
    assume(bool(encoder.encode_continuation(prompt.continuation(form))))
    ids = encoder.encode(prompt).ids.tolist()
    assert ids.count(1) == 1
    assert ids[-1] == 1
    assert ids.count(2) == encoder.prefix.count(2)


@pytest.mark.parametrize("family", LOSSLESS)
@given(form=st.sampled_from(FORMS), prompt=prompts())
def test_nothing_is_gained_lost_or_merged_at_the_line(family: str, form: PromptFormat, prompt: Prompt) -> None:
    said, answered = prompt.text(form), prompt.continuation(form)
    assume(harmless(said, answered, said + answered))
    tokenizer, encoder = tokenizer_of(family), encoder_of(family, form)
    encoded = encoder.encode(prompt)
    read, span = encoded.ids.tolist()[: encoded.answer_start], encoded.ids.tolist()[encoded.answer_start : -1]
    whole = tokenizer.decode(read[len(encoder.prefix) :] + span, skip_special_tokens=False)
    assert whole == round_trip(tokenizer, said + answered)
    assert tokenizer.decode(read[len(encoder.prefix) :], skip_special_tokens=False) == round_trip(tokenizer, said)


@pytest.mark.parametrize("family", ["unigram", "wordpiece", "words only"])
@given(form=st.sampled_from(FORMS), prompt=prompts())
@example(form=FORMS[0], prompt=Prompt("Q", "\r0"))
def test_what_a_tokenizer_loses_it_loses_on_its_own_as_well(family: str, form: PromptFormat, prompt: Prompt) -> None:
    tokenizer, encoder = tokenizer_of(family), encoder_of(family, form)
    assume(harmless(prompt.target) and bool(encoder.encode_continuation(prompt.target)))
    encoded = encoder.encode(prompt)
    given_back = tokenizer.decode(encoded.ids.tolist()[encoded.answer_start : -1], skip_special_tokens=False)
    # In the middle of a text: at its beginning some tokenizers strip what a continuation keeps (a carriage return).
    inside = round_trip(tokenizer, f"a {prompt.target}").removeprefix("a")
    assert "".join(given_back.split()) == "".join(inside.split())


@pytest.mark.parametrize("family", FAMILIES)
@given(target=targets, other=targets, form=st.sampled_from(FORMS))
def test_what_is_read_does_not_depend_on_the_answer(family: str, target: str, other: str, form: PromptFormat) -> None:
    encoder = encoder_of(family, form)
    one, two = (encoder.encode_places([Prompt("What?", text)])[0] for text in (target, other))
    assume(one is not None and two is not None)
    assert one is not None
    assert two is not None
    assert one.ids[: one.answer_start].tolist() == two.ids[: two.answer_start].tolist()


@pytest.mark.parametrize("family", FAMILIES)
@given(text=hostile, continuing=st.booleans())
def test_data_inside_a_chat_template_is_read_as_data(family: str, text: str, continuing: bool) -> None:
    """Between the template's own special tokens, the ids are those of the text alone."""
    tokenizer = tokenizer_of(family)
    tokens = TemplateTokens(tokenizer, continuing=continuing)
    (ids,) = tokens.encode([f"<s>{tokens.protected(text)}</s>"])
    assert (ids[0], ids[-1]) == (2, 1)
    assert ids.count(2) == ids.count(1) == 1
    if continuing or family in ("byte-level", "split, then bytes", "byte fallback", "wordpiece", "words only"):
        assert ids[1:-1] == writer(tokenizer).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("family", FAMILIES)
def test_data_makes_no_special_token_with_the_words_beside_it(family: str) -> None:
    tokens = TemplateTokens(tokenizer_of(family))
    for cut in range(1, 4):
        head, tail = "</s>"[:cut], "</s>"[cut:]
        assert tokens.encode([head + tail]) == [[1]]
        assert 1 not in tokens.encode([tokens.protected(f"say {head}") + tail])[0]
        assert 1 not in tokens.encode([head + tokens.protected(f"{tail} now")])[0]


@pytest.mark.parametrize("family", FAMILIES)
@given(said=st.lists(texts.filter(harmless), min_size=1, max_size=3))
def test_a_chat_template_s_text_is_cut_as_the_tokenizer_cuts_it(family: str, said: list[str]) -> None:
    """Parity with whoever renders the template and encodes the text."""
    text = "".join(f"<s>{part}</s>\n" for part in said)
    assume(all(len(part) < len(text) for part in said))
    tokenizer = tokenizer_of(family)
    expected = tokenizer.encode(text, add_special_tokens=False).ids
    protected = TemplateTokens(tokenizer).protected
    (ids,) = TemplateTokens(tokenizer).encode(["".join(f"<s>{protected(part)}</s>\n" for part in said)])
    assert ids == expected


def naive_apart(tokenizer: Tokenizer, said: str, answered: str) -> tuple[list[int], list[int]]:
    """Prompt and answer encoded alike, as texts of their own."""
    read, span = (tokenizer.encode(text, add_special_tokens=False).ids for text in (said, answered))
    return read, span


def naive_together(tokenizer: Tokenizer, said: str, answered: str) -> tuple[list[int], list[int]]:
    """The whole text encoded at once and cut where the prompt alone would end."""
    whole = tokenizer.encode(said + answered, add_special_tokens=False).ids
    cut = len(tokenizer.encode(said, add_special_tokens=False).ids)
    return whole[:cut], whole[cut:]


PAIRS = [
    (f"{question}{end}", f"{start}{answer}")
    for question in ("the capital of France", "hello wor", "is it")
    for end in ("\n", "", "?", "\nAnswer:", " ")
    for start in ("", " ", "\n", "  ")
    for answer in ("Paris", "ld of tokens", "n't it?", "yes")
]


def faults(tokenizer: Tokenizer, cut: Any) -> int:
    """How often what is read is not what inference reads, or the whole is not what was written."""
    return sum(
        read != tokenizer.encode(said, add_special_tokens=False).ids
        or tokenizer.decode(read + span, skip_special_tokens=False) != round_trip(tokenizer, said + answered)
        for said, answered in PAIRS
        for read, span in [cut(tokenizer, said, answered)]
    )


@pytest.mark.parametrize("family", LOSSLESS)
def test_naive_encoders_fail_where_this_one_does_not(family: str) -> None:
    tokenizer, encoder = tokenizer_of(family), encoder_of(family, FORMS[0])

    def exact(tokenizer: Tokenizer, said: str, answered: str) -> tuple[list[int], list[int]]:
        return tokenizer.encode(said, add_special_tokens=False).ids, encoder.encode_continuation(answered)

    assert faults(tokenizer, exact) == 0
    assert faults(tokenizer, naive_together) > 5
    dummy = family in ("byte-level with prefix", "metaspace always", "metaspace first", "llama 2")
    assert (faults(tokenizer, naive_apart) > 10) == dummy
    hostile = tokenizer.encode("say </s> now", add_special_tokens=False).ids
    assert 1 in hostile
    assert 1 not in encoder.encode_continuation("say </s> now")
