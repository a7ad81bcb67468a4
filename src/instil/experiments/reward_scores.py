"""How good a reward model is: what people and the model say of the same pairs, and what the model only seems to know.

    accuracy      the share of untied pairs that it orders as people did; a tie of rewards is half right
                  0.64 [0.58, 0.70], 812 pairs of 301 prompts: the interval is over prompts
    rule          the same of "the longer one is better", or the shorter one, whichever fits the prompts trained on; and
                  by how much the model is ahead of it, pair by pair
    calibration   it says sigmoid(difference): of pairs that it is 80% sure of, are 80% right?
    length        how rewards go with length, within a prompt and over all

Everything here is arithmetic on rewards that are there. Pairs of one prompt hang together, whoever ranked them, so
prompts are the sample: Wilson's interval at the effective number of pairs for shares, Student's over sums of prompts
for differences, and for correlations a jackknife over prompts, on Fisher's scale.

Shape legend: P pairs, C prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from instil.mixtures.agreement import interval, student_t
from instil.tuning.reward_rows import RewardRow

Floats = NDArray[np.float64]
#: Ends of the bins of how sure the model is of its order.
_SURE = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Bars of a picture of rewards, at least and at most: about the root of what they count.
_BARS = (6, 24)


@dataclass(frozen=True)
class Pairs:
    """Untied pairs: what people said, and what the model says."""

    ahead: Floats
    """(P,): the better one's reward less the worse one's."""
    longer: Floats
    """(P,): the better one's tokens less the worse one's."""
    prompt: NDArray[np.int64]
    """(P,): the number of the prompt."""
    levels: NDArray[np.int64]
    """(P,): by how many ranks they are apart."""
    annotator: Sequence[str]
    task: Sequence[str]

    def __len__(self) -> int:
        return len(self.ahead)

    @property
    def right(self) -> Floats:
        """(P,): 1, 0, or a half."""
        return _ordered(self.ahead)

    @property
    def right_by_length(self) -> Floats:
        """(P,): the same of the rule that the longer one is better; one less this is that of the shorter one."""
        return _ordered(self.longer)


def pairs_of(rows: Sequence[RewardRow], rewards: Sequence[Sequence[float]]) -> Pairs:
    """The untied pairs of rows with their rewards."""
    listed = [
        (number, row, said, pair)
        for number, (row, said) in enumerate(zip(rows, rewards, strict=True))
        for pair in row.pairs
        if pair.levels
    ]

    def sizes(row: RewardRow, first: int, second: int) -> int:
        return len(row.group.completions[first]) - len(row.group.completions[second])

    return Pairs(
        ahead=np.array([said[pair.better] - said[pair.worse] for _, _, said, pair in listed], dtype=np.float64),
        longer=np.array([sizes(row, pair.better, pair.worse) for _, row, _, pair in listed], dtype=np.float64),
        prompt=np.array([number for number, _, _, _ in listed], dtype=np.int64),
        levels=np.array([pair.levels for _, _, _, pair in listed], dtype=np.int64),
        annotator=[pair.annotator for _, _, _, pair in listed],
        task=[row.ranking.task for _, row, _, _ in listed],
    )


def _ordered(difference_P: Floats) -> Floats:
    right_P: Floats = (difference_P > 0) + 0.5 * (difference_P == 0)
    return right_P


def share(right_P: Floats, prompt_P: NDArray[np.int64]) -> dict[str, Any]:
    """A share of pairs: `score`, `n` pairs, `prompts`, `ci95` over prompts."""
    right_C, count_C = _by_prompt(right_P, prompt_P), _by_prompt(np.ones_like(right_P), prompt_P)
    halves: Any = right_C  # where a tie is half right, a prompt may have a half
    low, high = interval(halves, count_C.astype(int).tolist())
    return {"score": float(right_P.mean()), "n": len(right_P), "prompts": len(count_C), "ci95": [low, high]}


def difference(first_P: Floats, second_P: Floats, prompt_P: NDArray[np.int64]) -> dict[str, Any]:
    """The mean of first less second, pair by pair: `score`, `n`, `ci95` over prompts (none where there is one)."""
    gap_P = first_P - second_P
    score, sum_C, count_C = float(gap_P.mean()), _by_prompt(gap_P, prompt_P), _by_prompt(np.ones_like(gap_P), prompt_P)
    clusters = len(count_C)
    if clusters < 2:
        return {"score": score, "n": len(gap_P), "ci95": [-1.0, 1.0]}
    spread = float(((sum_C - score * count_C) ** 2).sum()) * clusters / (clusters - 1)
    half = student_t(clusters - 1) * spread**0.5 / len(gap_P)
    return {"score": score, "n": len(gap_P), "ci95": [score - half, score + half]}


def accuracy(pairs: Pairs) -> dict[str, Any]:
    """How often the model orders a pair as people did."""
    return share(pairs.right, pairs.prompt)


def longer_is_better(pairs: Pairs) -> dict[str, Any]:
    """How often the longer of two is the better one."""
    return share(pairs.right_by_length, pairs.prompt)


def length_rule(pairs: Pairs, trained_on: Sequence[RewardRow]) -> dict[str, Any]:
    """The rule that a model could have learned from length alone: how often it is right.

    Args:
        pairs: what is judged.
        trained_on: says which rule it is: that the longer of two is better, or the shorter (`prefers`).

    Returns:
        As `share`, with `lead`: by how much the model is ahead of the rule.
    """
    longer = [
        len(row.group.completions[pair.better]) - len(row.group.completions[pair.worse])
        for row in trained_on
        for pair in row.pairs
        if pair.levels
    ]
    prefers = "longer" if _ordered(np.array(longer, dtype=np.float64)).mean() >= 0.5 else "shorter"
    right_P = pairs.right_by_length if prefers == "longer" else 1.0 - pairs.right_by_length
    lead = difference(pairs.right, right_P, pairs.prompt)
    return {"prefers": prefers, **share(right_P, pairs.prompt), "lead": lead}


def calibration(pairs: Pairs) -> dict[str, Any]:
    """`bins` of how sure the model is, each with how often it is right, and the expected calibration error (`ece`).

    It is sure of an order with sigmoid(|difference|), from a half to one. A bin says `low`, `high`, `sure` (its mean),
    `score` (the share that is right), `n` and `ci95`.
    """
    sure_P = 1.0 / (1.0 + np.exp(-np.abs(pairs.ahead)))
    place_P = np.clip(np.searchsorted(_SURE, sure_P, side="right") - 1, 0, len(_SURE) - 2)
    bins, error = [], 0.0
    for number in range(len(_SURE) - 1):
        inside = place_P == number
        if not inside.any():
            continue
        found = share(pairs.right[inside], pairs.prompt[inside])
        sure = float(sure_P[inside].mean())
        bins.append({"low": _SURE[number], "high": _SURE[number + 1], "sure": sure, **found})
        error += abs(found["score"] - sure) * found["n"] / len(pairs)
    return {"bins": bins, "ece": error, "sure": float(sure_P.mean())}


def by(pairs: Pairs, names: Sequence[str]) -> list[dict[str, Any]]:
    """The accuracy of each part, by the name that each pair has; the largest part first."""
    known = np.array(names, dtype=object)
    parts = [(name, known == name) for name in dict.fromkeys(names)]
    found = [{"name": name, **share(pairs.right[inside], pairs.prompt[inside])} for name, inside in parts]
    return sorted(found, key=lambda part: (-part["n"], part["name"]))


def by_levels(pairs: Pairs) -> list[dict[str, Any]]:
    """The accuracy of pairs that are one rank apart, two ranks, ...; far ones should be easier."""
    names = [f"{levels} rank{'s' if levels > 1 else ''} apart" for levels in pairs.levels.tolist()]
    return sorted(by(pairs, names), key=lambda part: int(part["name"].split()[0]))


def length_correlation(rows: Sequence[RewardRow], rewards: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Pearson's correlation of reward and tokens: `within` prompts, and `overall`; each `score`, `n`, `ci95`.

    None in the place of one that is not there, as where all completions are of one length.
    """
    said = [np.array(each, dtype=np.float64) for each in rewards]
    sizes = [np.array([len(ids) for ids in row.group.completions], dtype=np.float64) for row in rows]
    inside = [(one - one.mean(), size - size.mean()) for one, size in zip(said, sizes, strict=True)]
    return {"within": _correlation(inside), "overall": _correlation(list(zip(said, sizes, strict=True)))}


def _correlation(groups: Sequence[tuple[Floats, Floats]]) -> dict[str, Any] | None:
    sums_C = np.array([[len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y] for x, y in groups], dtype=np.float64)
    total = sums_C.sum(0)
    score = float(_pearson(total[None])[0])
    if not np.isfinite(score) or len(groups) < 3:
        return None
    count = len(groups)
    whole = np.arctanh(np.clip(score, -0.999999, 0.999999))
    left_out = np.arctanh(np.clip(np.nan_to_num(_pearson(total - sums_C)), -0.999999, 0.999999))
    error = ((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()) ** 0.5
    half = student_t(count - 1) * error
    ends = np.tanh([whole - half, whole + half]).tolist()
    return {"score": score, "n": int(total[0]), "ci95": ends}


def _pearson(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)
        found: Floats = np.where(spread > 1e-12, (n * xy - x * y) / np.sqrt(spread), np.nan)
    return found


def distribution(rows: Sequence[RewardRow], rewards: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Rewards of `best` and `worst` completions: `mean`, `sd`, `n` of each, and `bins` with the share of each side.

    Best are those that somebody put first; worst those that nobody found better than any other.
    """
    sides: dict[str, list[float]] = {"best": [], "worst": []}
    for row, said in zip(rows, rewards, strict=True):
        better = {pair.better for pair in row.pairs if pair.levels}
        worst = {pair.worse for pair in row.pairs if pair.levels} - better
        sides["best"] += [said[place] for place in row.best if place not in worst]
        sides["worst"] += [said[place] for place in worst]
    every = np.array([*sides["best"], *sides["worst"]])
    bars = min(_BARS[1], max(_BARS[0], round(max(map(len, sides.values())) ** 0.5)))
    ends = np.linspace(every.min() - 1e-9, every.max() + 1e-9, bars + 1)
    counts = {name: np.histogram(values, ends)[0] / max(1, len(values)) for name, values in sides.items()}
    told: Callable[[list[float]], Mapping[str, Any]] = lambda values: {  # noqa: E731
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values)) if values else None,
        "n": len(values),
    }
    return {
        **{name: told(values) for name, values in sides.items()},
        "bins": [
            {"low": float(ends[k]), "high": float(ends[k + 1]), **{name: float(counts[name][k]) for name in sides}}
            for k in range(bars)
        ],
    }


def figures(rows: Sequence[RewardRow], rewards: Sequence[Sequence[float]]) -> dict[str, float]:
    """What an evaluation while training writes: accuracy with its interval, the loss, and the mean difference."""
    pairs = pairs_of(rows, rewards)
    found = accuracy(pairs)
    count_C = _by_prompt(np.ones(len(pairs)), pairs.prompt)
    loss_C = _by_prompt(np.logaddexp(0.0, -pairs.ahead), pairs.prompt) / count_C
    return {
        "accuracy": found["score"],
        "accuracy_low": found["ci95"][0],
        "accuracy_high": found["ci95"][1],
        "pairs": float(len(pairs)),
        "prompts": float(found["prompts"]),
        "difference": float((_by_prompt(pairs.ahead, pairs.prompt) / count_C).mean()),
        "held_out_loss": float(loss_C.mean()),
    }


def _by_prompt(values_P: Floats, prompt_P: NDArray[np.int64]) -> Floats:
    """The sum (C,) of each prompt that has any."""
    numbers, place_P = np.unique(prompt_P, return_inverse=True)
    return np.bincount(place_P, values_P, minlength=len(numbers)).astype(np.float64)
