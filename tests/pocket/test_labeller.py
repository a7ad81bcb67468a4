"""Programmed people: what an answer is worth, and rankings that are noisy in a known measure."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.agreement import agreement
from instil.pocket import labeller
from instil.pocket.chains import Chain, single
from instil.pocket.demonstrations import asked, demonstrated, prompts
from instil.pocket.labeller import HELD_OUT, PEOPLE, WEIGHTS, Annotator, Gold, gold, levels, read, terms
from instil.pocket.skills import SKILLS
from instil.tuning.rewards import RewardBatch

REVERSE_FIRST = Chain((SKILLS["reverse"], SKILLS["first"]))
TEXT = "cat dog fox"


def test_the_module_s_picture_is_what_gold_says() -> None:
    rows = re.findall(r"^ {8}(\S.*?) {3,}(-?[\d.]+)", labeller.__doc__ or "", re.MULTILINE)
    assert len(rows) == 7
    for answer, worth in rows:
        assert gold(REVERSE_FIRST, TEXT, answer) == pytest.approx(float(worth), abs=5e-4), answer


def test_an_answer_is_taken_apart_as_a_reader_would() -> None:
    whole = read("fox dog cat, then cat. So the answer is fox. What do you do? The answer is fox.")
    assert (whole.answer, whole.steps, whole.sentence, whole.doubt) == ("fox", ("fox dog cat", "cat"), True, False)
    assert (whole.idle, whole.repeated) == (4, 4)
    plain = read(" fox dog ")
    assert (plain.answer, plain.steps, plain.sentence) == ("fox dog", (), False)
    assert read("I think 42.").doubt
    assert not read("The answer is fox").sentence, "a sentence has its full stop"
    assert read("").answer == ""


def test_every_demonstration_of_a_skill_or_a_composition_is_read_without_rest() -> None:
    for name in ("commas", "dashes", "bracketed", "vowels_hidden", "article", "numbered"):
        task = demonstrated(single(name), side="skills")
        for number in range(6):
            example = task.examples[number]
            for template in task.templates:
                found = terms(single(name), str(example.fields["x"]), template.render(example, seed=0).target)
                assert found["right"] == 1
                assert found["misleading"] == found["wrong_steps"] == found["repeated"] == 0


def test_what_is_worth_something_depends_on_what_else_is_true() -> None:
    """The interactions: the same words add to a right answer and take from a wrong one."""

    def worth(answer: str, chain: Chain = REVERSE_FIRST) -> float:
        return gold(chain, TEXT, answer)

    assert worth("The answer is fox.") > worth("fox") > worth("cat") > worth("The answer is cat.")
    assert worth("I think fox.") < worth("fox")
    assert worth("I think cat.") == worth("cat"), "doubt about what is wrong costs nothing"
    steps = "fox dog cat. So the answer is fox."
    assert worth(steps) > worth("The answer is fox.")
    assert gold(single("last"), TEXT, steps) < gold(single("last"), TEXT, "The answer is fox."), (
        "nobody asked for steps"
    )


def test_neither_length_nor_a_keyword_decides() -> None:
    right, wrong = "The answer is fox.", "The answer is cat."
    assert gold(REVERSE_FIRST, TEXT, right) - gold(REVERSE_FIRST, TEXT, wrong) > 1
    longer = [
        right,
        f"fox dog cat. So the answer is fox. {'What do you do? ' * 4}",
        "fox dog cat. So the answer is fox.",
    ]
    worths = [gold(REVERSE_FIRST, TEXT, answer) for answer in sorted(longer, key=len)]
    assert worths != sorted(worths)
    assert worths != sorted(worths, reverse=True)


@given(st.text(max_size=80))
def test_any_text_at_all_has_a_worth_and_none_beats_the_best(text: str) -> None:
    worth = gold(REVERSE_FIRST, TEXT, text)
    assert math.isfinite(worth)
    assert worth <= sum(WEIGHTS[name] for name in ("right", "manner", "steps")) + 1e-9


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.floats(0, 1))
def test_levels_keep_the_order_and_tie_what_is_near(worths: list[float], tie: float) -> None:
    ranks = levels(worths, tie=tie)
    assert sorted(set(ranks)) == list(range(1, max(ranks) + 1))
    for one, first in zip(worths, ranks, strict=True):
        for other, second in zip(worths, ranks, strict=True):
            if first < second:
                assert one > other
            if one > other + tie:
                assert first < second


def test_levels_of_the_worked_example() -> None:
    assert levels([0.1, 2.0, 1.9, -3.0], tie=0.15) == (2, 1, 1, 3)


def _answers(text: str, wanted: str) -> list[str]:
    words = text.split()
    return [wanted, f"The answer is {wanted}.", f"I think {wanted}.", f"The answer is {words[0]}.", f"{words[0]} what?"]


def test_without_noise_habits_and_ties_everybody_ranks_by_gold() -> None:
    exact = Annotator("nobody", noise=0.0, tie=0.0)
    for prompt in prompts(20, part="tested", seed=1):
        found = asked(prompt)
        answers = _answers(found.text, found.chain.steps(found.text)[-1])
        worths = [gold(found.chain, found.text, answer) for answer in answers]
        assert exact.rank(prompt, answers, seed=0).ranks == levels(worths, tie=0.0)


def test_a_person_says_the_same_again_and_another_seed_something_else() -> None:
    prompt = prompts(1, part="tested", seed=1)[0]
    answers = [f"The answer is {number}." for number in range(6)]
    first = PEOPLE[0].rank(prompt, answers, seed=0)
    assert PEOPLE[0].rank(prompt, answers, seed=0) == first
    assert PEOPLE[0].rank(prompt, answers[::-1], seed=0).ranks == first.ranks[::-1], "whatever the order"
    others = {PEOPLE[0].rank(prompt, answers, seed=seed).ranks for seed in range(1, 6)}
    assert len(others | {first.ranks}) > 1


def test_two_people_agree_often_and_not_always() -> None:
    rankings = []
    for prompt in prompts(60, part="ranked", seed=2):
        found = asked(prompt)
        answers = list(dict.fromkeys(_answers(found.text, found.chain.steps(found.text)[-1])))
        rankings += [person.rank(prompt, answers, seed=0) for person in PEOPLE]
    agreed = agreement(rankings)
    assert agreed is not None
    assert 0.7 < agreed.rate < 0.95
    assert set(agreed.by_annotator) == {person.name for person in PEOPLE}
    assert HELD_OUT in agreed.by_annotator
    assert agreed.tied > 0


def test_gold_as_a_reward_is_gold() -> None:
    asks = prompts(12, part="tested", seed=5)
    found = [asked(prompt) for prompt in asks]
    answers = [f"The answer is {one.chain.steps(one.text)[-1]}." for one in found]
    worths = Gold()(RewardBatch(tuple(asks), tuple(answers), ((),) * 12, (True,) * 12))
    assert worths == [gold(one.chain, one.text, answer) for one, answer in zip(found, answers, strict=True)]
    assert min(worths) > 2, "a right answer in a whole sentence"


def test_gold_is_handed_to_what_watches_and_to_nothing_else(repository: Path) -> None:
    """Whoever trained by it would have to import it: the quickstart alone does, and gives it as `gold=[Gold()]`."""
    source = repository / "src" / "instil"
    trees = {path.relative_to(source).as_posix(): ast.parse(path.read_text("utf-8")) for path in source.rglob("*.py")}
    users = {name for name, tree in trees.items() if _imported(tree) - {"HELD_OUT", "PEOPLE"}}
    assert users == {"pocket/align.py"}
    tree = trees["pocket/align.py"]
    assert _imported(tree) == {"HELD_OUT", "PEOPLE", "Gold"}
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Gold"]
    given = [
        word for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords if word.arg == "gold"
    ]
    assert named == [node for word in given for node in ast.walk(word.value) if isinstance(node, ast.Name)]


def _imported(tree: ast.Module) -> set[str]:
    """What a module takes from the labeller; the labeller itself where it takes it whole."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "instil.pocket.labeller":
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.name for alias in node.names if alias.name.rpartition(".")[2] == "labeller"}
    return found
