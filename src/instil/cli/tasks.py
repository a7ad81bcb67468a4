"""`instil tasks`: what tasks there are, what one looks like, its prompts, and what every file of a folder is.

instil tasks list ni --data ../data                   one row a task: cluster, rows, templates, metric, licence
instil tasks show ni/task1565_triviaqa_classification --data ../data
instil tasks render cot/gsm8k --data ../data -n 2     rendered examples, input and target
instil tasks check ../data                            every file: format, tasks, rows read, accepted, set aside
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instil.cli.gallery import tasks_gallery
from instil.cli.tasks_templates import templates as list_templates
from instil.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from instil.tasks.check import Checked
    from instil.tasks.registry import Collection
    from instil.tasks.task import Task
    from instil.tasks.template import Renderer

app = typer.Typer(help="Look at tasks: list them, show one, render its prompts, check files.", no_args_is_help=True)
app.command("gallery")(tasks_gallery)

Data = Annotated[Path | None, typer.Option("--data", help="The folder under which data lies; the working folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")]
At = Annotated[str | None, typer.Option("--path", help="Another file or folder than the collection's own.")]
Columns = Annotated[
    list[str] | None, typer.Option("--map", help="FIELD=COLUMN for rows of your own, such as inputs=question.")
]
Phrases = Annotated[
    Path | None, typer.Option("--templates", help="A file of templates, in place of the collection's own.")
]

#: Files of no known format that may be rows of one's own.
OWN_ENDINGS = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")

#: A walk that takes longer than this shows its progress, on a terminal.
PATIENCE_SECONDS = 1.0


@app.command("list")
def list_tasks(
    collection: Annotated[
        str | None, typer.Argument(help="ni, cot, p3, bbh, ...; all collections if left out.")
    ] = None,
    data: Data = None,
    path: At = None,
    tasks: Annotated[list[str] | None, typer.Option("--tasks", help="Names, globs, or a file that lists them.")] = None,
    columns: Columns = None,
    templates: Phrases = None,
    as_json: AsJson = False,
) -> None:
    """List the tasks of a collection, or the collections.

    Example: instil tasks list ni --data ../data --tasks 'task12*'
    """
    from instil.tasks.registry import collections, open_collection

    if collection is None:
        if as_json:
            _print_json({"collections": collections()})
        else:
            _print_table(("collection", "what it holds"), [(name, note) for name, note in collections().items()])
        return
    found = open_collection(
        collection, data, path=path, tasks=tasks, columns=_mapped(columns), templates=_text(templates)
    )
    aside = sum(map(len, found.quarantined.values()))
    if as_json:
        _print_json(
            {"tasks": [_summary(task) for task in found.tasks], "absent": list(found.absent), "quarantined": aside}
        )
        return
    rows = [
        (task.name, task.cluster, f"{task.size:,}", str(len(task.templates)), task.metrics[0], task.licence)
        for task in found.tasks
    ]
    _print_table(("task", "cluster", "rows", "templates", "metric", "licence"), rows, right=(2, 3))
    total = sum(task.size for task in found.tasks)
    _say(f"{len(found.tasks)} tasks, {total:,} rows; {aside} rows set aside, {len(found.absent)} listed tasks absent.")


@app.command("show")
def show(
    task: Annotated[str, typer.Argument(help="COLLECTION/NAME, such as ni/task1565_triviaqa_classification.")],
    data: Data = None,
    path: At = None,
    columns: Columns = None,
    templates: Phrases = None,
    as_json: AsJson = False,
) -> None:
    """Show one task: where it comes from, its templates, its first row.

    Example: instil tasks show cot/gsm8k --data ../data
    """
    from instil.tasks.registry import further_phrasings

    found = _one(task, data, path, columns, templates).tasks[0]
    further = [one.name for one in further_phrasings(found.collection)]
    summary = (
        _summary(found)
        | {"further_templates": further}
        | {"first_row": {"key": found.examples[0].key, **found.examples[0].fields}}
    )
    if as_json:
        _print_json(summary)
        return
    for name, value in summary.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
        _say(f"{name:16} {text}")


@app.command("render")
def render(
    task: Annotated[str, typer.Argument(help="COLLECTION/NAME, such as cot/gsm8k.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many examples.")] = 3,
    template: Annotated[str | None, typer.Option("--template", help="One template; all in turn if left out.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides what templates draw by chance.")] = 0,
    data: Data = None,
    path: At = None,
    columns: Columns = None,
    templates: Phrases = None,
    as_json: AsJson = False,
) -> None:
    """Render examples of a task: what a model would read, and what it should answer.

    Example: instil tasks render bbh/snarks --data ../data -n 1
    """
    rendered = list(_rendered(_one(task, data, path, columns, templates), n, template, seed))
    if as_json:
        _print_json({"rendered": rendered})
        return
    for item in rendered:
        _say(f"--- {item['task']}, row {item['example']}, template {item['template']}")
        if "refused" in item:
            _say(f"(refused: {item['refused']})")
            continue
        _say("\n\n".join(part for part in (item["instruction"], item["input"]) if part))
        _say(f">>> {item['target']}")
        if item["options"]:
            _say(f"    options: {' | '.join(item['options'])}")


app.command("templates")(list_templates)


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="A folder, walked to its end, or one file.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that is set aside: exit code 2.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what every file under a folder is, and account for every row.

    Rows read = rows accepted + rows set aside. Files that are no tasks are named as what they are.

    Example: instil tasks check ../data
    """
    from instil.tasks.check import NO_READER, reasons, totals

    rows = list(_with_progress(path, strict=strict))
    why = [{"reason": reason, "rows": count, "files": files} for reason, count, files in reasons(rows)]
    if as_json:
        _print_json({"files": [row.as_dict() for row in rows], "totals": totals(rows), "reasons": why})
        return
    table = [
        (
            row.path,
            row.format,
            f"{row.tasks:,}",
            f"{row.read:,}",
            f"{row.accepted:,}",
            f"{row.quarantined:,}",
            "; ".join(f"{reason} ({count:,})" for reason, count in row.reasons.items()),
        )
        for row in rows
    ]
    _print_table(("file", "format", "tasks", "read", "accepted", "set aside", "why"), table, right=(2, 3, 4, 5))
    sums = totals(rows)
    _say(
        f"{sums['files']:,} files, {sums['tasks']:,} tasks: {sums['read']:,} rows read, "
        f"{sums['accepted']:,} accepted, {sums['quarantined']:,} set aside."
    )
    for one in why:
        _say(f"  {one['rows']:>9,}  {one['reason']} ({one['files']:,} {'file' if one['files'] == 1 else 'files'})")
    if any(NO_READER in row.reasons and row.path.lower().endswith(OWN_ENDINGS) for row in rows):
        _say(
            "Rows of your own are read once their columns are named: "
            "instil tasks list jsonl --path FILE --map inputs=question --map targets=answer\n"
            "(FILE is JSONL, JSON, Parquet, or CSV or TSV whose first row names the columns.)"
        )


def _with_progress(path: Path, *, strict: bool) -> Iterator[Checked]:
    """The checked files; a bar on stderr where that is a terminal and the walk is slow."""
    from time import monotonic

    from instil.tasks.check import check, files_under

    if not sys.stderr.isatty():
        yield from check(path, strict=strict)
        return
    from rich.console import Console
    from rich.progress import Progress

    started, bar = monotonic(), Progress(console=Console(stderr=True), transient=True)
    job = bar.add_task("checking", total=len(files_under(path)))
    try:
        for row in check(path, strict=strict):
            if not bar.live.is_started and monotonic() - started > PATIENCE_SECONDS:
                bar.start()
            bar.advance(job)
            yield row
    finally:
        bar.stop()


def _one(
    task: str, data: Path | None, path: str | None, columns: list[str] | None, templates: Path | None
) -> Collection:
    """The collection with the one task alone."""
    from instil.tasks.registry import open_collection

    collection, slash, name = task.partition("/")
    if not slash:
        raise DataError(
            f"{task!r} names no task", remedy="Write COLLECTION/NAME; `instil tasks list` names collections"
        )
    return open_collection(
        collection, data, path=path, tasks=[name], columns=_mapped(columns), templates=_text(templates)
    )


def _rendered(found: Collection, n: int, template: str | None, seed: int) -> Iterator[dict[str, Any]]:
    from instil.tasks.registry import further_phrasings
    from instil.tasks.template import RenderRefused

    task = found.tasks[0]
    chosen: list[Renderer] = [one for one in task.templates if template in (None, one.name)]
    chosen = chosen or [one for one in further_phrasings(found.name) if one.name == template]
    if not chosen:
        for file, rows in found.quarantined.items():
            for row in rows:
                if row.where == f"template {template!r}":
                    said = f"template {template!r} was set aside: {row.reason}"
                    raise DataError(f"{file}: {said}", remedy="Correct the template")
        names = ", ".join(one.name for one in [*task.templates, *further_phrasings(found.name)])
        raise DataError(f"task {task.name!r} has no template {template!r}", remedy=f"It has {names}")
    for index in range(min(n, task.size)):
        example, one = task.examples[index], chosen[index % len(chosen)]
        origin = {"task": task.name, "example": example.key, "template": one.name}
        try:
            made = one.render(example, seed=seed + index)
        except RenderRefused as refused:
            yield origin | {"refused": refused.message}
            continue
        yield origin | {
            "instruction": made.instruction,
            "input": made.input,
            "target": made.target,
            "options": list(made.options),
            "references": list(made.references),
            "answer": made.answer,
        }


def _summary(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "collection": task.collection,
        "cluster": task.cluster,
        "rows": task.size,
        "templates": [template.name for template in task.templates],
        "metrics": list(task.metrics),
        "licence": task.licence,
        "language": task.language,
        "source": task.source,
        "citation": task.citation,
        "evaluation_only": task.evaluation_only,
    }


def _mapped(columns: list[str] | None) -> dict[str, str] | None:
    pairs = [entry.partition("=") for entry in columns or ()]
    for name, equals, column in pairs:
        if not (name and equals and column):
            given = f"--map {name}{equals}{column}"
            raise DataError(f"{given} is not FIELD=COLUMN", remedy="Write it like --map inputs=question")
    return {name: column for name, _, column in pairs} or None


def _text(path: Path | None) -> str | None:
    # From the working folder, as every path on a command line.
    return None if path is None else str(path.absolute())


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content, ensure_ascii=False))


def _say(text: str) -> None:
    """Text of files on a terminal: control characters in it could move the cursor or worse."""
    typer.echo("".join(mark if mark.isprintable() or mark == "\n" else " " for mark in text))


def _print_table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> None:
    """Plain columns, one line a row, so that `grep` and `less` work on them."""
    widths = [max(len(row[place]) for row in [names, *rows]) for place in range(len(names))]
    for row in [names, *rows]:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        _say("  ".join(cells).rstrip())
