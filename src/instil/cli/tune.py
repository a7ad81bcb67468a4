"""`instil tune`: one recipe, or one file of your own, becomes a tuned model in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instil.errors import RecipeError


def tune(
    recipe: Annotated[str | None, typer.Argument(help="A recipe file; leave it out to use --model and --data.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run folder to write.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Without a recipe: a model folder, a hub name, or `pocket`.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="With a recipe: the root of its data. Without: a .jsonl or .parquet file of your own."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="Without a recipe: name your columns, as in inputs=question.", metavar="FIELD=COLUMN"
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as in tuning.max_steps=10.", metavar="KEY=VALUE")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would take: tokens, steps, memory, time, cut answers.")
    ] = False,
) -> None:
    """Instruction-tune a model: loss on answers alone, checkpoints, --resume, a plain Hugging Face folder at the end.

    [bold]A recipe:[/bold] instil tune recipes/pocket.yaml --out runs/pocket --set tuning.max_steps=200

    [bold]Your file:[/bold] instil tune --model pocket --data my.jsonl --map inputs=question --map targets=answer
    --out runs/mine

    Writes DIR/model/, metrics.jsonl, recipe.yaml and, where the recipe evaluates, report.html.
    Ctrl-C saves; --resume goes on.
    """
    from instil.experiments.recipe import read_recipe, recipe_for_file
    from instil.experiments.tune import tune as run

    if recipe is not None:
        if model is not None or columns:
            raise RecipeError(
                "--model and --map are for tuning without a recipe",
                remedy="With a recipe, write --set model.path=NAME and put `map` in the mixture's source",
            )
        resolved = read_recipe(Path(recipe), assignments or [], data=data)
    else:
        if model is None or data is None:
            raise RecipeError(
                "neither a recipe nor --model and --data", remedy="See `instil tune --help` for both ways"
            )
        resolved = recipe_for_file(model=model, file=data, columns=columns or [], assignments=assignments or [])
    if out is None and not dry_run:
        raise RecipeError("--out is missing", remedy="Give the run folder, such as --out runs/mine")
    run(resolved, out, resume=resume, dry_run=dry_run)
