"""One sentence about a reward model that says what the numbers carry, and can say that nothing was learned.

Accuracy 64.1% [58.9, 69.2] on 331 pairs of 112 held-out prompts; annotators agree on 72.6%; preferring the longer
answer gets 55.0%.

Nothing was learned that shows: accuracy 51.2% [45.9, 56.4] on 331 pairs of 112 held-out prompts, where a coin gets
50%.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instil.reports.figures import percent


def reward_verdict(report: Mapping[str, Any]) -> str:
    """The sentence.

    Args:
        report: a `RewardReport` whose verdict is still to be written.
    """
    found = report["accuracy"].get("held_out")
    if not found:
        own = report["accuracy"]["train"]
        return (
            "No prompt was held out, so nothing is known about what was learned; on the prompts that it was trained on "
            f"it orders {told(own)} rightly."
        )
    low, high = found["ci95"]
    said = f"{told(found)} held-out prompts"
    if high < 0.5:
        return f"Worse than a coin: accuracy {said}; look at the data before anything is trained with it."
    if low <= 0.5:
        return f"Nothing was learned that shows: accuracy {said}, where a coin gets 50%{_seen(report)}."
    return f"Accuracy {said}{_people(report)}{_strangers(report)}{_rule(report)}."


def told(found: Mapping[str, Any]) -> str:
    """`64.1% [58.9, 69.2] on 331 pairs of 112`."""
    low, high = (percent(end, digits=1) for end in found["ci95"])
    return (
        f"{percent(found['score'], digits=1)}% [{low}, {high}] on {found['n']:,} pair{'s' if found['n'] != 1 else ''} "
        f"of {found['prompts']:,}"
    )


def _seen(report: Mapping[str, Any]) -> str:
    """Whether it learned its own prompts by heart."""
    own = report["accuracy"]["train"]
    if own["ci95"][0] <= 0.5:
        return ""
    return f"; on the prompts that it was trained on {percent(own['score'], digits=1)}%"


def _people(report: Mapping[str, Any]) -> str:
    agreed = report.get("agreement")
    return "" if not agreed else f"; annotators agree on {percent(agreed['score'], digits=1)}%"


def _strangers(report: Mapping[str, Any]) -> str:
    found = report["accuracy"].get("held_out_annotators")
    if not found:
        return ""
    low, high = (percent(end, digits=1) for end in found["ci95"])
    return f"; of annotators that it never saw {percent(found['score'], digits=1)}% [{low}, {high}]"


def _rule(report: Mapping[str, Any]) -> str:
    """The control: length goes with what people prefer, and a model may have learned no more than that."""
    rule = report.get("length_rule")
    if not rule:
        return ""
    said = f"preferring the {rule['prefers']} answer gets {percent(rule['score'], digits=1)}%"
    low, high = rule["lead"]["ci95"]
    if low > 0:
        return f"; {said}"
    if high < 0:
        return f"; but {said}, which is more"
    return f"; but {said}, and that the model knows more than this rule is not shown"
