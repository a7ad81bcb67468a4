"""Completions of one prompt: what is encoded is what a conversation is elsewhere; no token of a group is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mixtures.families import tokenizer_of
from tests.mixtures.test_chat import AROUND, chat_encoder

from instil.mixtures import groups as groups_module
from instil.mixtures.encode import CAUSAL, Encoder
from instil.mixtures.encoding_report import EncodingReport
from instil.mixtures.groups import encode_groups, lay_out_groups
from instil.records import Group, GroupPack, Message, Prompt, PromptFormat, Ranking, Specials

T5 = Specials("seq2seq", start=(0,), end=(1,))
BART = Specials("seq2seq", pad=1, start=(2, 0), end=(2,))
BERT = Specials("masked", pad=0, end=(1,), mask=3)
EVERY: dict[str, Specials] = {"causal": CAUSAL, "T5": T5, "BART": BART, "BERT": BERT}
TALK = (Message("user", "hello"), Message("assistant", "The end"), Message("user", "Capital of France?"))
RANKED = Ranking(TALK, ("Paris", "maybe the world", "no"), ranks=(1, 2, 2))


def group(prompt: list[int], *completions: list[int]) -> Group:
    return Group(np.array(prompt, np.int32), tuple(np.array(one, np.int32) for one in completions))


def rows(array: Any) -> list[Any]:
    return array.tolist()  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------- worked examples


def test_a_prompt_stands_once_before_its_completions() -> None:
    (made,) = lay_out_groups([group([5, 6], [7, 2], [8, 9, 2])], tokens_per_batch=64, specials=CAUSAL, shared=True)
    assert made.pack.parents is not None
    assert rows(made.pack.ids) == [[5, 6, 7, 2, 8, 9, 2]]
    assert rows(made.pack.segments) == [[1, 1, 2, 2, 3, 3, 3]]
    assert rows(made.pack.parents) == [[0, 0, 1, 1, 1, 1, 1]]
    assert rows(made.pack.positions) == [[0, 1, 2, 3, 2, 3, 4]]
    assert rows(made.pack.target_index) == [1, 2, 1, 4, 5]
    assert rows(made.pack.target_ids) == [7, 2, 8, 9, 2]
    assert (rows(made.owners), rows(made.places)) == ([0, 0, 1, 1, 1], [0, 1, 0, 1, 2])
    assert (rows(made.numbers), rows(made.ends)) == ([0, 1], [3, 6])


def test_or_before_each_of_them() -> None:
    (made,) = lay_out_groups([group([5, 6], [7, 2], [8, 9, 2])], tokens_per_batch=64, specials=CAUSAL, shared=False)
    assert made.pack.parents is None
    assert rows(made.pack.ids) == [[5, 6, 7, 2, 0], [5, 6, 8, 9, 2]]
    assert rows(made.pack.segments) == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert rows(made.pack.positions) == [[0, 1, 2, 3, 0], [0, 1, 2, 3, 4]]
    assert rows(made.pack.target_index) == [1, 2, 6, 7, 8]
    assert rows(made.ends) == [3, 9]


@pytest.mark.parametrize("shared", [True, False])
def test_an_encoder_reads_a_prompt_once_for_all_rows_of_the_decoder(shared: bool) -> None:
    given = [group([5, 6, 1], [7, 1], [8, 9, 1]), group([4, 1], [3, 1])]
    (made,) = lay_out_groups(given, tokens_per_batch=64, specials=T5, shared=shared)
    assert made.pack.encoder is not None
    assert made.pack.encoder_rows is not None
    assert rows(made.pack.encoder.ids) == [[4, 1, 0], [5, 6, 1]]
    assert rows(made.pack.encoder_rows) == [0, 1, 1]
    assert rows(made.pack.ids) == [[0, 3, 0], [0, 7, 0], [0, 8, 9]]
    assert rows(made.pack.target_index) == [0, 1, 3, 4, 6, 7, 8]
    assert rows(made.pack.target_ids) == [3, 1, 7, 1, 8, 9, 1]
    assert (rows(made.owners), rows(made.numbers)) == ([2, 2, 0, 0, 1, 1, 1], [2, 0, 1])
    assert rows(made.ends) == [1, 4, 8]  # where the end token is predicted: it is not fed


def test_a_decoder_may_begin_with_two_tokens() -> None:
    (made,) = lay_out_groups([group([5, 2], [7, 2])], tokens_per_batch=64, specials=BART, shared=False)
    assert rows(made.pack.ids) == [[2, 0, 7]]
    assert (rows(made.pack.target_index), rows(made.ends)) == ([1, 2], [2])


def test_a_masked_model_reads_prompt_completion_and_an_end_and_predicts_nothing() -> None:
    (made,) = lay_out_groups([group([3, 5, 6], [7], [8, 9], [])], tokens_per_batch=64, specials=BERT, shared=True)
    assert rows(made.pack.ids) == [[3, 5, 6, 7, 1, 0], [3, 5, 6, 8, 9, 1], [3, 5, 6, 1, 0, 0]]
    assert made.pack.parents is None
    assert (len(made.pack.target_index), len(made.owners), len(made.places)) == (0, 0, 0)
    assert rows(made.ends) == [4, 11, 15]


# --------------------------------------------------------------------------------------------------------- invariants

some_ids = st.lists(st.integers(10, 99), min_size=1, max_size=12)
some_groups = st.lists(
    st.builds(lambda prompt, many: group(prompt, *many), some_ids, st.lists(some_ids, min_size=1, max_size=5)),
    min_size=1,
    max_size=7,
)


def read_back(made: GroupPack, specials: Specials) -> dict[int, tuple[list[int], list[int]]]:
    """For every completion what its last token sees, in the order of positions, and its targets in the order of places.

    By the rule of the masks, token by token: a slow reference.
    """
    pack = made.pack
    width = pack.ids.shape[1]
    found = {}
    for number, end in zip(made.numbers.tolist(), made.ends.tolist(), strict=True):
        row, last = divmod(end, width)
        own = pack.segments[row, last]
        above = 0 if pack.parents is None else pack.parents[row, last]
        seen = [place for place in range(width) if pack.segments[row, place] in {own, above} - {0}]
        seen = [place for place in seen if place <= last or specials.architecture == "masked"]
        positions = pack.positions[row, seen].tolist()
        assert positions == list(range(len(seen)))
        ids = pack.ids[row, seen].tolist()
        if pack.encoder is not None:
            assert pack.encoder_rows is not None
            read = pack.encoder_rows[row]
            assert pack.encoder.positions[read][pack.encoder.segments[read] > 0].tolist() == list(
                range(int(pack.encoder.segments[read].sum()))
            )
            ids = pack.encoder.ids[read][pack.encoder.segments[read] > 0].tolist() + ids
        mine = np.flatnonzero(made.owners == number)
        assert made.places[mine].tolist() == list(range(len(mine)))
        for place, index in zip(made.places[mine], pack.target_index[mine], strict=True):
            # what predicts a target sees the prompt and the targets before it, and nothing else
            assert index // width == row
            assert pack.positions[row, index % width] == pack.positions[row, last] - (
                len(mine) - place - (specials.architecture == "seq2seq")
            )
            assert pack.segments[row, index % width] in {own, above}
        found[number] = (ids, pack.target_ids[mine].tolist())
    return found


@given(some_groups, st.integers(1, 120), st.booleans(), st.booleans(), st.sampled_from(list(EVERY)))
def test_every_completion_is_predicted_once_behind_its_own_prompt(
    given_groups: list[Group], tokens: int, shared: bool, whole: bool, kind: str
) -> None:
    specials = EVERY[kind]
    laid = lay_out_groups(given_groups, tokens_per_batch=tokens, specials=specials, shared=shared, whole_groups=whole)
    found: dict[int, tuple[list[int], list[int]]] = {}
    for made in laid:
        back = read_back(made, specials)
        assert not found.keys() & back.keys()
        found |= back
    flat = [(one.prompt.tolist(), done.tolist()) for one in given_groups for done in one.completions]
    assert sorted(found) == list(range(len(flat)))
    for number, (prompt, done) in enumerate(flat):
        seen, targets = found[number]
        if specials.architecture == "seq2seq":
            assert seen == [*prompt, *specials.start, *done[:-1]]
        else:
            assert seen == [*prompt, *done, *specials.end]
        assert targets == ([] if specials.architecture == "masked" else done)


@given(some_groups, st.integers(1, 120), st.booleans(), st.sampled_from(list(EVERY)))
def test_no_group_is_torn_and_only_one_alone_may_be_too_large(
    given_groups: list[Group], tokens: int, shared: bool, kind: str
) -> None:
    laid = lay_out_groups(given_groups, tokens_per_batch=tokens, specials=EVERY[kind], shared=shared)
    starts = np.cumsum([0, *(len(one.completions) for one in given_groups)])
    for made in laid:
        of = np.searchsorted(starts, made.numbers, side="right") - 1
        assert np.bincount(of, minlength=len(given_groups)).tolist() == [
            len(one.completions) if number in of else 0 for number, one in enumerate(given_groups)
        ]
        assert made.pack.size <= tokens or len(set(of.tolist())) == 1


@given(some_groups, st.integers(1, 60), st.booleans(), st.sampled_from(list(EVERY)))
def test_where_groups_may_be_torn_no_rectangle_of_two_rows_is_too_large(
    given_groups: list[Group], tokens: int, shared: bool, kind: str
) -> None:
    laid = lay_out_groups(
        given_groups, tokens_per_batch=tokens, specials=EVERY[kind], shared=shared, whole_groups=False
    )
    assert all(made.pack.size <= tokens or len(made.pack.ids) == 1 for made in laid)
    if shared and kind == "causal":  # a row of several completions is no longer than asked for
        assert all(made.pack.size <= tokens or len(made.numbers) == 1 for made in laid)


@given(some_groups, st.integers(30, 200), st.booleans())
def test_rows_of_like_length_stand_together(given_groups: list[Group], tokens: int, shared: bool) -> None:
    laid = lay_out_groups(given_groups, tokens_per_batch=tokens, specials=CAUSAL, shared=shared)
    widths = [made.pack.ids.shape[1] for made in laid]
    assert widths == sorted(widths)


def test_completions_too_many_for_a_tree_stand_in_several_rows_of_like_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "_TREE", 12)
    monkeypatch.setattr(groups_module, "_PROMPTS", 1)
    many = group([1, 2, 3], *([number] * size for number, size in enumerate((5, 9, 3, 4, 2, 1), start=10)))
    (made,) = lay_out_groups([many], tokens_per_batch=4, specials=CAUSAL, shared=True)
    assert made.pack.ids.shape == (2, 15)
    assert rows(made.pack.ids[:, :3]) == [[1, 2, 3]] * 2
    assert sorted(made.numbers.tolist()) == list(range(6))
    long = group([1] * 40, [7] * 9, [8] * 9, [9] * 9)  # a second copy of the prompt would cost more
    (made,) = lay_out_groups([long], tokens_per_batch=4, specials=CAUSAL, shared=True)
    assert made.pack.ids.shape == (1, 67)


def test_the_same_groups_give_the_same_rectangles() -> None:
    generator = np.random.default_rng(0)
    given = [group([3] * int(generator.integers(1, 20)), [4] * 5, [5] * 3) for _ in range(30)]
    one, other = (lay_out_groups(given, tokens_per_batch=90, specials=CAUSAL, shared=True) for _ in range(2))
    assert all(np.array_equal(a.pack.ids, b.pack.ids) for a, b in zip(one, other, strict=True))


def test_nothing_laid_out_is_nothing() -> None:
    assert lay_out_groups([], tokens_per_batch=9, specials=CAUSAL, shared=True) == []


# ----------------------------------------------------------------------------------------------------------- encoding


def causal(family: str = "byte-level", max_length: int = 64, max_answer: int | None = None) -> Encoder:
    return Encoder(tokenizer_of(family), form=PromptFormat(), max_length=max_length, eos_id=1, max_answer=max_answer)


@pytest.mark.parametrize("family", ["byte-level", "metaspace always", "metaspace first", "llama 2"])
def test_prompt_and_completion_are_what_the_conversation_is_elsewhere(family: str) -> None:
    encoder = causal(family, max_length=256)
    (made,) = encode_groups(encoder, [RANKED])
    assert made is not None
    for completion, ids in zip(RANKED.completions, made.completions, strict=True):
        encoded = encoder.encode(Prompt("", completion, messages=TALK))
        assert np.concatenate([made.prompt, ids]).tolist() == encoded.ids.tolist()
        assert len(made.prompt) == encoded.answer_start
        assert ids[-1] == 1


@pytest.mark.parametrize("style", AROUND)
def test_a_chat_template_writes_prompt_and_completions(style: str) -> None:
    encoder = chat_encoder(style)
    (made,) = encode_groups(encoder, [RANKED])
    assert made is not None
    for completion, ids in zip(RANKED.completions, made.completions, strict=True):
        encoded = encoder.encode(Prompt("", completion, messages=TALK))
        assert np.concatenate([made.prompt, ids]).tolist() == encoded.ids.tolist()


def test_what_a_template_refuses_is_none_and_counted() -> None:
    twice = replace(RANKED, messages=(Message("user", "hello"), *TALK))  # Gemma's speakers take turns
    report = EncodingReport()
    one, none, other = encode_groups(chat_encoder("Gemma"), [RANKED, twice, RANKED], report=report)
    assert none is None
    assert one is not None
    assert other is not None
    assert one.prompt.tolist() == other.prompt.tolist()
    assert (report.prompts, report.messages_refused) == (3, 1)


def test_an_encoder_decoder_reads_and_writes_texts_of_their_own() -> None:
    encoder = Encoder(tokenizer_of("unigram"), form=PromptFormat(), max_length=64, eos_id=1, specials=T5)
    (made,) = encode_groups(encoder, [RANKED])
    assert made is not None
    encoded = encoder.encode(Prompt("", "Paris", messages=TALK))
    assert made.prompt.tolist() == encoded.ids[: encoded.answer_start].tolist()
    assert made.prompt[-1] == made.completions[0][-1] == 1
    assert made.completions[0].tolist() == encoded.ids[encoded.answer_start :].tolist()


@pytest.mark.parametrize("slots", [1, 3])
def test_a_completion_for_a_masked_model_is_text_without_end_and_not_bound_by_slots(slots: int) -> None:
    form = PromptFormat(answer_slots=slots)
    encoder = Encoder(tokenizer_of("wordpiece"), form=form, max_length=64, eos_id=1, specials=BERT)
    tokenizer = tokenizer_of("wordpiece")
    (made,) = encode_groups(encoder, [replace(RANKED, completions=("hello world of tokens", "no"))])
    assert made is not None
    said = "User: hello\nAssistant: The end\nUser: Capital of France?\nAssistant:"
    assert made.prompt.tolist() == [2, *tokenizer.encode(said, add_special_tokens=False).ids]
    assert made.completions[0].tolist() == tokenizer.encode("hello world of tokens", add_special_tokens=False).ids
    (laid,) = lay_out_groups([made], tokens_per_batch=999, specials=encoder.specials, shared=False)
    assert laid.pack.ids.shape[1] <= 64


def test_an_empty_completion_is_what_leads_an_answer_and_its_end_token() -> None:
    (made,) = encode_groups(causal(), [replace(RANKED, completions=("", "yes"))])
    assert made is not None
    assert made.completions[0].tolist() == [*tokenizer_of("byte-level").encode(" ").ids, 1]


def test_texts_of_their_own_begin_as_any_text_does_or_behind_an_end() -> None:
    own = Ranking((), ("hello", "the end"), ranks=(1, 2))
    for family, begun in (("byte-level", [1]), ("llama 2", [2])):
        (made,) = encode_groups(causal(family), [own])
        assert made is not None
        assert made.prompt.tolist() == begun
    encoder = Encoder(tokenizer_of("unigram"), form=PromptFormat(), max_length=64, eos_id=1, specials=T5)
    (made,) = encode_groups(encoder, [own])
    assert made is not None
    assert made.prompt.tolist() == [1]


def test_rankings_with_messages_and_without_keep_their_order() -> None:
    own = Ranking((), ("hello", "the end"))
    together = encode_groups(causal(), [own, RANKED, own, RANKED])
    alone = [encode_groups(causal(), [one])[0] for one in (own, RANKED, own, RANKED)]
    for one, other in zip(together, alone, strict=True):
        assert one is not None
        assert other is not None
        assert one.prompt.tolist() == other.prompt.tolist()
        assert [ids.tolist() for ids in one.completions] == [ids.tolist() for ids in other.completions]


def test_a_long_conversation_loses_its_oldest_turns() -> None:
    encoder, report = causal(max_length=48), EncodingReport()
    talk = (Message("user", "hello world " * 9), Message("assistant", "no"), Message("user", "Capital of France?"))
    (made,) = encode_groups(encoder, [replace(RANKED, messages=talk)], report=report)
    assert made is not None
    assert encoder.decode(made.prompt.tolist()) == "User: Capital of France?\nAssistant:"
    assert (report.turns_dropped, report.inputs_cut, report.answers_cut) == (1, 0, 0)


def test_a_long_completion_is_cut_at_its_end_and_has_no_end_token() -> None:
    report = EncodingReport()
    long = replace(RANKED, completions=("yes " * 200, "no"))
    (made,) = encode_groups(causal(max_length=48), [long], report=report)
    assert made is not None
    assert len(made.prompt) >= 12  # a fourth of the context
    assert len(made.prompt) + len(made.completions[0]) == 48
    assert made.completions[0][-1] != 1
    assert made.completions[1][-1] == 1
    assert (report.answers_cut, report.inputs_cut) == (1, 1)
    assert report.tokens == 48 + len(made.completions[1])


@pytest.mark.parametrize("bound", ["most_tokens", "max_answer"])
def test_completions_may_be_bounded(bound: str) -> None:
    encoder = causal(max_length=200, max_answer=5 if bound == "max_answer" else None)
    (made,) = encode_groups(
        encoder, [replace(RANKED, completions=("yes " * 200, "no"))], most_tokens=5 if bound == "most_tokens" else None
    )
    assert made is not None
    assert [len(ids) for ids in made.completions] == [5, 2]
    (whole,) = encode_groups(causal(max_length=200), [replace(RANKED, completions=("no",))])
    assert whole is not None
    assert made.prompt.tolist() == whole.prompt.tolist()  # nothing of it is cut for what is cut itself


@given(
    st.lists(st.sampled_from(["hello", "world", "Paris", "42", "tokens"]), min_size=1, max_size=60),
    st.lists(st.lists(st.sampled_from(["yes", "no", "maybe"]), max_size=60), min_size=1, max_size=4),
    st.integers(16, 60),
    st.sampled_from(["byte-level", "wordpiece", "unigram"]),
)
def test_nothing_outgrows_the_context(said: list[str], answers: list[list[str]], max_length: int, family: str) -> None:
    specials = {"byte-level": CAUSAL, "wordpiece": BERT, "unigram": T5}[family]
    encoder = Encoder(tokenizer_of(family), form=PromptFormat(), max_length=max_length, eos_id=1, specials=specials)
    ranking = Ranking((Message("user", " ".join(said)),), tuple(" ".join(answer) for answer in answers))
    (made,) = encode_groups(encoder, [ranking])
    assert made is not None
    assert len(made.completions) == len(answers)
    assert len(made.prompt) > 0
    (laid,) = lay_out_groups([made], tokens_per_batch=1, specials=encoder.specials, shared=False)
    assert laid.pack.ids.shape[1] <= max_length
    assert laid.pack.encoder is None or laid.pack.encoder.ids.shape[1] <= max_length
