from __future__ import annotations

import pytest

from instil.mixtures.mixture import Mixture
from instil.mixtures.provenance import MixtureCard, mixture_card, terms
from instil.mixtures.spec import MixtureSpec
from instil.records import Example
from instil.reports.mixture_card import card_markdown, card_page
from instil.tasks.task import SourceFile, Task
from instil.tasks.template import Template


def task(name: str, rows: int, licence: str, language: str = "English", citation: str = "") -> Task:
    examples = [Example(str(row), {"text": f"row {row}"}) for row in range(rows)]
    template = Template("plain", "Repeat: {{ text }}", "{{ text }}")
    return Task(
        f"made/{name}",
        f"cluster of {name}",
        "made",
        (template,),
        examples,
        licence=licence,
        language=language,
        citation=citation,
        source="somebody's | pipes <b>",
        files=(SourceFile("made.json", "ab" * 32),),
    )


@pytest.fixture
def card() -> MixtureCard:
    tasks = [
        task("one", 60, "CC BY 4.0", citation="Ada 1843"),
        task("two", 30, "Unknown", "English, Spanish", "Ada 1843"),
        task("three", 10, "CC BY-SA 3.0", citation="Babbage 1864"),
    ]
    spec = MixtureSpec.model_validate(
        {
            "sources": [{"collection": "made"}],
            "settings": {"zero-shot": 0.75, "few-shot-2": 0.25},
            "licence": ["permissive", "unknown", "copyleft"],
        }
    )
    return mixture_card(Mixture(spec, [tasks], remarks=["5 rows were set aside <script>"]), name="recipes/made.yaml")


def test_a_card_says_of_every_task_where_it_comes_from_and_under_which_terms(card: MixtureCard):
    one, two, _ = card["tasks"]
    assert (one["licence"], one["licence_name"], one["licence_class"]) == ("CC BY 4.0", "CC-BY-4.0", "permissive")
    assert (two["licence_class"], list(two["languages"])) == ("unknown", ["en", "es"])
    assert (one["rows"], round(one["share"], 6), list(one["templates"])) == (60, 0.6, ["plain"])
    assert {name: round(share, 3) for name, share in one["settings"].items()} == {"zero-shot": 0.75, "few-shot-2": 0.25}
    assert one["files"] == [{"path": "made.json", "sha256": "ab" * 32}]


def test_totals_add_up_and_citations_are_counted_once(card: MixtureCard):
    for totals in card["totals"].values():
        assert sum(total["share"] for total in totals) == pytest.approx(1)
    assert [total["name"] for total in card["totals"]["licence"]] == ["permissive", "copyleft", "unknown"]
    assert card["citations"] == [{"citation": "Ada 1843", "tasks": 2}, {"citation": "Babbage 1864", "tasks": 1}]
    assert "30.0% unknown (1)" in terms(card)
    assert "1 task states no licence" in terms(card)


def test_markdown_shows_the_text_of_data_as_it_is(card: MixtureCard):
    text = card_markdown(card)
    assert r"somebody's \| pipes \<b\>" in text
    assert r"5 rows were set aside \<script\>" in text
    assert "| CC BY 4.0 | permissive |" in text
    rows = [line for line in text.splitlines() if line.startswith("| made/")]
    assert len(rows) == 3
    assert all(line.replace(r"\|", "").count("|") == 11 for line in rows)


def test_the_page_is_escaped_and_loads_nothing(card: MixtureCard):
    page = card_page(card)
    assert "<script" not in page
    assert "5 rows were set aside &lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert page.count('<svg class="bar"') == sum(map(len, card["totals"].values()))
