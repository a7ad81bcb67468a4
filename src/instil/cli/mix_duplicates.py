"""`instil mix duplicates`: which rows of a mixture repeat another row, by pair of tasks, with examples side by side.

5 of 12,000 rows repeat another exactly, 31 nearly (Jaccard 0.8 or more); 12 ask the same and answer otherwise.
exact  near  other answer  first      repeated in
    4    20             0  ni/task1   ni/task1
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instil.cli.mix_recipe import Assignments, Data, Language, Licence, Recipe, progress, read_recipe
from instil.cli.output import complain, console, visible

if TYPE_CHECKING:
    from instil.mixtures.duplicates import Duplicates, TaskPair

#: A sample is shown from this far before the first difference, and so long.
_BEFORE, _SHOWN = 160, 480


def duplicates(
    recipe: Recipe,
    near: Annotated[
        float | None,
        typer.Option(min=0.3, max=1.0, help="Look for near duplicates too, from this Jaccard similarity on (0.8)."),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=0, help="How many pairs of tasks to show.")] = 10,
    samples: Annotated[int, typer.Option(min=0, help="Of how many pairs to show two rows side by side.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Counts, every pair and every repeated row as JSON.")] = False,
    licence: Licence = None,
    language: Language = None,
    data: Data = None,
    assignments: Assignments = None,
) -> None:
    """Count rows that repeat another row, exactly (but for case, marks and white space) or nearly.

    [bold]Example:[/bold] instil mix duplicates recipes/real-mix.yaml --near 0.8 --data ../data

    Then `duplicates: drop-exact` or `duplicates: drop-near` (0.8) in the recipe's `mixture:` leaves them out.
    """
    from instil.mixtures.duplicates import find_duplicates
    from instil.mixtures.load import load_mixture

    raw = read_recipe(recipe, assignments, licence=licence, language=language)
    section = raw.get("mixture", raw)
    if isinstance(section, dict):
        section["duplicates"] = "keep"  # what a recipe leaves out is what this verb is asked about
    mixture = load_mixture(raw, data, origin=recipe)
    for remark in mixture.remarks:
        complain("note", remark)
    with progress(sum(task.size for task in mixture.tasks), "looking") as advance:
        found = find_duplicates(mixture.tasks, near=near, progress=advance)
    pairs = found.pairs()
    if as_json:
        typer.echo(json.dumps(_plain(found, pairs), ensure_ascii=False))
        return
    _print_counts(found)
    _print_pairs(pairs[:count], more=len(pairs) - count)
    for pair in pairs[:samples]:
        _print_sample(found, pair)


def _plain(found: Duplicates, pairs: list[TaskPair]) -> dict[str, Any]:
    from instil.mixtures.duplicates import summary

    tasks = found.tasks
    return {
        **summary(found),
        "pairs": [
            {
                "first": pair.first,
                "repeated_in": pair.second,
                "exact": pair.exact,
                "near": pair.near,
                "conflicting": pair.conflict,
            }
            for pair in pairs
        ],
        "rows_repeated": [
            {
                "kind": twin.kind,
                "first": {"task": tasks[twin.kept.task].name, "row": twin.kept.row},
                "repeated": {"task": tasks[twin.other.task].name, "row": twin.other.row},
            }
            for twin in found.twins
        ],
    }


def _print_counts(found: Duplicates) -> None:
    near = f", {found.count('near'):,} nearly (Jaccard {found.threshold:g} or more)" if found.threshold else ""
    typer.echo(
        f"{found.count('exact'):,} of {found.examples:,} rows in {len(found.tasks):,} tasks repeat another exactly"
        f"{near}; {found.count('conflict'):,} ask what another asks and answer otherwise."
    )
    if found.refused:
        typer.echo(f"{found.refused:,} rows cannot be phrased by any template and were not compared.")


def _print_pairs(pairs: list[TaskPair], *, more: int) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not pairs:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("exact", "near", "other answer"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("first in", "repeated in"):
        table.add_column(name, overflow="fold")
    for pair in pairs:
        counts = [f"{number:,}" if number else "–" for number in (pair.exact, pair.near, pair.conflict)]
        second = "the same task" if pair.second == pair.first else pair.second
        table.add_row(*counts, Text(visible(pair.first)), Text(visible(second)))
    screen = console()
    screen.print(table)
    if more > 0:
        screen.print(Text(f"and {more:,} more pairs of tasks (-n {len(pairs) + more} shows all)", style="dim"))


def _print_sample(found: Duplicates, pair: TaskPair) -> None:
    """Two rows beside each other, from shortly before their first difference."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from instil.mixtures.duplicates import phrase

    rows = (pair.sample.kept, pair.sample.other)
    shown = [phrase(found.tasks[row.task], row.row) for row in rows]
    texts = [f"{one.input}\n→ {one.target}" if one else "" for one in shown]
    start = max(0, _first_difference(*texts) - _BEFORE)
    titles = [f"{found.tasks[row.task].name}, row {found.tasks[row.task].examples[row.row].key}" for row in rows]
    kind = {"exact": "the same", "near": "nearly the same", "conflict": "the same question, another answer"}
    table = Table(box=box.SIMPLE_HEAD, expand=True, title=kind[pair.sample.kind], title_justify="left", pad_edge=False)
    for title in titles:
        table.add_column(Text(visible(title)), ratio=1, overflow="fold")
    table.add_row(*(Text(visible(_cut(text, start))) for text in texts))
    console().print(table)


def _first_difference(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), 0)


def _cut(text: str, start: int) -> str:
    piece = text[start : start + _SHOWN]
    return ("…" if start else "") + piece + ("…" if start + _SHOWN < len(text) else "")
