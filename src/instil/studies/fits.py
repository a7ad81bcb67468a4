"""Curves through scores: what a further doubling of the tasks would bring, and where doubling stops paying.

    tasks   1     4     16    64         log-linear     y = a + b log2 n      0.10 + 0.12 log2 n   next doubling +0.12
    score   0.10  0.35  0.58  0.63       saturating     y = a - b n^-c        0.70 - 0.60 n^-0.7   next doubling +0.02

    knee    where one more doubling gains less than `smallest` by the saturating curve: (b (1 - 2^-c) / smallest)^(1/c)

Both are least squares on the means at each n. For the saturating curve a and b follow from c (a line in n^-c), so c is
all that is searched; no score passes 1, so neither does the ceiling a. Which of the two is read is decided by leaving
each n out in turn: the form that predicts it better.

**How sure.** A curve is a function of the means, and the means come from draws of tasks (with a seed each) crossed with
the tasks that are asked. Their covariance is that of a two-way table, part by part, as in `intervals`, over all n at
once: a draw that lies high at 16 tasks lies high at 64. Curves are fitted again to 2,000 vectors of means drawn from
Student's t with this covariance (a parametric bootstrap: two draws of tasks could be resampled in three ways only).
That covers chance in draws and tasks, and not that the truth may have another form.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Form = Literal["log-linear", "saturating"]
FORMS: tuple[Form, ...] = ("log-linear", "saturating")
#: Refits behind an interval.
DRAWS = 2_000
#: Exponents that are tried: below, the curve is a straight line over log n for any n at hand; above, a step.
_EXPONENTS = np.geomspace(0.02, 4.0, 400)
#: A score is at most this.
_CEILING = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """One fitted curve."""

    form: Form
    parameters: tuple[float, ...]
    """(a, b) or (a, b, c), as in the module's picture."""

    def __call__(self, n: float) -> float:
        """The score at n, never above 1 nor below 0."""
        return float(_at(self.form, np.array([self.parameters]), float(n))[0])

    @property
    def formula(self) -> str:
        """With its numbers: `0.70 - 0.60 n^-0.70`."""
        a, b, *c = self.parameters
        if c:
            return f"{a:.3f} {'-' if b >= 0 else '+'} {abs(b):.3f} n^-{c[0]:.2f}"
        return f"{a:.3f} {'+' if b >= 0 else '-'} {abs(b):.3f} log2 n"


@dataclass(frozen=True, slots=True)
class Range:
    """A quantity read off a curve, with its 95% interval; None where there is none, as a knee beyond all bounds."""

    value: float | None
    low: float | None
    high: float | None

    def row(self) -> dict[str, Any]:
        """As it stands in verdict.json."""
        return {"value": self.value, "ci95": [self.low, self.high]}


@dataclass(frozen=True)
class Means:
    """Mean scores at several n, and how they vary together."""

    at: tuple[float, ...]
    """The n, ascending."""
    values: Floats
    covariance: Floats
    freedom: float
    """Of Student's t; infinite where the covariance is known."""

    @cached_property
    def drawn(self) -> Floats:
        """2,000 vectors of means as other draws and tasks could have given, one a row; always the same."""
        generator = np.random.default_rng(0)
        # the root of the covariance by its eigenvectors: parts below zero, which differences of moments may have, are 0
        roots, vectors = np.linalg.eigh(self.covariance)
        normal = generator.standard_normal((DRAWS, len(self.values)))
        noise = normal * np.sqrt(np.maximum(roots, 0.0)) @ vectors.T
        if np.isfinite(self.freedom):
            noise /= np.sqrt(generator.chisquare(self.freedom, (DRAWS, 1)) / self.freedom)
        return np.clip(self.values + noise, 0.0, _CEILING)


@dataclass(frozen=True)
class Fit:
    """A form fitted to means, and to what they could have been."""

    curve: Curve
    means: Means
    error: float
    """Root of the mean squared residual."""
    left_out: float
    """The same of each n predicted from the others; infinite where they are too few."""

    @cached_property
    def _refitted(self) -> Floats:
        return _fitted(self.curve.form, np.array(self.means.at), self.means.drawn)

    def band(self, at: Sequence[float]) -> list[list[float]]:
        """[n, low, high] of the curve, 95% at each n."""
        ends = (np.quantile(_at(self.curve.form, self._refitted, n), [0.025, 0.975]) for n in at)
        return [[float(n), float(low), float(high)] for n, (low, high) in zip(at, ends, strict=True)]

    def gain(self, start: float, stop: float) -> Range:
        """What going from `start` to `stop` gains by the curve."""
        form, now = self.curve.form, self._refitted
        drawn = _at(form, now, stop) - _at(form, now, start)
        return _range(self.curve(stop) - self.curve(start), drawn)

    @property
    def next_doubling(self) -> Range:
        """What twice the largest n would gain by the curve."""
        return self.gain(self.means.at[-1], 2 * self.means.at[-1])

    @property
    def exponent(self) -> Range:
        """The b of the log-linear form: the gain of a doubling; the c of the saturating one."""
        return _range(self.curve.parameters[-1], self._refitted[:, -1])

    def knee(self, smallest: float) -> Range:
        """The n from which a doubling gains less than `smallest`; None for a straight line that rises by more."""
        form = self.curve.form
        drawn = _knees(form, self._refitted, smallest)
        low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")  # never between a number and no end
        value = float(_knees(form, np.array([self.curve.parameters]), smallest)[0])
        return Range(*(float(one) if np.isfinite(one) else None for one in (value, low, high)))


def means_of(scores: Mapping[float, Mapping[Hashable, Mapping[str, float]]]) -> Means:
    """The means at each n and their covariance, where every draw was asked the same tasks at every n.

    Args:
        scores: of each n, of each draw, of each task: its mean score. Draws and tasks that are not there at every n
            are left out.

    Raises:
        ValueError: if no draw and task is there at every n.
    """
    at = tuple(sorted(scores))
    draws = [draw for draw in scores[at[0]] if all(draw in scores[n] for n in at)] if at else []
    tasks = [
        task
        for task in (scores[at[0]][draws[0]] if draws else ())
        if all(task in scores[n][draw] for n in at for draw in draws)
    ]
    if not draws or not tasks:
        raise ValueError("a curve needs a draw and a task that are there at every n")
    table = np.array([[[scores[n][draw][task] for n in at] for task in tasks] for draw in draws])
    covariance, freedom = _covariance(table)
    return Means(at, table.mean((0, 1)), covariance, freedom)


def means_apart(points: Mapping[float, tuple[float, float]]) -> Means:
    """Means whose errors have nothing to do with each other, as of tasks that differ from n to n.

    Args:
        points: of each n, the mean and its standard error.
    """
    at = tuple(sorted(points))
    values = np.array([points[n][0] for n in at])
    return Means(at, values, np.diag([points[n][1] ** 2 for n in at]), float("inf"))


def fit(form: Form, means: Means) -> Fit:
    """A form fitted to means by least squares.

    Raises:
        ValueError: if there are fewer n than parameters, or an n below 1.
    """
    at = np.array(means.at)
    if len(at) < fewest(form) or at[0] < 1:
        raise ValueError(f"{form} needs {fewest(form)} different n of 1 or more, got {len(at)}")
    found = _fitted(form, at, means.values[None])
    residuals = means.values - np.array([_at(form, found, n)[0] for n in at])
    return Fit(
        Curve(form, tuple(float(one) for one in found[0])),
        means,
        float(np.sqrt((residuals**2).mean())),
        _left_out(form, at, means.values),
    )


def fewest(form: Form) -> int:
    """How many different n a form needs: as many as it has parameters."""
    return 2 if form == "log-linear" else 3


def fits(means: Means) -> list[Fit]:
    """Every form that there are enough n for, the one that predicts what was left out best first."""
    found = [fit(form, means) for form in FORMS if len(means.at) >= fewest(form) and means.at[0] >= 1]
    return sorted(found, key=lambda one: one.left_out)


def _left_out(form: Form, at: Floats, values: Floats) -> float:
    """How far off the form is at an n that it was not fitted to, the root of the mean square over all n."""
    if len(at) <= fewest(form):
        return float("inf")
    errors = []
    for place, n in enumerate(at):
        others = np.arange(len(at)) != place
        found = _fitted(form, at[others], values[others][None])
        errors.append(_at(form, found, float(n))[0] - values[place])
    return float(np.sqrt(np.mean(np.square(errors))))


def _fitted(form: Form, at: Floats, values: Floats) -> Floats:
    """Parameters for each row of values."""
    if form == "log-linear":
        a, b, _ = _lines(np.log2(at), values)
        return np.stack([a, b], axis=1)
    best = np.full(len(values), np.inf)
    found = np.zeros((len(values), 3))
    for exponent in _EXPONENTS:
        a, slope, errors = _lines(at**-exponent, values, most=_CEILING)
        better = errors < best - 1e-15
        best[better] = errors[better]
        found[better] = np.stack([a, -slope, np.full(len(a), exponent)], axis=1)[better]
    return found


def _lines(x: Floats, values: Floats, most: float = np.inf) -> tuple[Floats, Floats, Floats]:
    """Least squares lines a + b x, a at most `most`: a, b and the squared error of each row of values."""
    centred = x - x.mean()
    b = (values * centred).sum(1) / (centred**2).sum()
    a = values.mean(1) - b * x.mean()
    above = a > most
    b = np.where(above, ((values - most) * x).sum(1) / (x**2).sum(), b)
    a = np.where(above, most, a)
    return a, b, ((values - a[:, None] - b[:, None] * x) ** 2).sum(1)


def _at(form: Form, parameters: Floats, n: float) -> Floats:
    """The curves' scores at n."""
    if form == "log-linear":
        values = parameters[:, 0] + parameters[:, 1] * np.log2(n)
    else:
        values = parameters[:, 0] - parameters[:, 1] * n ** -parameters[:, 2]
    return np.clip(values, 0.0, _CEILING)


def _knees(form: Form, parameters: Floats, smallest: float) -> Floats:
    """Where a doubling stops to gain `smallest`: 1 where it never does, infinite where it does for ever."""
    if form == "log-linear":
        return np.where(parameters[:, 1] < smallest, 1.0, np.inf)
    _, b, c = parameters.T
    first = np.maximum(b * (1 - 2.0**-c), 0.0)  # what going from 1 to 2 gains
    with np.errstate(over="ignore"):
        return np.maximum(1.0, (first / smallest) ** (1 / c))


def _range(value: float, drawn: Floats) -> Range:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Range(value, min(float(low), value), max(float(high), value))


def _covariance(table: Floats) -> tuple[Floats, float]:
    """The covariance of the means over draws (first axis) and tasks (second), and Satterthwaite's degrees of freedom.

    With mean squares and products of draws D, tasks T and the rest R, that of the means is (D + T - R) / (draws tasks).
    """
    draws, tasks, _ = table.shape
    count = draws * tasks
    overall = table.mean((0, 1))
    by_draw, by_task = table.mean(1) - overall, table.mean(0) - overall
    rest = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + overall
    parts = [
        (tasks * by_draw.T @ by_draw, draws - 1, 1.0),
        (draws * by_task.T @ by_task, tasks - 1, 1.0),
        (np.einsum("dti,dtj->ij", rest, rest), (draws - 1) * (tasks - 1), -1.0),
    ]
    squares = [(product / free, free, sign) for product, free, sign in parts if free > 0]
    if not squares:
        return np.zeros((len(overall), len(overall))), float("inf")
    total = sum((sign * square for square, _, sign in squares), np.zeros_like(squares[0][0]))
    if float(np.trace(total)) <= 0:  # draws and tasks vary by less than the rest explains: the rest is all there is
        total = squares[-1][0]
    spread = sum(float(np.trace(square)) ** 2 / free for square, free, _ in squares)
    freedom = float(np.trace(total)) ** 2 / spread if spread else float("inf")
    return total / count, max(1.0, freedom)
