"""Readers of preferences and ratings: every trap on the real files, and every form of rows of one's own."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.readers.rows_of_talk import HELLO, HI, NO, only, read, why_aside

from instil.tasks.check import reading_of
from instil.tasks.readers.hh_rlhf import turns
from instil.tasks.registry import load_collection


def _raw(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]


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
    assert why_aside(tmp_path / "x.jsonl", {"chosen": chosen, "rejected": rejected}, whole) == reason


def test_a_marker_inside_a_turn_is_text() -> None:
    assert turns("\n\nHuman: say Human: twice\nHuman: so\n\nAssistant: Human: no") == [
        {"role": "user", "content": "say Human: twice\nHuman: so"},
        {"role": "assistant", "content": "Human: no"},
    ]


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
        assert why_aside(tmp_path / "x.json", whole | {"label": label}, whole) == "field 'label' is neither 1 nor 2"


def test_minimal_pairs_are_preferences_without_messages(data_root: Path) -> None:
    tasks = load_collection("blimp", data_root, tasks=["adjunct_island"])
    fields = tasks[0].examples[0].fields
    assert (fields["messages"], fields["ranks"], fields["pairID"]) == ([], [1, 2], "0")
    made = tasks[0].templates[0].render(tasks[0].examples[0], seed=1)
    assert made.input.startswith("Which sentence is grammatical?\n(A) ")
    assert made.input[made.input.index(made.target) + 4 :].startswith("Who should Derek hug after shocking Richard?")


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
    assert why_aside(tmp_path / "x.json", whole | change, whole) == reason


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.parquet"])
def test_trl_rows_are_read_in_every_kind_of_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    chat = only(read(path, [{"messages": HI + HELLO}]))
    assert chat.collection == "chat"
    made = chat.templates[0].render(chat.examples[0], seed=0)
    assert ([one.content for one in made.messages], made.input, made.target) == (["Hi"], "Hi", "Hello")

    pairs = only(read(path, [{"prompt": HI + HELLO + HI, "completion": NO}]))
    assert {pairs.templates[0].render(pairs.examples[0], seed=seed).target for seed in range(9)} == {"No"}

    for row in (
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"prompt": HI, "chosen": HELLO, "rejected": NO},
        {"prompt": "Hi", "chosen": HI + HELLO, "rejected": HI + NO},
        {"chosen": HI + HELLO, "rejected": HI + NO},
    ):
        preference = only(read(path, [row]))
        assert preference.collection == "preference"
        assert preference.examples[0].fields == {"messages": HI, "completions": ["Hello", "No"], "ranks": [1, 2]}

    for prompt, completion in (("Hi", "Hello"), (HI, HELLO)):
        labelled = only(read(path, [{"prompt": prompt, "completion": completion, "label": False}]))
        assert labelled.examples[0].fields == {"messages": HI, "completions": ["Hello"], "scores": [0.0]}
        assert labelled.templates[0].render(labelled.examples[0], seed=0).target == "No"

    plain = only(read(path, [{"prompt": "Hi", "completion": "Hello<|endoftext|>"}]))
    assert plain.collection == "jsonl"


def test_a_preference_without_a_prompt_has_the_words_that_both_share(tmp_path: Path) -> None:
    task = only(read(tmp_path / "x.jsonl", [{"chosen": "The sky is blue.", "rejected": "The sky is blown away."}]))
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
    assert why_aside(tmp_path / "x.jsonl", row, {"prompt": "Hi", "chosen": "x", "rejected": "y"}) == reason


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
    task = only(read(tmp_path / "x.jsonl", [{"prompt": "Hi", "completions": ["a", "b", "c"], **ranking}]))
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
        ({"completions": ["a", "", " "]}, "empty reply"),
        ({"annotator": ["ada"]}, "field 'annotator' is a list, not text"),
        (
            {"completions": ["a"], "ranking": None, "scores": []},
            "field 'scores' has not one number for each completion",
        ),
        ({"completions": [], "ranking": None, "scores": []}, "no completion"),
        ({"completions": [""], "ranking": None, "scores": [1]}, "empty reply"),
        ({"prompt": []}, "field 'prompt' lists no messages"),
    ],
)
def test_comparisons_that_contradict_themselves_are_set_aside(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    whole = {"prompt": "Hi", "completions": ["a", "b", "c"], "ranking": [1, 1, 2]}
    assert why_aside(tmp_path / "x.jsonl", whole | change, whole) == reason


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "Hi", "completions": ["a", "b"], "ranking": [1, 2]}, "ada"),
        ({"prompt": "Hi", "chosen": "a", "rejected": "b"}, "ada"),
        ({"prompt": "Hi", "completion": "a", "label": True}, "ada"),
        ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}, "ada"),
        ({"prompt": "Hi", "completions": ["a", "b"], "ranking": [1, 2]}, 7),
    ],
)
def test_who_gave_a_preference_is_kept(tmp_path: Path, row: dict[str, Any], name: object) -> None:
    nobody = [row | {"annotator": who} for who in (None, "", " ")]
    task = only(read(tmp_path / "x.jsonl", [row | {"annotator": name}, *nobody, row]))
    assert [example.fields.get("annotator") for example in task.examples] == [str(name), None, None, None, None]


def test_a_comparison_is_called_by_its_id(tmp_path: Path) -> None:
    whole = {"prompt": "Hi", "completions": ["a", "b"], "ranking": [1, 2]}
    task = only(
        read(tmp_path / "x.jsonl", [whole | {"id": "req-9"}, whole | {"id": 12}, whole, whole | {"id": "req-9"}])
    )
    assert [example.key for example in task.examples] == ["req-9", "12", "3", "req-9#4"]


def test_a_single_completion_with_a_score_is_a_rating(tmp_path: Path) -> None:
    task = only(read(tmp_path / "x.jsonl", [{"prompt": "Hi", "completions": ["a"], "scores": [6], "annotator": "ada"}]))
    assert task.examples[0].fields == {"messages": HI, "completions": ["a"], "scores": [6.0], "annotator": "ada"}


def test_an_empty_completion_stays_beside_two_others_and_is_never_asked_about(tmp_path: Path) -> None:
    task = only(read(tmp_path / "x.jsonl", [{"prompt": "Hi", "completions": ["a", "", "c"], "ranking": [3, 1, 2]}]))
    assert task.examples[0].fields["completions"] == ["a", "", "c"]
    made = [task.templates[0].render(task.examples[0], seed=seed) for seed in range(40)]
    assert {one.input.rpartition("better?\n")[2] for one in made} == {"(A) a\n(B) c", "(A) c\n(B) a"}
    assert all(one.input[one.input.index(f"\n{one.target} ") + 5 :].startswith("c") for one in made)
