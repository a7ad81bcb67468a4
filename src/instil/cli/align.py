"""`instil align`: a tuned model learns from preferences, by rewards of its own answers or from rankings."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from instil.cli.processes import met_alike
from instil.errors import RecipeError


def align(
    recipe: Annotated[str, typer.Argument(help="A recipe file.", metavar="RECIPE")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run folder to write.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="In place of the recipe's: ppo, grpo, rloo, reinforce, rejection, best-of-n (they sample answers and "
            "need rewards); dpo, ipo, kto (they need rankings).",
            metavar="METHOD",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The root that paths of prompts, rankings and suites start from.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as in alignment.beta=0.05.", metavar="KEY=VALUE")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the first row that cannot be used, instead of setting it aside.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only open everything and say what it would take; nothing is written.")
    ] = False,
) -> None:
    """Align a tuned model with what people prefer: PPO with ptx, GRPO, DPO and their kin.

    [bold]Example, by rewards:[/bold]   instil align recipes/instructgpt-ppo.yaml --out runs/ppo

    [bold]Example, by rankings:[/bold]  instil align recipes/hh-dpo.yaml --data DATA --out runs/dpo

    The recipe names the start, the method, and prompts with rewards, or rankings.
    Held-out prompts are answered on the way: look at gold reward, KL and length.
    The best weights within monitor.kl_budget become the model; alarms give advice.

    Writes DIR/model/, metrics.jsonl, monitor/, report.html and report.json.
    Ctrl-C saves; --resume goes on.
    """
    from instil.experiments.align_recipe import read_align_recipe

    with met_alike():
        resolved = read_align_recipe(Path(recipe), assignments or [], data=data, method=method)
        if dry_run:
            from instil.experiments.align_plan import plan_lines
            from instil.experiments.align_prepare import prepare_align

            for line in plan_lines(prepare_align(resolved, strict=strict)):
                typer.echo(line)
            return
        if out is None:
            raise RecipeError("--out is missing", remedy="Give the run folder, such as --out runs/mine")
    from instil.cli.eval import progress
    from instil.experiments.align import align as run

    command = shlex.join(["instil", *sys.argv[1:]])
    result = run(resolved, out, resume=resume, watch=progress, command=command, strict=strict)
    if result.training is not None:
        typer.echo(f"talk to it: instil chat {result.out}")
