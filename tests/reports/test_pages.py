from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from instil.reports.page import duration
from instil.reports.quickstart import quickstart_verdict, render_quickstart
from instil.reports.run import render_run, run_verdict

_VOID = {"meta", "link", "br", "img", "hr", "input"}


class Balance(HTMLParser):
    """Fails on a tag that is closed in the wrong place; collects what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {key}={value}" for key, value in attrs if key in ("src", "href") and value != "data:,"]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert not balance.open
    assert not balance.loads
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_quickstart_page_is_whole_and_loads_nothing(quickstart_report: Any):
    page = render_quickstart(quickstart_report)
    check(page)
    for part in (
        "figure",
        "gains",
        "compositions",
        "probes",
        "forgetting",
        "clusters",
        "samples",
        "loss",
        "notes",
        "made",
    ):
        assert f'id="{part}"' in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_quickstart_page_needs_only_what_its_shape_requires(quickstart_report: Any):
    needed = {key: quickstart_report[key] for key in ("verdict", "base", "tuned", "held_out_kinds", "seconds")}
    page = render_quickstart(needed)  # type: ignore[arg-type]
    check(page)
    assert 'id="gains"' not in page
    assert "3 min 24 s" in page


def test_a_report_survives_json(quickstart_report: Any, run_report: Any):
    assert render_quickstart(json.loads(json.dumps(quickstart_report))) == render_quickstart(quickstart_report)
    assert render_run(json.loads(json.dumps(run_report))) == render_run(run_report)


def test_right_and_wrong_are_said_in_words(quickstart_report: Any):
    page = render_quickstart(quickstart_report)
    assert page.count("✓ right") == 3
    assert page.count("✗ wrong") == 9


def test_the_run_page_shows_base_tuned_and_change(run_report: Any):
    page = render_run(run_report)
    check(page)
    assert "ni-dev" in page
    assert "+8.0" in page
    assert "Apache-2.0" in page


def test_prompts_are_counted_once_however_many_metrics_judge_them(run_report: Any):
    groups = run_report["suites"][0]["groups"]
    groups.insert(1, {**groups[0], "metric": "exact_match"})
    assert "1,200 prompts, scored by rouge_l and exact_match and accuracy." in render_run(run_report)


def test_the_page_speaks_of_the_own_form_only_where_that_was_asked(quickstart_report: Any):
    assert "The last row asks in the form" in render_quickstart(quickstart_report)
    for probes in quickstart_report["base_probes"].values():
        del probes["own_form"]
        probes["few_shot_lenient"] = probes["lenient"]
    page = render_quickstart(quickstart_report)
    assert "The last row asks in the form" not in page
    assert "Few-shot, lenient matching" in page


def test_the_run_page_works_without_a_base(run_report: Any):
    for table in run_report["suites"]:
        for group in table["groups"]:
            group.pop("base", None)
            group.pop("gain", None)
    page = render_run(run_report)
    check(page)
    assert "base, with its 95% interval" not in page


def test_a_change_is_coloured_only_where_it_is_clear(run_report: Any):
    page = render_run(run_report)
    assert re.search(r'class="up">\+8\.0', page)
    assert re.search(r'class="">−1\.0', page)


def test_model_text_cannot_break_out_of_the_page(quickstart_report: Any):
    nasty = '</pre></article><script>alert(1)</script><img src=x onerror=alert(1)>" onmouseover="x {{ 7 * 7 }}'
    for sample in quickstart_report["samples"]:
        sample.update(prompt=nasty, base=nasty, tuned=nasty, expected=nasty, task=nasty, kind=nasty)
    quickstart_report["verdict"] = nasty
    check(render_quickstart(quickstart_report))


def verdict(report: Any, base: tuple[float, float, float], tuned: tuple[float, float, float]) -> str:
    report = copy.deepcopy(report)
    for side, (score, low, high) in (("base", base), ("tuned", tuned)):
        report[side]["held_out"].update(score=score, ci95=[low, high])
    return quickstart_verdict(report)


def test_the_verdict_says_yes_no_or_harm(quickstart_report: Any):
    assert verdict(quickstart_report, (0.06, 0.04, 0.08), (0.61, 0.58, 0.64)).startswith("Instruction tuning paid off")
    assert verdict(quickstart_report, (0.06, 0.04, 0.08), (0.08, 0.06, 0.1)).startswith("No clear gain")
    assert verdict(quickstart_report, (0.5, 0.45, 0.55), (0.2, 0.15, 0.25)).startswith("Instruction tuning did harm")


def test_the_verdict_warns_of_a_control_that_rises(quickstart_report: Any):
    quickstart_report["held_out_kinds"]["negative_control"]["tuned"]["score"] = 0.4
    assert "may be a leak" in quickstart_verdict(quickstart_report)


def test_the_verdict_of_a_run_speaks_of_every_suite(run_report: Any):
    text = run_verdict(run_report["suites"])
    assert "On ni-dev (zero-shot) tuning helped: from 9.0% to 17.0%" in text
    assert "; on bbh" in text
    assert "no suite was run" in run_verdict([])


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.31, "8.3 s"), (59.6, "1 min 0 s"), (204, "3 min 24 s"), (8000, "2 h 13 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str):
    assert duration(seconds) == text


def test_reports_import_neither_torch_nor_transformers():
    code = (
        "import sys, instil.reports.quickstart, instil.reports.run;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'altair')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_figure_shows_headlines_and_the_table_everything(run_report: Any):
    run_report["suites"][0]["groups"][1]["headline"] = False
    page = render_run(run_report)
    assert "1,200 prompts, scored by rouge_l and accuracy. The figure shows 3 lines, the table all 4." in page
