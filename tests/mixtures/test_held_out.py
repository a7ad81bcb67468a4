"""Held-out designs: tasks, clusters and their siblings, lists, nested random subsets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.errors import DataError, InstilError, RecipeError
from instil.mixtures.held_out import SIBLINGS, some_examples, split, subset, with_lists, without_examples
from instil.mixtures.spec import HoldOut, Subset
from instil.records import Example
from instil.tasks.task import Task
from instil.tasks.template import Template

#: FLAN v1's clusters, and how many data sets each has.
FLAN = {
    "summarization": 11, "structure_to_text": 4, "reading_comprehension": 6, "open_domain_qa": 4, "paraphrase": 4,
    "sentiment": 4, "text_formatting": 3, "common_sense": 4, "translation": 8, "coreference": 3, "entailment": 10,
    "math": 1, "conversational_qa": 2, "word_disambiguation": 1, "linguistic_acceptability": 1,
    "question_classification": 1, "read_comp_and_common_sense": 2,
}  # fmt: skip


def tasks_of(made: Any, clusters: dict[str, int]) -> list[Any]:
    return [
        made.task(f"x/{cluster}_{k}", made.rows(2), cluster=cluster)
        for cluster, n in clusters.items()
        for k in range(n)
    ]


def names(tasks: list[Any]) -> list[str]:
    return [task.name for task in tasks]


def clusters(tasks: list[Any]) -> set[str]:
    return {task.cluster for task in tasks}


@pytest.mark.parametrize(
    ("held", "siblings"),
    [
        ("entailment", {"paraphrase"}),
        ("paraphrase", {"entailment"}),
        ("reading_comprehension", {"read_comp_and_common_sense"}),
        ("common_sense", {"read_comp_and_common_sense"}),
        ("read_comp_and_common_sense", {"reading_comprehension", "common_sense"}),
        ("sentiment", set()),
    ],
)
def test_leaving_a_cluster_out_leaves_its_siblings_of_flan_v1_out(made: Any, held: str, siblings: set[str]) -> None:
    held_in, held_out = split(tasks_of(made, FLAN), HoldOut(clusters=[held], siblings="flan-v1"))
    assert clusters(held_out) == {held}
    assert len(held_out) == FLAN[held]
    assert clusters(held_in) == set(FLAN) - {held} - siblings


def test_a_sibling_that_is_held_out_too_is_asked_about(made: Any) -> None:
    design = HoldOut(clusters=["entailment", "paraphrase"], siblings="flan-v1")
    held_in, held_out = split(tasks_of(made, FLAN), design)
    assert clusters(held_out) == {"entailment", "paraphrase"}
    assert clusters(held_in) == set(FLAN) - {"entailment", "paraphrase"}


def test_rules_of_ones_own_and_patterns_in_any_case(made: Any) -> None:
    tasks = tasks_of(made, {"Textual Entailment": 1, "Paraphrasing": 2, "Translation": 3})
    assert clusters(split(tasks, HoldOut(clusters=["*entail*"], siblings="flan-v1"))[0]) == {"Translation"}
    design = HoldOut(clusters=["translation"], siblings={"Translation": ["para*"]})
    assert clusters(split(tasks, design)[0]) == {"Textual Entailment"}


def test_tasks_are_held_out_by_name_or_pattern_without_siblings(made: Any) -> None:
    tasks = tasks_of(made, {"entailment": 3, "paraphrase": 2})
    held_in, held_out = split(tasks, HoldOut(tasks=["entailment_0", "x/*_1"], siblings="flan-v1"))
    assert names(held_out) == ["x/entailment_0", "x/entailment_1", "x/paraphrase_1"]
    assert names(held_in) == ["x/entailment_2", "x/paraphrase_0"]


def test_a_name_with_brackets_is_a_name(made: Any) -> None:
    odd, plain = made.task("x/a[1]", made.rows(1)), made.task("x/a1", made.rows(1))
    assert names(split([odd, plain], HoldOut(tasks=["a[1]"]))[1]) == ["x/a[1]"]


@pytest.mark.parametrize("design", [{"tasks": ["entailmnt_*"]}, {"clusters": ["entailmnt"]}])
def test_a_misspelt_pattern_is_an_error(made: Any, design: dict[str, list[str]]) -> None:
    with pytest.raises(DataError, match="entailmnt"):
        split(tasks_of(made, FLAN), HoldOut.model_validate(design))


def test_a_list_names_tasks_with_or_without_collection_and_others_that_are_not_there(made: Any, tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("entailment_0\nx/entailment_2\nnot_there\n", encoding="utf-8")
    tasks = tasks_of(made, {"entailment": 3})
    design = with_lists(HoldOut(tasks=["test.txt"]), tasks, tmp_path)
    assert names(split(tasks, design)[0]) == ["x/entailment_1"]
    (tmp_path / "other.txt").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"other.txt lists none of the 3 tasks"):
        with_lists(HoldOut(tasks=["other.txt"]), tasks, tmp_path)
    with pytest.raises(InstilError, match=r"no list of tasks at .*nowhere\.txt"):
        with_lists(HoldOut(tasks=["nowhere.txt"]), tasks, tmp_path)


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), draw=st.integers(0, 99), data=st.data())
def test_subsets_of_a_draw_lie_within_one_another(made: Any, sizes: list[int], draw: int, data: st.DataObject) -> None:
    tasks = tasks_of(made, {f"c{number}": size for number, size in enumerate(sizes)})
    large = data.draw(st.integers(1, len(tasks)))
    small = data.draw(st.integers(1, large))
    stratified = data.draw(st.booleans())
    inner, outer = (
        names(subset(tasks, Subset(tasks=count, draw=draw, stratified=stratified))) for count in (small, large)
    )
    assert len(inner) == small
    assert set(inner) <= set(outer)
    assert outer == [name for name in names(tasks) if name in set(outer)]
    if stratified:
        counts = Counter(name.partition("_")[0] for name in inner)
        for number, size in enumerate(sizes):
            assert abs(counts[f"x/c{number}"] - small * size / len(tasks)) < 1 + len(sizes) / 2


def test_draws_differ_and_do_not_depend_on_order(made: Any) -> None:
    tasks = tasks_of(made, FLAN)
    drawn = [names(subset(tasks, Subset(tasks=20, draw=draw))) for draw in range(5)]
    assert len({tuple(some) for some in drawn}) == 5
    assert set(names(subset(tasks[::-1], Subset(tasks=20)))) == set(drawn[0])


def test_tasks_that_are_added_disturb_a_subset_only_by_coming_in(made: Any) -> None:
    tasks = tasks_of(made, FLAN)
    more = [*tasks, *(made.task(f"x/new_{k}", made.rows(1)) for k in range(5))]
    before, after = set(names(subset(tasks, Subset(tasks=30)))), set(names(subset(more, Subset(tasks=30))))
    assert {name for name in after - before if "new" not in name} == set()


def test_more_tasks_than_there_are_cannot_be_drawn(made: Any) -> None:
    with pytest.raises(RecipeError, match="70 tasks are asked for, and there are 69"):
        subset(tasks_of(made, FLAN), Subset(tasks=70))


def test_the_rules_of_flan_v1_name_its_clusters_both_ways() -> None:
    rules = SIBLINGS["flan-v1"]
    plain = {name: set(rules[name]) for name in rules if "*" not in name and name != "nli"}
    assert all(name in plain[sibling] for name, listed in plain.items() for sibling in listed)


def a_task(rows: int) -> Task:
    examples = [Example(f"r{k}", {"inputs": f"{k}?", "targets": str(k)}) for k in range(rows)]
    return Task("x/a", "x", "x", (Template("plain", "{{ inputs }}", "{{ targets }}"),), examples)


def test_a_draw_of_examples_lies_within_a_larger_one_and_apart_from_what_is_held_out() -> None:
    kept, out = without_examples(a_task(100), 20)
    few, more = (some_examples(kept, count, draw=3) for count in (8, 32))
    keys = [{example.key for example in task.examples} for task in (few, more, kept, out)]
    assert [len(one) for one in keys] == [8, 32, 80, 20]
    assert keys[0] < keys[1] < keys[2]
    assert not keys[2] & keys[3]
    assert few.fingerprint != more.fingerprint


def test_other_draws_are_other_examples_and_without_one_the_first_are_taken() -> None:
    task = a_task(100)
    first, one, other = (some_examples(task, 8, draw=draw) for draw in (None, 0, 1))
    assert [example.key for example in first.examples] == [example.key for example in task.examples[:8]]
    assert len({task.fingerprint for task in (first, one, other)}) == 3
    assert some_examples(task, 100, draw=1) is task
