from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from instil.mixtures.duplicates import find_duplicates, phrase
from instil.records import Example
from instil.tasks.registry import load_collection
from instil.tasks.task import Task
from instil.tasks.template import Template

ASK = Template("ask", "Is this toxic? {{ text }}", "{{ label }}", instruction="Answer with yes or no.")


def task(name: str, rows: Sequence[tuple[str, str]], template: Template = ASK) -> Task:
    examples = [Example(f"r{number}", {"text": text, "label": label}) for number, (text, label) in enumerate(rows)]
    return Task(f"made/{name}", "toxicity", "made", (template,), examples)


OTHERS = [
    ("The committee adjourned after lunch without a vote on the budget", "no"),
    ("Nobody in this town can park a car properly to save their life", "yes"),
    ("Seven swans were seen on the river this morning by the bridge", "no"),
    ("A new bakery opens tomorrow at the corner of the market square", "no"),
    ("He sold his late uncle's clocks one by one to pay the rent", "no"),
    ("What an utterly foolish thing to say in front of the children", "yes"),
]
LONG = "You are the very best neighbour that anybody in our street could have wished for in all these years"


def test_each_kind_of_repetition_is_told_from_the_others():
    found = find_duplicates(
        [
            task(
                "toxic",
                [
                    *OTHERS,
                    (LONG, "no"),
                    (f"{LONG.upper()}!!", "No."),
                    (LONG.replace("very ", ""), "no"),
                    (LONG, "yes"),
                    (LONG.replace("very ", ""), "yes"),
                ],
            )
        ],
        near=0.75,
    )
    twins = [(twin.kind, twin.kept.row, twin.other.row) for twin in found.twins]
    assert twins == [("exact", 6, 7), ("near", 6, 8), ("conflict", 6, 9), ("conflict", 8, 10), ("near", 9, 10)]
    assert found.repeated() == {"made/toxic": [7, 8, 10]}
    (pair,) = found.pairs()
    assert (pair.first, pair.second, pair.exact, pair.near, pair.conflict) == ("made/toxic", "made/toxic", 1, 2, 2)


def test_other_numbers_make_another_question():
    rows = [
        (f"a train takes {n} hours from the harbour to the old mill by the lake how fast is it", "fast") for n in (3, 4)
    ]
    assert not find_duplicates([task("sums", [*rows, *OTHERS])], near=0.6).twins
    assert find_duplicates([task("sums", [*rows, rows[0], *OTHERS])]).count("exact") == 1


def test_the_phrasing_of_a_task_does_not_make_its_rows_alike():
    wordy = Template(
        "wordy", "Read what follows with great care and then tell us whether it is toxic. {{ text }}", "no"
    )
    found = find_duplicates(
        [task("wordy", [(text, "no") for text in ("up", "down", "left", "right", "in")], wordy)], near=0.5
    )
    assert not found.twins


def test_two_tasks_that_ask_otherwise_share_nothing_and_two_that_ask_alike_do():
    insult = Template("insult", "Is this an insult? {{ text }}", "{{ label }}", instruction="Say yes or no, please.")
    asked = [task("toxic", OTHERS), task("insult", OTHERS, insult), task("again", OTHERS)]
    found = find_duplicates(asked, near=0.8)
    assert [(pair.first, pair.second, pair.exact) for pair in found.pairs()] == [("made/toxic", "made/again", 6)]


def test_a_row_that_no_template_can_phrase_repeats_nothing():
    bad = Template("bad", "{{ missing }}", "{{ label }}")
    found = find_duplicates([task("bad", [("a", "b"), ("a", "b")], bad)], near=0.8)
    assert (found.refused, found.twins) == (2, ())


@pytest.fixture(scope="module")
def real(data_root: Path) -> list[Task]:
    names = ["task1565*", "task1731*", "task475*", "task610*", "task547*", "task843*", "task393*"]
    return [found for name in names for found in _loaded(data_root, name)]


def _loaded(data_root: Path, name: str) -> list[Task]:
    from instil.errors import DataError

    try:
        return load_collection("ni", data_root, tasks=[name])
    except DataError:
        return []


def test_planted_duplicates_in_real_tasks_are_all_found(real: list[Task]):
    draw = random.Random(3)
    copies = Template("copy", "{{ shown }}", "{{ said }}")
    rows, planted = [], []
    for one in real:
        for row in range(min(100, one.size)):
            rendered = phrase(one, row)
            assert rendered is not None
            rows.append((f"{one.name}\n{rendered.input}", rendered.target))
    before = find_duplicates([_copied(rows, copies)])
    for number in draw.sample(range(len(rows)), 150):
        text, said = rows[number]
        disguise = draw.choice([str.upper, str.lower, lambda t: t.replace(" ", "  ") + " ", lambda t: f"“{t}”...", str])
        planted.append((disguise(text), disguise(said)))
    after = find_duplicates([_copied([*rows, *planted], copies)])
    assert after.count("exact") == before.count("exact") + len(planted)


def _copied(rows: Sequence[tuple[str, str]], template: Template) -> Task:
    examples = [Example(str(number), {"shown": shown, "said": said}) for number, (shown, said) in enumerate(rows)]
    return Task("made/copy", "copies", "made", (template,), examples)


def test_which_rows_go_does_not_depend_on_the_run(real: list[Task]):
    first, second = find_duplicates(real, near=0.8), find_duplicates(real, near=0.8)
    assert first.repeated() == second.repeated()
    counted: list[int] = []
    find_duplicates(real, progress=counted.append)
    assert sum(counted) == sum(one.size for one in real)
