"""The report of a reward model, from what its parts gave: `reports.reward` draws it. And its card.

said     {"held_out": [[0.8, -1.3], ...], "train": [...]}     of each model, by side, the rewards of its rows
report   accuracy, the rule beside it, calibration, lengths, distribution, parts, samples        of their mean
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from instil.experiments.report import in_short, loss_curve
from instil.experiments.reward_prepare import PreparedReward
from instil.experiments.reward_recipe import RewardRecipe
from instil.experiments.reward_scores import (
    accuracy,
    by,
    by_levels,
    calibration,
    distribution,
    length_correlation,
    length_rule,
    longer_is_better,
    pairs_of,
)
from instil.fingerprint import keyed_order
from instil.mixtures.rankings import Rankings
from instil.recipe import dump_yaml
from instil.records import PromptFormat
from instil.reports.report import Made
from instil.reports.reward_report import RewardReport, RewardSample
from instil.reports.reward_verdict import reward_verdict
from instil.runs import read_metrics
from instil.tuning.loop import TrainResult
from instil.tuning.reward_rows import RewardRow

Said = Mapping[str, Sequence[Sequence[float]]]
"""By side, the reward of each completion of each row."""

_SAMPLES = 8


def reward_report(
    prepared: PreparedReward, members: Sequence[Said], trainings: Sequence[TrainResult], folders: Sequence[Path]
) -> RewardReport:
    """All that the page shows but for how it was made; an ensemble's is about the mean of its members."""
    recipe, rankings = prepared.recipe, prepared.rankings
    said = {side: _combined([one[side] for one in members], np.mean) for side in prepared.sides}
    pairs = {side: pairs_of(rows, said[side]) for side, rows in prepared.sides.items()}
    report: RewardReport = {
        "name": recipe.name,
        "verdict": "",
        "seconds": 0.0,
        "model": f"{recipe.model.path}, {in_short(prepared.loaded.parameters)} parameters, "
        f"{prepared.loaded.architecture}",
        "accuracy": {side: accuracy(found) for side, found in pairs.items()},  # type: ignore[typeddict-item]
        "points": [
            {"step": row["step"], **row["evaluation"]} for row in read_metrics(folders[0]) if "evaluation" in row
        ],
        "loss_curve": loss_curve(folders[0]),
        "data": rankings.card(),
        "trained_on": _trained_on(prepared, trainings[0]),
        "notes": _notes(prepared, trainings),
    }
    if (agreed := rankings.agreement) is not None:
        report["agreement"] = {
            "score": agreed.rate,
            "n": agreed.n,
            "prompts": agreed.prompts,
            "ci95": list(agreed.ci95),
        }
    if trainings[0].best_step is not None:
        report["chosen_step"] = trainings[0].best_step
    if "held_out" in pairs:
        held, rows, rewards = pairs["held_out"], prepared.held_out, said["held_out"]
        report["longer_is_better"] = longer_is_better(held)  # type: ignore[typeddict-item]
        report["length_rule"] = length_rule(held, prepared.train)  # type: ignore[typeddict-item]
        report["calibration"] = calibration(held)  # type: ignore[typeddict-item]
        report["length"] = length_correlation(rows, rewards)  # type: ignore[typeddict-item]
        report["rewards"] = distribution(rows, rewards)
        report["by_levels"] = by_levels(held)  # type: ignore[typeddict-item]
        report["by_annotator"] = by(held, held.annotator)  # type: ignore[typeddict-item]
        report["by_task"] = by(held, held.task)  # type: ignore[typeddict-item]
        report["samples"] = _samples(rows, rewards, recipe.tuning.seed)
    if len(members) > 1:
        _of_ensemble(report, prepared, members, folders)
    report["verdict"] = reward_verdict(report)
    return report


def _combined(each: Sequence[Sequence[Sequence[float]]], how: Any) -> list[list[float]]:
    return [how(np.array(rows), axis=0).tolist() for rows in zip(*each, strict=True)]


def _of_ensemble(
    report: RewardReport, prepared: PreparedReward, members: Sequence[Said], folders: Sequence[Path]
) -> None:
    seed = prepared.recipe.tuning.seed
    report["members"] = [{"folder": folder.name, "seed": seed + number} for number, folder in enumerate(folders)]
    if not prepared.held_out:
        return
    for row, one in zip(report["members"], members, strict=True):
        row["accuracy"] = accuracy(pairs_of(prepared.held_out, one["held_out"]))  # type: ignore[typeddict-item]
    least = _combined([one["held_out"] for one in members], np.min)
    report["worst"] = accuracy(pairs_of(prepared.held_out, least))  # type: ignore[typeddict-item]


def _trained_on(prepared: PreparedReward, training: TrainResult) -> dict[str, str]:
    spec, side = prepared.recipe.tuning, prepared.rankings.report.sides["train"]
    rows = prepared.train
    ties = "dropped" if spec.ties == "drop" else f"learned from ({spec.ties})"
    told = {
        "Prompts": f"{len(rows):,}, each with all its completions "
        f"({sum(len(row.group.completions) for row in rows) / len(rows):.1f} on average)",
        "Pairs": f"{sum(len(row.pairs) for row in rows):,}, all of a prompt one element; {side.tied:,} ties {ties}",
        "Steps": f"{training.steps:,} of {spec.prompts_per_step:,} prompts, "
        f"{training.steps * spec.prompts_per_step / len(rows):.2f} epochs",
        "Tokens": f"{training.tokens:,} read, {training.tokens / max(training.seconds, 1e-9):,.0f} a second",
        "Cut": prepared.looked.line,
    }
    if spec.lora is not None:
        told["Trained"] = f"an adapter (LoRA) of rank {spec.lora.rank} and the head, merged"
    elif spec.trained == "head":
        told["Trained"] = "the reward head alone"
    if training.skipped:
        told["Bad steps"] = f"{training.skipped:,} skipped, each named in metrics.jsonl"
    return told


def _notes(prepared: PreparedReward, trainings: Sequence[TrainResult]) -> list[str]:
    notes = ["One run, one seed: the intervals cover other prompts of the same kind, ranked by the same people."]
    if len(trainings) > 1:
        notes = [
            f"{len(trainings)} runs: the intervals cover other prompts of the same kind, ranked by the same people."
        ]
    if not prepared.held_out:
        notes.append("No prompt was held out, so nothing here says what the model knows of prompts it did not see.")
    if prepared.rankings.agreement is None:
        notes.append("No two people ordered the same pair, so nobody can say how far a perfect model could come.")
    if trainings[0].best_step is not None:
        notes.append(
            f"The weights are those of step {trainings[0].best_step:,}, chosen by the other half of the held-out "
            "prompts; the curve is of that half, everything else of this one."
        )
    return notes


def _samples(rows: Sequence[RewardRow], rewards: Sequence[Sequence[float]], seed: int) -> list[RewardSample]:
    """Held-out rankings, drawn by key."""
    shown: list[RewardSample] = []
    for place in keyed_order(len(rows), seed, "shown")[:_SAMPLES]:
        ranking, said = rows[place].ranking, rewards[place]
        listed = zip(ranking.completions, ranking.ranks, said, strict=True)
        ordered = sorted(listed, key=lambda one: (one[1] == 0, one[1], -one[2]))
        shown.append(
            {
                "prompt": PromptFormat().transcript(ranking.messages) if ranking.messages else "",
                "completions": [{"text": text, "rank": rank, "reward": value} for text, rank, value in ordered],
            }
        )
    return shown


def how_reward_was_made(recipe: RewardRecipe, folder: Path, phases: Mapping[str, float], command: str) -> Made:
    """The end of the page: enough to make it again."""
    facts = json.loads((folder / "fingerprint.json").read_text("utf-8"))
    machine = [str(value) for value in facts.get("machine", {}).values() if value]
    return {
        "command": command,
        "recipe": dump_yaml(recipe),
        "fingerprint": ", ".join(
            f"{name} {value}" for name, value in {"recipe": facts["recipe"], **facts["inputs"]}.items()
        ),
        "versions": facts["versions"],
        "machine": ", ".join([*machine, f"{torch.get_num_threads()} threads"]),
        "phases": dict(phases),
    }


def reward_card(recipe: RewardRecipe, rankings: Rankings, reference: Mapping[str, Any], verdict: str = "") -> str:
    """The README.md of a reward model's folder."""
    told = f"\n**Result.** {verdict}\n" if verdict else ""
    licences = "\n".join(
        f"| {row['task']} | {row['rows']:,} | {row['licence']} |" for row in rankings.card()["sources"]
    )
    return f"""---
library_name: transformers
tags: [instil, reward-model]
license: other
license_name: see-sources
---
# {recipe.name}

A reward model: `{recipe.model.path}` and a head (`reward.safetensors`), trained on rankings with instil.
{told}
## How to use it

```python
from instil.tuning.reward_model import load_reward
from instil.records import Message

model = load_reward("this folder")
model.rewards_of([[Message("user", "Name a fruit.")]], [["Apple.", "A chair."]])
```

The reward is read at the last token behind prompt and completion. Only differences within a prompt were learned from;
the bias is such that {reference["of"]} average 0 (taken over {reference["n"]:,} prompts). The folder itself is a plain
model, whose own output layer was not trained and should not be used.

## What it was trained on

| Task | Rows | Licence |
|---|---|---|
{licences}

A licence that reads *not stated* means that the file did not say: ask its publishers before you rely on it.

## Recipe

```yaml
{dump_yaml(recipe).rstrip()}
```
"""
