"""Choices, facts and columns of a study's page read as words and even numbers, never as data structures."""

from __future__ import annotations

from instil.reports.choices import plain_choices
from instil.reports.study import split_sentence
from instil.reports.study_tables import say_column, say_minus
from instil.reports.verdict_facts import verdict_facts


def test_choices_are_told_without_what_is_empty():
    source = '{"held_in": [{"collection": "targets", "tasks": ["a", "b"], "cap": null, "map": {}}], "held_out": []}'
    told = plain_choices(
        [["targets", source], ["data", "default"], ["suites", "none"], ["pretraining_tokens", "{}"], ["seeds", "0, 1"]]
    )
    assert told == [
        ("targets", ["held in: collection: targets; tasks: a, b"]),
        ("seeds", ["0, 1"]),
        ("not set", ["data, suites, pretraining tokens"]),
    ]


def test_a_mapping_of_plain_values_is_one_line_and_zero_and_false_are_values():
    assert plain_choices([["tuning", '{"save_every": 0, "mixed": false, "note": null}'], ["threads", 1]]) == [
        ("tuning", ["save every: 0; mixed: no"]),
        ("threads", ["1"]),
    ]
    assert plain_choices([["words", "{not json"]]) == [("words", ["{not json"])]


def test_the_facts_of_models_are_a_table_with_a_column_a_model():
    facts, tables = verdict_facts(
        {
            "verdict": "yes",
            "smallest_gain": 0.02,
            "by_model": {
                "a": {
                    "scores": [0.176, 0.36],
                    "next_doubling": {"value": 0.095, "ci95": [0.074, 0.116]},
                    "knee": {"value": None, "ci95": [None, None]},
                    "nothing": None,
                },
                "b": {"scores": [0.5, 0.6], "knee": {"value": 135, "ci95": [40, 900]}},
            },
        }
    )
    assert facts == [("Smallest gain that matters", "2.0 points")]
    assert [table.columns for table in tables] == [["a", "b"]]
    assert tables[0].rows == [
        ("Scores", ["17.6%, 36.0%", "50.0%, 60.0%"]),
        ("Next doubling", ["+9.5 points (+7.4 to +11.6)", "–"]),
        ("Knee (amount)", ["none found", "135 (40 to 900)"]),
    ]


def test_models_with_parts_have_a_column_a_part():
    gain = {"score": 0.1, "ci95": [0.05, 0.15], "n": 3}
    _, tables = verdict_facts({"models": {"pocket": {"held_in": {"gain": gain}, "held_out": {"gain": gain}}}})
    assert tables[0].columns == ["pocket, held in", "pocket, held out"]
    assert tables[0].rows == [("Gain", ["+10.0 points (+5.0 to +15.0)"] * 2)]


def test_a_long_verdict_is_a_headline_and_what_follows():
    first = "Yes: on tasks that it does not hold, tuning brings +15.9 points."
    assert split_sentence(f"{first} Without it +3.") == (first, "Without it +3.")
    assert split_sentence("Not shown. Both are so.") == ("Not shown. Both are so.", "")


def test_a_column_has_as_many_places_everywhere():
    assert say_column([72.1, 36.0, None, -1234.5]) == ["72.1", "36.0", "–", "−1,234.5"]
    assert say_column([4, 1623.0]) == ["4", "1,623"]
    assert say_column(["a", 0.5]) == ["a", "0.5"]
    assert (
        say_minus("+3.4 points [-7.0, 13.7], pocket-0.3m, 2023-10") == "+3.4 points [−7.0, 13.7], pocket-0.3m, 2023-10"
    )
