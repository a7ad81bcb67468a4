"""What the report of a reward model holds: the shapes of `report.json` of `instil reward`.

    {"verdict": "Accuracy 64.1% ...", "accuracy": {"held_out": {"score": 0.641, "n": 331, "prompts": 112,
     "ci95": [0.589, 0.692]}, "train": {...}}, "agreement": {"score": 0.726, ...},
     "length_rule": {"prefers": "longer", "score": 0.55, ..., "lead": {"score": 0.09, "n": 331, "ci95": [0.02, 0.16]}},
     "calibration": {"ece": 0.04, "bins": [...]}, "length": {"within": {...}, "overall": {...}}, ...}

Shares lie between 0 and 1, `n` counts pairs, intervals cover 95% and are over prompts. What is not known is null, or
left out. Keys are added, never renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from instil.reports.report import LossPoint, Made, Score


class PairShare(Score):
    """A share of pairs."""

    prompts: int
    name: NotRequired[str]
    """In a list of parts: which one."""


class Accuracy(TypedDict):
    """The share of untied pairs that are ordered as people ordered them; a tie of rewards is half right."""

    held_out: NotRequired[PairShare]
    """Of prompts that are not trained on. Absent where none is held out."""
    held_out_annotators: NotRequired[PairShare]
    """By people who are not trained on, of prompts that are not."""
    train: PairShare
    """Of prompts that are trained on, or of some of them drawn by key."""


class LengthRule(PairShare):
    """How often a rule that only looks at length is right."""

    prefers: str
    """`longer` or `shorter`: whichever is right more often on the prompts that are trained on."""
    lead: Score
    """By how much the model is ahead of that rule, pair by pair."""


class Bin(PairShare):
    """Pairs of which the model is about as sure."""

    low: float
    high: float
    sure: float
    """How sure it is of its order, on average: sigmoid(|difference of rewards|)."""


class Calibration(TypedDict):
    """Whether the model is right as often as it is sure."""

    bins: Sequence[Bin]
    ece: float
    """Expected calibration error: how far `score` and `sure` of bins lie apart, on average over pairs."""
    sure: float


class Lengths(TypedDict):
    """The correlation of reward and tokens; None where lengths or rewards do not vary."""

    within: Score | None
    overall: Score | None


class Reference(TypedDict):
    """What average 0."""

    of: str
    """`demonstrations` or `best-ranked completions`."""
    n: int
    bias: float


class Member(TypedDict):
    """A model of an ensemble."""

    folder: str
    seed: int
    accuracy: NotRequired[PairShare]


class Judgement(TypedDict):
    """A completion of a sample."""

    text: str
    rank: int
    """1 is best; 0 where the first who ranked did not rank it."""
    reward: float


class RewardSample(TypedDict):
    """A held-out prompt with what people and the model say of its completions, best-ranked first."""

    prompt: str
    completions: Sequence[Judgement]


class RewardReport(TypedDict):
    """`report.json` of `instil reward`."""

    name: str
    verdict: str
    seconds: float
    accuracy: Accuracy
    model: NotRequired[str]
    agreement: NotRequired[PairShare]
    """How often two people order a pair alike: about what a perfect model could reach."""
    longer_is_better: NotRequired[PairShare]
    """How often the longer of two is the better one."""
    length_rule: NotRequired[LengthRule]
    """The control: what length alone could have taught."""
    calibration: NotRequired[Calibration]
    length: NotRequired[Lengths]
    rewards: NotRequired[Mapping[str, Any]]
    """Rewards of held-out completions: `best` and `worst` with `mean`, `sd`, `n`, and `bins`."""
    by_levels: NotRequired[Sequence[PairShare]]
    by_annotator: NotRequired[Sequence[PairShare]]
    by_task: NotRequired[Sequence[PairShare]]
    reference: NotRequired[Reference]
    """Of a single model."""
    members: NotRequired[Sequence[Member]]
    """Of an ensemble; all else is about its mean."""
    worst: NotRequired[PairShare]
    """Of an ensemble: the held-out accuracy of the least of its members' rewards."""
    points: NotRequired[Sequence[Mapping[str, Any]]]
    """Evaluations while training: {"step": 40, "accuracy": 0.61, "accuracy_low": ..., "held_out_loss": ...}."""
    chosen_step: NotRequired[int]
    """The step whose weights the model has, where `keep_best` chose them."""
    loss_curve: NotRequired[Sequence[LossPoint]]
    samples: NotRequired[Sequence[RewardSample]]
    data: NotRequired[Mapping[str, Any]]
    """Sources, licences, rows read, kept and dropped, sides, ties, annotators: the card of the rankings."""
    trained_on: NotRequired[Mapping[str, str]]
    notes: NotRequired[Sequence[str]]
    made: NotRequired[Made]
