"""Readers of conversations: every trap on the real files, and every form of messages."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.readers.rows_of_talk import HELLO, HI, only, read, why_aside

from instil.tasks.check import reading_of
from instil.tasks.readers.conversation import as_messages, joined_roles
from instil.tasks.readers.reading import RowProblem
from instil.tasks.registry import load_collection
from instil.tasks.template import RenderRefused


def test_calls_of_the_dialogues_become_turns_between_what_is_said(data_root: Path) -> None:
    tasks = load_collection("taskmaster", data_root)
    assert [task.size for task in tasks] == [500, 210]
    messages = tasks[0].examples[0].fields["messages"]
    assert isinstance(messages, list)
    roles = [one["role"] for one in messages]
    assert roles == ["user", *["assistant", "tool"] * 4, "assistant", "user", "assistant", "tool", "assistant"]
    assert messages[1]["content"] == '{"get_menu_items": {"query": "Mocha"}}'
    assert json.loads(messages[2]["content"])["get_menu_items"]["menu_items"][0]["name"] == "Mocha"


def test_sharegpt_speaks_of_user_and_assistant(data_root: Path) -> None:
    (task,) = load_collection("sharegpt", data_root, path="fastchat/dummy_conversation.json.gz")
    assert task.size == 500
    assert task.examples[0].key == "identity_0"
    assert task.examples[0].fields["messages"][0] == {"role": "user", "content": "Who are you?"}
    made = {task.templates[0].render(task.examples[0], seed=seed).target for seed in range(20)}
    assert len(made) == 2  # either turn of the assistant


def test_conversations_in_which_the_assistant_answers_nobody_are_set_aside(tmp_path: Path) -> None:
    def said(*turns: tuple[str, str]) -> dict[str, Any]:
        return {"conversations": [{"from": who, "value": text} for who, text in turns]}

    whole = said(("gpt", "Before"), ("human", "Hi"), ("gpt", "Hello"))
    path = tmp_path / "x.json"
    reading = read(path, [whole])
    task = only(reading)
    assert task.templates[0].render(task.examples[0], seed=3).target == "Hello"  # never what answers nobody
    nothing = "no assistant turn with text after a user's"
    assert why_aside(path, said(("gpt", "Hello")), whole) == nothing
    assert why_aside(path, said(("human", "Hi"), ("gpt", " ")), whole) == nothing
    assert why_aside(path, {"conversations": []}, whole) == "field 'conversations' lists no messages"
    assert why_aside(path, said(("human", "Hi"), ("alien", "Hm")), whole).endswith("a message of an unknown role")


def test_questions_are_joined_with_their_reference_answers(data_root: Path) -> None:
    (task,) = load_collection("fastchat", data_root)
    assert (task.name, task.size, task.evaluation_only) == ("fastchat/vicuna_bench", 80, True)
    assert {Path(file.path).name for file in task.files} == {"question.jsonl", "gpt-4.jsonl"}
    answered = {
        example.fields["question_id"]: task.templates[0].render(example, seed=0)
        for example in task.examples
        if example.fields["references"]
    }
    assert sorted(map(int, map(str, answered))) == list(range(61, 71))
    assert answered["61"].input.startswith("Develop a C++ program")
    assert answered["61"].target.startswith("Here's a simple C++ program")
    with pytest.raises(RenderRefused):
        task.templates[0].render(task.examples[0], seed=0)


def test_personas_talk_whatever_marks_their_turns(data_root: Path) -> None:
    (task,) = load_collection("persona-chat", data_root)
    assert task.size == 1000
    for example in task.examples:
        messages = example.fields["messages"]
        assert isinstance(messages, list)
        assert messages[0] == {"role": "system", "content": "\n".join(example.fields["user_2_persona"])}
        roles = [one["role"] for one in messages[1:]]
        assert all(one != other for one, other in pairwise(roles))
        for one in messages[1:]:
            assert one["content"].strip("* ")
            assert not one["content"].startswith(("User 1", "User 2", "* User", "*User", ":"))


def test_every_marked_line_of_the_personas_is_a_turn(tmp_path: Path) -> None:
    said = "User 1: a\n* User 2: b *\n\n*User 1:* c\n**User 2:** d\n[Later]\n* * *\nUSER 1: e"
    header = "user 1 personas,user 2 personas,Best Generated Conversation"
    content = f'{header}\n"I.\nMe.","You.","{said}"\n"x","y"\n"a","b","c"\n'
    path = tmp_path / "x.csv"
    path.write_text(content, encoding="utf-8")
    reading = reading_of(path)
    assert reading.reasons == {"2 columns, not 3": 1, "no assistant turn with text after a user's": 1}
    messages = only(reading).examples[0].fields["messages"]
    assert isinstance(messages, list)
    assert [one["content"] for one in messages] == ["You.", "a", "b", "c", "d\n[Later]", "e"]


def test_calls_of_tools_and_parts_of_text_are_content(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "clock"}}]}
    parts = {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "time?"}]}
    (task,) = read(
        tmp_path / "x.jsonl", [{"messages": [parts, call, {"role": "tool", "content": "noon"}, *HELLO]}]
    ).tasks
    contents = [one["content"] for one in task.examples[0].fields["messages"]]
    assert contents == ["What time?", '[{"function": {"name": "clock"}}]', "noon", "Hello"]
    with pytest.raises(RowProblem, match="something other than text"):
        as_messages([{"role": "user", "content": [{"type": "image"}]}], "messages")


def test_one_speakers_turns_in_a_row_become_one() -> None:
    twice = [*HI, {"role": "user", "content": ""}, {"role": "user", "content": "Yo"}, *HELLO]
    assert joined_roles(twice) == [{"role": "user", "content": "Hi\n\nYo"}, *HELLO]


def test_a_long_first_conversation_and_an_empty_first_row_hide_no_format(tmp_path: Path) -> None:
    long = {"conversations": [{"from": "human", "value": "Hi " * 50_000}, {"from": "gpt", "value": "Hello"}]}
    assert read(tmp_path / "x.json", [long, long]).format == "sharegpt"
    assert (
        read(tmp_path / "x.parquet", [{"messages": None, "id": 1}, {"messages": HI + HELLO, "id": 2}]).format == "chat"
    )
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps([{"messages": HI + HELLO}]), encoding="utf-8")
    assert (reading_of(listed).format, reading_of(listed).accepted) == ("chat", 1)


def test_a_key_that_stands_twice_in_a_message_loses_nothing_silently(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    twice = '{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}'
    path.write_text(f"{json.dumps({'messages': HI + HELLO})}\n{twice}\n", encoding="utf-8")
    assert reading_of(path).reasons == {"key 'content' stands twice in a message": 1}
