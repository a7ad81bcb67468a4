"""Metrics judge one prediction against all references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.tasks.metrics import METRICS, accuracy, exact_match, final_answer, normalised, rouge_l


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("  Yes. ", "yes", 1.0),
        ("new\n york", "New York", 1.0),
        ("(B)", "(b)", 1.0),
        ("} ]", "} ]", 1.0),
        ("} ]", "} ] ]", 0.0),
        (".", ".", 1.0),
        ("3.5", "35", 0.0),
        ("straße", "STRASSE", 1.0),
        ("cafe\u0301", "caf\u00e9", 1.0),
        ("", "", 1.0),
        ("", "a", 0.0),
        ("yes and no", "yes", 0.0),
    ],
)
def test_exact_match_forgives_case_blanks_and_one_full_stop_and_no_more(
    prediction: str, reference: str, score: float
) -> None:
    assert exact_match(prediction, [reference]) == score
    assert exact_match(prediction, ["something else", reference]) == score


def test_accuracy_wants_the_very_option() -> None:
    assert accuracy(" yes ", ["yes"]) == 1
    assert accuracy("Yes", ["yes"]) == 0


def test_rouge_l_is_the_longest_common_subsequence_of_stems() -> None:
    assert rouge_l("the cat sat", ["the cat sat"]) == 1
    assert rouge_l("the cat sat", ["a cat sat"]) == pytest.approx(2 / 3)
    assert rouge_l("the cat sat", ["dogs bark", "a cat sat"]) == pytest.approx(2 / 3)
    assert rouge_l("running dogs", ["run dog"]) == 1
    assert rouge_l("", ["a"]) == 0
    assert rouge_l("a", []) == 0


def test_rouge_l_equals_the_package_for_ascii() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rougeL"], use_stemmer=True)
    for prediction, reference in [("The dogs ran home.", "A dog runs home"), ("x-y 3", "x y 3"), ("none", "Nothing")]:
        assert rouge_l(prediction, [reference]) == theirs.score(reference, prediction)["rougeL"].fmeasure


@pytest.mark.parametrize(
    ("left", "right"), [("यह एक घर है", "वह एक घर है"), ("这是猫", "那是猫"), ("это дом", "тот дом")]
)
def test_rouge_l_sees_words_in_other_scripts(left: str, right: str) -> None:
    assert rouge_l(left, [left]) == 1
    assert 0 < rouge_l(left, [right]) < 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 + 2 = 4. So the answer is 4.", "4"),
        ("The answer is (A)? No. So the answer is (B).", "(B)"),
        ("Answer: yes", "yes"),
        ("The answer is 3.5.\nThat was easy.", "3.5"),
        ("no marker", "no marker"),
        ("the answer is", "the answer is"),
        ("", ""),
    ],
)
def test_the_final_answer_stands_after_the_last_marker(text: str, answer: str) -> None:
    assert final_answer(text) == answer


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=3))
def test_every_metric_is_between_0_and_1(prediction: str, references: list[str]) -> None:
    for metric in METRICS.values():
        assert 0 <= metric(prediction, references) <= 1


@given(st.text(max_size=40))
def test_a_text_matches_itself(text: str) -> None:
    assert exact_match(text, [text]) == 1
    assert normalised(normalised(text)) == normalised(normalised(normalised(text)))
