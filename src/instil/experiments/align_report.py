"""The report of an alignment, from what its parts gave: `reports.align` draws it.

recommended(points, kl_budget=15)   -> step 60: the gold reward is best there, at 5.6 nats, within the budget of 15
align_report(...)                   -> all of report.json but how it was made
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from instil.evaluation.results import SuiteResult
from instil.experiments.align_prepare import AlignPrepared
from instil.experiments.align_prompts import MixturePrompts
from instil.experiments.card import source_rows
from instil.experiments.measure import tables
from instil.experiments.monitor import SCORE, Monitor, Written, alarms_of, known, measured
from instil.experiments.report import in_short, loss_curve
from instil.experiments.reward_sources import FromMetric
from instil.experiments.win_rate import Interval, average, gain, win_rate
from instil.fingerprint import keyed_order
from instil.reports.align_report import AlignReport, AlignSample, Ordered, Recommended, Rewarded
from instil.reports.align_verdict import align_verdict
from instil.reports.report import Score
from instil.runs import RunFolder, read_metrics
from instil.tuning.implicit import ImplicitAccuracy
from instil.tuning.loop import TrainResult

_SAMPLES = 8


def align_report(
    prepared: AlignPrepared,
    run: RunFolder,
    training: TrainResult | None,
    tested: Monitor,
    start: Sequence[Written],
    aligned: Sequence[Written],
    *,
    points: Sequence[Mapping[str, Any]],
    before: Sequence[SuiteResult] = (),
    after: Sequence[SuiteResult] = (),
) -> AlignReport:
    """All that the page shows but for how it was made.

    Args:
        prepared: what the run was made from.
        run: its folder.
        training: how it went; None where nothing is trained, and the best of several answers is given.
        tested: what asked the test prompts.
        start: the start's answers to them.
        aligned: the aligned model's.
        points: the figures of every evaluation, in order.
        before: what the start made of the suites.
        after: what the aligned model made of them.
    """
    recipe, loaded = prepared.recipe, prepared.start
    unit: Literal["step", "n"] = "step" if training is not None else "n"
    found: AlignReport = {
        "name": recipe.name,
        "method": recipe.method,
        "verdict": "",
        "model": f"{recipe.model.path}, {in_short(loaded.parameters)} parameters, {loaded.architecture}",
        "kl": scored(average([one.kl for one in aligned])),
        "kl_budget": recipe.monitor.kl_budget,
        "unit": unit,
        "verifiable": _is_verifiable(prepared),
        "points": points,
        "spread": {name: spread for name in ("proxy", "gold") if (spread := _spread(tested, name, start))},
        "alarms": alarms_of(run.path),  # type: ignore[typeddict-item]  # as `Alarm.row` wrote them
        "suites": tables(before, after),
        "samples": samples(prepared, start, aligned),
        "trained_on": {} if training is None else trained_on(prepared, run, training),
        "loss_curve": loss_curve(run.path),
        "notes": notes(prepared, training, start, aligned),
        "seconds": 0.0,
    }
    if training is not None:
        found["chosen_step"] = training.steps if training.best_step is None else training.best_step
        found["ended_early"] = training.ended_early
    if tested.judged_by:
        sides = [[getattr(one, tested.judged_by) for one in side] for side in (start, aligned)]
        wins = scored(win_rate(*sides))
        found["win_rate"] = {**wins, "judge": "gold" if tested.judged_by == "gold" else "proxy"}
    if tested.proxy is not None:
        found["proxy_reward"] = rewarded([one.proxy for one in start], [one.proxy for one in aligned])
    if tested.gold is not None:
        found["gold_reward"] = rewarded([one.gold for one in start], [one.gold for one in aligned])
    best = recommended(points, judged_by=tested.judged_by, kl_budget=recipe.monitor.kl_budget, unit=unit)
    if best is not None:
        found["recommended"] = best
    if isinstance(prepared.asked, MixturePrompts):
        found["sources"] = source_rows(prepared.asked.mixture)
    found["verdict"] = align_verdict(found)
    return found


def points_of(run: RunFolder) -> list[dict[str, Any]]:
    """The figures of every evaluation, in order."""
    return [{"step": row["step"], **row["evaluation"]} for row in read_metrics(run.path) if "evaluation" in row]


def recommended(
    points: Sequence[Mapping[str, Any]], *, judged_by: str, kl_budget: float | None, unit: str = "step"
) -> Recommended | None:
    """The step whose weights to take: the best score; None where there is none.

    Args:
        points: the figures of every evaluation.
        judged_by: `gold`, `proxy`, or nothing, where held-out rankings decide.
        kl_budget: how far the policy may go.
        unit: what `step` counts: steps, or the n of best-of-n.
    """
    called = {"step": "Step {:,}", "n": "n = {:,}"}[unit]
    scored_points = [point for point in points if isinstance(point.get(SCORE), (int, float))]
    if not scored_points:
        return None
    best = max(scored_points, key=lambda point: (point[SCORE], -point["step"]))
    by = {"gold": "the gold reward", "proxy": "the proxy reward"}.get(judged_by, "the order of held-out rankings")
    distance = "" if best.get("kl") is None else f", {best['kl']:.3g} nats from the reference"
    if distance and kl_budget is not None:
        distance += f" and within the budget of {kl_budget:g}"
    why = f"{called.format(best['step'])} is recommended: {by} is best there ({best[SCORE]:.3g}){distance}."
    last = points[-1]
    if best is scored_points[0] and best["step"] == 0 and len(points) > 1:
        why += " That is the start: nothing that was learned was better."
    elif last["step"] > best["step"] and judged_by and last.get(f"{judged_by}_reward") is not None:
        change = last[f"{judged_by}_reward"] - best[f"{judged_by}_reward"]
        turned = "fallen" if change < 0 else "risen"
        why += f" By {called.format(last['step']).lower()} it had {turned} by {abs(change):.3g}"
        beyond = kl_budget is not None and last.get("kl") is not None and last["kl"] > kl_budget
        why += f", {last['kl']:.3g} nats away." if beyond else "."
    return {"step": int(best["step"]), "kl": best.get("kl"), "why": why}


def scored(found: Interval) -> Score:
    """An interval as JSON has it: what is not known is null."""
    ends = [known(found.low), known(found.high)]
    return {"score": known(found.value), "n": found.n, "ci95": ends}  # type: ignore[typeddict-item]  # null where unknown


def rewarded(start: Sequence[float], aligned: Sequence[float]) -> Rewarded:
    """The mean reward of both sides, and the paired gain."""
    return {
        **scored(average(aligned)),
        "start": known(average(start).value),  # type: ignore[typeddict-item]  # null where unknown
        "gain": scored(gain(start, aligned)),
    }


def ordered_score(found: ImplicitAccuracy) -> Ordered:
    """How many held-out pairs are ordered as people ordered them."""
    return {"score": found.rate, "n": found.pairs, "ci95": list(found.ci95), "prompts": found.prompts}


def _is_verifiable(prepared: AlignPrepared) -> bool:
    return prepared.proxy is not None and all(isinstance(one, FromMetric) for one in prepared.proxy.rewards)


def _spread(tested: Monitor, name: str, start: Sequence[Written]) -> float:
    """The standard deviation of the start's rewards over prompts; 0 where there are none."""
    if getattr(tested, name) is None:
        return 0.0
    values = [value for one in start if math.isfinite(value := getattr(one, name))]
    return float(np.std(values)) if values else 0.0


def samples(prepared: AlignPrepared, start: Sequence[Written], aligned: Sequence[Written]) -> list[AlignSample]:
    """Answers to show side by side: drawn by number, not chosen by hand."""
    rows: list[AlignSample] = []
    for place in keyed_order(len(start), "samples shown")[:_SAMPLES]:
        before, after = start[place], aligned[place]
        row: AlignSample = {
            "prompt": prepared.encoder.text(prepared.tested[place]),
            "start": before.text,
            "aligned": after.text,
        }
        if prepared.proxy is not None:
            row |= {"start_proxy": known(before.proxy), "aligned_proxy": known(after.proxy)}
        if prepared.gold is not None:
            row |= {"start_gold": known(before.gold), "aligned_gold": known(after.gold)}
        rows.append(row)
    return rows


def trained_on(prepared: AlignPrepared, run: RunFolder, training: TrainResult) -> dict[str, str]:
    """Facts about the training, in order."""
    facts = {"Steps": f"{training.steps:,}"}
    rollouts = [row["rollout"] for row in read_metrics(run.path) if "rollout" in row]
    if rollouts:
        answers, left_out = (sum(int(row.get(name) or 0) for row in rollouts) for name in ("answers", "left_out"))
        facts["Answers sampled"] = f"{answers:,} in {len(rollouts):,} rollouts"
        if left_out:
            facts["Answers left out"] = f"{left_out:,}: their reward was no number"
        mismatch = [row["mismatch_max"] for row in rollouts if measured(row.get("mismatch_max"))]
        if mismatch:
            facts["Sampled against recomputed"] = (
                f"log-probabilities differ by at most {max(mismatch):.2g} nats a token"
            )
    if prepared.rankings is not None:
        facts["Rankings"] = f"{len(prepared.rankings.train):,} trained on"
    facts["Tokens"] = f"{training.tokens:,} read"
    facts["Bad steps"] = f"{training.skipped:,} skipped, each named in metrics.jsonl" if training.skipped else "none"
    return facts


def notes(
    prepared: AlignPrepared, training: TrainResult | None, start: Sequence[Written], aligned: Sequence[Written]
) -> list[str]:
    """What a reader must know before believing the numbers."""
    recipe = prepared.recipe
    said = ["One run, one seed: the intervals cover other prompts, not other runs."]
    if training is None:
        said.append(
            "Nothing was trained: of several answers the best by the proxy reward is given. The KL is a bound, and "
            "every answer costs as many as are sampled."
        )
    elif training.best_step is not None:
        by = "how it orders rankings of prompts that are held out"
        if tested_by := "gold" if prepared.gold else "proxy" if prepared.proxy else "":
            by = f"{tested_by} reward on {len(prepared.watched):,} held-out prompts"
        said.append(
            f"The weights are those of step {training.best_step:,}, chosen by {by}; the numbers on top are of "
            f"{len(prepared.tested):,} others, which chose nothing."
            + (f" The run ended early, at step {training.steps:,}." if training.ended_early else "")
        )
    else:
        said.append(f"The model has the weights of the last step, {training.steps:,}; nothing was chosen.")
    if prepared.gold is None and prepared.proxy is None:
        said.append(
            "Nothing judged the answers; held-out rankings say how the policy orders other models' answers, not "
            "how good its own are."
        )
    elif prepared.gold is None and not _is_verifiable(prepared):
        said.append(
            "No gold reward was given. The policy was judged by what it learned from, so that over-optimisation would "
            "not show here: look at the answers."
        )
    invalid = sum(not math.isfinite(value) for one in (*start, *aligned) for value in one.rewards.values())
    if invalid:
        said.append(f"{invalid:,} rewards of test answers were not numbers; these answers are left out on both sides.")
    if recipe.reference is not None:
        said.append(f"The KL is measured to {recipe.reference.path}, which is not the start.")
    cut = sum(not one.finished for one in aligned)
    if cut:
        said.append(f"{cut:,} of {len(aligned):,} answers of the aligned model did not end by themselves.")
    return said
