"""`instil recipe schema | show`: every key that a recipe may have, and what a recipe says once all is filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look into recipes: every key there is, and what one recipe says in full.", no_args_is_help=True)


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; printed if absent.")] = None,
) -> None:
    """Print the JSON Schema of recipes, which editors use to complete and check them.

    [bold]Example:[/bold] instil recipe schema --out recipe.schema.json

    Then put this line on top of a recipe: # yaml-language-server: $schema=recipe.schema.json
    """
    from instil.experiments.recipe import json_schema
    from instil.runs import write_text

    text = json.dumps(json_schema(), indent=2)
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text + "\n")
        typer.echo(f"wrote {out}")


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="A recipe file.", metavar="RECIPE")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as in tuning.max_steps=10.", metavar="KEY=VALUE")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Root of the data that the recipe's paths start from.")] = None,
) -> None:
    """Print the recipe with every default written out, as a run would store it.

    [bold]Example:[/bold] instil recipe show recipes/pocket.yaml --set tuning.max_steps=10
    """
    from instil.experiments.recipe import read_recipe
    from instil.recipe import dump_yaml

    typer.echo(dump_yaml(read_recipe(Path(recipe), assignments or [], data=data)), nl=False)
