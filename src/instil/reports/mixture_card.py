"""The card of a mixture for people: Markdown for a repository or a model's page, HTML to look at.

card_markdown(card)  ->  # recipes/real-mix.yaml, terms, totals, what was left out, every task, citations
card_page(card)      ->  the same as one self-contained page
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from instil.mixtures.provenance import MixtureCard, TaskCard, Total, terms
from instil.reports.page import render

#: Heading and first column of each table of totals.
_TITLES = {
    "licence": ("Licences", "class"),
    "language": ("Languages", "code"),
    "collection": ("Collections", "name"),
    "cluster": ("Clusters", "name"),
    "setting": ("Settings", "name"),
}


def card_markdown(card: MixtureCard) -> str:
    """The card as Markdown; text of data files is escaped."""
    return "\n".join(_lines(card)) + "\n"


def card_page(card: MixtureCard) -> str:
    """The card as one self-contained HTML page."""
    return render(
        "mixture_card.html",
        title=f"{card['name']}: where its {len(card['tasks']):,} tasks come from",
        card=card,
        terms=terms(card),
        totals=[(*_TITLES[name], totals, _bars(totals)) for name, totals in card["totals"].items()],
        stated=_stated,
        share=_share,
    )


def _lines(card: MixtureCard) -> Iterator[str]:
    yield f"# {_plain(card['name'])}: {len(card['tasks']):,} tasks, {card['prompts_an_epoch']:,} prompts an epoch"
    yield from ("", terms(card), "", f"Fingerprint `{card['fingerprint']}`, seed {card['seed']}.")
    for key, wanted in card["filters"].items():
        yield from ("", f"Only tasks whose {key} is {' or '.join(map(_plain, wanted))}.")
    if card["remarks"]:
        yield from ("", "## What was left out or set aside", "")
        yield from (f"- {_plain(remark)}" for remark in card["remarks"])
    for name, totals in card["totals"].items():
        yield from ("", f"## {_TITLES[name][0]}", "")
        yield from _table(
            (_TITLES[name][1], "tasks", "rows", "share"),
            [(total["name"], f"{total['tasks']:,}", f"{total['rows']:,}", _share(total["share"])) for total in totals],
            right=3,
        )
    yield from ("", "## Tasks", "")
    names = ("task", "source", "licence", "class", "language", "cluster", "settings", "templates", "rows", "share")
    yield from _table(names, [_row(task) for task in card["tasks"]], right=3)
    if card["citations"]:
        yield from ("", "## Citations", "")
        yield from (f"- {_plain(cited['citation'])} ({cited['tasks']:,} tasks)" for cited in card["citations"])


def _row(task: TaskCard) -> tuple[str, ...]:
    return (
        task["task"],
        task["source"] or "not stated",
        _stated(task),
        task["licence_class"],
        task["language"],
        task["cluster"],
        ", ".join(task["settings"]),
        str(len(task["templates"])),
        f"{task['rows']:,}",
        _share(task["share"]),
    )


def _stated(task: TaskCard) -> str:
    """The licence as stated, with its usual name where that differs."""
    stated, name = task["licence"], task["licence_name"]
    same = stated.casefold().replace(" ", "-") == name.casefold().replace(" ", "-")
    return stated if same or task["licence_class"] in ("custom", "unknown") else f"{stated} ({name})"


def _share(share: float) -> str:
    text = f"{100 * share:.2f}%"
    return "<0.01%" if text == "0.00%" and share else text


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], *, right: int) -> Iterator[str]:
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * (len(names) - right) + "--:|" * right
    yield from ("| " + " | ".join(map(_plain, row)) + " |" for row in rows)


def _plain(text: str) -> str:
    """A text of a data file as one line that Markdown shows as it is."""
    line = "".join(mark if mark.isprintable() else " " for mark in " ".join(text.split()))
    for mark in "\\`*_[]<>|":
        line = line.replace(mark, f"\\{mark}")
    return line


def _bars(totals: Sequence[Total]) -> list[Markup]:
    """A bar a row, its length the share, all on one scale."""
    most = max((total["share"] for total in totals), default=1.0) or 1.0
    return [
        Markup('<svg class="bar" role="img" aria-label="{}"><rect width="{:.2f}%" height="100%" rx="2"/></svg>').format(
            _share(total["share"]), max(0.4, 100 * total["share"] / most)
        )
        for total in totals
    ]
