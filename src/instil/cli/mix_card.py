"""`instil mix card`: where every task of a mixture comes from, under which licence, and how large its share is."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from instil.cli.mix_recipe import Assignments, Data, Language, Licence, Recipe, read_recipe


class Format(StrEnum):
    """How a card is written."""

    md = "md"
    json = "json"
    html = "html"


def card(
    recipe: Recipe,
    form: Annotated[
        Format | None, typer.Option("--format", help="md, json or html; by the ending of --out, or md, if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; printed if left out.")] = None,
    licence: Licence = None,
    language: Language = None,
    data: Data = None,
    assignments: Assignments = None,
) -> None:
    """Write a card: every task with its source, licence, language, rows, share and templates; totals; citations.

    [bold]Example:[/bold] instil mix card recipes/real-mix.yaml --data ../data --licence permissive --out card.html
    """
    from instil.mixtures.load import load_mixture
    from instil.mixtures.provenance import mixture_card
    from instil.reports.mixture_card import card_markdown, card_page

    raw = read_recipe(recipe, assignments, licence=licence, language=language)
    made = mixture_card(load_mixture(raw, data, origin=recipe), name=recipe)
    match form or _by_ending(out):
        case Format.json:
            text = json.dumps(made, ensure_ascii=False, indent=2) + "\n"
        case Format.html:
            text = card_page(made)
        case Format.md:
            text = card_markdown(made)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"{out}: {len(made['tasks']):,} tasks")


def _by_ending(out: Path | None) -> Format:
    endings = {".json": Format.json, ".html": Format.html, ".htm": Format.html}
    return endings.get(out.suffix.lower(), Format.md) if out else Format.md
