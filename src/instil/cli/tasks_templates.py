"""`instil tasks templates`: what files of templates hold, and whether each template can render at all."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instil.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator


def templates(
    path: Annotated[Path, typer.Argument(help="A file of templates, or a folder of them.")],
    rows: Annotated[int, typer.Option("--rows", min=1, max=1000, help="How many rows to make up for each file.")] = 24,
    bad: Annotated[bool, typer.Option("--bad", help="Only templates that render no row, or cannot be used.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """List templates with the fields and filters that they use, and try each on made-up rows.

    The rows are made from how the templates use their fields, so no data is needed. A template that renders none of
    them is named with the reason, as is one that cannot be used.

    Example: instil tasks templates ../data/promptsource
    """
    listed = list(_listed(path, rows))
    shown = [row for row in listed if not bad or not row["rendered"]]
    failed = sum(not row["rendered"] for row in listed)
    if as_json:
        typer.echo(json.dumps({"templates": shown, "total": len(listed), "bad": failed}, ensure_ascii=False))
        return
    for row in shown:
        fate = f"renders {row['rendered']} of {row['rows']}" if row["rendered"] else f"BAD: {row['reason']}"
        used = f"fields {', '.join(row['fields']) or 'none'}; filters {', '.join(row['filters']) or 'none'}"
        line = f"{row['file']}  {row['name']}  {fate}  ({used})"
        typer.echo("".join(mark if mark.isprintable() else " " for mark in line))
    typer.echo(f"{len(listed):,} templates, {len(listed) - failed:,} render, {failed:,} do not.")


def _listed(path: Path, rows: int) -> Iterator[dict[str, Any]]:
    from instil.tasks.made_up import tried
    from instil.tasks.readers.promptsource import Promptsource
    from instil.tasks.readers.source import Damage, Source
    from instil.tasks.template_file import open_templates

    if not path.exists():
        raise DataError(f"nothing at {path}", remedy="Give a file of templates or a folder")
    found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    count = 0
    for each in found:
        try:
            if path.is_dir() and not Promptsource().recognises(each, Source(each).head()):
                continue
        except (Damage, OSError):
            continue
        count += 1
        file, name = open_templates(each), str(each.relative_to(path)) if path.is_dir() else each.name
        for one in tried(file.templates, rows):
            yield {"file": name, **asdict(one)}
        for aside in file.aside:
            title = aside.where.removeprefix("template ").strip("'")
            empty: dict[str, Any] = {"fields": [], "filters": [], "rendered": 0, "rows": 0}
            yield {"file": name, "name": title, **empty, "reason": aside.reason}
    if not count:
        raise DataError(f"no file of templates under {path}", remedy="Give YAML files with a list `templates:`")
