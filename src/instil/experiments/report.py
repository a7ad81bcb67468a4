"""The report of a run, from what its parts gave: `reports.run` draws it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from instil.evaluation.results import SuiteResult
from instil.experiments.card import source_rows
from instil.experiments.measure import samples, tables
from instil.experiments.recipe import Recipe
from instil.mixtures.mixture import Mixture
from instil.models.loading import LoadedModel
from instil.recipe import Section, dump_yaml
from instil.reports.report import LossPoint, Made, RunReport, Validated
from instil.reports.run import run_verdict
from instil.runs import RunFolder, read_metrics
from instil.tuning.loop import TrainResult


def run_report(
    recipe: Recipe,
    mixture: Mixture,
    loaded: LoadedModel,
    run: RunFolder,
    training: TrainResult,
    before: Sequence[SuiteResult],
    after: Sequence[SuiteResult],
) -> RunReport:
    """All that the page shows but for how it was made."""
    suites = tables(before, after)
    loss = "–" if training.loss is None else f"{training.loss:.3f}"
    return {
        "name": recipe.name,
        "verdict": run_verdict(suites),
        "model": f"{recipe.model.path}, {in_short(loaded.parameters)} parameters, {loaded.architecture}",
        "suites": suites,
        "trained_on": {
            "Steps": f"{training.steps:,} of {recipe.tuning.prompts_per_step:,} prompts each",
            "Tokens": f"{training.tokens:,} read, {training.answer_tokens:,} of them answers: those are trained on",
            "Speed": f"{training.tokens / max(training.seconds, 1e-9):,.0f} tokens a second",
            "Last loss": loss,
            **({"Bad steps": f"{training.skipped:,} skipped, each named in metrics.jsonl"} if training.skipped else {}),
        },
        "sources": source_rows(mixture),
        "samples": samples(before, after),
        "loss_curve": loss_curve(run.path),
        "notes": [*_notes(before, after), *_chosen(training)],
        "seconds": 0.0,
    }


def loss_curve(folder: Path) -> list[LossPoint]:
    """The logged steps of a run that have a loss."""
    rows = [row for row in read_metrics(folder) if isinstance(row.get("loss"), (int, float))]
    return [{"step": int(row["step"]), "loss": float(row["loss"])} for row in rows]


def validated(recipe: Recipe, folder: Path, training: TrainResult) -> Validated | None:
    """What was asked while training; None where nothing was."""
    points = [{"step": row["step"], **row["evaluation"]} for row in read_metrics(folder) if "evaluation" in row]
    if not points:
        return None
    if training.best_step is None or recipe.tuning.keep_best is None:
        return {"points": points}
    return {"points": points, "metric": recipe.tuning.keep_best, "best_step": training.best_step}


def _chosen(training: TrainResult) -> list[str]:
    if training.best_step is None:
        return []
    early = f" The run ended early, at step {training.steps:,}." if training.ended_early else ""
    chosen = f"The weights are those of step {training.best_step:,}, chosen on validation examples"
    return [f"{chosen} that are neither trained on nor in the suites of this page.{early}"]


def how_made(recipe: Section, folder: Path, phases: Mapping[str, float], command: str) -> Made:
    """The end of the page: enough to make it again."""
    facts = json.loads((folder / "fingerprint.json").read_text("utf-8"))
    inputs = {"recipe": facts["recipe"], **facts["inputs"]}
    machine = [str(value) for value in facts.get("machine", {}).values() if value]
    return {
        "command": command,
        "recipe": dump_yaml(recipe),
        "fingerprint": ", ".join(f"{name} {value}" for name, value in inputs.items()),
        "versions": facts["versions"],
        "machine": ", ".join([*machine, f"{torch.get_num_threads()} threads"]),
        "phases": dict(phases),
    }


def in_short(count: int) -> str:
    """3_100_000 -> `3.1M`."""
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.1f}M"


def _notes(before: Sequence[SuiteResult], after: Sequence[SuiteResult]) -> list[str]:
    notes = ["One run, one seed: the intervals cover other tasks or items, not other runs."]
    for result in after:
        name, counts = result.suite.name, result.results["counts"]
        asked = f"{counts['prompts']:,}"
        if counts["cut_exemplars"] or counts["cut_input"]:
            notes.append(
                f"{name}: to fit the model's context, {counts['cut_exemplars']:,} of {asked} prompts lost worked "
                f"examples and {counts['cut_input']:,} the middle of their input."
            )
        if counts["unfinished"]:
            notes.append(
                f"{name}: {counts['unfinished']:,} of the tuned model's {asked} answers did not end by themselves; "
                "they were judged as they stood."
            )
    if not before:
        notes.append("The base was not asked, so nothing here says what tuning changed.")
    return notes
