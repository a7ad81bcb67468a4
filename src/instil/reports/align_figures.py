"""The pictures of an aligned model: how reward and distance went together, and every other figure by step.

    gain                                   gold and proxy against sqrt(KL): the proxy rises on, gold turns
      |            ___---o proxy
      |     _--<>-'                        <> gold, best where the dashed line stands: the recommended checkpoint
      |  .-'      '-<>
      +---------------- sqrt(KL)

Gao, Schulman and Hilton (2023) found gains to follow sqrt(KL): `d (a - b d)` for best-of-n, `d (a - b log d)` for RL.
Rewards are drawn as gains over the start in standard deviations of its rewards over prompts, so that both fit one axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from instil.reports.scales import is_number
from instil.reports.study_report import Lines, Point, Series

#: (figure, name in words, whether it is a share): what is drawn by step, where it is there.
_CURVES = (
    ("kl", "KL to the reference, nats a completion", False),
    ("win_rate", "win rate over the start", True),
    ("length", "length, tokens", False),
    ("entropy", "entropy, nats a token", False),
    ("distinct_2", "distinct-2", True),
    ("repeated", "repeated 4-grams in an answer", True),
    ("unique", "answers that differ from all others", True),
    ("ended", "answers that end by themselves", True),
    ("accuracy", "held-out rankings ordered rightly", True),
    ("preference_loss", "loss on held-out rankings", False),
)
#: Figures with an interval -> how its ends are called.
_ENDS = {"kl": "kl", "win_rate": "win", "proxy_reward": "proxy", "gold_reward": "gold", "accuracy": "accuracy"}
_REWARDS = (("proxy", "proxy reward: what is learned by", "base"), ("gold", "gold reward: only watched", "tuned"))


def over_optimisation(
    points: Sequence[Mapping[str, Any]],
    spread: Mapping[str, float],
    *,
    recommended: int | None,
    name: str,
    title: str,
    unit: str = "step",
) -> Lines | None:
    """Gold and proxy against sqrt(KL); None where fewer than two evaluations have both a reward and a KL.

    Args:
        points: the figures of every evaluation; the first is the start's.
        spread: the standard deviation of the start's rewards over prompts, by `proxy` and `gold`.
        recommended: the step to mark.
        name: of the figure.
        title: above it.
        unit: what `step` counts.
    """
    series: list[Series] = []
    for reward, label, style in _REWARDS:
        made = _gains(points, reward, spread.get(reward) or 1.0, unit)
        if len(made) > 1:
            series.append({"name": label, "style": style, "points": made})
    if not series:
        return None
    at = next((_root(point) for point in points if point["step"] == recommended), None)
    what = "Each mark is an evaluation of the same held-out prompts, joined in the order of steps. "
    if len(series) > 1:
        what += "Where the proxy still rises and gold falls, the policy has learned to please its reward model."
    else:
        what += "There is no gold reward here, so that over-optimisation would not show."
    figure: Lines = {
        "kind": "lines",
        "name": name,
        "title": title,
        "caption": what,
        "x": {"label": "distance from the reference, square root of KL in nats"},
        "y": {"label": "gain over the start, in standard deviations of its rewards"},
        "series": series,
    }
    if at is not None:
        figure["references"] = [{"label": f"recommended: {unit} {recommended:,}", "x": at}]
    return figure


def _gains(points: Sequence[Mapping[str, Any]], reward: str, size: float, unit: str) -> list[Point]:
    key = f"{reward}_reward"
    made: list[Point] = []
    start = next((point[key] for point in points if is_number(point.get(key))), 0.0)
    for point in points:
        place = _root(point)
        if place is None or not is_number(point.get(key)):
            continue
        note = f"{unit.capitalize()} {point['step']:,}, reward {point[key]:.4g}"
        made.append(Point(x=place, y=(point[key] - start) / size, note=note))
        low, high = (point.get(f"{reward}_{end}") for end in ("low", "high"))
        if is_number(low) and is_number(high):
            made[-1] |= {"low": (low - start) / size, "high": (high - start) / size}  # type: ignore[operator]  # numbers
    return made


def _root(point: Mapping[str, Any]) -> float | None:
    kl = point.get("kl")
    return math.sqrt(max(0.0, float(kl))) if is_number(kl) else None  # type: ignore[arg-type]  # just asked


def reward_curves(points: Sequence[Mapping[str, Any]], *, recommended: int | None, unit: str = "step") -> list[Lines]:
    """Proxy and gold reward by step, each on its own scale."""
    return [
        made
        for reward, label, style in _REWARDS
        if (made := _by_step(points, f"{reward}_reward", label, False, style, recommended, unit)) is not None
    ]


def other_curves(
    points: Sequence[Mapping[str, Any]], *, recommended: int | None, kl_budget: float | None, unit: str = "step"
) -> list[Lines]:
    """Everything else that is watched, by step."""
    made = []
    for key, label, share in _CURVES:
        figure = _by_step(points, key, label, share, "tuned", recommended, unit)
        if figure is None:
            continue
        if key == "kl" and is_number(kl_budget):
            figure["references"] = [*figure.get("references", ()), {"label": "budget", "y": float(kl_budget)}]  # type: ignore[arg-type]
        if key == "win_rate":
            figure["references"] = [*figure.get("references", ()), {"label": "even", "y": 0.5}]
        made.append(figure)
    return made


def _by_step(
    points: Sequence[Mapping[str, Any]],
    key: str,
    label: str,
    share: bool,
    style: str,
    recommended: int | None,
    unit: str,
) -> Lines | None:
    ends = _ENDS.get(key)
    there = [point for point in points if key in point]
    made = [
        Point(
            x=point["step"],
            y=point[key],
            **{end: point.get(f"{ends}_{end}") for end in ("low", "high") if ends},  # type: ignore[typeddict-item]
        )
        for point in there
    ]
    if sum(is_number(point["y"]) for point in made) < 2:
        return None
    figure: Lines = {
        "kind": "lines",
        "name": key.replace("_", "-"),
        "title": label,
        "caption": "",
        "x": {"label": unit},
        "y": {"label": "", "percent": share},
        "series": [{"name": label, "style": style, "points": made}],
    }
    if recommended is not None and any(point["step"] == recommended for point in there):
        figure["references"] = [{"label": "", "x": recommended}]
    return figure
