"""What the report of an aligned model holds: the shapes of `report.json` of `instil align`.

    {"verdict": "PPO helped: ...", "win_rate": {"score": 0.71, "n": 200, "ci95": [0.64, 0.77], "judge": "gold"},
     "gold_reward": {"score": 0.84, "n": 200, "ci95": [0.80, 0.88], "start": 0.31, "gain": {...}},
     "kl": {"score": 4.1, "n": 200, "ci95": [3.6, 4.6]}, "kl_budget": 10.0, "points": [{"step": 0, ...}, ...], ...}

Rewards are on their own scales, KL is in nats a completion. What is not known is null, or left out. Keys are added,
never renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from instil.reports.report import LossPoint, Made, Score, SuiteTable


class WinRate(Score):
    """The share of test prompts to which the aligned model's answer is better than the start's; ties half."""

    judge: Literal["gold", "proxy"]
    """Which reward says which is better."""


class Rewarded(Score):
    """The aligned model's mean reward on the test prompts."""

    start: float
    """The start's."""
    gain: Score
    """Aligned less start, paired by prompt."""


class Ordered(Score):
    """The share of pairs of held-out rankings that a policy orders as people did, by its implicit rewards; n pairs."""

    prompts: int
    """What the interval is drawn over."""


class Recommended(TypedDict):
    """The checkpoint to take."""

    step: int
    kl: float | None
    why: str
    """In a sentence."""


class AlarmRow(TypedDict):
    """Something that looked wrong after a step."""

    step: int
    kind: str
    message: str
    advice: str


class AlignSample(TypedDict):
    """One test prompt, and what the start and the aligned model wrote."""

    prompt: str
    start: str
    aligned: str
    start_proxy: NotRequired[float | None]
    aligned_proxy: NotRequired[float | None]
    start_gold: NotRequired[float | None]
    aligned_gold: NotRequired[float | None]


class Beside(TypedDict):
    """Another run's way, drawn beside: the over-optimised control of a quickstart."""

    label: str
    points: Sequence[Mapping[str, Any]]
    text: NotRequired[str]


class AlignReport(TypedDict):
    """`report.json` of `instil align`."""

    name: str
    method: str
    verdict: str
    seconds: float
    model: NotRequired[str]
    win_rate: NotRequired[WinRate]
    """Absent where no reward judges answers."""
    gold_reward: NotRequired[Rewarded]
    proxy_reward: NotRequired[Rewarded]
    ordered: NotRequired[Ordered]
    """Methods that learn from rankings: rankings of the test prompts."""
    verifiable: NotRequired[bool]
    """Whether the proxy is nothing but checks against targets, which no policy can please by being wrong."""
    kl: NotRequired[Score]
    kl_budget: NotRequired[float | None]
    recommended: NotRequired[Recommended]
    unit: NotRequired[Literal["step", "n"]]
    """What `step` counts in `points` and `recommended`: optimizer steps, or the answers that best-of-n chooses from."""
    chosen_step: NotRequired[int]
    """The step whose weights the model has."""
    ended_early: NotRequired[bool]
    points: NotRequired[Sequence[Mapping[str, Any]]]
    """The figures of every evaluation, in order: {"step": 40, "proxy_reward": ..., "kl": ..., ...}."""
    spread: NotRequired[Mapping[str, float]]
    """The standard deviation of the start's rewards over prompts, by `proxy` and `gold`: the picture's unit."""
    alarms: NotRequired[Sequence[AlarmRow]]
    over_optimised: NotRequired[Beside]
    suites: NotRequired[Sequence[SuiteTable]]
    """What academic tasks lost or gained: `base` is the start, `tuned` the aligned model."""
    samples: NotRequired[Sequence[AlignSample]]
    trained_on: NotRequired[Mapping[str, str]]
    sources: NotRequired[Sequence[Mapping[str, str]]]
    loss_curve: NotRequired[Sequence[LossPoint]]
    notes: NotRequired[Sequence[str]]
    made: NotRequired[Made]
