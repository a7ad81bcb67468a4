"""The reports as a reader sees them, in the system's Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from instil.reports.quickstart import render_quickstart
from instil.reports.run import render_run


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("kind", ["quickstart", "run"])
def test_a_report_opens_without_errors_or_requests_and_fits(
    browser: Browser, tmp_path: Path, quickstart_report: Any, run_report: Any, kind: str, width: int, scheme: Any
):
    path = tmp_path / "report.html"
    page_text = render_quickstart(quickstart_report) if kind == "quickstart" else render_run(run_report)
    path.write_text(page_text, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert asked == [path.as_uri()]
    assert said == []
    assert page.locator("svg.track").first.is_visible()
    assert page.locator("svg.area").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, tmp_path: Path, quickstart_report: Any):
    path = tmp_path / "report.html"
    path.write_text(render_quickstart(quickstart_report), encoding="utf-8")
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(path.as_uri())
        contrasts: dict[str, float] = page.evaluate(CONTRAST)
        assert {name: round(value, 2) for name, value in contrasts.items() if value < 4.5} == {}
        page.close()


def test_marks_stand_where_their_numbers_say(browser: Browser, tmp_path: Path, quickstart_report: Any):
    path = tmp_path / "report.html"
    path.write_text(render_quickstart(quickstart_report), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.goto(path.as_uri())
    track = page.locator("#figure svg.track").first
    frame = track.bounding_box()
    mark = track.locator(".tuned .mark path").bounding_box()
    assert frame is not None
    assert mark is not None
    share = (mark["x"] + mark["width"] / 2 - frame["x"]) / frame["width"]
    assert abs(share - quickstart_report["tuned"]["held_in"]["score"]) < 0.01
    page.close()


#: The contrast (WCAG 2) of every element that holds text itself, by tag and class.
CONTRAST = """() => {
  const parse = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const node of document.querySelectorAll("main *")) {
    if (node.closest("svg") || ![...node.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
    const name = node.tagName + "." + node.className;
    found[name] = Math.min(found[name] ?? 99, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return found;
}"""
