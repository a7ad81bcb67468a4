"""What the papers say of numbers of tasks, rows and templates, and of sizes, put to the study's own lines.

    Chung et al. 2022, table 3       more tasks raise held-out scores, with a knee (282 of 1,836); so do larger models
    Longpre et al. 2023              held-out scores rise by the logarithm of the number of tasks; held-in peak near 200
    Wang et al. 2022                 more than about 64 rows a task add little
    Sanh et al. 2021                 more prompts a data set raise held-out scores

A claim is one difference with its interval; a claim that needs what the study did not vary is not tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from instil.studies.arms import mean, told, told_gain, versus
from instil.studies.cot_claims import Shown, above
from instil.studies.scaling_scores import HELD_IN, HELD_OUT, Line, Lines

if TYPE_CHECKING:
    from instil.reports.study_report import Claim
    from instil.studies.scaling import Spec

_CHUNG = "Chung et al. 2022 (Scaling Instruction-Finetuned Language Models), table 3"
_LONGPRE = "Longpre et al. 2023 (The Flan Collection)"
_WANG = "Wang et al. 2022 (Super-NaturalInstructions)"
_SANH = "Sanh et al. 2021 (Multitask Prompted Training)"
#: Where held-in scores peak in the paper, and how many rows a task are enough.
_PEAK, _ENOUGH = 200, 64


def claims_of(spec: Spec, lines: Lines, models: Sequence[str], known: Sequence[str]) -> list[Claim]:
    """All claims.

    Args:
        spec: of the study.
        lines: its scores.
        models: whose last one is looked at: the largest.
        known: those of them whose size is known, ascending by it.
    """
    largest = models[-1]
    tasks, held_in = lines.get(("tasks", largest, HELD_OUT)), lines.get(("tasks", largest, HELD_IN))
    return [
        _more("More tasks raise scores on tasks that were never trained on", _CHUNG, tasks, "tasks"),
        _knee(tasks),
        _log_linear(spec, tasks),
        _peak(held_in),
        _larger([lines[key] for key in (("tasks", model, HELD_OUT) for model in known) if key in lines]),
        _enough(spec, lines.get(("instances", largest, HELD_OUT))),
        _more(
            "More templates for each task raise scores on tasks that were never trained on",
            _SANH,
            lines.get(("templates", largest, HELD_OUT)),
            "templates",
        ),
    ]


def _claim(claim: str, source: str, shown: Shown, here: str, why: str = "") -> Claim:
    return {"claim": claim, "source": source, "shown": shown, "here": here, "why": why}


def _not_tested(claim: str, source: str, lacking: str) -> Claim:
    return _claim(claim, source, "not tested", f"This study does not vary {lacking}.")


def _gone(claim: str, source: str) -> Claim:
    return _claim(claim, source, "not tested", "The runs that it needs are missing.")


def _more(claim: str, source: str, line: Line | None, what: str) -> Claim:
    if line is None:
        return _not_tested(claim, source, f"the number of {what}")
    if line.gain is None:
        return _gone(claim, source)
    first, last = line.asked[0], line.asked[-1]
    here = (
        f"{line.model}: {told(line.intervals[first])} with {first}, {told(line.intervals[last])} with {last} {what} "
        f"({told_gain(line.gain)})."
    )
    return _claim(claim, source, above(line.gain), here)


def _knee(line: Line | None) -> Claim:
    claim = "There is a knee: past it, another doubling of the tasks gains less than the first ones did"
    if line is None or len(line.asked) < 3:
        return _not_tested(claim, _CHUNG, "the number of tasks over three counts or more")
    bend = line.bend()
    if bend is None:
        return _gone(claim, _CHUNG)
    first, middle, last = line.asked[0], line.middle, line.asked[-1]
    early = line.doubling(first, middle)
    bends = bend.high < 0 and above(early) == "yes"  # what never rose has no knee
    shown: Shown = "yes" if bends else "no" if bend.low > 0 else "not shown"
    here = (
        f"{line.model}: a doubling gains {told_gain(early)} on average from {first} to {middle} "
        f"tasks, and {told_gain(line.doubling(middle, last))} from {middle} to {last}; the later less the earlier, "
        f"{told_gain(bend)}."
    )
    why = "" if shown == "yes" else f"The paper's knee lies at 282 tasks of 1,836; here there are {line.asked[-1]}."
    return _claim(claim, _CHUNG, shown, here, why)


def _log_linear(spec: Spec, line: Line | None) -> Claim:
    claim = "Held-out scores rise by the logarithm of the number of tasks: every doubling gains the same"
    if line is None or len(line.asked) < 3:
        return _not_tested(claim, _LONGPRE, "the number of tasks over three counts or more")
    bend = line.bend()
    if bend is None:
        return _gone(claim, _LONGPRE)
    straight = -spec.smallest_gain < bend.low and bend.high < spec.smallest_gain
    rises = above(line.gain) == "yes"  # a flat line is straight, too
    shown: Shown = "yes" if straight and rises else "no" if bend.low > 0 or bend.high < 0 else "not shown"
    errors = "; ".join(f"{fit.curve.form} {100 * fit.left_out:.1f}" for fit in line.fits if fit.left_out < 1e9)
    here = f"{line.model}: a doubling from {line.middle} tasks on less one up to there, {told_gain(bend)}."
    if errors:
        here += f" Each count predicted from the others, a curve is off by, in points: {errors}."
    why = (
        "It counts as shown where scores rise and the two halves differ by less than "
        f"{100 * spec.smallest_gain:g} points a doubling, interval and all."
    )
    return _claim(claim, _LONGPRE, shown, here, "" if shown == "yes" else why)


def _peak(line: Line | None) -> Claim:
    claim = f"Held-in scores peak near {_PEAK} tasks and decline from there"
    if line is None or len(line.asked) < 2:
        return _not_tested(claim, _LONGPRE, "the number of tasks, or asks no held-in task")
    before, after = line.asked[-2:]
    # the last count holds the tasks of the one before it, so these can be compared on the very same tasks
    drop = versus(line.scores.get(before, {}), line.scores.get(after, {}))
    here = f"{line.model}: on the tasks of both, {before} to {after} tasks changes held-in scores by {told_gain(drop)}."
    if line.asked[-1] <= _PEAK:
        return _claim(claim, _LONGPRE, "not tested", here, f"The study stops at {after} tasks.")
    shown: Shown = "yes" if drop is not None and drop.high < 0 else "no" if above(drop) == "yes" else "not shown"
    return _claim(claim, _LONGPRE, shown, here)


def _larger(lines: Sequence[Line]) -> Claim:
    claim = "With as many tasks, a larger model scores higher on tasks that were never trained on"
    if len(lines) < 2:
        return _not_tested(claim, _CHUNG, "the size of the model, as far as sizes are known")
    last = lines[0].asked[-1]
    small, large = lines[0].scores.get(last, {}), lines[-1].scores.get(last, {})
    found = versus(small, large)
    if found is None:
        return _gone(claim, _CHUNG)
    here = (
        f"With {last} tasks: {lines[0].model} {told(mean(small))}, {lines[-1].model} {told(mean(large))} "
        f"({told_gain(found)})."
    )
    return _claim(claim, _CHUNG, above(found), here)


def _enough(spec: Spec, line: Line | None) -> Claim:
    claim = f"More than about {_ENOUGH} rows of each task add little"
    if line is None:
        return _not_tested(claim, _WANG, "the number of rows of each task")
    there = [amount for amount in line.asked if amount >= _ENOUGH]
    if len(there) < 2:
        return _claim(claim, _WANG, "not tested", f"The study has not two amounts from {_ENOUGH} rows on.")
    found = versus(line.scores.get(there[0], {}), line.scores.get(there[-1], {}))
    if found is None:
        return _gone(claim, _WANG)
    little: Shown = "not shown"
    if found.low > spec.smallest_gain or found.high < spec.smallest_gain:
        little = "no" if found.low > spec.smallest_gain else "yes"
    here = f"{line.model}: from {there[0]} to {there[-1]} rows a task, {told_gain(found)}."
    return _claim(claim, _WANG, little, here)
