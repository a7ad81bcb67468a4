"""How well the make-up of a task set tells its held-out score, on draws that the fit has not seen.

    score ~ a + b log2(count) + c log2(diversity)      fitted on all draws but one, asked about that one; each in turn

    mean of the others     root mean squared error 0.081
    count                  0.052
    count and random       0.054     the diversities of sets of one draw and count, dealt out anew
    count and diversity    0.041     -> removes 38% of the squared error that count leaves

Sets of a draw lie within one another, so a draw is left out as a whole: no set is predicted from a part of itself.
What chance alone would remove is known from dealing the diversities out anew among the sets of one draw and count: sets
of a draw share tasks and a training seed, so across draws they cannot be exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from instil.studies.intervals import Interval, crossed

Floats = NDArray[np.float64]

#: How often diversities are dealt out anew.
SHUFFLES = 500


@dataclass(frozen=True, slots=True)
class TaskSet:
    """A set that was trained on: what it is made of, and what came of it."""

    draw: int
    design: str
    """What it shares with one set of every other draw: `4 clusters x 2 tasks`."""
    count: int
    """How many tasks."""
    makeup: Mapping[str, float]
    """What may tell its score, each as the fit takes it: {"count": log2 of it, "clusters": ..., "ngrams": ...}."""
    score: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """How far off a prediction was, on draws that it was not fitted on."""

    name: str
    columns: tuple[str, ...]
    error: float
    """The root of the mean squared error."""
    removed: float
    """The share of the squared error of the count alone that it removes; below zero where it adds to it."""
    low: float | None
    high: float | None
    """The 95% interval of that, over draws and designs, at most 1; None of the count itself, which the share is of, and
    of what predicts every set as the count does."""
    by_chance: float | None = None
    """What its last column removes on average when dealt out anew among the sets of one draw and count."""
    p: float | None = None
    """How often, so dealt out, it removes as much."""


def left_out(sets: Sequence[TaskSet], columns: Sequence[str]) -> Floats:
    """The score of each set, predicted by least squares from the sets of all other draws.

    Args:
        sets: of two draws or more.
        columns: what of their make-up is looked at; nothing, for the mean of the others.

    Raises:
        ValueError: if there is one draw alone.
    """
    draws = np.array([one.draw for one in sets])
    if len(set(draws.tolist())) < 2:
        raise ValueError("one draw cannot be predicted from others")
    rows = np.array([[1.0, *(one.makeup[name] for name in columns)] for one in sets])
    scores = np.array([one.score for one in sets])
    return _left_out(rows, scores, draws)


def _left_out(rows: Floats, scores: Floats, draws: NDArray[np.int64]) -> Floats:
    found = np.empty(len(scores))
    for draw in np.unique(draws):
        out = draws == draw
        weights = np.linalg.lstsq(rows[~out], scores[~out], rcond=None)[0]
        found[out] = rows[out] @ weights
    return found


def forecasts(sets: Sequence[TaskSet], measures: Mapping[str, str]) -> list[Forecast]:
    """Predictions by the mean, by count, and by count with each measure, against one another.

    Args:
        sets: of two draws or more.
        measures: columns of their make-up -> what a page calls them.

    Raises:
        ValueError: if there is one draw alone.
    """
    scores = np.array([one.score for one in sets])
    by_count = (left_out(sets, ["count"]) - scores) ** 2
    found = [
        _forecast("the mean of other draws", (), sets, by_count),
        _forecast("count", ("count",), sets, by_count),
    ]
    for column, name in measures.items():
        plain = _forecast(f"count and {name}", ("count", column), sets, by_count)
        dealt = _dealt_anew(sets, column, by_count)
        found.append(
            Forecast(
                plain.name,
                plain.columns,
                plain.error,
                plain.removed,
                plain.low,
                plain.high,
                by_chance=float(np.mean(dealt)),
                p=(1 + int((dealt >= plain.removed - 1e-12).sum())) / (1 + len(dealt)),
            )
        )
    return found


def _forecast(name: str, columns: tuple[str, ...], sets: Sequence[TaskSet], by_count: Floats) -> Forecast:
    scores = np.array([one.score for one in sets])
    errors = (left_out(sets, columns) - scores) ** 2
    whole = float(by_count.mean())
    scale = 1 / whole if whole else 0.0
    low = high = None
    if np.abs(by_count - errors).max() > 1e-12:  # else nothing differs, which an interval would be of
        removed = _over_draws(sets, by_count - errors)
        low, high = removed.low * scale, min(1.0, removed.high * scale)  # no error can lose more than itself
    return Forecast(name, columns, float(errors.mean() ** 0.5), float((by_count - errors).mean()) * scale, low, high)


def _over_draws(sets: Sequence[TaskSet], values: Floats) -> Interval:
    """The mean of a value of each set, with its interval over draws and designs."""
    by_draw: dict[int, dict[str, list[float]]] = {}
    for one, value in zip(sets, values, strict=True):
        by_draw.setdefault(one.draw, {}).setdefault(one.design, []).append(float(value))
    return crossed(by_draw, least=-1.0)


def _dealt_anew(sets: Sequence[TaskSet], column: str, by_count: Floats) -> Floats:
    """What a measure removes when it is dealt out anew among the sets of each draw and count, many times."""
    generator = np.random.default_rng(0)
    scores = np.array([one.score for one in sets])
    draws = np.array([one.draw for one in sets])
    alike = [
        np.flatnonzero([(one.draw, one.count) == kind for one in sets])
        for kind in {(one.draw, one.count) for one in sets}
    ]
    alike.sort(key=lambda places: int(places[0]))
    values = np.array([one.makeup[column] for one in sets])
    rows = np.array([[1.0, one.makeup["count"], 0.0] for one in sets])
    whole = float(by_count.mean())
    found = np.empty(SHUFFLES)
    for turn in range(SHUFFLES):
        for places in alike:
            rows[places, 2] = generator.permutation(values[places])
        errors = (_left_out(rows, scores, draws) - scores) ** 2
        found[turn] = 1 - float(errors.mean()) / whole if whole else 0.0
    return found
