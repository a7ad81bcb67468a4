"""The page of a reward model: whole, safe, honest about what it lacks, and readable; its sentence can say no."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.reports.reward_reports import pair_share, reward_report
from tests.reports.test_browser import CONTRAST
from tests.reports.test_pages import Balance

from instil.reports.reward import render_reward
from instil.reports.reward_figures import accuracy_rows, calibration, distribution, learning_curve
from instil.reports.reward_verdict import reward_verdict
from instil.reports.study_tables import figure_table


def whole(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert not balance.open
    assert not balance.loads
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = render_reward(reward_report())  # type: ignore[arg-type]
    whole(page)
    for part in (
        "accuracy",
        "learning",
        "calibration",
        "rewards",
        "length",
        "samples",
        "loss",
        "data",
        "notes",
        "made",
    ):
        assert f'id="{part}"' in page
    assert "&lt;b&gt;A chair" in page
    assert "<b>A chair" not in page
    assert "and 5 more in report.json" in page
    assert "Accuracy by task" not in page  # of one task: it says nothing


def test_the_page_needs_only_what_its_shape_requires() -> None:
    report = {"name": "x", "verdict": "Done.", "seconds": 3.0, "accuracy": {"train": pair_share(0.7)}}
    page = render_reward(report)  # type: ignore[arg-type]
    whole(page)
    for part in ("learning", "calibration", "rewards", "length", "samples", "data"):
        assert f'id="{part}"' not in page


def test_a_report_survives_json() -> None:
    report = reward_report()
    again = json.loads(json.dumps(report, allow_nan=False))
    assert render_reward(again) == render_reward(report)  # type: ignore[arg-type]


def test_the_members_of_an_ensemble_stand_in_a_table() -> None:
    members = [{"folder": f"reward-{k}", "seed": k, "accuracy": pair_share(0.6)} for k in range(3)]
    page = render_reward(reward_report(members=members, worst=pair_share(0.63)))  # type: ignore[arg-type]
    whole(page)
    assert page.count("reward-1") == 1
    assert "ensemble, worst" in page


@pytest.mark.parametrize("made", [accuracy_rows, learning_curve, calibration, distribution])
def test_every_picture_has_its_numbers_as_a_table(made: Any) -> None:
    figure = made(reward_report())
    assert figure_table(figure).rows


def test_a_picture_of_too_little_is_left_out() -> None:
    assert learning_curve(reward_report(points=reward_report()["points"][:1])) is None  # type: ignore[arg-type]
    assert calibration({"accuracy": {}}) is None  # type: ignore[typeddict-item]
    assert distribution({"accuracy": {}}) is None  # type: ignore[typeddict-item]


# --- the sentence ------------------------------------------------------------------------------------------------


def told(**more: Any) -> str:
    return reward_verdict(reward_report(**more))


def test_what_was_learned_is_said_with_its_interval_beside_people_and_length() -> None:
    assert told() == (
        "Accuracy 64.1% [55.2, 73.0] on 331 pairs of 112 held-out prompts; annotators agree on 72.6%; of annotators "
        "that it never saw 61.0% [47.5, 74.5]; preferring the longer answer gets 55.0%."
    )


def test_where_nobody_can_say_how_far_people_agree_nothing_is_said() -> None:
    report = reward_report()
    del report["agreement"]
    assert "agree" not in reward_verdict(report)


def test_that_nothing_was_learned_is_said() -> None:
    accuracy = {"held_out": pair_share(0.512), "train": pair_share(0.52)}
    assert told(accuracy=accuracy) == (
        "Nothing was learned that shows: accuracy 51.2% [41.9, 60.5] on 331 pairs of 112 held-out prompts, where a "
        "coin gets 50%."
    )


def test_what_was_learned_by_heart_is_said() -> None:
    accuracy = {"held_out": pair_share(0.512), "train": pair_share(0.98)}
    assert told(accuracy=accuracy).endswith("where a coin gets 50%; on the prompts that it was trained on 98.0%.")


def test_worse_than_a_coin_is_said() -> None:
    assert told(accuracy={"held_out": pair_share(0.2), "train": pair_share(0.9)}).startswith("Worse than a coin: ")


def test_an_accuracy_that_length_explains_is_said() -> None:
    rule = {"prefers": "shorter", **pair_share(0.63)}
    level = {**rule, "lead": {"score": 0.01, "n": 331, "ci95": [-0.04, 0.06]}}
    assert told(length_rule=level).endswith(
        "; but preferring the shorter answer gets 63.0%, and that the model knows more than this rule is not shown."
    )
    behind = {**rule, "lead": {"score": -0.1, "n": 331, "ci95": [-0.16, -0.04]}}
    assert told(length_rule=behind).endswith("; but preferring the shorter answer gets 63.0%, which is more.")


def test_without_held_out_prompts_nothing_is_claimed() -> None:
    said = told(accuracy={"train": pair_share(0.9)})
    assert said.startswith("No prompt was held out, so nothing is known about what was learned")


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 380])
def test_it_is_readable_at_any_width_light_and_dark(browser: Browser, tmp_path: Path, scheme: Any, width: int) -> None:
    file = tmp_path / "report.html"
    file.write_text(render_reward(reward_report()))  # type: ignore[arg-type]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert {place: ratio for place, ratio in page.evaluate(CONTRAST).items() if ratio < 4.5} == {}
    assert said == []
    page.close()
