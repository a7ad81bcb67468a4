"""The verbs under one roof, and the one place where an error becomes a line and an exit code.

    InstilError, a full disk     `error: what, where. Remedy.`                        exit code 2
    a wrong option               `error: No such option: --stpes. See ...`             exit code 2
    Ctrl-C                       `stopped: what was saved`                             exit code 130
    anything else                `error: ... The traceback is in FILE.`                exit code 1

Verbs import what is heavy inside their functions, so that `instil --help` answers at once.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from instil.cli import (
    align,
    chat,
    compare,
    contamination,
    merge,
    mix,
    pretrain,
    quickstart,
    recipe,
    reward,
    scores,
    study,
    suites,
    tasks,
    tune,
)
from instil.cli import eval as evaluation
from instil.cli.output import complain
from instil.cli.processes import is_beside_another, refuse_several
from instil.errors import InstilError, ToldElsewhereError

app = typer.Typer(
    name="instil",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: Errors of the machine, not of the code: shown like an InstilError.
_ENVIRONMENT = {
    errno.ENOSPC: "Free some space, or give another --out",
    errno.EDQUOT: "Free some space, or give another --out",
    errno.EROFS: "Give an --out that can be written",
    errno.EACCES: "Give a path that you may use",
    errno.EPERM: "Give a path that you may use",
    errno.EISDIR: "Give a file, not a folder",
    errno.EEXIST: "A file lies where a folder is needed: give another path",
    errno.ENOTDIR: "A file lies where a folder is needed: give another path",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
}


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"instil {version('instil')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Instruction-tune a pre-trained language model, and show by experiment how much it helps.

    [bold]Start here:[/bold] instil quickstart --out runs/quickstart

    [bold]Your data:[/bold]  instil tune --model Qwen/Qwen2.5-0.5B --data my.jsonl --out runs/mine
    """
    refuse_several(context.invoked_subcommand)


app.command("quickstart")(quickstart.quickstart)
app.add_typer(tasks.app, name="tasks")
app.add_typer(mix.app, name="mix")
app.command("tune")(tune.tune)
app.command("reward")(reward.reward)
app.command("align")(align.align)
app.command("eval")(evaluation.evaluate)
app.command("compare")(compare.compare)
app.command("contamination")(contamination.contamination)
app.command("scores")(scores.scores)
app.command("suites")(suites.suites)
app.command("chat")(chat.chat)
app.command("merge")(merge.merge)
app.command("pretrain")(pretrain.pretrain)
app.add_typer(study.app, name="study")
app.add_typer(recipe.app, name="recipe")


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line (that of the process by default) and return its exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    _print_any_text()
    if not is_beside_another():
        return _carry_out(arguments)
    # what all processes would print, the first one prints
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        return _carry_out(arguments)


def _carry_out(arguments: Sequence[str] | None) -> int:
    try:
        command = typer.main.get_command(app)
        with command.make_context("instil", list(sys.argv[1:] if arguments is None else arguments)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except KeyboardInterrupt as stop:
        if not is_beside_another():
            complain("stopped", str(stop) or "nothing was left half-written")
        return 130
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  # the one place that must let nothing through as a traceback
        return _explain(error)
    return 0


def _print_any_text() -> None:
    """Where the locale has no letter for a mark of the data (LC_ALL=C), print its number instead of stopping."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _explain(error: Exception) -> int:
    """Print one line about an error; the exit code."""
    if isinstance(error, InstilError):
        if not isinstance(error, ToldElsewhereError):
            complain("error", str(error))
        return error.exit_code
    if hasattr(error, "format_message") and hasattr(error, "ctx"):  # typer's usage errors: a wrong option or argument
        if not error.format_message() or is_beside_another():  # the help has been shown; the first process tells it
            return 2
        context = error.ctx
        where = context.command_path if context else "instil"
        complain("error", f"{error.format_message().rstrip('.')}. See `{where} --help`.")
        return 2
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT:
        place = f" at {error.filename}" if error.filename else ""
        complain("error", f"{error.strerror}{place}. {_ENVIRONMENT[error.errno]}.")
        return 2
    complain(
        "error", f"unexpected {type(error).__name__}: {str(error)[:300]}. The traceback is in {_keep_traceback()}."
    )
    return 1


def _keep_traceback() -> str:
    """Write the current traceback to a new log file; its name."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", errors="backslashreplace", prefix="instil-error-", suffix=".log", delete=False
    ) as file:
        file.write(f"instil {' '.join(sys.argv[1:])}\n\n{traceback.format_exc()}")
    return file.name
