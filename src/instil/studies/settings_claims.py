"""What Longpre et al. (2023) and Sanh et al. (2022) found about prompt settings, put to the study's own runs.

    10 to 90% few-shot beats either end     each inner share minus each end, asked zero-shot and few-shot
    inversion helps                         inverted prompts minus none
    balancing helps                         the recipe's shares minus shares by size
    more templates help                     all of them minus the fewest

A claim is shown where every difference that it is about lies above zero, refuted where one lies below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from instil.studies.arms import told_gain, versus
from instil.studies.cot_claims import Shown, above, together
from instil.studies.settings import ALL, REFERENCE, Level, levels
from instil.studies.settings_scores import Asked, Part, Scores, held_out, others

if TYPE_CHECKING:
    from instil.reports.study_report import Claim
    from instil.studies.intervals import Interval
    from instil.studies.settings import Spec

FLAN = "Longpre et al. 2023 (The Flan Collection), {}"
T0 = "Sanh et al. 2022 (T0), on robustness to prompts"
_BOTH: tuple[Asked, Asked] = ("zero-shot", "few-shot")


def middle(spec: Spec) -> Level | None:
    """The share of few-shot prompts nearest to one half, of those that mix; None where none does, or none is zero."""
    there = [level for level in levels(spec) if level.factor == "few-shot"]
    mixed = [level for level in there if 0 < level.place < 1]
    if not mixed:
        return None
    return min(mixed, key=lambda level: abs(level.place - 0.5))


def claims_of(spec: Spec, scores: Scores) -> list[Claim]:
    """All claims, on held-out tasks; those without their levels as not tested."""
    return [_mixed(spec, scores), _inverted(spec, scores), _balanced(spec, scores), _templates(spec, scores)]


def _level(spec: Spec, factor: str, *names: str) -> Level | None:
    return next((one for one in levels(spec) if one.factor == factor and (one.name in names or not names)), None)


def _mixed(spec: Spec, scores: Scores) -> Claim:
    there = [level for level in levels(spec) if level.factor == "few-shot"]
    ends = [level for level in there if level.place in (0, 1)]
    mixed = [level for level in there if 0 < level.place < 1]
    part = held_out(spec)
    found = {
        (way, level.name, end.name): versus(scores.of(end.arm, part, way), scores.of(level.arm, part, way))
        for way in _BOTH
        for level in mixed
        for end in ends
    }
    known = {key: gain for key, gain in found.items() if gain is not None}
    beaten = sum(gain.low > 0 for gain in known.values())
    lost = sum(gain.high < 0 for gain in known.values())
    ordered = sorted(known, key=lambda key: known[key].score)
    extremes = [
        f"{share} less {other}, asked {way}: {told_gain(known[way, share, other])}"
        for way, share, other in dict.fromkeys([*ordered[:1], *ordered[-1:]])
    ]
    tested = len(ends) == 2 and bool(mixed)
    return {
        "claim": "Any share of few-shot prompts from 10% to 90% beats none and all, asked zero-shot and asked few-shot",
        "source": FLAN.format("on mixed prompt settings"),
        "shown": together([above(gain) for gain in found.values()]) if tested else "not tested",
        "here": f"Of {len(known)} differences (a share that mixes less an end, each way of asking) the intervals of "
        f"{beaten} lie above zero and of {lost} below. The lowest and the highest: {'; '.join(extremes)}."
        if known
        else "",
        "why": f"At equal tokens a prompt with {spec.shots} worked examples takes the place of several without; what "
        "that costs may weigh more than what the examples show."
        if tested and lost
        else "",
    }


def _inverted(spec: Spec, scores: Scores) -> Claim:
    level = next((one for one in levels(spec) if one.factor == "inversion" and one.changes), None)
    gains = _gains(scores, level, held_out(spec))
    return {
        "claim": "Inverted prompts, which ask for the question given its answer, help",
        "source": FLAN.format("on input inversion"),
        "shown": _shown(gains),
        "here": _said("With inverted prompts, less without, unseen tasks", gains),
        "why": "Where many questions have the same answer, what an inverted prompt asks for cannot be known from it."
        if _shown(gains) in ("no", "not shown")
        else "",
    }


def _balanced(spec: Spec, scores: Scores) -> Claim:
    level = _level(spec, "balancing", "by size")
    part = held_out(spec)
    gains = {
        way: versus(scores.of(level.arm, part, way), scores.of(REFERENCE, part, way)) if level is not None else None
        for way in _BOTH
    }
    return {
        "claim": "Balancing the sources of the mixture helps",
        "source": FLAN.format("on balancing"),
        "shown": _shown(gains),
        "here": _said("The recipe's own shares, less shares by size, unseen tasks", gains),
        "why": "Where tasks are of about the same size, there is little to balance."
        if _shown(gains) in ("no", "not shown")
        else "",
    }


def _templates(spec: Spec, scores: Scores) -> Claim:
    fewest = next((one for one in levels(spec) if one.factor == "templates" and one.changes), None)
    everything = _level(spec, "templates", ALL)
    parts = [held_out(spec), *others(spec)]
    gains: dict[str, Interval | None] = {}
    if fewest is not None and everything is not None:
        for part in parts:
            few, many = (scores.of(level.arm, part, "zero-shot") for level in (fewest, everything))
            gains[part.name] = versus(few, many)
    first = gains.get(parts[0].name)
    words = "; ".join(f"{name} {told_gain(gain)}" for name, gain in gains.items())
    return {
        "claim": "More templates a task raise the score on unseen tasks",
        "source": T0,
        "shown": above(first),
        "here": f"All templates less {fewest.name if fewest else 'few'}, asked zero-shot: {words}." if gains else "",
        "why": "T0's other finding, that the spread over templates narrows, is not tested: each item draws one.",
    }


def _gains(scores: Scores, level: Level | None, part: Part) -> dict[Asked, Interval | None]:
    return {way: None if level is None else scores.gain(level.arm, part, way) for way in _BOTH}


def _shown(gains: dict[Asked, Interval | None]) -> Shown:
    return together([above(gain) for gain in gains.values()])


def _said(lead: str, gains: dict[Asked, Interval | None]) -> str:
    if _shown(gains) == "not tested":
        return ""
    return f"{lead}: " + "; ".join(f"{way} {told_gain(gain)}" for way, gain in gains.items()) + "."
