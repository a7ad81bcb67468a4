"""What is going wrong with a policy while it learns, by rule, and what helps against it.

    step 60   reward hacking   proxy +0.41 (0.30 to 0.52) since step 20 while gold fell by 0.22 (-0.31 to -0.13)
              Raise beta, stop at step 20, or train the reward model on answers of this policy

An alarm is a sentence with its numbers and an advice; none of them stops a run. What does is `kl_budget` together with
`patience` (see `monitor`). The rules compare with the start, so that a model that was always terse is not called so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from pydantic import Field

from instil.experiments.win_rate import Interval, average, gain
from instil.recipe import Section

Figures = Mapping[str, float]

#: Entropy below this (nats a token) is a model that was sure of itself before anything was learned.
_SURE = 0.02


class AlarmSpec(Section):
    """When figures are alarming."""

    entropy_share: float = Field(default=0.25, ge=0, le=1)
    """Entropy collapses where it falls below this share of the start's."""
    length_factor: float = Field(default=2.0, gt=1)
    """Answers explode where they are more than so many times as long as the start's."""
    ended_drop: float = Field(default=0.2, gt=0, le=1)
    """Answers do not end any more where the share that ends by itself falls by more than this."""
    repeated_share: float = Field(default=0.2, gt=0, le=1)
    """Text repeats itself where more than this share of an answer's 4-grams were in it before, and twice as many as in
    the start's."""
    unique_share: float = Field(default=0.5, ge=0, le=1)
    """The policy says the same to everything where the share of different answers falls below this part of the
    start's."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that looks wrong after a step."""

    step: int
    kind: str
    """`kl`, `reward hacking`, `entropy`, `length`, `unended`, `repeated`, `one answer`, `invalid`."""
    message: str
    advice: str

    @property
    def told(self) -> str:
        """As one line."""
        return f"alarm after step {self.step}, {self.kind}: {self.message}. {self.advice}."

    def row(self) -> dict[str, object]:
        """As it stands in report.json."""
        return {"step": self.step, "kind": self.kind, "message": self.message, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class SinceBest:
    """What changed since the step at which gold was best, paired by prompt."""

    step: int
    proxy: Interval
    gold: Interval


def alarms(
    step: int,
    now: Figures,
    start: Figures,
    spec: AlarmSpec,
    *,
    kl_budget: float | None = None,
    since_best: SinceBest | None = None,
    strength: str = "alignment.beta",
) -> list[Alarm]:
    """What looks wrong after a step.

    Args:
        step: its number.
        now: the figures of `monitor` after it.
        start: those of the start.
        spec: when they are alarming.
        kl_budget: how far the policy may go, in nats a completion.
        since_best: what changed since gold was best; None where there is no gold, or it is best now.
        strength: the key that holds a policy near its reference, for the advice; empty where the method has none.
    """
    found = _found(now, start, spec, kl_budget, since_best, strength)
    return [Alarm(step, kind, message, advice) for kind, message, advice in found]


def _found(
    now: Figures, start: Figures, spec: AlarmSpec, kl_budget: float | None, best: SinceBest | None, strength: str
) -> Iterator[tuple[str, str, str]]:
    held = f"Raise {strength}" if strength else "Take fewer steps"
    if kl_budget is not None and now["kl"] > kl_budget:
        message = f"{now['kl']:.3g} nats from the reference, and the budget is {kl_budget:g}"
        yield "kl", message, f"{held} or lower alignment.learning_rate; from here on no step counts as better"
    if best is not None and best.gold.high < 0 and best.proxy.value > 0:
        message = (
            f"since step {best.step} the proxy reward rose by {best.proxy.value:.3g} while gold fell by "
            f"{-best.gold.value:.3g} ({best.gold.low:.3g} to {best.gold.high:.3g})"
        )
        advice = f"Take the weights of step {best.step}; {_small(held)}, or train the reward model on answers of now"
        yield "reward hacking", message, advice
    if start["entropy"] > _SURE and now["entropy"] < spec.entropy_share * start["entropy"]:
        message = f"entropy fell from {start['entropy']:.3g} to {now['entropy']:.3g} nats a token"
        advice = f"{held}, lower alignment.learning_rate, or sample more completions of a prompt"
        yield "entropy", message, advice
    if now["length"] > spec.length_factor * max(start["length"], 1.0):
        message = f"answers grew from {start['length']:.3g} to {now['length']:.3g} tokens"
        advice = "Look whether the reward goes with length (`instil reward` reports it), and lower max_new_tokens"
        yield "length", message, advice
    if now["ended"] < start["ended"] - spec.ended_drop:
        message = f"{now['ended']:.0%} of the answers end by themselves, {start['ended']:.0%} did at the start"
        yield "unended", message, "Penalise answers without their end, or raise max_new_tokens"
    if now["repeated"] > max(spec.repeated_share, 2 * start["repeated"]):
        message = (
            f"{now['repeated']:.0%} of an answer's 4-grams were in it before, {start['repeated']:.0%} at the start"
        )
        yield "repeated", message, f"{held}, or mix in pre-training text (ptx)"
    if now["unique"] < spec.unique_share * start["unique"]:
        message = f"{now['unique']:.0%} of the answers differ from all others, {start['unique']:.0%} did at the start"
        yield "one answer", message, f"{held}, and check that the reward looks at the prompt"
    if now["invalid"] > 0:
        message = f"{now['invalid']:.1%} of the rewards were not numbers"
        yield "invalid", message, "They are left out; look at what the reward gives for the answers in monitor/"


def since_best(proxy: Mapping[int, Sequence[float]], gold: Mapping[int, Sequence[float]]) -> SinceBest | None:
    """What changed from the step with the best gold to the last one; None where that is the best, or nothing is known.

    The best of many noisy steps was lucky too, so the intervals are widened by their number (Bonferroni).

    Args:
        proxy: by step, the proxy reward of each prompt's answer.
        gold: by step, the gold reward.
    """
    means = {step: average(values).value for step, values in gold.items()}
    known = [step for step in sorted(means) if math.isfinite(means[step])]
    if len(known) < 2:
        return None
    best, now = max(known, key=lambda step: (means[step], -step)), known[-1]
    if best == now:
        return None
    normal = NormalDist()
    factor = normal.inv_cdf(1 - 0.025 / (len(known) - 1)) / normal.inv_cdf(0.975)
    return SinceBest(
        best, _widened(gain(proxy[best], proxy[now]), factor), _widened(gain(gold[best], gold[now]), factor)
    )


def _widened(found: Interval, factor: float) -> Interval:
    return replace(
        found,
        low=found.value + factor * (found.low - found.value),
        high=found.value + factor * (found.high - found.value),
    )


def _small(said: str) -> str:
    return said[0].lower() + said[1:]
