"""The gallery as text: what it holds, what it never holds, and how it stays small."""

from __future__ import annotations

import json
import re
from typing import Any

from instil.reports.gallery import Gallery, in_script, render_gallery


def prompt(setting: str = "zero-shot", **changes: Any) -> dict[str, Any]:
    made = {
        "setting": setting,
        "template": "ask",
        "example": "r1",
        "context": "",
        "query": "Is it toxic? You are great\nAnswer:",
        "answer": [" no", "</s>"],
        "read": 9,
        "written": 2,
        "options": ["yes", "no"],
        "right": 1,
        "remark": "",
    }
    return made | changes


def task(name: str = "made/toxic", prompts: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    made = {
        "task": name,
        "collection": name.partition("/")[0],
        "cluster": "toxicity",
        "source": "made up",
        "licence": "CC BY 4.0",
        "licence_class": "permissive",
        "language": "English",
        "citation": "Ada 1843",
        "metrics": ["exact_match"],
        "remark": "",
        "rows": 12,
        "weight": 0.5,
        "read": [4, 6, 9, 12, 30],
        "written": [1, 1, 2, 2, 3],
        "templates": [{"name": "ask", "text": "Is it toxic? {{ text }} ||| {{ label }}"}],
        "prompts": [prompt()] if prompts is None else prompts,
    }
    return made | changes


def gallery(*tasks: dict[str, Any]) -> Gallery:
    return {  # type: ignore[typeddict-item]
        "eyebrow": "instil mix gallery",
        "title": "Some tasks",
        "lead": "A few.",
        "weighed_by": "prompts",
        "unit": "tokens",
        "tasks": list(tasks),
        "notes": ["one note"],
        "command": "instil mix gallery x.yaml",
    }


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


HOSTILE = "</script><img src=x onerror=alert(1)><!-- <script> & \u2028 \u202e \U000e0041 \ud800"


def test_what_stands_in_a_script_block_cannot_end_it():
    text = in_script({"x": HOSTILE})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["x"] == HOSTILE
    text.encode()


def test_the_page_holds_every_text_as_it_is_and_no_markup_of_it():
    page = render_gallery(gallery(task(citation=HOSTILE, prompts=[prompt(query=HOSTILE, answer=[HOSTILE])])))
    data = data_of(page)
    assert data["tasks"][0]["citation"] == HOSTILE
    assert data["tasks"][0]["prompts"][0]["query"] == HOSTILE
    assert "<img" not in page
    assert page.count("</script>") == 2


def test_a_template_that_many_tasks_have_stands_once():
    data = data_of(render_gallery(gallery(*(task(f"made/{number}") for number in range(50)))))
    assert len(data["texts"]) == 1
    assert data["tasks"][49]["templates"] == [["ask", 0]]


def test_a_page_stays_within_its_budget_and_says_what_it_left_out():
    long = [prompt(setting, query="word " * 800) for setting in ("zero-shot", "few-shot-2")] * 3
    tasks = [task(f"made/{number}", long) for number in range(60)]
    whole = render_gallery(gallery(*tasks))
    assert "prompts are shown, at most" not in whole
    small = render_gallery(gallery(*tasks), budget=400_000)
    data = data_of(small)
    assert len(small.encode()) < 450_000
    assert all(1 <= len(one["prompts"]) < 6 for one in data["tasks"])
    assert "of 360 prompts are shown, at most" in small
    assert all(one["prompts"][0]["setting"] == "zero-shot" for one in data["tasks"])


def test_where_few_prompts_fit_every_setting_is_shown_by_some_task():
    names = ["zero-shot", "few-shot-2", "zero-shot-cot", "zero-shot-inverted", "few-shot-2-dialogue"]
    tasks = [task(f"made/{number}", [prompt(name, query="word " * 400) for name in names]) for number in range(60)]
    data = data_of(render_gallery(gallery(*tasks), budget=250_000))
    shown = [[one["setting"] for one in made["prompts"]] for made in data["tasks"]]
    assert all(len(some) < 5 and some[0] == "zero-shot" for some in shown)
    assert {name for some in shown for name in some} == set(names)


def test_the_middle_of_a_long_prompt_is_left_out_and_counted():
    page = render_gallery(gallery(task(prompts=[prompt(context="c" * 20_000, query="q" * 9_000)])))
    shown = data_of(page)["tasks"][0]["prompts"][0]
    assert len(shown["context"]) + len(shown["query"]) < 8_200
    assert "characters …]" in shown["query"]
    assert shown["query"].endswith("qqq")
    assert "the middle is left out" in page
