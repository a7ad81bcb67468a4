"""Curves through scores: what a further doubling of the tasks would bring, and where doubling stops paying.

    tasks   1     4     16    64         log-linear     y = a + b log2 n      0.10 + 0.12 log2 n   next doubling +0.12
    score   0.10  0.35  0.58  0.63       saturating     y = a - b n^-c        0.70 - 0.60 n^-0.7   next doubling +0.02

    knee    where one more doubling gains less than `smallest` by the saturating curve: (b (1 - 2^-c) / smallest)^(1/c)

Both are least squares on the means at each n. For the saturating curve a and b follow from c (a line in n^-c), so c is
all that is searched; no score passes 1, so neither does the ceiling a. Which of the two is read is decided by leaving
each n out in turn: the form that predicts it better.

**How sure.** A curve is a function of the means, and the means come from draws of tasks (with a seed each) crossed with
the tasks that are asked. Their covariance is that of a two-way table, part by part, as in `intervals`, over all n at
once: a draw that lies high at 16 tasks lies high at 64. Curves are fitted again to 1,000 vectors of means with noise of
this covariance (a parametric bootstrap: two draws of tasks could be resampled in three ways only), and what is read off
them gets the width that Student's t asks for. In simulation that covered the truth in 89 to 96%. It covers chance in
draws and tasks, not that the truth may have another form.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from instil.evaluation.statistics import student_t

Floats = NDArray[np.float64]
Form = Literal["log-linear", "saturating"]
Draw = TypeVar("Draw", bound=Hashable)
FORMS: tuple[Form, ...] = ("log-linear", "saturating")
#: Refits behind an interval.
DRAWS = 1_000
#: Exponents that are tried: below, the curve is a straight line over log n for any n at hand; above, a step.
_EXPONENTS = np.geomspace(0.02, 4.0, 200)
_NORMAL = NormalDist().inv_cdf(0.975)
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
class Part:
    """A part of the covariance of means: what draws of tasks add to it, what the tasks asked do, or what is left."""

    covariance: Floats
    freedom: float
    sign: float = 1.0
    """-1 for what draws and tasks both hold already."""


@dataclass(frozen=True)
class Means:
    """Mean scores at several n, and how they vary together."""

    at: tuple[float, ...]
    """The n, ascending."""
    values: Floats
    parts: tuple[Part, ...]
    """Their covariance, in parts; none where it is not known."""

    @cached_property
    def noise(self) -> Floats:
        """1,000 vectors of what other draws and tasks could have added to the means, one a row; always the same."""
        covariance = sum((part.sign * part.covariance for part in self.parts), np.zeros((len(self.at),) * 2))
        generator = np.random.default_rng(0)
        # The root of the covariance, by eigenvectors; what differences of moments leave below zero is 0.
        roots, vectors = np.linalg.eigh(covariance)
        normal: Floats = generator.standard_normal((DRAWS, len(self.at)))
        noise: Floats = normal * np.sqrt(np.maximum(roots, 0.0)) @ vectors.T
        return noise

    def stretch(self, quantity: Floats) -> float:
        """How much wider than a normal interval that of a quantity is, by Student's t.

        The freedom is Satterthwaite's for the contrast of the means that the quantity is nearest to: a slope may hang
        on two draws alone where the height of the curve hangs on forty tasks.

        Args:
            quantity: its value for each row of `noise`.
        """
        contrast = np.linalg.lstsq(self.noise, quantity - quantity.mean(), rcond=1e-6)[0]
        squares = [(float(contrast @ part.covariance @ contrast), part) for part in self.parts]
        whole = max(sum(part.sign * square for square, part in squares), 1e-300)
        spread = sum(square**2 / part.freedom for square, part in squares)
        if spread == 0:
            return 1.0
        return student_t(max(1.0, int(10 * whole**2 / spread + 1e-6) / 10)) / _NORMAL


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
        return self._again(1.0)

    def _again(self, stretch: float) -> Floats:
        """The parameters of refits to means with `stretch` times the noise."""
        # not cut at 0 and 1: a mean that stands at 1 would then only ever be refitted lower
        return _fitted(self.curve.form, np.array(self.means.at), self.means.values + stretch * self.means.noise)

    def _range(self, value: float, drawn: Floats) -> Range:
        low, high = np.quantile(drawn, [0.025, 0.975])
        stretch = self.means.stretch(drawn)
        return Range(
            value, value - stretch * max(0.0, value - float(low)), value + stretch * max(0.0, float(high) - value)
        )

    def band(self, at: Sequence[float]) -> list[list[float]]:
        """[n, low, high] of the curve, 95% at each n."""
        found = [(n, self._range(self.curve(n), _at(self.curve.form, self._refitted, n))) for n in at]
        return [[float(n), max(0.0, one.low or 0.0), min(_CEILING, one.high or 0.0)] for n, one in found]

    def gain(self, start: float, stop: float) -> Range:
        """What going from `start` to `stop` gains by the curve."""
        return self._range(self.curve(stop) - self.curve(start), self._gains(start, stop))

    def _gains(self, start: float, stop: float) -> Floats:
        form, now = self.curve.form, self._refitted
        return _at(form, now, stop) - _at(form, now, start)

    @property
    def next_doubling(self) -> Range:
        """What twice the largest n would gain by the curve."""
        return self.gain(self.means.at[-1], 2 * self.means.at[-1])

    @property
    def doubling(self) -> Range:
        """What a doubling gains on average from the smallest to the largest n, by the curve."""
        doublings = float(np.log2(self.means.at[-1] / self.means.at[0]))
        whole = self.gain(self.means.at[0], self.means.at[-1])
        return Range(*(None if one is None else one / doublings for one in (whole.value, whole.low, whole.high)))

    def knee(self, smallest: float) -> Range:
        """The n from which a doubling gains less than `smallest`; None for a straight line that rises by more."""
        form, last = self.curve.form, self.means.at[-1]
        drawn = _knees(form, self._again(self.means.stretch(self._gains(last, 2 * last))), smallest)
        low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")  # never between a number and no end
        value = float(_knees(form, np.array([self.curve.parameters]), smallest)[0])
        ends = value, min(float(low), value), max(float(high), value)
        return Range(*(one if np.isfinite(one) else None for one in ends))


def means_of(scores: Mapping[float, Mapping[Draw, Mapping[str, float]]]) -> Means:
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
    return Means(at, table.mean((0, 1)), _parts(table))


def means_apart(points: Mapping[float, tuple[float, float]]) -> Means:
    """Means whose errors have nothing to do with each other, as of tasks that differ from n to n.

    Args:
        points: of each n, the mean and its standard error.
    """
    at = tuple(sorted(points))
    values = np.array([points[n][0] for n in at])
    return Means(at, values, (Part(np.diag([points[n][1] ** 2 for n in at]), float("inf")),))


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
    if above.any():
        b = np.where(above, ((values - most) * x).sum(1) / (x**2).sum(), b)
        a = np.where(above, most, a)
    return a, b, ((values - a[:, None] - b[:, None] * x) ** 2).sum(1)


def _at(form: Form, parameters: Floats, n: float) -> Floats:
    """The curves' scores at n."""
    if form == "log-linear":
        values = parameters[:, 0] + parameters[:, 1] * np.log2(n)
    else:
        values = parameters[:, 0] - parameters[:, 1] * n ** -parameters[:, 2]
    clipped: Floats = np.clip(values, 0.0, _CEILING)
    return clipped


def _knees(form: Form, parameters: Floats, smallest: float) -> Floats:
    """Where a doubling stops to gain `smallest`: 1 where it never does, infinite where it does for ever."""
    if form == "log-linear":
        return np.where(parameters[:, 1] < smallest, 1.0, np.inf)
    _, b, c = parameters.T
    first = np.maximum(b * (1 - 2.0**-c), 0.0)  # what going from 1 to 2 gains
    if smallest == 0:  # any gain would matter: a curve that rises at all gains for ever
        return np.where(first > 0, np.inf, 1.0)
    with np.errstate(over="ignore"):
        knees: Floats = np.maximum(1.0, (first / smallest) ** (1 / c))
    return knees


def _parts(table: Floats) -> tuple[Part, ...]:
    """The covariance of the means over draws (first axis) and tasks (second) as that of a two-way table.

    With mean squares and products of draws D, tasks T and the rest R, it is (D + T - R) / (draws tasks).
    """
    draws, tasks, _ = table.shape
    overall = table.mean((0, 1))
    by_draw, by_task = table.mean(1) - overall, table.mean(0) - overall
    rest = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + overall
    products = [
        (tasks * by_draw.T @ by_draw, draws - 1, 1.0),
        (draws * by_task.T @ by_task, tasks - 1, 1.0),
        (np.einsum("dti,dtj->ij", rest, rest), (draws - 1) * (tasks - 1), -1.0),
    ]
    return tuple(Part(product / free / (draws * tasks), free, sign) for product, free, sign in products if free > 0)
