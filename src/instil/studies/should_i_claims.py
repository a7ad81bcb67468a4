"""What the papers found about fine-tuning after instruction tuning, put to the study's own runs.

    Longpre et al. 2023   a tuned start is better than the base, on tasks of the mixture and on others; learns faster;
                          and with few rows the tuned model as it is can beat a fine-tuned base
    Chung et al. 2022     every architecture gains; tuning costs little beside pre-training

A claim is shown where its interval says so for every model, refuted where one says the contrary, else not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from instil.studies import should_i_curves as curves
from instil.studies.arms import told_gain
from instil.studies.should_i_figures import PARTS, Arms, told
from instil.studies.should_i_scores import NONE, FourArms

if TYPE_CHECKING:
    from instil.reports.study_report import Claim
    from instil.studies.intervals import Interval
    from instil.studies.should_i import Spec
    from instil.studies.table import Results

Shown = Literal["yes", "no", "not shown", "not tested"]

FLAN = "Longpre et al. 2023 (The Flan Collection), section 4"
SCALING = "Chung et al. 2022 (Scaling Instruction-Finetuned Language Models), {}"
#: The largest share of pre-training that tuning took in Chung et al., table 2: 1.6%, of the smallest T5.
_SMALL_COST = 0.016


def claims_of(spec: Spec, results: Results, arms: Arms, costs: Mapping[str, float]) -> list[Claim]:
    """All claims, each over every model of the study."""

    def after(one: FourArms) -> Interval | None:
        return one.gain(one.budgets[1:])

    def faster(one: FourArms) -> Interval | None:
        return curves.sooner(curves.pairs(results, one.model, one.part, str(spec.budgets[-1])))

    def alone(one: FourArms) -> Interval | None:
        return None if spec.budgets[0] == "all" else one.alone(str(spec.budgets[0]))  # all rows are no limited data

    found = [
        _of(
            arms, "held_out", after, FLAN,
            "Fine-tuned on a task that tuning did not hold, a tuned model ends above the base.",
            "tuned + fine-tuning minus base + fine-tuning, mean over budgets",
            "fine-tuning alone may take both near the top, which leaves little to gain",
        ),
        _of(
            arms, "held_in", after, FLAN,
            "Fine-tuned on a task that tuning held, a tuned model ends above the base.",
            "tuned + fine-tuning minus base + fine-tuning, mean over budgets",
            "fine-tuning alone may take both near the top, which leaves little to gain",
        ),
        _of(
            arms, "held_out", faster, FLAN,
            "Fine-tuning from a tuned model reaches what the base arm reaches at its best in fewer steps.",
            f"fine-tunings on {told(spec.budgets[-1])} that are there sooner minus those that are there later or never",
            "on few test rows the base arm's best is partly luck, which the tuned arm has to match",
        ),
        _of(
            arms, "held_out", alone, FLAN,
            "Where data is limited, a tuned model without fine-tuning can beat a fine-tuned base.",
            f"tuned without fine-tuning minus the base fine-tuned on {told(spec.budgets[0])}",
            f"{told(spec.budgets[0])} may already be enough for the base to learn a task whose skill it has",
        ),
    ]  # fmt: skip
    if len(arms) > 1:
        found.append(
            _of(
                arms, "held_out", lambda one: one.gain([NONE]), SCALING.format("table 5"),
                "Every architecture gains from instruction tuning.",
                "tuned zero-shot minus the base at its best",
                "the bases differ in size and in what they read, so gains do not compare architectures",
            )
        )  # fmt: skip
    return [*found, _cost(costs)]


def _of(
    arms: Arms, part: str, figure: Callable[[FourArms], Interval | None], source: str, claim: str, what: str, why: str
) -> Claim:
    each = {model: figure(parts[part]) for model, parts in arms.items() if part in parts}
    shown = together([_shown(one) for one in each.values()])
    values = "; ".join(f"{model} {told_gain(one)}" for model, one in each.items())
    return {
        "claim": claim,
        "source": source,
        "shown": shown,
        "here": f"On {PARTS[part]}, {what}: {values}." if each else "The study has no such target tasks.",
        "why": "" if shown in ("yes", "not tested") else why[0].upper() + why[1:] + ".",
    }


def _shown(found: Interval | None) -> Shown:
    if found is None:
        return "not tested"
    return "yes" if found.low > 0 else "no" if found.high < 0 else "not shown"


def together(each: Sequence[Shown]) -> Shown:
    """What several models come to."""
    for one in ("not tested", "no", "not shown"):
        if one in each or not each:
            return one
    return "yes"


def _cost(costs: Mapping[str, float]) -> Claim:
    told_costs = "; ".join(f"{model} {100 * share:.1f}%" for model, share in costs.items())
    shown: Shown = "not tested" if not costs else "yes" if max(costs.values()) <= _SMALL_COST else "no"
    return {
        "claim": "Instruction tuning takes a small part of the operations of pre-training: 0.2 to 1.6%.",
        "source": SCALING.format("table 2"),
        "shown": shown,
        "here": f"Operations of one tuning by those of pre-training: {told_costs}."
        if costs
        else "What pre-training took is not known: give pretraining_tokens.",
        "why": "The paper's bases were pre-trained for long; of a short pre-training the same tuning is a larger part."
        if shown == "no"
        else "",
    }
