"""`instil reward`: rankings of completions become a reward model, or an ensemble of them, in a run folder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instil.cli.processes import met_alike
from instil.errors import RecipeError

if TYPE_CHECKING:
    from instil.experiments.reward_recipe import RewardRecipe


def reward(
    recipe: Annotated[str | None, typer.Argument(help="A recipe file; leave it out to use --model and --data.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run folder to write.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Without a recipe: a causal or masked model: a folder, a hub name, or `pocket`.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="With a recipe: the root of its data. Without: a file of rankings, pairs (prompt, chosen, rejected) "
            "or scores."
        ),
    ] = None,
    members: Annotated[
        int | None, typer.Option(help="How many models, each from its own seed: an ensemble.", min=1)
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as in tuning.ties=half.", metavar="KEY=VALUE")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the first row that cannot be used, instead of counting it.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be learned from: rows, pairs, steps, tokens.")
    ] = False,
) -> None:
    """Train a reward model on rankings: all pairs of a prompt at once, each completion read once; one pass by default.

    [bold]Your file:[/bold] instil reward --model runs/sft --data ranked.jsonl --out runs/reward

    [bold]A recipe:[/bold]  instil reward recipe.yaml --members 3 --out runs/reward --set rankings.held_out=0.2

    A line of the file: {"messages": [{"role": "user", "content": "Name a fruit."}],
    "completions": ["Apple.", "A chair."], "ranks": [1, 2], "annotator": "ada"}

    Writes DIR/model/ (with --members DIR/reward-0/model/, ...), report.html with the accuracy on held-out prompts and
    its interval, calibration and what length has to do with it, and report.json. Ctrl-C saves; --resume goes on.
    """
    with met_alike():
        resolved = _asked_for(recipe, model, data, [*(assignments or []), *_said(members)])
        if dry_run:
            from instil.experiments.reward import dry_run as plan

            for line in plan(resolved, strict=strict):
                typer.echo(line)
            return
        if out is None:
            raise RecipeError("--out is missing", remedy="Give the run folder, such as --out runs/reward")
    from instil.experiments.reward import reward as run

    result = run(resolved, out, resume=resume, command=shlex.join(["instil", *sys.argv[1:]]), strict=strict)
    named = f"models: [{', '.join(str(one.parent) for one in result.models)}]"
    typer.echo(f"align to it: rewards: [{{{f'model: {result.out}' if len(result.models) == 1 else named}}}]")


def _said(members: int | None) -> list[str]:
    return [] if members is None else [f"members={members}"]


def _asked_for(recipe: str | None, model: str | None, data: Path | None, assignments: list[str]) -> RewardRecipe:
    """The recipe that was named, or one made up from a model and a file."""
    from instil.experiments.reward_recipe import read_reward_recipe, reward_recipe_for_file
    from instil.recipe import dump_yaml

    if recipe is not None:
        if model is not None:
            raise RecipeError(
                "--model is for a reward model without a recipe",
                remedy="With a recipe, write --set model.path=NAME",
            )
        return read_reward_recipe(Path(recipe), assignments, data=data)
    if model is None or data is None:
        raise RecipeError("neither a recipe nor --model and --data", remedy="See `instil reward --help` for both ways")
    made = reward_recipe_for_file(model=model, file=data, assignments=assignments)
    typer.echo(f"# no recipe was given; this one is made up from what was\n{dump_yaml(made)}")
    return made
