"""The page of an aligned model: whole, safe, honest about what it lacks, and readable in a browser."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.reports.align_reports import align_report
from tests.reports.test_browser import CONTRAST
from tests.reports.test_pages import Balance

from instil.reports.align import render_align
from instil.reports.align_figures import other_curves, over_optimisation
from instil.reports.align_verdict import align_verdict


def whole(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert not balance.open
    assert not balance.loads
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = render_align(align_report())  # type: ignore[arg-type]
    whole(page)
    for part in ("alarms", "over-optimisation", "watched", "tax", "samples", "loss", "trained", "notes", "made"):
        assert f'id="{part}"' in page
    assert "&lt;b&gt;Answer" in page
    assert "<b>Answer" not in page
    assert "recommended: step 60" in page


def test_the_page_needs_only_what_its_shape_requires() -> None:
    page = render_align({"name": "x", "method": "dpo", "verdict": "DPO is done.", "seconds": 3.0})
    whole(page)
    for part in ("alarms", "over-optimisation", "watched", "tax", "samples"):
        assert f'id="{part}"' not in page


def test_a_report_survives_json_with_nulls_for_what_is_not_known() -> None:
    report = align_report()
    for point in report["points"][3:5]:
        point |= {"gold_reward": None, "kl": None, "win_rate": None, "score": None}
    report["gold_reward"]["gain"]["ci95"] = [None, None]
    again = json.loads(json.dumps(report, allow_nan=False))
    assert render_align(again) == render_align(report)  # type: ignore[arg-type]
    whole(render_align(again))


def test_without_gold_the_picture_says_that_over_optimisation_would_not_show() -> None:
    page = render_align(align_report(gold=False))  # type: ignore[arg-type]
    assert "There is no gold reward here" in page
    assert "gold reward: only watched" not in page
    assert "Gold reward" not in page


def test_what_follows_the_first_sentence_stands_smaller() -> None:
    report = align_report()
    report["verdict"] += " Without a price on KL it goes 40 nats away."
    page = render_align(report)  # type: ignore[arg-type]
    assert "from the start.</h1>" in page
    assert '<p class="why">Without a price on KL' in page


def test_a_run_beside_it_is_a_second_picture() -> None:
    report = align_report()
    points = report["points"]
    report["over_optimised"] = {"label": "The same with beta near 0", "points": points, "text": "Held by nothing."}
    page = render_align(report)  # type: ignore[arg-type]
    whole(page)
    assert "The same with beta near 0" in page
    assert "Held by nothing." in page


def test_rewards_stand_as_gains_in_standard_deviations_at_the_root_of_the_divergence() -> None:
    points = [
        {"step": 0, "kl": 0.0, "proxy_reward": 1.0, "proxy_low": 0.5, "proxy_high": 1.5},
        {"step": 9, "kl": 4.0, "proxy_reward": 4.0, "proxy_low": 3.0, "proxy_high": 5.0},
    ]
    figure = over_optimisation(points, {"proxy": 2.0}, recommended=9, name="a", title="b")
    assert figure is not None
    (series,) = figure["series"]
    assert [(point["x"], point["y"]) for point in series["points"]] == [(0.0, 0.0), (2.0, 1.5)]
    assert series["points"][1]["low"] == 1.0
    assert figure["references"][0]["x"] == 2.0


def test_no_picture_is_drawn_of_one_evaluation() -> None:
    points = [{"step": 0, "kl": 0.0, "proxy_reward": 1.0}]
    assert over_optimisation(points, {}, recommended=0, name="a", title="b") is None
    assert other_curves(points, recommended=0, kl_budget=None) == []


@pytest.mark.parametrize(
    ("ends", "begins"),
    [([0.55, 0.7], "PPO helped:"), ([0.3, 0.45], "PPO did harm:"), ([0.45, 0.6], "No clear gain by PPO:")],
)
def test_the_verdict_says_what_the_interval_carries(ends: list[float], begins: str) -> None:
    report = align_report()
    report["win_rate"] |= {"score": sum(ends) / 2, "ci95": ends}
    assert align_verdict(report).startswith(begins)


def test_the_verdict_tells_the_distance_the_budget_the_judge_and_the_tax() -> None:
    report = align_report()
    said = align_verdict(report)
    assert "n = 200, by gold reward" in said
    assert "at 5.6 nats from the start" in said
    assert "it lost 3.0 points on pocket" in said
    report["kl_budget"] = 5.0
    assert "beyond the budget of 5" in align_verdict(report)
    assert "is also what judged it" in align_verdict(align_report(gold=False))
    assert "is also what judged it" not in said
    assert "is also what judged it" not in align_verdict({**align_report(gold=False), "verifiable": True})


def test_without_a_judge_the_verdict_claims_nothing() -> None:
    report: dict[str, Any] = {"method": "dpo", "kl": {"score": 2.0, "n": 9, "ci95": [1.0, 3.0]}}
    assert align_verdict(report).startswith("DPO is done; nothing judged its answers")
    assert align_verdict({"method": "dpo", "win_rate": {"score": math.nan}}).startswith("DPO is done; nothing")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_opens_without_errors_or_requests_and_fits(
    browser: Browser, tmp_path: Path, width: int, scheme: Any
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_align(align_report()), encoding="utf-8")  # type: ignore[arg-type]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert asked == [path.as_uri()]
    assert said == []
    assert page.locator("#over-optimisation svg").filter(visible=True).count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts: dict[str, float] = page.evaluate(CONTRAST)
    assert {name: round(value, 2) for name, value in contrasts.items() if value < 4.5} == {}
    page.close()


def test_a_mark_says_its_step_and_reward(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_align(align_report()), encoding="utf-8")  # type: ignore[arg-type]
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(path.as_uri())
    svg = page.locator("#over-optimisation svg.wide")
    svg.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "Step 20, reward" in page.locator("#tip").inner_text()
    page.close()
