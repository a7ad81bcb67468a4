"""`instil study`: a question, answered by controlled experiments with intervals, figures and a verdict."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from instil.errors import RecipeError
from instil.studies.questions import QUESTIONS

if TYPE_CHECKING:
    from instil.reports.study_report import StudyReport
    from instil.studies.early import Early
    from instil.studies.spec import StudySpec

app = typer.Typer(
    no_args_is_help=True,
    help="Questions about instruction tuning, answered by experiment: a grid of runs, figures, a verdict.",
)


Engine = Literal["local", "ray"]


def _verb(question: str) -> Callable[..., None]:
    """The verb of one question; they differ in the question alone."""

    def verb(
        study: Annotated[str | None, typer.Argument(help="A study file; leave it out to use --preset.")] = None,
        out: Annotated[
            Path | None, typer.Option("--out", "-o", help="The folder of the study: to write, or to go on with.")
        ] = None,
        preset: Annotated[
            str | None, typer.Option(help="Instead of a file: a study that ships, such as quick or pocket.")
        ] = None,
        plan: Annotated[
            bool, typer.Option("--plan", help="Only say what it would take: runs, FLOPs, time, disk; what is done.")
        ] = False,
        models: Annotated[
            list[str] | None,
            typer.Option(
                "--model",
                "-m",
                help="Ask it of this model instead of the file's; several: of each (sources, next: one).",
            ),
        ] = None,
        data: Annotated[Path | None, typer.Option(help="Root of the data that the study's paths start from.")] = None,
        assignments: Annotated[
            list[str] | None,
            typer.Option("--set", help="Override a key, as in recipe.tuning.max_steps=50.", metavar="KEY=VALUE"),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(min=1, help="Runs at a time; as many as the cores allow by default.")
        ] = None,
        engine: Annotated[Engine, typer.Option(help="Processes of this machine, or a Ray cluster.")] = "local",
        runs: Annotated[
            Path | None,
            typer.Option(help="Where the runs lie, for several studies to share them; OUT/runs by default."),
        ] = None,
    ) -> None:
        from instil.studies.spec import read_study

        given, changes = _given(question, study, preset), assignments or []
        if plan:
            spec = read_study(question, given, changes, models=models or [], data=data)
            _show_plan(spec, out, runs, workers)
            return
        if out is None:
            raise RecipeError(
                "--out is missing", remedy=f"Give a folder for the study, such as --out studies/{question}"
            )
        from instil.studies.early import Early

        with Early(worker=engine == "local") as early:
            spec = read_study(question, given, changes, models=models or [], data=data, parsed=early.begin)
            _carry_out(spec, out, runs, workers, engine, early)

    verb.__doc__ = f"""{QUESTIONS[question].text}

    [bold]Example:[/bold]  instil study {question} --preset quick --plan

    [bold]Then:[/bold]     instil study {question} --preset quick --out studies/{question}

    Writes OUT/index.html, figures/, verdict.json, results.csv and results.parquet. The same command goes on after
    Ctrl-C or a crash; finished runs are never repeated.
    """
    return verb


for _question in QUESTIONS:
    app.command(_question)(_verb(_question))


@app.command("show")
def show(folder: Annotated[Path, typer.Argument(help="The --out of a study.", metavar="DIR")]) -> None:
    """Print the verdict and the findings of a finished study.

    [bold]Example:[/bold] instil study show studies/should-i
    """
    from instil.studies.study import read_report

    _print_report(read_report(folder), folder)


@app.command("overview")
def overview(
    folder: Annotated[Path, typer.Argument(help="The folder in which --out folders lie.", metavar="DIR")],
    title: Annotated[str, typer.Option(help="The heading of the page.")] = "Studies",
) -> None:
    """Write DIR/index.html, one page over the finished studies in a folder, and their own pages anew.

    [bold]Example:[/bold] instil study overview studies
    """
    from instil.reports.overview import write_overview

    typer.echo(write_overview(folder, title=title, questions=[asked.text for asked in QUESTIONS.values()]))


def _given(question: str, study: str | None, preset: str | None) -> Path | str:
    """The study file or the name of the preset."""
    from instil.studies.spec import presets

    if study is not None and preset is not None:
        raise RecipeError("a study file and --preset name two studies", remedy="Give one of them")
    if study is not None:
        return Path(study)
    if preset is None:
        there = ", ".join(presets(question)) or "none yet"
        raise RecipeError("neither a study file nor --preset", remedy=f"Give one; the presets are {there}")
    if "/" in preset or preset.endswith((".yaml", ".yml")):
        raise RecipeError(f"--preset {preset} is a file, not a name", remedy="Give it without --preset")
    return preset


def _show_plan(spec: StudySpec, out: Path | None, runs: Path | None, workers: int | None) -> None:
    from instil.studies.plan import plan_of

    for line in plan_of(spec, out, runs=runs, workers=workers, say=_note).lines():
        typer.echo(line)


def _carry_out(
    spec: StudySpec, out: Path, runs: Path | None, workers: int | None, engine: Engine, early: Early
) -> None:
    from instil.cli.study_progress import watching
    from instil.studies.study import answer

    command = shlex.join(["instil", *sys.argv[1:]])
    with watching() as watch:
        report = answer(
            spec,
            out,
            runs=runs,
            workers=workers,
            engine=engine,
            early=early,
            watch=watch,
            say=_note,
            command=command,
        )
    _print_report(report, out)
    if report.get("missing"):
        raise typer.Exit(1)  # a script must not take a study with holes for a whole one


def _note(line: str) -> None:
    typer.echo(line, err=True)


def _print_report(report: StudyReport, out: Path) -> None:
    """The verdict first, what was found, what is missing, and where the page lies."""
    from instil.cli.output import console, visible

    screen = console()
    screen.print(f"\n{visible(report['verdict']['sentence'])}", style="bold", markup=False)
    for finding in report["findings"]:
        screen.print(f"  {visible(finding)}", markup=False)
    for line in report.get("missing", ()):
        _note(f"missing: {visible(line)}")
    table = next((out / name for name in ("results.csv", "results.parquet") if (out / name).is_file()), out)
    screen.print(f"\nThe page: {out / 'index.html'}    the numbers: {table}", soft_wrap=True, markup=False)
