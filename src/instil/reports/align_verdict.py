"""One sentence about an aligned model that says what the numbers carry, and can say no.

PPO helped: on held-out prompts its answer is the better one 71% of the time (64% to 77%, n = 200, by gold reward), at
4.1 nats from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instil.reports.figures import percent
from instil.reports.scales import is_number, say_number

#: How methods are written.
NAMES: Mapping[str, str] = {
    "ppo": "PPO",
    "grpo": "GRPO",
    "rloo": "RLOO",
    "reinforce": "REINFORCE",
    "dpo": "DPO",
    "ipo": "IPO",
    "kto": "KTO",
    "best-of-n": "Best-of-n",
    "rejection": "Rejection sampling",
}


def align_verdict(report: Mapping[str, Any]) -> str:
    """The sentence.

    Args:
        report: an `AlignReport` whose verdict is still to be written.
    """
    name = NAMES.get(report["method"], report["method"])
    wins = report.get("win_rate")
    if not wins or not is_number(wins["score"]):
        return f"{_unjudged(name, report)}{_distance(report)}{_tax(report.get('suites', ()))}."
    share = f"{percent(wins['score'])}%"
    low, high = wins["ci95"]
    about = f"({percent(low)}% to {percent(high)}%, n = {wins['n']:,}, by {wins['judge']} reward)"
    found = f"{name} helped" if low > 0.5 else f"{name} did harm" if high < 0.5 else f"No clear gain by {_within(name)}"
    only = "only " if high < 0.5 else ""
    said = f"{found}: on held-out prompts its answer is the better one {only}{share} of the time {about}"
    return f"{said}{_distance(report)}{_doubt(report)}{_tax(report.get('suites', ()))}."


def _within(name: str) -> str:
    """A method's name inside a sentence: `rejection sampling`, but `PPO`."""
    return name if name.isupper() else name[0].lower() + name[1:]


def _unjudged(name: str, report: Mapping[str, Any]) -> str:
    """Where no reward judges answers: what held-out rankings say."""
    ordered = report.get("ordered")
    if not ordered:
        return f"{name} is done; nothing judged its answers, so nothing is known about what it gained"
    low, high = ordered["ci95"]
    share = f"{percent(ordered['score'])}% of {ordered['n']:,} held-out pairs ({percent(low)}% to {percent(high)}%)"
    if low > 0.5:
        return f"{name} learned the order: {share} it prefers as people did"
    if high < 0.5:
        return f"{name} learned the wrong order: only {share} it prefers as people did"
    return f"No clear effect of {_within(name)}: {share} it prefers as people did, and half is chance"


def _distance(report: Mapping[str, Any]) -> str:
    kl, budget = report.get("kl"), report.get("kl_budget")
    if not kl or not is_number(kl["score"]):
        return ""
    beyond = ""
    if budget is not None and is_number(budget) and kl["score"] > budget:
        beyond = f", beyond the budget of {say_number(budget)}"
    return f", at {say_number(kl['score'])} nats from the start{beyond}"


def _doubt(report: Mapping[str, Any]) -> str:
    """Where only the proxy judged: a policy that fools it wins too."""
    wins, gold = report["win_rate"], report.get("gold_reward")
    if wins["judge"] == "gold" or gold or report.get("verifiable"):
        return ""
    return "; what it was trained by is also what judged it"


def _tax(suites: Sequence[Mapping[str, Any]]) -> str:
    """The suites that clearly lost."""
    lost = []
    for table in suites:
        head = table["groups"][0] if table["groups"] else {}
        gain = head.get("gain")
        if gain and gain["ci95"][1] < 0:
            lost.append(f"{percent(-gain['score'], digits=1)} points on {table['suite']}")
    return f"; it lost {' and '.join(lost)}" if lost else ""
