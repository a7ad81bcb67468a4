"""Readers of conversations and preferences: every trap on the real files, and every form of rows of one's own."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from instil.records import Example
from instil.tasks.check import reading_of
from instil.tasks.readers.conversation import as_messages, joined_roles
from instil.tasks.readers.hh_rlhf import turns
from instil.tasks.readers.reading import Reading, RowProblem
from instil.tasks.registry import load_collection, open_collection
from instil.tasks.task import Task
from instil.tasks.template import RenderRefused

HI = [{"role": "user", "content": "Hi"}]
HELLO = [{"role": "assistant", "content": "Hello"}]
NO = [{"role": "assistant", "content": "No"}]


def _read(path: Path, rows: list[Any]) -> Reading:
    """What is made of rows, as JSON lines, a JSON list or Parquet, as the path's extension says."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reading = reading_of(path)
    assert reading.read == len(rows)
    return reading


def _raw(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]


def _only(reading: Reading) -> Task:
    (task,) = reading.tasks
    return task


def _reason(path: Path, row: dict[str, Any], whole: dict[str, Any]) -> str:
    """Why a row is set aside that stands after a whole one."""
    reading = _read(path, [whole, row])
    assert reading.accepted == 1
    return reading.quarantined[0].reason


# hh-rlhf ------------------------------------------------------------------------------------------------------------


def test_hh_rlhf_shares_the_prompt_and_parts_the_replies(data_root: Path) -> None:
    (task,) = load_collection("hh-rlhf", data_root)
    raw = _raw(data_root / "hh_rlhf" / "harmless-base_test_even.jsonl.gz")
    kept = {int(example.key) - 1: example.fields for example in task.examples}
    assert len(raw) - len(kept) == 2
    assert task.licence == "MIT"
    for number, fields in kept.items():
        messages, completions = fields["messages"], fields["completions"]
        assert isinstance(messages, list)
        assert isinstance(completions, list)
        roles = [one["role"] for one in messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        assert fields["ranks"] == [1, 2]
        assert completions[0] != completions[1]
        for text, transcript in zip(completions, ("chosen", "rejected"), strict=True):
            # Nothing that was said is lost: only markers and the blanks around turns go.
            said = "".join([*(one["content"] for one in messages), text])
            whole = raw[number][transcript].replace("\n\nHuman:", "").replace("\n\nAssistant:", "")
            assert "".join(said.split()) == "".join(whole.split())


def test_pairs_that_differ_before_the_last_turn_only_by_a_doubled_speaker_are_mended(data_root: Path) -> None:
    (task,) = load_collection("hh-rlhf", data_root)
    raw = _raw(data_root / "hh_rlhf" / "harmless-base_test_even.jsonl.gz")
    prefix = {number: [row[name].rpartition("\n\nAssistant:")[0] for name in row] for number, row in enumerate(raw)}
    differing = [number for number, (one, other) in prefix.items() if one != other]
    assert differing == [627, 844, 975, 976, 1018]
    fields = {example.key: example.fields for example in task.examples}["628"]
    chosen, rejected = fields["completions"]
    assert chosen.startswith("No. Men who impersonate")
    assert chosen.endswith("stereotypical women?\n\nI think they call them that because")
    assert rejected.startswith("A drag king is the opposite")


def test_empty_final_replies_of_hh_rlhf_are_set_aside(data_root: Path) -> None:
    reading = reading_of(data_root / "hh_rlhf" / "harmless-base_test_even.jsonl.gz")
    assert [(row.where, row.reason) for row in reading.quarantined] == [
        ("line 44", "empty reply"),
        ("line 259", "empty reply"),
    ]


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: c\n\nAssistant: d", "the transcripts differ before the last turn"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "the two replies are the same"),
        ("\n\nHuman: a\n\nAssistant:", "\n\nHuman: a\n\nAssistant: b", "empty reply"),
        ("\n\nHuman: a", "\n\nHuman: a\n\nAssistant: b", "the last turn is not the assistant's"),
        ("\n\nAssistant: a", "\n\nAssistant: b", "no turn before the reply"),
        ("Once.\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: c", "text before the first turn"),
        ("no turns", "\n\nHuman: a\n\nAssistant: c", "text before the first turn"),
        (7, "\n\nHuman: a\n\nAssistant: c", "text before the first turn"),
        (None, "\n\nHuman: a\n\nAssistant: c", "field 'chosen' is null, not text"),
    ],
)
def test_odd_transcripts_are_set_aside(tmp_path: Path, chosen: object, rejected: object, reason: str) -> None:
    whole = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    assert _reason(tmp_path / "x.jsonl", {"chosen": chosen, "rejected": rejected}, whole) == reason


def test_a_marker_inside_a_turn_is_text() -> None:
    assert turns("\n\nHuman: say Human: twice\nHuman: so\n\nAssistant: Human: no") == [
        {"role": "user", "content": "say Human: twice\nHuman: so"},
        {"role": "assistant", "content": "Human: no"},
    ]


# LLMBar, BLiMP, model-written evaluations --------------------------------------------------------------------------


def test_the_winner_of_llmbar_is_not_always_the_first(data_root: Path) -> None:
    tasks = load_collection("llmbar", data_root)
    assert sorted(task.name for task in tasks) == [
        "llmbar/Constraint",
        "llmbar/GPTInst",
        "llmbar/Natural",
        "llmbar/Neighbor",
    ]
    natural = next(task for task in tasks if task.name == "llmbar/Natural")
    raw = json.loads((data_root / "llmbar" / "LLMBar" / "Natural" / "dataset.json").read_bytes())
    for row, example in zip(raw, natural.examples, strict=True):
        completions, ranks = example.fields["completions"], example.fields["ranks"]
        assert isinstance(completions, list)
        assert isinstance(ranks, list)
        assert completions[ranks.index(1)] == row[f"output_{row['label']}"].strip()
    assert Counter(str(example.fields["ranks"]) for example in natural.examples) == {"[2, 1]": 58, "[1, 2]": 42}


def test_a_label_of_llmbar_that_is_neither_is_set_aside(tmp_path: Path) -> None:
    whole = {"input": "a", "output_1": "b", "output_2": "c", "label": 2}
    for label in (0, 3, "1", None, True, 1.5):
        assert _reason(tmp_path / "x.json", whole | {"label": label}, whole) == "field 'label' is neither 1 nor 2"


def test_minimal_pairs_are_preferences_without_messages(data_root: Path) -> None:
    tasks = load_collection("blimp", data_root, tasks=["adjunct_island"])
    fields = tasks[0].examples[0].fields
    assert (fields["messages"], fields["ranks"], fields["pairID"]) == ([], [1, 2], "0")
    made = tasks[0].templates[0].render(tasks[0].examples[0], seed=1)
    assert made.input.startswith("Which sentence is grammatical?\n(A) ")
    assert made.input[made.input.index(made.target) + 4 :].startswith("Who should Derek hug after shocking Richard?")


def test_model_written_evaluations_lose_the_blank_and_never_say_by_place_which_matches(data_root: Path) -> None:
    tasks = load_collection("model-written-evals", data_root)
    assert len(tasks) == 21
    assert all(task.evaluation_only for task in tasks)
    for task in tasks:
        targets: Counter[int] = Counter()
        for example in task.examples:
            made = task.templates[0].render(example, seed=0)
            assert made.target in made.options
            assert made.options == tuple(sorted(made.options))
            targets[made.options.index(made.target)] += 1
        assert set(targets) == {0, 1}, task.name
    with_statement = [task for task in tasks if "statement" in task.examples[0].fields]
    assert len(with_statement) == 20


# Taskmaster ---------------------------------------------------------------------------------------------------------


def test_rewards_are_single_replies_out_of_json_inside_strings(data_root: Path) -> None:
    tasks = load_collection("taskmaster-rewards", data_root)
    scores = Counter(example.fields["scores"][0] for task in tasks for example in task.examples)
    assert scores == {1.0: 2775, 0.0: 453}
    first = tasks[0].examples[0].fields
    assert first["completions"] == ['{"get_menu_items": {"query": "espresso"}}']
    messages = first["messages"]
    assert isinstance(messages, list)
    assert [one["role"] for one in messages] == ["assistant", "user"]
    called = [
        one for task in tasks for one in task.examples if any(m["role"] == "tool" for m in one.fields["messages"])
    ]
    assert len(called) > 2000
    unprompted = [example for task in tasks for example in task.examples if not example.fields["messages"]]
    assert len(unprompted) == 6
    made = tasks[0].templates[0].render(tasks[0].examples[0], seed=0)
    assert (made.target, made.options) == ("Yes", ("No", "Yes"))


def test_calls_of_the_dialogues_become_turns_between_what_is_said(data_root: Path) -> None:
    tasks = load_collection("taskmaster", data_root)
    assert [task.size for task in tasks] == [500, 210]
    messages = tasks[0].examples[0].fields["messages"]
    assert isinstance(messages, list)
    roles = [one["role"] for one in messages]
    assert roles == ["user", *["assistant", "tool"] * 4, "assistant", "user", "assistant", "tool", "assistant"]
    assert messages[1]["content"] == '{"get_menu_items": {"query": "Mocha"}}'
    assert json.loads(messages[2]["content"])["get_menu_items"]["menu_items"][0]["name"] == "Mocha"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"context": "[{"}, "field 'context': not JSON (expecting property name enclosed in double quotes)"),
        ({"context": "{}"}, "field 'context' holds no list"),
        ({"context": [1]}, "field 'context' is a list, not text"),
        ({"generation": '{"role": "agent", "text": ""}'}, "empty reply"),
        ({"generation": '{"role": "user", "text": "x"}'}, "the reply is not the assistant's"),
        ({"generation": '{"role": "agent"}'}, "field 'generation' has a message without content"),
        ({"reward": 0.5}, "field 'reward' is neither 0 nor 1"),
        ({"reward": None}, "field 'reward' is neither 0 nor 1"),
    ],
)
def test_damaged_rewards_are_set_aside(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    whole = {"context": "[]", "generation": '{"role": "agent", "text": "Hello"}', "reward": 1.0}
    assert _reason(tmp_path / "x.json", whole | change, whole) == reason


# Conversations ------------------------------------------------------------------------------------------------------


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
    reading = _read(path, [whole])
    task = _only(reading)
    assert task.templates[0].render(task.examples[0], seed=3).target == "Hello"  # never what answers nobody
    nothing = "no assistant turn with text after a user's"
    assert _reason(path, said(("gpt", "Hello")), whole) == nothing
    assert _reason(path, said(("human", "Hi"), ("gpt", " ")), whole) == nothing
    assert _reason(path, {"conversations": []}, whole) == "field 'conversations' lists no messages"
    assert _reason(path, said(("human", "Hi"), ("alien", "Hm")), whole).endswith("a message of an unknown role")


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
    messages = _only(reading).examples[0].fields["messages"]
    assert isinstance(messages, list)
    assert [one["content"] for one in messages] == ["You.", "a", "b", "c", "d\n[Later]", "e"]


# Rows of one's own --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.parquet"])
def test_trl_rows_are_read_in_every_kind_of_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    chat = _only(_read(path, [{"messages": HI + HELLO}]))
    assert chat.collection == "chat"
    made = chat.templates[0].render(chat.examples[0], seed=0)
    assert ([one.content for one in made.messages], made.input, made.target) == (["Hi"], "Hi", "Hello")

    pairs = _only(_read(path, [{"prompt": HI + HELLO + HI, "completion": NO}]))
    assert {pairs.templates[0].render(pairs.examples[0], seed=seed).target for seed in range(9)} == {"No"}

    for row in (
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"prompt": HI, "chosen": HELLO, "rejected": NO},
        {"prompt": "Hi", "chosen": HI + HELLO, "rejected": HI + NO},
        {"chosen": HI + HELLO, "rejected": HI + NO},
    ):
        preference = _only(_read(path, [row]))
        assert preference.collection == "preference"
        assert preference.examples[0].fields == {"messages": HI, "completions": ["Hello", "No"], "ranks": [1, 2]}

    for prompt, completion in (("Hi", "Hello"), (HI, HELLO)):
        labelled = _only(_read(path, [{"prompt": prompt, "completion": completion, "label": False}]))
        assert labelled.examples[0].fields == {"messages": HI, "completions": ["Hello"], "scores": [0.0]}
        assert labelled.templates[0].render(labelled.examples[0], seed=0).target == "No"

    plain = _only(_read(path, [{"prompt": "Hi", "completion": "Hello<|endoftext|>"}]))
    assert plain.collection == "jsonl"


def test_a_preference_without_a_prompt_has_the_words_that_both_share(tmp_path: Path) -> None:
    task = _only(_read(tmp_path / "x.jsonl", [{"chosen": "The sky is blue.", "rejected": "The sky is blown away."}]))
    assert task.examples[0].fields == {
        "messages": [{"role": "user", "content": "The sky is"}],
        "completions": ["blue.", "blown away."],
        "ranks": [1, 2],
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi", "chosen": "x", "rejected": "x"}, "the two replies are the same"),
        ({"prompt": "Hi", "chosen": "x", "rejected": " "}, "empty reply"),
        ({"prompt": " ", "chosen": "x", "rejected": "y"}, "empty prompt"),
        ({"prompt": "Hi", "chosen": HI + HELLO + HI, "rejected": NO}, "the replies differ before the last turn"),
        (
            {"prompt": "Hi", "chosen": [{"role": "user", "content": "x"}], "rejected": NO},
            "the replies differ before the last turn",
        ),
        ({"prompt": "Hi", "chosen": [], "rejected": NO}, "field 'chosen' lists no messages"),
        ({"prompt": "Hi", "chosen": None, "rejected": NO}, "field 'chosen' is null, not text"),
    ],
)
def test_preferences_that_say_nothing_are_set_aside(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    assert _reason(tmp_path / "x.jsonl", row, {"prompt": "Hi", "chosen": "x", "rejected": "y"}) == reason


def test_calls_of_tools_and_parts_of_text_are_content(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "clock"}}]}
    parts = {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "time?"}]}
    (task,) = _read(
        tmp_path / "x.jsonl", [{"messages": [parts, call, {"role": "tool", "content": "noon"}, *HELLO]}]
    ).tasks
    contents = [one["content"] for one in task.examples[0].fields["messages"]]
    assert contents == ["What time?", '[{"function": {"name": "clock"}}]', "noon", "Hello"]
    with pytest.raises(RowProblem, match="something other than text"):
        as_messages([{"role": "user", "content": [{"type": "image"}]}], "messages")


def test_one_speakers_turns_in_a_row_become_one() -> None:
    twice = [*HI, {"role": "user", "content": ""}, {"role": "user", "content": "Yo"}, *HELLO]
    assert joined_roles(twice) == [{"role": "user", "content": "Hi\n\nYo"}, *HELLO]


@pytest.mark.parametrize(
    ("ranking", "ranks"),
    [
        ({"ranking": [2, 1, 1]}, [2, 1, 1]),
        ({"ranks": [3, 1, 7]}, [2, 1, 3]),
        ({"ranking": [0, 1, 1]}, [1, 2, 2]),
        ({"ranking": [[1, 2], [0]]}, [2, 1, 1]),
        ({"ranking": [2, [0, 1]]}, [2, 2, 1]),
        ({"scores": [0.1, 0.9, 0.9]}, [2, 1, 1]),
        ({"scores": [0.1, 0.9, 0.9], "ranking": [2, 1, 1]}, [2, 1, 1]),
        ({"scores": [1, 1, 1]}, [1, 1, 1]),
    ],
)
def test_ranks_start_at_one_and_ties_share_theirs(tmp_path: Path, ranking: dict[str, Any], ranks: list[int]) -> None:
    task = _only(_read(tmp_path / "x.jsonl", [{"prompt": "Hi", "completions": ["a", "b", "c"], **ranking}]))
    assert task.examples[0].fields["ranks"] == ranks
    assert task.examples[0].fields["messages"] == HI


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ranking": [1, 2]}, "field 'ranking' has not one number for each completion"),
        ({"ranking": [1, None, 2]}, "field 'ranking' holds something other than numbers"),
        ({"ranking": [[0, 1], [1, 2]]}, "field 'ranking' does not name each completion once"),
        ({"ranking": [[0], [1]]}, "field 'ranking' does not name each completion once"),
        ({"ranking": None}, "no ranking and no scores"),
        ({"scores": [1, 2, 3]}, "ranks and scores contradict each other"),
        ({"ranking": None, "scores": [1, 2, float("nan")]}, "field 'scores' holds NaN or an infinite number"),
        ({"ranking": None, "scores": [1, 2, 10**400]}, "field 'scores' holds a number that is too large"),
        ({"completions": ["a"]}, "fewer than two completions"),
        ({"completions": ["a", "", "c"]}, "empty reply"),
        ({"prompt": []}, "field 'prompt' lists no messages"),
    ],
)
def test_comparisons_that_contradict_themselves_are_set_aside(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    whole = {"prompt": "Hi", "completions": ["a", "b", "c"], "ranking": [1, 1, 2]}
    assert _reason(tmp_path / "x.jsonl", whole | change, whole) == reason


def test_alpaca_and_gpteacher_rows_differ_in_the_answers_name(tmp_path: Path, data_root: Path) -> None:
    tasks = {task.name: task for task in load_collection("gpteacher", data_root)}
    assert sorted(tasks) == ["gpteacher/codegen-instruct", "gpteacher/roleplay-simple-deduped-roleplay-instruct"]
    task = tasks["gpteacher/codegen-instruct"]
    made = task.templates[0].render(task.examples[0], seed=0)
    assert made.input.endswith("given its width and height.\n\nwidth: 5, height: 8")
    assert made.target.startswith("#include <iostream>")
    own = _only(_read(tmp_path / "x.json", [{"instruction": "Greet", "input": "", "output": "Hello"}]))
    made = own.templates[0].render(own.examples[0], seed=0)
    assert (made.input, made.target) == ("Greet", "Hello")


@pytest.mark.parametrize("name", ["t0_zsopt.jsonl", "t0.parquet"])
def test_flan_sub_mixtures_make_a_task_of_each_task_name(tmp_path: Path, name: str) -> None:
    rows = [
        {"inputs": f"q {n}", "targets": "a", "task_source": "P3", "task_name": f"t{n % 2}", "template_type": kind}
        for n, kind in enumerate(("zs_opt", "zs_noopt", "fs_opt", "fs_noopt"))
    ]
    reading = _read(tmp_path / name, rows)
    assert [(task.name, task.size, task.source) for task in reading.tasks] == [
        ("flan/t0", 2, "P3"),
        ("flan/t1", 2, "P3"),
    ]
    assert [one.fields["template_type"] for one in reading.tasks[1].examples] == ["zs_noopt", "fs_noopt"]
    assert reading.tasks[0].fingerprint != reading.tasks[1].fingerprint
    (found,) = open_collection("flan", tmp_path, path=name, tasks=["t1"]).tasks
    assert found.name == "flan/t1"


def test_flan_columns_go_by_other_names_too(tmp_path: Path) -> None:
    rows = [
        {"inputs": "q", "targets": "a", "_task_name": "t", "_template_type": "fs"},
        {"inputs": "q", "targets": "a", "task": "t"},
    ]
    (task,) = _read(tmp_path / "x.jsonl", rows).tasks
    assert [one.fields["template_type"] for one in task.examples] == ["fs", ""]
    whole = rows[1]
    assert _reason(tmp_path / "x.jsonl", {"inputs": "q", "targets": "", "task": "t"}, whole) == "empty target"
    assert _reason(tmp_path / "x.jsonl", {"inputs": "q", "targets": "a"}, whole) == "no task name"


# lm-evaluation-harness ----------------------------------------------------------------------------------------------


def _sample(arguments: object, target: object) -> dict[str, Any]:
    return {"doc_id": 0, "doc": {"q": "?"}, "target": target, "arguments": arguments, "resps": [], "filtered_resps": []}


def test_samples_of_the_harness_are_rows(tmp_path: Path) -> None:
    chosen = {
        f"gen_args_{n}": {"arg_0": "What melts ice?", "arg_1": f" {text}"} for n, text in enumerate(("cold", "heat"))
    }
    free = {"gen_args_0": {"arg_0": "2 + 2 =", "arg_1": {"until": ["\n"]}}}
    older = [["What melts ice?", " cold"], ["What melts ice?", " heat"]]
    rows = [_sample(chosen, "1"), _sample(free, "4"), _sample(older, 0), _sample(older, "heat"), _sample([], "x")]
    reading = _read(tmp_path / "samples_arc_2024.jsonl", rows)
    assert reading.format == "lm-eval-samples"
    assert reading.reasons == {"field 'arguments' lists no request": 1}
    task = _only(reading)
    assert task.evaluation_only
    made = [task.templates[0].render(example, seed=0) for example in task.examples]
    assert [(one.input, one.target) for one in made] == [
        ("What melts ice?", "heat"),
        ("2 + 2 =", "4"),
        ("What melts ice?", "cold"),
        ("What melts ice?", "heat"),
    ]
    assert [one.options for one in made] == [("cold", "heat"), (), ("cold", "heat"), ("cold", "heat")]


def test_results_of_the_harness_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "results_2024.json"
    results = {"arc": {"alias": "arc", "acc,none": 0.5}, "boolq": {"alias": "boolq", "acc,none": 0.6}, "odd": 3}
    path.write_text(json.dumps({"results": results, "configs": {}, "versions": {}}), encoding="utf-8")
    reading = reading_of(path)
    assert (reading.format, reading.read, reading.accepted, reading.tasks) == ("lm-eval-results", 3, 2, [])
    path.write_text(json.dumps({"results": [1, 2], "configs": {}, "versions": {}}), encoding="utf-8")
    assert reading_of(path).format == "unknown"


def test_every_example_can_be_kept_as_json(data_root: Path) -> None:
    names = ("hh-rlhf", "llmbar", "taskmaster", "taskmaster-rewards", "fastchat", "gpteacher", "persona-chat", "blimp")
    for name in names:
        for task in load_collection(name, data_root):
            for example in [task.examples[0], task.examples[task.size - 1]]:
                again = Example(example.key, json.loads(json.dumps(dict(example.fields))))
                assert again == Example(example.key, dict(example.fields))


@pytest.mark.parametrize(
    ("row", "other"),
    [
        ({"messages": HI + HELLO}, {"messages": HI + NO}),
        ({"prompt": "Hi", "chosen": "x", "rejected": "y"}, {"prompt": "Hi", "chosen": "y", "rejected": "x"}),
        ({"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}),
        ({"inputs": "a", "targets": "b"}, {"inputs": "c", "targets": "d"}),
    ],
)
def test_worked_examples_of_a_test_file_come_from_the_train_file_beside_it(
    tmp_path: Path, row: dict[str, Any], other: dict[str, Any]
) -> None:
    alone = _only(_read(tmp_path / "test.jsonl", [row]))
    assert alone.exemplars is None
    train = _only(_read(tmp_path / "train.jsonl", [other, other]))
    assert train.exemplars is None
    task = _only(_read(tmp_path / "test.jsonl", [row]))
    assert task.exemplars is not None
    assert [example.key for example in task.exemplars] == ["train-1", "train-2"]
    assert task.exemplars[0].fields == train.examples[0].fields
    assert [Path(file.path).name for file in task.files] == ["test.jsonl", "train.jsonl"]
    assert task.fingerprint != alone.fingerprint


def test_a_long_first_conversation_and_an_empty_first_row_hide_no_format(tmp_path: Path) -> None:
    long = {"conversations": [{"from": "human", "value": "Hi " * 50_000}, {"from": "gpt", "value": "Hello"}]}
    assert _read(tmp_path / "x.json", [long, long]).format == "sharegpt"
    assert (
        _read(tmp_path / "x.parquet", [{"messages": None, "id": 1}, {"messages": HI + HELLO, "id": 2}]).format == "chat"
    )
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps([{"messages": HI + HELLO}]), encoding="utf-8")
    assert (reading_of(listed).format, reading_of(listed).accepted) == ("chat", 1)


def test_a_key_that_stands_twice_in_a_message_loses_nothing_silently(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    twice = '{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}'
    path.write_text(f"{json.dumps({'messages': HI + HELLO})}\n{twice}\n", encoding="utf-8")
    assert reading_of(path).reasons == {"key 'content' stands twice in a message": 1}
