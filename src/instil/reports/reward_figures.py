"""The pictures of a reward model: what it gets right, how it learned, how sure it is, what it gives to whom.

accuracy      held-out prompts   |       --<>--       64%       a coin gets 50%, two people agree on 73%
learning      accuracy by step, with the level of "the longer one is better" and of two people
calibration   right |      .<>          on the dashed line it is right as often as it is sure
                    |  .<>'
rewards       the rewards of first-ranked and of last-ranked completions: apart, or over each other
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instil.reports.reward_report import RewardReport
from instil.reports.scales import is_number
from instil.reports.study_report import FigureRow, Lines, Point, Reference, Rows


def accuracy_rows(report: RewardReport) -> Rows:
    """Accuracies beside the rule that the longer one is better, and the agreement of people."""
    found: Mapping[str, Any] = report["accuracy"]
    listed: list[tuple[str, str, Mapping[str, Any] | None, str]] = [
        ("held-out prompts", "tuned", found.get("held_out"), "what the verdict speaks of"),
        ("held-out annotators", "tuned", found.get("held_out_annotators"), "people that it never saw"),
        ("prompts trained on", "tuned", found["train"], "well above the first row would be learned by heart"),
        ("ensemble, worst", "tuned", report.get("worst"), "the least of its members' rewards"),
        (_rule(report), "base", report.get("length_rule"), "a rule that reads nothing, on held-out prompts"),
        ("two people agree", "base", report.get("agreement"), "about what could be reached"),
    ]
    rows: list[FigureRow] = []
    for label, series, one, note in listed:
        if one:
            low, high = one["ci95"]
            name = "the model" if series == "tuned" else "beside it"
            mark: Any = {"series": series, "value": one["score"], "low": low, "high": high, "name": name}
            rows.append({"label": label, "marks": [mark], "note": note, "strong": label == "held-out prompts"})
    return {
        "kind": "rows",
        "name": "accuracy",
        "title": "How often it orders a pair as people did",
        "caption": "Shares of untied pairs with 95% intervals over prompts; a coin gets 50%.",
        "rows": rows,
        "full_scale": True,
    }


def _rule(report: RewardReport) -> str:
    return f"the {report['length_rule']['prefers']} one is better" if "length_rule" in report else ""


def learning_curve(report: RewardReport) -> Lines | None:
    """Held-out accuracy by step; None where it was asked fewer than twice."""
    points = [
        Point(
            x=point["step"],
            y=point.get("accuracy"),
            low=point.get("accuracy_low"),
            high=point.get("accuracy_high"),
        )
        for point in report.get("points", ())
    ]
    if sum(is_number(point["y"]) for point in points) < 2:
        return None
    who = "its first member" if "members" in report else "it"
    lines: list[Reference] = [{"label": "a coin", "y": 0.5}]
    if rule := report.get("length_rule"):
        lines.append({"label": _rule(report), "y": rule["score"]})
    if agreed := report.get("agreement"):
        lines.append({"label": "two people agree", "y": agreed["score"]})
    if "chosen_step" in report:
        lines.append({"label": f"chosen: step {report['chosen_step']:,}", "x": report["chosen_step"]})
    return {
        "kind": "lines",
        "name": "learning",
        "title": "How it learned",
        "caption": f"Accuracy on held-out prompts while {who} was trained, with its 95% interval. A curve that still "
        "rises asks for more rankings; one that falls asks for fewer steps.",
        "x": {"label": "step"},
        "y": {"label": "pairs ordered rightly", "percent": True},
        "series": [{"name": "held-out prompts", "style": "tuned", "points": points}],
        "references": lines,
    }


def loss_curve(report: RewardReport) -> Lines | None:
    """The loss on held-out prompts by step, which rises where the model becomes too sure; None as above."""
    points = [Point(x=point["step"], y=point.get("held_out_loss")) for point in report.get("points", ())]
    if sum(is_number(point["y"]) for point in points) < 2:
        return None
    return {
        "kind": "lines",
        "name": "held-out-loss",
        "title": "Loss on held-out prompts",
        "caption": "It begins near 0.69, what a coin costs, and rises where the model grows surer than it should.",
        "x": {"label": "step"},
        "y": {"label": "mean loss a prompt, in nats"},
        "series": [{"name": "held-out prompts", "style": "tuned", "points": points}],
        "references": [{"label": "a coin", "y": 0.6931}],
    }


def calibration(report: RewardReport) -> Lines | None:
    """How often it is right against how sure it is; None where nothing was held out."""
    found = report.get("calibration")
    if not found or not found["bins"]:
        return None
    points = [
        Point(x=one["sure"], y=one["score"], low=one["ci95"][0], high=one["ci95"][1], n=one["n"])
        for one in found["bins"]
    ]
    return {
        "kind": "lines",
        "name": "calibration",
        "title": "Is it right as often as it is sure?",
        "caption": f"A difference of rewards says how sure the model is of its order: sigmoid of it. On the dashed "
        f"line it is right as often as that; below, it is too sure. Off by {100 * found['ece']:.1f} points on average.",
        "x": {"label": "how sure it is", "percent": True, "ticks": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]},
        "y": {"label": "how often it is right", "percent": True},
        "series": [
            {"name": "held-out pairs", "style": "tuned", "points": points},
            {"name": "right as often as sure", "style": "base", "points": [], "fit": [[0.5, 0.5], [1.0, 1.0]]},
        ],
    }


def distribution(report: RewardReport) -> Lines | None:
    """The rewards of first-ranked and last-ranked completions; None where nothing was held out."""
    found = report.get("rewards")
    if not found:
        return None
    bins: Sequence[Mapping[str, Any]] = found["bins"]
    sides = (("ranked first", "best", "tuned"), ("ranked last", "worst", "base"))
    return {
        "kind": "lines",
        "name": "rewards",
        "title": "Rewards of first-ranked and of last-ranked completions",
        "caption": "Of held-out prompts, as shares of each side. Curves over each other are a model that cannot tell "
        f"them apart across prompts; within a prompt it may still. {_spread(found)}",
        "x": {"label": "reward"},
        "y": {"label": "share of completions", "percent": True},
        "series": [
            {
                "name": name,
                "style": style,
                "points": [Point(x=(one["low"] + one["high"]) / 2, y=one[side]) for one in bins],
            }
            for name, side, style in sides
        ],
    }


def _spread(found: Mapping[str, Any]) -> str:
    """`Mean and standard deviation: first +0.31 and 0.72 (294), last ...`."""
    said = [
        f"{name} {found[side]['mean']:+.2f} and {found[side]['sd']:.2f} ({found[side]['n']:,})"
        for name, side in (("first", "best"), ("last", "worst"))
        if is_number(found[side]["mean"])
    ]
    return f"Mean and standard deviation: {', '.join(said)}.".replace("-", "−")
