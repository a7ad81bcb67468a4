"""What Chung et al. (2022) found about chains of thought, put to the study's own runs.

    figure 5   tuning without CoT loses CoT; both together are best on CoT, and cost nothing on other prompts
    figure 6   "think step by step" helps zero-shot only after tuning on CoT: more than before, and than without

Each claim is one or several differences with intervals; it is shown where every one of them says so, refuted where one
says the contrary, and not shown otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from instil.studies.arms import BySeed, mean, told, told_gain, versus
from instil.studies.cot_scores import BASE, Asked, Part, Scores
from instil.studies.intervals import Interval

if TYPE_CHECKING:
    from instil.reports.study_report import Claim
    from instil.studies.cot import Spec

Shown = Literal["yes", "no", "not shown", "not tested"]

SOURCE = "Chung et al. 2022 (Scaling Instruction-Finetuned Language Models), figure {}"
#: Below this a score has nothing to lose.
_FLOOR = 0.05


def claims_of(spec: Spec, scores: Scores) -> list[Claim]:
    """All claims, on held-out tasks."""
    part = Part("held-out", spec.held_out)
    return [_loses(spec, scores, part), _best(spec, scores, part), _free(spec, scores, part), _told(scores, part)]


def above(found: Interval | None) -> Shown:
    """Whether a difference is a gain."""
    if found is None:
        return "not tested"
    return "yes" if found.low > 0 else "no" if found.high < 0 else "not shown"


def not_below(found: Interval | None, margin: float) -> Shown:
    """Whether a difference is no loss that would matter."""
    if found is None:
        return "not tested"
    return "yes" if found.low > -margin else "no" if found.high < -margin else "not shown"


def together(parts: Sequence[Shown]) -> Shown:
    """What several conditions come to."""
    for worst in ("not tested", "no", "not shown"):
        if worst in parts:
            return worst
    return "yes"


def contrary(shown: Shown) -> Shown:
    """The claim that something is not so."""
    swapped: dict[Shown, Shown] = {"yes": "no", "no": "yes"}
    return swapped.get(shown, shown)


def _loses(spec: Spec, scores: Scores, part: Part) -> Claim:
    base, without, both = (scores.of(arm, part, "steps") for arm in (BASE, "direct", "both"))
    lost, behind = versus(base, without), versus(both, without)
    before = mean(base)
    at_floor = before is not None and before.score < _FLOOR
    why = f"Asked for steps, the base itself answers {told(before)}: it has nothing to lose." if at_floor else ""
    return {
        "claim": "Tuning on answers alone makes a model worse at chains of thought than it was before tuning",
        "source": SOURCE.format(5),
        "shown": contrary(not_below(lost, spec.smallest_gain)) if not at_floor else "not shown",
        "here": f"Asked for steps on unseen reasoning tasks: base {told(before)}, tuned on answers alone "
        f"{told(mean(without))} ({told_gain(lost)}), on both {told(mean(both))} (answers alone less both: "
        f"{told_gain(behind)}).",
        "why": why,
    }


def _best(spec: Spec, scores: Scores, part: Part) -> Claim:
    alone, without, both = (scores.of(arm, part, "steps") for arm in ("cot", "direct", "both"))
    over_alone, over_without = versus(alone, both), versus(without, both)
    return {
        "claim": "Both together are best on chains of thought: no worse than chains of thought alone, better than "
        "answers alone",
        "source": SOURCE.format(5),
        "shown": together([not_below(over_alone, spec.smallest_gain), above(over_without)]),
        "here": f"Asked for steps on unseen reasoning tasks, both reach {told(mean(both))}: {told_gain(over_alone)} "
        f"over chains of thought alone, {told_gain(over_without)} over answers alone.",
        "why": "At equal tokens, chains of thought alone see every reasoning task more often than both together do."
        if over_alone is not None and over_alone.score < 0
        else "",
    }


def _free(spec: Spec, scores: Scores, part: Part) -> Claim:
    kinds: dict[str, Asked] = {"reasoning tasks": "answer", "other tasks": "others"}
    found = {
        title: versus(scores.of("direct", part, asked), scores.of("both", part, asked))
        for title, asked in kinds.items()
    }
    tested = {title: difference for title, difference in found.items() if difference is not None}
    words = "; ".join(f"{title} {told_gain(difference)}" for title, difference in tested.items())
    return {
        "claim": "Adding chains of thought costs nothing where the answer alone is asked for",
        "source": SOURCE.format(5),
        "shown": together([not_below(difference, spec.smallest_gain) for difference in tested.values()])
        if tested
        else "not tested",
        "here": f"Both less answers alone, asked for the answer on unseen tasks: {words or 'not known'}. A loss of "
        f"less than {100 * spec.smallest_gain:g} points counts as none.",
        "why": "At equal tokens, what chains of thought take is taken from answers alone."
        if any(difference.score < 0 for difference in tested.values())
        else "",
    }


def _told(scores: Scores, part: Part) -> Claim:
    arms = (BASE, "direct", "cot", "both")
    gains = {arm: versus(scores.of(arm, part, "free"), scores.of(arm, part, "told")) for arm in arms}
    titles = {BASE: "base", "direct": "answers alone", "cot": "chains of thought alone", "both": "both"}
    words = "; ".join(f"{titles[arm]} {told_gain(difference)}" for arm, difference in gains.items())
    # That no gain is seen before shows nothing by itself: the words must do more after than before, and than without.
    more = {arm: versus(_by_words(scores, part, arm), _by_words(scores, part, "both")) for arm in (BASE, "direct")}
    return {
        "claim": "Saying to think step by step helps zero-shot after tuning on chains of thought, and not before or "
        "without them",
        "source": SOURCE.format(6),
        "shown": together([above(gains["both"]), *(above(found) for found in more.values())]),
        "here": f"Told minus not told, unseen reasoning tasks: {words}. What the words do to both, less what they do "
        f"to the base: {told_gain(more[BASE])}; to answers alone: {told_gain(more['direct'])}.",
        "why": "The base cannot answer these tasks in either way."
        if (before := mean(scores.of(BASE, part, "free"))) is not None and before.score < _FLOOR
        else "",
    }


def _by_words(scores: Scores, part: Part, arm: str) -> BySeed:
    """What the words change, item by item."""
    free, words = (scores.of(arm, part, asked) for asked in ("free", "told"))
    return {
        seed: {
            task: [after - before for before, after in zip(free[seed][task], items, strict=True)]
            for task, items in units.items()
            if len(free.get(seed, {}).get(task, ())) == len(items)
        }
        for seed, units in words.items()
    }
