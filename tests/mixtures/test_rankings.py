"""Rankings of files of every form: what is read, kept, dropped and told, on made-up rows and on the real ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import absent
from tests.mixtures.made_rankings import every, opened, ranked, scored, write

from instil.errors import AbsentError, DataError, RecipeError
from instil.mixtures.ranking_rows import exact_key, split_key
from instil.mixtures.rankings import Rankings, RankingsSpec, arrange, open_rankings, prompts_of
from instil.recipe import parse
from instil.records import Message, Ranking

ASKED = [{"role": "user", "content": "Name a fruit."}]
SAID = {name: [{"role": "assistant", "content": name}] for name in ("Apple", "A chair")}

#: One row of every form that is accepted: its collection, and what it says.
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("comparisons", {"prompt": "Name a fruit.", "completions": ["A chair", "Apple"], "ranking": [2, 1]}),
    ("comparisons", {"prompt": ASKED, "completions": ["Apple", "A chair"], "ranking": [[0], [1]]}),
    ("comparisons", {"messages": ASKED, "completions": ["Apple", "A chair"], "scores": [0.9, 0.1]}),
    ("preference", {"prompt": "Name a fruit.", "chosen": "Apple", "rejected": "A chair"}),
    ("preference", {"prompt": ASKED, "chosen": SAID["Apple"], "rejected": SAID["A chair"]}),
    ("preference", {"chosen": ASKED + SAID["Apple"], "rejected": ASKED + SAID["A chair"]}),
    ("preference", {"prompt": "Name a fruit.", "chosen": ASKED + SAID["Apple"], "rejected": ASKED + SAID["A chair"]}),
    (
        "hh-rlhf",
        {
            "chosen": "\n\nHuman: Name a fruit.\n\nAssistant: Apple",
            "rejected": "\n\nHuman: Name a fruit.\n\nAssistant: A chair",
        },
    ),
    ("llmbar", {"input": "Name a fruit.", "output_1": "A chair", "output_2": "Apple", "label": 2}),
]


@pytest.mark.parametrize(("collection", "row"), FORMS)
def test_every_form_gives_the_same_ranking(tmp_path: Path, collection: str, row: dict[str, Any]) -> None:
    path = write(tmp_path / "rows.jsonl", [row])
    if collection == "llmbar":
        path = tmp_path / "rows.json"
        path.write_text(json.dumps([row]), encoding="utf-8")
    found = opened(path, collection=collection, held_out=0)
    (ranking,) = found.train
    assert ranking.messages == (Message("user", "Name a fruit."),)
    ((better, worse),) = ranking.pairs
    assert (ranking.completions[better], ranking.completions[worse]) == ("Apple", "A chair")
    assert found.report.read == found.report.kept == 1


def test_words_that_both_replies_begin_with_are_the_prompt_where_there_is_none(tmp_path: Path) -> None:
    row = {"chosen": "The sky is blue.", "rejected": "The sky is blown away."}
    (ranking,) = opened(write(tmp_path / "x.jsonl", [row]), collection="preference", held_out=0).train
    assert ranking.messages == (Message("user", "The sky is"),)
    assert ranking.completions == ("blue.", "blown away.")


def test_completions_scored_one_by_one_are_a_ranking_where_both_levels_occur(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Order a mocha.", "completion": "Anything else?", "label": True},
        {"prompt": "Hi", "completion": "Hello", "label": True},
        {"prompt": "Order a mocha.", "completion": "No.", "label": False},
        {"prompt": "Order a mocha.", "completion": "Sure.", "label": True},
        {"prompt": "Hi", "completion": "Good day", "label": True},
        {"prompt": "Hi", "completion": "Good day", "label": True},
        {"prompt": "Bye", "completion": "Bye", "label": False},
        {"prompt": "Bye", "completion": "Bye", "label": True},
    ]
    found = opened(write(tmp_path / "x.jsonl", rows), collection="labelled", held_out=0)
    (ranking,) = found.train
    assert ranking.completions == ("Anything else?", "No.", "Sure.")
    assert (ranking.ranks, ranking.scores) == ((1, 2, 1), (1.0, 0.0, 1.0))
    (rated,) = found.rated
    assert (rated.completions, rated.ranks, rated.scores) == (("Hello", "Good day"), (), (1.0, 1.0))
    assert found.report.kept == 5
    assert found.report.dropped == {"repeats another row": 1, "one completion with two scores": 2}


def test_two_annotators_scores_of_one_prompt_are_two_rankings(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Hi", "completions": [text], "scores": [score], "annotator": who}
        for who, text, score in (("ada", "x", 7), ("ben", "x", 2), ("ada", "y", 5), ("ben", "y", 4))
    ]
    found = opened(write(tmp_path / "x.jsonl", rows), held_out=0)
    assert [(one.annotator, one.completions, one.ranks) for one in found.train] == [
        ("ada", ("x", "y"), (1, 2)),
        ("ben", ("x", "y"), (2, 1)),
    ]
    assert found.agreement is not None
    assert (found.agreement.rate, found.agreement.n) == (0.0, 1)


def test_what_says_nothing_is_dropped_and_counted(tmp_path: Path) -> None:
    whole = {"prompt": "Name a fruit.", "completions": ["Apple", "A chair"], "ranking": [1, 2]}
    rows: list[object] = [
        whole,
        whole | {"completions": ["A chair", "Apple"], "ranking": [2, 1]},  # the same, told the other way round
        whole | {"annotator": "ada"},
        whole | {"ranking": [1, 1]},
        whole | {"completions": ["Apple", "Apple"]},
        whole | {"completions": ["Apple", ""]},
        whole | {"completions": ["Apple", "", "A chair", "Apple"], "ranking": [1, 9, 2, 1], "annotator": "ben"},
        whole | {"prompt": [*ASKED, *SAID["Apple"]]},
        whole | {"ranking": [1]},
        "no JSON",
    ]
    found = opened(write(tmp_path / "x.jsonl", rows), held_out=0)
    assert [one.annotator for one in found.train] == ["", "ada", "ben"]
    report = found.report
    assert (report.read, report.kept) == (10, 3)
    assert report.dropped == {
        "empty reply": 1,
        "repeats another row": 1,
        "fewer than two levels": 1,
        "identical completions in different ranks": 1,
        "the assistant speaks last before the completions": 1,
        "field 'ranking' has not one number for each completion": 1,
        "not JSON (expecting value)": 1,
    }
    assert report.completions_dropped == {"empty completion": 1, "identical completions": 1}


def test_transcripts_whose_prompts_differ_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: d"},
    ]
    found = opened(write(tmp_path / "x.jsonl", rows), collection="hh-rlhf", held_out=0)
    assert found.report.dropped == {"the transcripts differ before the last turn": 1}
    chats = [
        {"chosen": ASKED + SAID["Apple"], "rejected": [{"role": "user", "content": "Hi"}, *SAID["A chair"]]},
        {"prompt": "Hi", "chosen": "a", "rejected": "b"},
    ]
    found = opened(write(tmp_path / "y.jsonl", chats), collection="preference", held_out=0)
    assert found.report.dropped == {"the replies differ before the last turn": 1}


@st.composite
def _messy(draw: st.DrawFn) -> object:
    """A row of comparisons, most often whole; sometimes with a fault in one field, sometimes no row at all."""
    prompts = ["Hi", "hi!", "Name a fruit.", ASKED, *(f"prompt {number}" for number in range(4))]
    size = draw(st.sampled_from((1, 2, 2, 3, 4, 5)))
    row: dict[str, Any] = {
        "prompt": draw(st.sampled_from(prompts)),
        "completions": draw(st.permutations("abcde"))[:size],
        "annotator": draw(st.sampled_from(("ada", "ben", "cem", "dan", None))),
    }
    by = "scores" if size == 1 else draw(st.sampled_from(("ranking", "ranking", "scores")))
    row[by] = draw(st.lists(st.sampled_from((0, 1) if by == "scores" else (1, 2, 3)), min_size=size, max_size=size))
    fault = draw(st.sampled_from(("", "", "", "", "field", "completion", "line")))
    if fault == "line":
        return draw(st.sampled_from(("", "no JSON", "[1, 2]", '{"prompt": "Hi"', "{}")))
    if fault == "completion":
        row["completions"][draw(st.integers(0, size - 1))] = draw(st.sampled_from(("", " ", "a", "b ", 7, None)))
    if fault == "field":
        name = draw(st.sampled_from(sorted(row)))
        row[name] = draw(st.sampled_from((None, [], "", 7, [1, 2], [*ASKED, *SAID["Apple"]], float("nan"))))
    return row


SPLITS = st.fixed_dictionaries(
    {},
    optional={
        "held_out": st.sampled_from((0, 0.3, 0.7)),
        "held_out_annotators": st.sampled_from((0.0, 0.4)),
        "split_by": st.sampled_from(("opening", "prompt")),
        "max_completions": st.integers(2, 4),
        "limit": st.integers(1, 9),
        "seed": st.integers(0, 9),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_messy(), min_size=8, max_size=30), SPLITS)
def test_rows_read_are_rows_kept_and_rows_dropped(tmp_path: Path, rows: list[object], keys: dict[str, Any]) -> None:
    first = {"prompt": "Whole", "completions": ["a", "b"], "ranking": [1, 2], "annotator": "ada"}
    path = write(tmp_path / "x.jsonl", [first, *rows])
    try:
        found = opened(path, **keys)
    except (DataError, RecipeError) as error:
        complaint = str(error)
        found = None
    if found is None:  # all are held out, or there are not two annotators
        assert "left to train on" in complaint or "cannot be held out" in complaint
        return
    report = found.report
    lines = sum(1 for row in [first, *rows] if row != "")
    if "limit" not in keys:
        assert report.read == lines
    assert report.read == report.kept + sum(report.dropped.values())
    assert all(count > 0 for count in [*report.dropped.values(), *report.completions_dropped.values()])
    sides = [found.train, found.held_out, found.held_out_annotators]
    assert all(one.ranks and set(one.ranks) == set(range(1, max(one.ranks) + 1)) for side in sides for one in side)
    assert all(max(one.ranks) > 1 for side in sides for one in side)
    assert all(one.scores and not one.ranks for one in (*found.rated, *found.rated_held_out))
    for one in every(found):
        assert len(set(one.completions)) == len(one.completions) <= keys.get("max_completions", 99)
        assert all(one.completions)
    opening = keys.get("split_by", "opening") == "opening"
    trained = {split_key(one, opening=opening) for one in (*found.train, *found.rated)}
    others = (*found.held_out, *found.held_out_annotators, *found.rated_held_out)
    assert not trained & {split_key(one, opening=opening) for one in others}
    if not keys.get("held_out", 0.1) and not keys.get("held_out_annotators"):
        assert not others
    assert not {one.annotator for one in (*found.train, *found.held_out, *found.rated)} & set(report.annotators_out)
    json.dumps(found.card())
    assert opened(path, **keys).fingerprint == found.fingerprint


def _sides(found: Rankings) -> dict[tuple[str, ...], str]:
    named = {"train": found.train, "held_out": found.held_out, "out": found.held_out_annotators}
    return {
        (one.annotator, exact_key(one.messages), *sorted(one.completions)): side
        for side, rankings in named.items()
        for one in rankings
    }


def test_rows_that_come_move_no_others(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"prompt {number % 90}", "completions": ["x", f"y {number}"], "ranking": [1, 2], "annotator": who}
        for number in range(300)
        for who in (f"a{number % 7}",)
    ]
    few = opened(write(tmp_path / "x.jsonl", rows[::2]), held_out=0.2)
    many = opened(write(tmp_path / "x.jsonl", rows[::-1]), held_out=0.2)
    before, after = _sides(few), _sides(many)
    assert len(before) == 150
    assert {key: after[key] for key in before} == before
    assert {"train", "held_out"} == set(before.values())


def test_several_annotators_of_one_pair_stay_and_stand_on_one_side(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{number}", "completions": ["x", "y"], "ranking": [1, 2 - (number + at) % 4], "annotator": who}
        for number in range(60)
        for at, who in enumerate(("ada", "ben", "cem"))
    ]
    rows = [row for row in rows if row["ranking"] != [1, 1]]  # type: ignore[comparison-overlap]
    found = opened(write(tmp_path / "x.jsonl", rows), held_out=0.25)
    assert found.report.kept == len(rows)
    assert found.report.ranked_by_several == len({row["prompt"] for row in rows if _several(row["prompt"], rows)})
    sides = {exact_key(one.messages) for one in found.train} & {exact_key(one.messages) for one in found.held_out}
    assert not sides


def _several(prompt: object, rows: list[dict[str, Any]]) -> bool:
    return len({row["annotator"] for row in rows if row["prompt"] == prompt}) > 1


def test_held_out_annotators_leave_training_whole_and_are_asked_about_new_prompts(tmp_path: Path) -> None:
    """Everybody ranks every prompt: Cem's are left where the prompt is held out, and nowhere else."""
    rows = [
        {"prompt": f"p{number}", "completions": ["x", "y"], "ranking": [1, 2], "annotator": who}
        for number in range(50)
        for who in ("ada", "ben", "cem")
    ]
    found = opened(write(tmp_path / "x.jsonl", rows), held_out=0.3, held_out_annotators=["cem"])
    assert {one.annotator for one in (*found.train, *found.held_out)} == {"ada", "ben"}
    assert {one.annotator for one in found.held_out_annotators} == {"cem"}
    held = {exact_key(one.messages) for one in found.held_out}
    assert {exact_key(one.messages) for one in found.held_out_annotators} == held
    assert found.report.dropped == {"of a held-out annotator, and the prompt is trained on": 50 - len(held)}
    assert found.agreement is not None  # of all that was said, left out or not
    assert found.agreement.n == 150
    assert found.report.annotators_out == ("cem",)


def test_prompts_that_a_held_out_annotator_alone_ranked_are_all_asked_about(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{number}", "completions": ["x", "y"], "ranking": [1, 2], "annotator": f"a{number % 5}"}
        for number in range(100)
    ]
    found = opened(write(tmp_path / "x.jsonl", rows), held_out=0.2, held_out_annotators=["a3"])
    assert len(found.held_out_annotators) == 20
    assert not found.report.dropped


def test_one_dialogue_a_turn_longer_stands_on_the_side_of_its_opening(tmp_path: Path) -> None:
    def talk(number: int, turns: int) -> list[dict[str, str]]:
        said = [{"role": "user", "content": f"opening {number}"}]
        for turn in range(turns):
            said += [{"role": "assistant", "content": f"answer {turn}"}, {"role": "user", "content": f"more {turn}"}]
        return said

    rows = [
        {"prompt": talk(number, turns), "completions": ["x", "y"], "ranking": [1, 2]}
        for number in range(60)
        for turns in range(4)
    ]
    path = write(tmp_path / "x.jsonl", rows)
    found = opened(path, held_out=0.3)
    assert len(found.held_out) % 4 == 0
    assert not found.report.remarks
    loose = opened(path, held_out=0.3, split_by="prompt")
    (remark,) = loose.report.remarks
    assert "belong to conversations that begin as one that is trained on" in remark


def test_rankings_that_a_program_made_are_cleaned_and_split_alike() -> None:
    made = [ranked(f"p{number}", {"x": 1, "": 2, "y": 2}, "gold") for number in range(50)]
    found = arrange([*made, ranked("p", {"x": 1, "y": 1}), scored("q", "x", 1.0)], seed=3, held_out=0.2)
    assert len(found.train) + len(found.held_out) == 50
    assert found.report.dropped == {"fewer than two levels": 1}
    assert found.report.completions_dropped == {"empty completion": 50}
    assert all(one.completions == ("x", "y") for one in (*found.train, *found.held_out))
    assert [one.completions for one in (*found.rated, *found.rated_held_out)] == [("x",)]
    whole = arrange(made, held_out_annotators=0.0, held_out=0, max_completions=2)
    assert len(whole.train) == 50


def test_the_fingerprint_names_rankings_and_sides(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{number}", "completions": ["x", "y"], "ranking": [1, 2], "annotator": f"a{number % 3}"}
        for number in range(30)
    ]
    path = write(tmp_path / "x.jsonl", rows)
    prints = [
        opened(path).fingerprint,
        opened(path, seed=1).fingerprint,
        opened(path, held_out=0.5).fingerprint,
        opened(path, held_out_annotators=["a1"]).fingerprint,
        opened(path, limit=20).fingerprint,
        opened(write(tmp_path / "y.jsonl", [*rows[1:], rows[0] | {"ranking": [2, 1]}])).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(path.read_bytes())
    assert opened(moved).fingerprint == prints[0]


def test_prompts_are_told_once_each_in_their_order() -> None:
    rankings = [ranked("p", {"x": 1, "y": 2}), ranked("q", {"x": 1, "y": 2}), ranked("p", {"x": 2, "y": 1})]
    assert prompts_of([*rankings, ranked("", {"x": 1, "y": 2})]) == [(Message("user", "p"),), (Message("user", "q"),)]


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"sources": []}, "sources"),
        ({"sources": [{"collection": "comparisons"}], "held_out": 1}, "held_out"),
        ({"sources": [{"collection": "comparisons"}], "held_out_annotators": 1.5}, "give a share"),
        ({"sources": [{"collection": "comparisons", "share": 0.5}]}, "takes no 'share'"),
        ({"sources": [{"mixture": "x.yaml"}]}, "takes no 'mixture'"),
        ({"sources": [{"collection": "comparisons", "templates": "x"}]}, "takes no 'templates'"),
        ({"sources": [{"collection": "comparisons"}], "max_completions": 1}, "max_completions"),
        ({"sources": [{"collection": "comparisons"}], "heldout": 0.1}, "did you mean 'held_out'"),
        ({"sources": [{"collection": "comparisons"}], "split_by": "pair"}, "split_by"),
    ],
)
def test_wrong_sections_are_refused(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        parse(RankingsSpec, section, origin="recipe")


def test_a_section_with_every_default_written_out_is_the_same_section() -> None:
    spec = RankingsSpec.model_validate({"sources": [{"collection": "comparisons"}], "held_out_annotators": ["ada"]})
    assert parse(RankingsSpec, spec.model_dump(mode="json"), origin="a run") == spec


def test_collections_without_rankings_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"inputs": "2 + 2", "targets": "4"}])
    with pytest.raises(DataError, match="its 1 rows hold neither ranked nor scored completions"):
        opened(path, collection="jsonl")


def test_nothing_left_to_train_on_is_an_error_that_says_why(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{number}", "completions": ["x", "y"], "ranking": [1, 1]} for number in range(3)]
    with pytest.raises(DataError, match=r"of 3 rows none is left to train on \(3 fewer than two levels\)"):
        opened(write(tmp_path / "x.jsonl", rows))


def test_sources_that_are_not_there_are_an_error_or_a_remark(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"prompt": "p", "completions": ["x", "y"], "ranking": [1, 2]}])
    sources = [{"collection": "comparisons", "path": str(path)}, {"collection": "preference", "path": "nowhere"}]
    with pytest.raises(AbsentError):
        open_rankings(RankingsSpec.model_validate({"sources": sources}), tmp_path)
    found = open_rankings(RankingsSpec.model_validate({"sources": sources, "missing": "skip", "held_out": 0}), tmp_path)
    assert len(found.train) == 1
    assert found.report.remarks[0].startswith("preference was skipped: ")
    with pytest.raises(DataError, match=r"no source of rankings is left \(preference was skipped"):
        open_rankings(RankingsSpec.model_validate({"sources": sources[1:], "missing": "skip"}), tmp_path)


def test_sources_are_chosen_by_licence(data_root: Path) -> None:
    sources = [{"collection": "llmbar"}, {"collection": "taskmaster-rewards"}]
    spec = {"sources": sources, "licence": ["copyleft"]}
    with pytest.raises(DataError, match="no source of rankings is left"):
        open_rankings(RankingsSpec.model_validate(spec), data_root)


def test_strict_refuses_the_first_row_that_cannot_be_used(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"prompt": "p", "completions": ["x", "y"], "ranking": [1, 2]}, "no JSON"])
    spec = RankingsSpec.model_validate({"sources": [{"collection": "comparisons", "path": str(path)}]})
    with pytest.raises(DataError, match="line 2: not JSON"):
        open_rankings(spec, strict=True)


def test_rows_of_tasks_that_are_excluded_are_not_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completions": ["x", "y"], "ranking": [1, 2]}]
    write(tmp_path / "one.jsonl", rows)
    write(tmp_path / "two.jsonl", [*rows, "no JSON"])
    write(tmp_path / "three.jsonl", ["no JSON"])
    source = {"collection": "comparisons", "path": str(tmp_path), "exclude": ["two"]}
    found = open_rankings(RankingsSpec.model_validate({"sources": [source], "held_out": 0}))
    assert (found.report.read, found.report.kept) == (2, 1)  # three.jsonl makes no task, and hides no row


def _real(data: Path, *names: str, **keys: Any) -> Rankings:
    for name in names:
        if not (data / {"taskmaster-rewards": "taskmaster", "hh-rlhf": "hh_rlhf"}.get(name, name)).is_dir():
            absent(f"no {name} at {data}")
    return open_rankings(RankingsSpec.model_validate({"sources": [{"collection": one} for one in names], **keys}), data)


def test_hh_rlhf_is_read_whole_but_for_two_empty_replies(data_root: Path) -> None:
    found = _real(data_root, "hh-rlhf")
    assert (found.report.read, found.report.kept) == (1156, 1154)
    assert found.report.dropped == {"empty reply": 2}
    assert len(found.train) + len(found.held_out) == 1154
    assert 80 < len(found.held_out) < 150
    assert found.report.sizes == {2: 1154}
    assert found.agreement is None
    openings = [{split_key(one, opening=True) for one in side} for side in (found.train, found.held_out)]
    assert not openings[0] & openings[1]


def test_llmbar_is_read_whole(data_root: Path) -> None:
    found = _real(data_root, "llmbar", held_out=0.2)
    assert (found.report.read, found.report.kept) == (415, 415)
    assert sorted(source.rows for source in found.report.sources) == [89, 92, 100, 134]
    best = Counter(one.ranks.index(1) for one in (*found.train, *found.held_out))
    assert min(best.values()) > 100  # the better one is not always the first


def test_taskmasters_labels_become_rankings_where_a_prompt_has_both(data_root: Path) -> None:
    found = _real(data_root, "taskmaster-rewards")
    assert found.report.read == 3228
    assert found.report.dropped == {"repeats another row": 231}
    rankings = [*found.train, *found.held_out]
    assert len(rankings) == 220
    assert all(set(one.scores) == {0.0, 1.0} and max(one.ranks) == 2 for one in rankings)
    completions = sum(len(one.completions) for one in every(found))
    assert completions == found.report.kept == 3228 - 231
    assert len({exact_key(one.messages) for one in every(found)}) == len(every(found)) == 2254


def test_three_real_collections_stand_together(data_root: Path) -> None:
    found = _real(data_root, "hh-rlhf", "llmbar", "taskmaster-rewards", max_completions=4)
    assert found.report.read == 1156 + 415 + 3228
    assert max(found.report.sizes) == 4
    lines = "\n".join(found.lines())
    assert "4,566 of 4,799 rows are used; left out: 231 (repeats another row), 2 (empty reply)" in lines
    assert "licences: CC-BY-4.0 (3,228 rows), MIT (1,569 rows)" in lines
    card = found.card()
    assert card["rows"]["read"] == card["rows"]["kept"] + sum(card["rows"]["dropped"].values())
    assert {source["licence_class"] for source in card["sources"]} == {"permissive"}
    assert all(len(file["sha256"]) == 64 for source in card["sources"] for file in source["files"])


def test_rankings_are_read_from_a_saved_data_set_of_the_hub(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [
        {"prompt": f"p{number}", "completions": ["x", "", "y"], "ranking": [1, 3, 2], "annotator": "ada"}
        for number in range(3)
    ]
    rows += [{"prompt": "", "completions": ["x", "y"], "ranking": [1, 2], "annotator": "ada"}]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    found = opened(tmp_path / "saved", collection="hub", held_out=0)
    assert [(one.completions, one.annotator) for one in found.train] == [(("x", "y"), "ada")] * 3
    assert found.report.dropped == {"empty prompt": 1}


def test_a_ranking_knows_where_it_comes_from(tmp_path: Path) -> None:
    row = {"id": "req-9", "prompt": "p", "completions": ["x", "y"], "ranking": [1, 2]}
    (ranking,) = opened(write(tmp_path / "mine.jsonl", [row]), held_out=0).train
    assert isinstance(ranking, Ranking)
    assert (ranking.task, ranking.example) == ("comparisons/mine", "req-9")
