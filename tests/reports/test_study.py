"""The page of a study, its figures as files, and the page over several studies."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import resvg_py
from playwright.sync_api import Browser, Page, sync_playwright
from tests.reports.study_reports import HOSTILE, arrows_figure, budget_figure, study_report
from tests.reports.test_browser import CONTRAST

from instil.errors import RunError
from instil.reports.overview import render_overview, write_overview
from instil.reports.pictures import file_name, png_of, svg_file, write_figures
from instil.reports.study import render_study, write_study
from instil.reports.verdict_facts import say_fact


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Browser, path: Path, *, width: int = 1100, scheme: Any = "light") -> tuple[Page, list[str]]:
    """The page, and everything that it says or asks for besides itself."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if request.url != path.as_uri() else None)
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.goto(path.as_uri())
    return page, heard


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "index.html"
    path.write_text(render_study(study_report()), encoding="utf-8", errors="backslashreplace")  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_a_study_opens_without_errors_or_requests_and_fits(browser: Browser, page_path: Path, width: int, scheme: Any):
    page, heard = opened(browser, page_path, width=width, scheme=scheme)
    assert heard == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shown = page.locator(".chart svg").evaluate_all("all => all.filter(one => one.checkVisibility()).length")
    assert shown == len(study_report()["figures"])
    page.close()


def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, page_path: Path):
    for scheme in ("light", "dark"):
        page, _ = opened(browser, page_path, scheme=scheme)
        contrasts: dict[str, float] = page.evaluate(CONTRAST)
        assert {name: round(value, 2) for name, value in contrasts.items() if value < 4.5} == {}
        page.close()


def test_text_in_charts_and_the_colours_of_series_stand_out(browser: Browser, page_path: Path):
    for scheme in ("light", "dark"):
        page, _ = opened(browser, page_path, scheme=scheme)
        found: dict[str, float] = page.evaluate(CHART_CONTRAST)
        assert {name: round(v, 2) for name, v in found.items() if v < (4.5 if name.startswith("text") else 3)} == {}
        page.close()


def test_pointing_at_a_mark_shows_its_numbers_and_leaving_hides_them(browser: Browser, page_path: Path):
    page, _ = opened(browser, page_path)
    mark = page.locator("#figure-budget-held-out svg.wide .told[data-tip^='base, 256']")
    mark.scroll_into_view_if_needed()
    mark.hover()
    assert page.locator("#tip").inner_text() == "base, 256: 44.0% (40.5% to 47.5%), n = 1,200"
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    page.close()


def test_the_arrow_keys_go_through_the_numbers_of_a_figure(browser: Browser, page_path: Path):
    page, _ = opened(browser, page_path)
    chart = page.locator("#figure-budget-held-out svg.wide")
    chart.scroll_into_view_if_needed()
    chart.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert first.startswith("base, ")
    assert page.locator("#tip").inner_text() != first
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.close()


def test_hostile_text_is_shown_as_text_everywhere(browser: Browser, page_path: Path):
    page, heard = opened(browser, page_path)
    assert heard == []
    assert page.locator("script").count() == 1
    assert "<script>alert(1)</script>" in page.locator("#missing").inner_text()
    page.close()


def test_on_paper_the_recipe_is_open_and_colours_are_light(browser: Browser, page_path: Path):
    page, _ = opened(browser, page_path, scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#made pre").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(28, 33, 39)"
    assert page.locator(".figure details").first.is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.querySelector('#made details').open") is False
    page.close()


def test_a_study_that_found_nothing_still_has_a_page():
    bare: Any = {
        "question": "cot",
        "title": "CoT",
        "verdict": {"verdict": "not shown", "sentence": "No run.", "gain": None, "ci95": None, "n": 0, "covers": ""},
        "findings": [],
        "figures": [],
    }
    page = render_study(bare)
    assert "No run." in page
    assert "What is missing" not in page
    assert "How it was made" not in page


def test_a_page_names_the_verdict_the_gains_the_choices_and_how_to_make_it_again():
    page = render_study(study_report())  # type: ignore[arg-type]
    for words in (
        "+41.0 points",
        "(+36.0 to +46.0)",
        "Skill gain",
        "seeds, tasks and items",
        "tuned/256/seed-1 failed: out of memory",
        "0, 16, 64, 256, 1024",
        "instil study should-i --preset pocket --out studies/should-i",
        "3f9c1b2a77aa01cd",
        "Models of this size forget",
        'href="figures/budget-held-out.svg"',
    ):
        assert words in page


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("share_gained", 0.81, "81.0%"),
        ("smallest_gain", 0.02, "2.0 points"),
        ("budget", 256, "256"),
        ("flops", 3.2e12, "3.2T"),
        ("overlaps", False, "no"),
        ("share", {"gained": 0.5, "lost": 0.1}, "gained: 50.0%; lost: 10.0%"),
        ("models", {"pocket_a": {"verdict": "yes", "gain": 0.1, "ci95": [0.05, 0.15]}}, None),
        ("budgets", [0, 16], "0, 16"),
        ("tuned_alone_wins_up_to", {"held_in": None, "held_out": None}, "none"),
    ],
)
def test_figures_of_a_verdict_are_written_by_what_they_are(key: str, value: Any, words: str | None):
    assert say_fact(key, value) == (words or "pocket a: yes, +10.0 points (+5.0 to +15.0)")


def test_figures_are_written_as_svg_and_png(tmp_path: Path):
    report: Any = {**study_report(), "figures": [budget_figure(), arrows_figure()]}
    written = write_figures(report, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(path.name for path in written) == names
    assert names == ["budget-held-out.png", "budget-held-out.svg", "pareto.png", "pareto.svg"]
    root = ET.parse(tmp_path / "pareto.svg").getroot()
    assert "var(" not in (tmp_path / "pareto.svg").read_text("utf-8")
    width, height = struct.unpack(">II", (tmp_path / "pareto.png").read_bytes()[16:24])
    assert (width, height) == (2 * int(root.attrib["width"]), 2 * int(root.attrib["height"]))


def test_an_svg_file_tells_the_numbers_of_its_marks_without_a_script():
    picture = svg_file(budget_figure())
    assert "<title>base, 256: 44.0% (40.5% to 47.5%), n = 1,200</title>" in picture
    assert "data-tip" not in picture


def test_a_machine_without_fonts_writes_text_too():
    picture = svg_file({**budget_figure(), "title": "Scores → all, ≥ 2 points"})
    wordless = bytes(resvg_py.svg_to_bytes(svg_string=picture, zoom=2.0, skip_system_fonts=True))
    fonts = str(files("instil.reports") / "fonts")
    bare = resvg_py.svg_to_bytes(
        svg_string=picture, zoom=2.0, skip_system_fonts=True, font_dirs=[fonts], sans_serif_family="Roboto"
    )
    assert png_of(picture) == bytes(bare)
    assert len(bytes(bare)) > 1.2 * len(wordless)


def test_the_name_of_a_figure_cannot_leave_its_folder():
    assert file_name({"name": "../../Etc/passwd"}) == "etc-passwd"
    assert file_name({"name": "../"}) == "figure"


def test_an_overview_links_every_study_and_lists_every_claim(browser: Browser, tmp_path: Path):
    report: Any = study_report()
    path = tmp_path / "index.html"
    path.write_text(render_overview({"a/index.html": report, "b/index.html": {**report, "figures": []}}), "utf-8")
    page, heard = opened(browser, path)
    assert heard == []
    assert page.locator("h2 a").evaluate_all("all => all.map(one => one.getAttribute('href'))") == [
        "a/index.html",
        "b/index.html",
    ]
    assert page.locator(".claims tbody tr").count() == 2 * len(report["claims"])
    page.close()


def test_an_overview_is_made_of_finished_studies_alone(tmp_path: Path):
    with pytest.raises(RunError, match="holds no finished study"):
        write_overview(tmp_path)
    (tmp_path / "should-i").mkdir()
    (tmp_path / "running").mkdir()
    report: Any = {**study_report(), "figures": [budget_figure()]}
    (tmp_path / "should-i" / "study.json").write_text(json.dumps(report), "utf-8")
    page = write_overview(tmp_path)
    assert 'href="should-i/index.html"' in page.read_text("utf-8")
    assert (tmp_path / "should-i" / "index.html").is_file()
    (tmp_path / "running" / "study.json").write_text("[]", "utf-8")
    with pytest.raises(RunError, match="is not the report of a study"):
        write_overview(tmp_path)


def test_an_overview_follows_the_order_of_the_questions(tmp_path: Path):
    for question in ("cot", "other", "should-i"):
        (tmp_path / question).mkdir()
        report: Any = {**study_report(), "question": question}
        (tmp_path / question / "study.json").write_text(json.dumps(report), "utf-8")
    page = write_overview(tmp_path, questions=["should-i", "scaling", "cot"]).read_text("utf-8")
    places = [page.index(f'<h2><a href="{question}/index.html"') for question in ("should-i", "cot", "other")]
    assert places == sorted(places)


def test_a_study_is_written_with_its_figures(tmp_path: Path):
    report: Any = {**study_report(), "title": HOSTILE + "\ud800", "figures": [budget_figure()]}
    write_study(report, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "figures"}
    assert "<script>alert" not in (tmp_path / "index.html").read_text("utf-8")


#: The contrast (WCAG 2) of text and of series' colours in charts against the card behind them, by class.
CHART_CONTRAST = """() => {
  const parse = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const card = light(parse(getComputedStyle(document.querySelector("section")).backgroundColor));
  const against = colour => {
    const a = light(parse(colour));
    return (Math.max(a, card) + .05) / (Math.min(a, card) + .05);
  };
  const found = {};
  for (const node of document.querySelectorAll(".chart text")) {
    if (node.closest(".told") && node.previousSibling) continue;  // on a coloured cell
    found["text." + node.getAttribute("class")] = against(getComputedStyle(node).fill);
  }
  for (const style of ["base", "tuned", "gain", 1, 2, 3, 4, 5, 6, 7, 8]) {
    const probe = document.createElementNS("http://www.w3.org/2000/svg", "g");
    probe.setAttribute("class", `s-${style}`);
    document.querySelector(".chart svg").append(probe);
    found["series." + style] = against(getComputedStyle(probe).color);
  }
  return found;
}"""
