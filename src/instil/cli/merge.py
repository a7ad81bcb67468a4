"""`instil merge`: an adapter and its base become one plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    base: Annotated[str, typer.Argument(help="The model it was trained on: a folder, a hub name, or `pocket`.")],
    adapter: Annotated[Path, typer.Argument(help="A LoRA adapter's folder (peft's format), or the run that made it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to write; it must not exist yet.")],
) -> None:
    """Merge a LoRA adapter into its base: a plain Hugging Face folder, equal to the model/ of the run that trained it.

    [bold]Example:[/bold] instil merge pocket runs/lora/adapter --out merged
    """
    from instil.experiments.merge import merge as run

    run(base, adapter, out)
    typer.echo(f"talk to it: instil chat {out}")
