"""`instil quickstart`: the embedded base, the embedded tasks, one report. Offline, minutes, two cores.

instil quickstart          tunes the base on instructions, and asks whether it follows
instil quickstart align    goes on to what people prefer: rankings, a reward model, PPO
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def quickstart(
    what: Annotated[
        Literal["tune", "align"],
        typer.Argument(
            help="tune: on instructions. align: on what people prefer, by rankings, a reward model and PPO."
        ),
    ] = "tune",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for report and model; runs/quickstart or runs/align by default."),
    ] = None,
    architecture: Annotated[
        Literal["causal", "seq2seq", "masked"],
        typer.Option(help="Whose embedded base is tuned: a decoder, an encoder-decoder or an encoder."),
    ] = "causal",
    seed: Annotated[int, typer.Option(help="Decides the order of the prompts and of all that is drawn.")] = 0,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a key, as in tuning.max_steps=50.", metavar="KEY=VALUE")
    ] = None,
) -> None:
    """Tune the embedded base on the embedded tasks and report base against tuned. Minutes, offline.

    [bold]Example:[/bold] instil quickstart --architecture seq2seq

    [bold]Preferences:[/bold] instil quickstart align

    Writes report.html (open it in a browser), report.json and model/ to runs/quickstart, or to
    runs/quickstart-seq2seq and runs/quickstart-masked. Then talk to it: instil chat runs/quickstart
    """
    from instil.cli.output import console

    if what == "align":
        _align(console(), out or Path("runs/align"), architecture, seed, assignments or [])
        return
    import shlex
    import sys

    from instil.cli.eval import progress
    from instil.cli.mix import print_row
    from instil.pocket.quickstart import finished, run

    screen = console()
    out = out or Path("runs/quickstart" if architecture == "causal" else f"runs/quickstart-{architecture}")
    verdict = finished(out)
    if verdict is None:

        def show(rows: Sequence[Mapping[str, Any]]) -> None:
            screen.print("Some of the prompts; what the model learns to write is marked.\n")
            for row in rows:
                print_row(screen, row)

        try:
            report = run(
                out,
                architecture=architecture,
                seed=seed,
                assignments=assignments or [],
                show_prompts=show,
                say=screen.print,
                watch=progress,
                command=shlex.join(["instil", *sys.argv[1:]]),
            )
        except KeyboardInterrupt:  # tuning would name --resume, which a quickstart does without
            raise KeyboardInterrupt(f"what was done is kept in {out}; the same command goes on") from None
        verdict = report["verdict"]
    else:
        screen.print(f"{out} holds a finished quickstart already (give another --out to make one again)")
    screen.print(f"\n[bold]{verdict}[/bold]")
    screen.print(f"The report: {out / 'report.html'}    Try the model: instil chat {out}")


def _align(screen: Any, out: Path, architecture: str, seed: int, assignments: Sequence[str]) -> None:
    import shlex
    import sys

    from instil.cli.eval import progress
    from instil.errors import RecipeError
    from instil.pocket.align import run
    from instil.pocket.quickstart import finished

    if architecture != "causal":
        raise RecipeError(
            f"quickstart align begins with the causal base, and --architecture is {architecture}",
            remedy="Leave it out; `instil align` aligns seq2seq models too",
        )
    verdict = finished(out)
    if verdict is None:
        command = shlex.join(["instil", *sys.argv[1:]])
        try:
            report = run(out, seed=seed, assignments=assignments, say=screen.print, watch=progress, command=command)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"what was done is kept in {out}; the same command goes on") from None
        verdict = report["verdict"]
    else:
        screen.print(f"{out} holds a finished quickstart already (give another --out to make one again)")
    screen.print(f"\n[bold]{verdict}[/bold]")
    screen.print(f"The report: {out / 'report.html'}    Try the model: instil chat {out / 'aligned'}")
