"""Conversations as prompts: any turn of the assistant, and all that was said before it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.compose import compose
from instil.mixtures.settings import Setting
from instil.records import Example, Message
from instil.tasks.dialogue import Dialogue, answers_in
from instil.tasks.task import Task
from instil.tasks.template import Renderer, RenderRefused

TURNS = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool"]),
            "content": st.sampled_from(["", " ", "a", "b"]),
        }
    ),
    max_size=8,
)


def _row(*turns: str, **fields: Any) -> Example:
    """A row of turns such as `user Hi`."""
    messages = [dict(zip(("role", "content"), turn.split(" ", 1), strict=True)) for turn in turns]
    return Example("1", {"messages": messages, **fields})


def test_what_was_said_before_and_the_turn() -> None:
    row = _row("system Be kind.", "user Hi", "assistant Hello", "user Bye", "assistant See you")
    made = {Dialogue().render(row, seed=seed) for seed in range(30)}
    assert {one.target for one in made} == {"Hello", "See you"}
    longer = next(one for one in made if one.target == "See you")
    assert [one.role for one in longer.messages] == ["system", "user", "assistant", "user"]
    assert longer.input == "Bye"
    assert longer.references == ("See you",)
    shorter = next(one for one in made if one.target == "Hello")
    assert shorter.messages == (Message("system", "Be kind."), Message("user", "Hi"))


@given(TURNS)
def test_every_turn_with_text_that_answers_is_reached_and_no_other(messages: list[dict[str, str]]) -> None:
    row = Example("1", {"messages": messages})
    places = answers_in(messages)
    for place, one in enumerate(messages):
        asked = any(before["role"] in ("user", "tool") for before in messages[:place])
        assert (place in places) == (one["role"] == "assistant" and bool(one["content"].strip()) and asked)
    if not places:
        with pytest.raises(RenderRefused):
            Dialogue().render(row, seed=0)
        return
    reached = {len(Dialogue().render(row, seed=seed).messages) for seed in range(40 * len(places))}
    assert reached == set(places)


def test_a_seed_always_gives_the_same_turn() -> None:
    row = _row("user a", "assistant b", "user c", "assistant d")
    assert [Dialogue().render(row, seed=seed).target for seed in range(8)] == [
        Dialogue().render(row, seed=seed).target for seed in range(8)
    ]


def test_turns_before_the_answer_are_only_read() -> None:
    row = _row("user a", "assistant b", "user c", "assistant d", answers_from=3)
    assert {Dialogue().render(row, seed=seed).target for seed in range(20)} == {"d"}


def test_references_are_accepted_beside_the_turn() -> None:
    row = _row("user a", "assistant b", references=["c", 7, "b"])
    assert Dialogue(references="references").render(row, seed=0).references == ("b", "c")


@pytest.mark.parametrize("messages", [None, "x", [1], [{"role": "user"}], [{"role": 1, "content": "x"}], []])
def test_a_row_without_a_conversation_is_refused(messages: object) -> None:
    with pytest.raises(RenderRefused):
        Dialogue().render(Example("1", {"messages": messages}), seed=0)


def test_a_conversation_reaches_the_prompt() -> None:
    rows = [_row("user a", "assistant b", "user c", "assistant d"), Example("2", _row("user e", "assistant f").fields)]
    task = Task(name="t/x", cluster="c", collection="t", templates=(Dialogue(),), examples=rows)
    prompt = compose(task, task.templates[0], rows[0], Setting(), seed=1)
    assert prompt.messages
    assert prompt.input == prompt.messages[-1].content
    shown = compose(task, task.templates[0], rows[0], Setting(shots=1), seed=1).exemplars
    assert [(one.input, one.target) for one in shown] == [("e", "f")]


def test_a_worked_example_is_the_first_turn_that_can_be_learnt() -> None:
    shown = Dialogue().render_exemplar(_row("user a", "assistant b", "user c", "assistant d"), number=1, seed=7)
    assert (shown.input, shown.target) == ("a", "b")
    longer = _row("system s", "user a", "assistant b", "user c", "assistant d", answers_from=3)
    shown = Dialogue().render_exemplar(longer, number=1, seed=7)
    assert (shown.input, shown.target) == ("system: s\nuser: a\nassistant: b\nuser: c", "d")


def test_dialogues_are_renderers() -> None:
    assert isinstance(Dialogue(), Renderer)
    assert Dialogue("one").fingerprint != Dialogue("two").fingerprint
