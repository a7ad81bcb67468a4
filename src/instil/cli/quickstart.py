"""`instil quickstart`: the embedded base, the embedded suite, one report. Offline, minutes, two cores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the report and the tuned model.")] = Path(
        "runs/quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Decides every random choice.")] = 0,
) -> None:
    """Tune the embedded base on the embedded tasks and report base against tuned. Five minutes, offline.

    [bold]Example:[/bold] instil quickstart --out runs/quickstart

    Writes report.html (open it in a browser), report.json and model/. Then talk to it: instil chat runs/quickstart
    """
    from instil.pocket.quickstart import run

    run(out, seed=seed)
