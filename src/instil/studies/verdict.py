"""Yes, no, or not shown: what an interval says about a gain, by a rule that is fixed before the run.

    decide(+0.31 [0.22, 0.40], smallest=0.02)    yes          the interval lies above zero
    decide(+0.05 [-0.04, 0.14], smallest=0.02)   not shown    the data allow both
    decide(-0.01 [-0.03, 0.01], smallest=0.02)   no           whatever there is, it is less than what was asked for
    decide(+0.01 [0.005, 0.015], smallest=0.02)  no           there is a gain, too small to matter

`smallest` is the least gain that would matter, a choice of the study's recipe. Where there is no effect, a "yes" comes
up in at most 2.5% of studies: the lower end of a two-sided 95% interval is above zero that often.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

Verdict = Literal["yes", "no", "not shown"]


class Gain(Protocol):
    """A difference with its 95% interval: a study's `Interval` or the `Estimate` of a single run."""

    @property
    def score(self) -> float:
        """The mean difference."""

    @property
    def low(self) -> float:
        """Where its 95% interval begins."""

    @property
    def high(self) -> float:
        """Where it ends."""

    @property
    def n(self) -> int:
        """Items behind it."""


def decide(gain: Gain, smallest: float) -> Verdict:
    """What the interval of a gain says.

    Args:
        gain: the gain with its interval.
        smallest: the least gain that would matter.
    """
    if gain.high < smallest:
        return "no"
    return "yes" if gain.low > 0 else "not shown"


def verdict_row(gain: Gain, smallest: float) -> dict[str, Any]:
    """What every study's verdict.json begins with."""
    return {
        "verdict": decide(gain, smallest),
        "gain": gain.score,
        "ci95": [gain.low, gain.high],
        "n": gain.n,
        "smallest_gain": smallest,
        "covers": getattr(gain, "words", None) or getattr(gain, "covers", ""),
    }


def because(gain: Gain, smallest: float) -> str:
    """Why that is the verdict, as the second half of a sentence."""
    told = in_points(gain)
    verdict = decide(gain, smallest)
    if verdict == "yes":
        return f"{told}, and the interval lies above zero"
    if verdict == "not shown":
        return f"{told}: the interval holds both zero and gains that would matter"
    if gain.low > 0:
        return f"{told}: there is a gain, and less than the {100 * smallest:g} points that would matter"
    return f"{told}: the interval lies below the {100 * smallest:g} points that would matter"


def in_points(gain: Gain) -> str:
    """`+31.0 points [22.1, 39.9]`, of 100."""
    return f"{100 * gain.score:+.1f} points [{100 * gain.low:.1f}, {100 * gain.high:.1f}]"
