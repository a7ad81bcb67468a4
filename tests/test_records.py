from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from instil.records import Exemplar, Pack, Prompt, PromptFormat

FORM = PromptFormat(separator="\nAnswer: ")


def test_a_separator_gives_its_last_blank_to_the_answer():
    assert (FORM.cue, FORM.lead) == ("\nAnswer:", " ")
    assert FORM.cue + FORM.lead == FORM.separator


def test_a_line_break_at_the_end_of_a_separator_is_read_not_written():
    assert (PromptFormat().cue, PromptFormat().lead) == ("\n", "")


def test_a_prompt_reads_instruction_exemplars_query_in_this_order():
    prompt = Prompt("2+2?", "4", instruction="Add.", exemplars=(Exemplar("1+1?", "2"), Exemplar("1+2?", "3")))
    assert prompt.text(FORM) == "Add.\n\n1+1?\nAnswer: 2\n\n1+2?\nAnswer: 3\n\n2+2?\nAnswer:"


def test_the_first_exemplars_are_kept():
    prompt = Prompt("c", "3", exemplars=(Exemplar("a", "1"), Exemplar("b", "2")))
    assert prompt.text(PromptFormat(), exemplars=1) == "a\n1\n\nc\n"
    assert prompt.text(PromptFormat(), exemplars=0) == "c\n"


def test_text_and_continuation_make_the_same_string_as_an_exemplar():
    prompt = Prompt("1+1?", "2")
    assert prompt.text(FORM) + prompt.continuation(FORM) == "1+1?\nAnswer: 2"
    assert prompt.continuation(FORM, "three") == " three"


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Prompt("a", "b").input = "c"  # type: ignore[misc]


def test_a_pack_counts_what_is_not_padding():
    # The worked example of the docstring: [5 6 | 7 2] and [8 | 9 2] in one row of 8.
    pack = Pack(
        ids=np.array([[5, 6, 7, 2, 8, 9, 2, 0]], dtype=np.int32),
        segments=np.array([[1, 1, 1, 1, 2, 2, 2, 0]], dtype=np.int32),
        positions=np.array([[0, 1, 2, 3, 0, 1, 2, 0]], dtype=np.int32),
        target_index=np.array([1, 2, 4, 5]),
        target_ids=np.array([7, 2, 9, 2]),
    )
    assert pack.tokens == 7
    assert (pack.ids.ravel()[pack.target_index + 1] == pack.target_ids).all()
