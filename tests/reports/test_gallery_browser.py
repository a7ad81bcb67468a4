"""The gallery as a reader uses it, in the system's Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.reports.test_browser import CONTRAST
from tests.reports.test_gallery import HOSTILE, gallery, prompt, task

from instil.reports.gallery import render_gallery
from instil.reports.mixture_card import card_page

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a gallery; afterwards no page has complained, asked for anything, or run what it should not."""
    said: list[str] = []
    asked: list[str] = []
    pages: list[Page] = []
    path = tmp_path / "gallery.html"

    def open_page(*tasks: dict[str, Any], width: int = 1280, scheme: Any = "light", place: str = "") -> Page:
        path.write_text(render_gallery(gallery(*tasks)), encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(5000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        page.goto(path.as_uri() + place)
        pages.append(page)
        return page

    yield open_page
    assert said == []
    assert set(asked) <= {path.as_uri()}
    for page in pages:
        page.close()


SENTIMENT = task(
    "p3/sentiment",
    [
        prompt("zero-shot", query="Was the film good? A delight.\nAnswer:", answer=[" yes", "</s>"]),
        prompt(
            "few-shot-2", context="Was the film good? Dull. no\n\n", query="Was the film good? Superb.", answer=[" yes"]
        ),
        prompt("few-shot-2", query="Was the film good? A bore.", answer=[" no", "</s>"]),
    ],
    cluster="sentiment",
    licence="CC BY-SA 3.0",
    licence_class="copyleft",
)
TASKS = [task(), SENTIMENT, task("ni/sums", [prompt(query="2 + 2")], cluster="arithmetic", weight=0.1)]


def names(page: Page) -> list[str]:
    return [text.partition("%")[2].strip() for text in page.locator("#list .item b").all_text_contents()]


def test_search_narrows_the_list_by_names_and_by_texts(opened: Open):
    page = opened(*TASKS)
    assert names(page) == ["made/toxic", "p3/sentiment", "ni/sums"]
    page.fill("#search", "SUPERB film")
    assert names(page) == ["p3/sentiment"]
    assert page.locator("#count").inner_text().startswith("1 task")
    page.fill("#search", "nothing has this")
    page.get_by_text("Clear search and filters").click()
    assert len(names(page)) == 3


def test_filters_narrow_the_list_and_say_what_is_left(opened: Open):
    page = opened(*TASKS)
    page.locator("#facets button", has_text="copyleft").click()
    assert names(page) == ["p3/sentiment"]
    assert page.locator("#facets button[aria-pressed=true]").count() == 1
    arithmetic = page.locator("#facets button", has_text="arithmetic")
    assert arithmetic.locator("small").inner_text() == "0"
    page.locator("#facets button", has_text="copyleft").click()
    page.locator("#facets button", has_text="few-shot-2").click()
    assert names(page) == ["p3/sentiment"]
    page.select_option("#order", "name")
    page.locator("#facets button", has_text="few-shot-2").click()
    assert names(page) == ["made/toxic", "ni/sums", "p3/sentiment"]


def test_a_prompt_opens_with_its_trained_tokens_marked_beside_its_template(opened: Open):
    page = opened(*TASKS, place="#p3%2Fsentiment")
    assert page.locator("#task h2").inner_text() == "p3/sentiment"
    assert page.locator("#task .chip").inner_text() == "copyleft"
    page.get_by_role("tab", name="few-shot-2").click()
    shown = page.locator(".prompt")
    assert shown.count() == 2
    shown.nth(1).locator("summary").click()
    assert shown.nth(1).locator("mark").all_inner_texts() == [" no", "</s>"]
    assert shown.nth(0).locator(".context").inner_text().startswith("Was the film good? Dull.")
    assert "{{ text }}" in shown.nth(0).locator(".source .jinja").all_inner_texts()
    colours = shown.nth(1).locator("mark").evaluate_all("nodes => nodes.map(n => getComputedStyle(n).backgroundColor)")
    assert len(set(colours)) == 2
    assert shown.nth(1).locator(".under .right").inner_text() == "no"


def test_it_is_used_without_a_mouse(opened: Open):
    page = opened(*TASKS)
    page.keyboard.press("ArrowDown")
    assert page.locator("#task h2").inner_text() == "p3/sentiment"
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    page.keyboard.press("ArrowRight")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == "few-shot-2"
    page.keyboard.press("/")
    page.keyboard.type("sums")
    assert names(page) == ["ni/sums"]
    page.keyboard.press("ArrowDown")
    assert page.locator("#task h2").inner_text() == "ni/sums"
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    assert len(names(page)) == 3


def test_hostile_text_is_shown_and_runs_nothing(opened: Open):
    hostile = dict.fromkeys(("cluster", "source", "licence", "language", "citation"), HOSTILE)
    shown = prompt(
        HOSTILE,
        context=HOSTILE,
        query=HOSTILE,
        answer=[HOSTILE],
        template=HOSTILE,
        example=HOSTILE,
        options=[HOSTILE],
        remark=HOSTILE,
    )
    page = opened(
        task("made/hostile" + HOSTILE, [shown], templates=[{"name": HOSTILE, "text": HOSTILE}], **hostile),
        task("made/tame"),
    )
    page.locator(".item a").first.click()
    text = page.locator(".prompt pre").first.inner_text()
    assert "</script><img src=x onerror=alert(1)>" in text
    for number in ("U+202E", "U+2028", "U+E0041", "U+D800"):
        assert number in text
    assert page.locator("img").count() == 0
    assert page.evaluate("document.scripts.length") == 2


def test_a_script_that_is_not_the_gallerys_own_is_refused(browser: Browser, tmp_path: Path):
    path = tmp_path / "changed.html"
    path.write_text(
        render_gallery(gallery(*TASKS)).replace("</main>", "<script>document.title = 'ran'</script></main>")
    )
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.title() == "Some tasks"
    write = "try { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); 'ran' } catch { 'blocked' }"
    assert page.evaluate(write) == "blocked"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900, 360])
def test_it_fits_and_its_texts_stand_out(opened: Open, width: int, scheme: str):
    long = task("made/" + "a_very_long_name_without_a_blank" * 6, [prompt(query="x" * 3000)], citation="y" * 400)
    page = opened(long, *TASKS, width=width, scheme=scheme)
    page.locator(".item a").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts: dict[str, float] = page.evaluate(CONTRAST)
    assert {name: round(value, 2) for name, value in contrasts.items() if value < 4.5} == {}


def test_on_a_phone_a_task_takes_the_page_and_gives_it_back(opened: Open):
    page = opened(*TASKS, width=390)
    assert not page.locator("#task").is_visible()
    assert not page.locator("#facets").is_visible()
    page.locator(".item a").nth(1).click()
    assert page.locator("#task h2").inner_text() == "p3/sentiment"
    assert not page.locator("#list").is_visible()
    page.get_by_text("All tasks").click()
    assert page.locator("#list").is_visible()


def test_marks_of_lengths_stand_where_their_numbers_say(opened: Open):
    page = opened(task(read=[1, 10, 100, 1000, 10_000]))
    drawing = page.locator("#task .lengths svg").first
    frame, dot = drawing.bounding_box(), drawing.locator("circle").bounding_box()
    assert frame is not None
    assert dot is not None
    assert abs((dot["x"] + dot["width"] / 2 - frame["x"]) / frame["width"] - 0.5) < 0.01


def test_as_many_tasks_as_flan_open_and_are_searched_at_once(opened: Open):
    many = [
        task(
            f"made/task{number}",
            [prompt(query=f"question {number} " + "word " * 300)],
            cluster=f"cluster {number % 80}",
        )
        for number in range(1836)
    ]
    page = opened(*many)
    assert page.locator(".item").count() == 1836
    spent = page.evaluate(
        """() => { const start = performance.now(); const box = document.getElementById("search");
        box.value = "question 1799 "; box.dispatchEvent(new Event("input")); document.body.offsetHeight;
        return performance.now() - start; }"""
    )
    assert names(page) == ["made/task1799"]
    assert spent < 2000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_a_mixtures_card_fits_and_its_texts_stand_out(browser: Browser, tmp_path: Path, width: int, scheme: Any):
    total = {"name": "permissive_and_very_long_" * 3, "tasks": 2, "rows": 10, "share": 0.7}
    shown = task("made/" + "long_name_" * 12)
    more = {"share": 0.7, "languages": ["en"], "licence_name": "CC-BY-4.0", "settings": {"zero-shot": 1.0}, "files": []}
    card: Any = {
        "name": "recipes/made.yaml",
        "fingerprint": "3f9c" * 8,
        "seed": 0,
        "prompts_an_epoch": 12,
        "filters": {"licence": ["permissive"]},
        "totals": {name: [total] for name in ("licence", "language", "collection", "cluster", "setting")},
        "tasks": [
            {**shown, **more, "templates": ["ask"]},
            {**shown, **more, "templates": ["ask"], "licence_class": "unknown"},
        ],
        "citations": [{"citation": "Ada 1843", "tasks": 2}],
        "remarks": ["5 rows were set aside, for one /a/" + "very_long_path/" * 12],
    }
    path = tmp_path / "card.html"
    path.write_text(card_page(card), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts: dict[str, float] = page.evaluate(CONTRAST)
    assert {name: round(value, 2) for name, value in contrasts.items() if value < 4.5} == {}
    totals = page.locator(".scroll").first
    assert totals.evaluate("box => box.scrollWidth <= box.clientWidth"), "a table of totals is cut on a phone"
    bar = page.locator("svg.bar rect").first
    assert bar.is_visible() == (width > 760)
    if width > 760:
        drawn, frame = bar.bounding_box(), page.locator("svg.bar").first.bounding_box()
        assert drawn is not None
        assert frame is not None
        assert drawn["width"] == pytest.approx(frame["width"], abs=1)
    page.close()
