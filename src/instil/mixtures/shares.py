"""Which task the i-th prompt is of, such that every aligned block of 2**k prompts keeps the shares.

Shares a: 1/2, b: 1/4, c: 1/4 cut the circle of 2**32 positions into intervals; prompt i stands at position(i)::

    0            2**31        2**32
    |-----a-----|--b--|--c--|         i = 0 1 2 3 4 5 6 7 ...  ->  a c b a  c a a b  ...
                                                                   each four: 2 a, 1 b, 1 c

position(i) = T(bits of i in reverse order). Reversing the bits (van der Corput) spreads 2**k neighbours evenly: the
positions of an aligned block are all those that equal one number modulo 2**(32 - k). T is a keyed bijection in which
bit j of the result depends on bits 0..j of the argument alone (a T-function: additions, multiplications); it maps
residues to residues, so the blocks stay even, but their order inside is mixed and no task follows another like a clock.
An interval of w positions then holds floor or ceil of w / 2**(32 - k) of a block: within one prompt of its share.

How many prompts of a task came before i is a sum over the aligned blocks that make up [0, i): one for each bit of i.
Neighbours share most of these blocks, so a run of places (`places`) costs a few operations on arrays, and not one walk
over the bits for each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from instil.fingerprint import keyed_int

#: Positions on the circle: 2**32 prompts pass before the order of tasks is drawn anew.
BITS = 32
CIRCLE = 1 << BITS
_MASK = CIRCLE - 1
_MASK64 = np.uint64(_MASK)
#: Even multipliers of Laine and Karras (2011), whose hash is a T-function.
_EVEN = tuple(np.uint64(number) for number in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6))
#: How bits are reversed: neighbours change places, then pairs, fours, eights and sixteens.
_SWAPS = tuple(
    (np.uint64(shift), np.uint64(mask))
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF))
)
#: So many places are worked out at once.
_RUN = 4096


class Schedule:
    """An endless, random-access sequence of numbers 0..n-1 (tasks) in given shares.

    Args:
        weights: one positive weight for each task; only their ratio matters.
        seed: a part of the key of the order.

    Raises:
        ValueError: if there is no weight, or one is not positive.
    """

    def __init__(self, weights: Sequence[Fraction | int], *, seed: int) -> None:
        self.widths = apportion(weights, CIRCLE)
        self.bounds = [0]
        for width in self.widths:
            self.bounds.append(self.bounds[-1] + width)
        self._edges = np.array(self.bounds, dtype=np.int64)
        self._seed = seed
        self._keys: dict[int, tuple[int, int]] = {}

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """The exact shares: multiples of 2**-32 that sum to 1."""
        return tuple(Fraction(width, CIRCLE) for width in self.widths)

    def at(self, index: int) -> tuple[int, int]:
        """Which task stands at `index`, and how far inside the task's interval (0 <= offset < width)."""
        position = self._position(index)
        task = bisect_right(self.bounds, position) - 1
        return task, position - self.bounds[task]

    def before(self, index: int, task: int) -> int:
        """How many of the prompts 0..index-1 are of `task`."""
        low, high = self.bounds[task], self.bounds[task + 1]
        turn, rest = divmod(index, CIRCLE)
        count = turn * (high - low)
        start = turn * CIRCLE
        while rest:
            size = 1 << (rest.bit_length() - 1)
            stride = CIRCLE // size
            offset = self._position(start) % stride
            count += (high - offset + stride - 1) // stride - (low - offset + stride - 1) // stride
            start += size
            rest -= size
        return count

    def places(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """For each index of [start, stop): its task, how far inside the task's interval, and how many came before.

        The same as `at` and `before`, index by index, at a tenth of their time for a few hundred places.
        """
        while start < stop:
            end = min(stop, (start // CIRCLE + 1) * CIRCLE, start + _RUN)
            positions = self._positions(start, end)
            tasks = np.searchsorted(self._edges, positions, side="right") - 1
            offsets = (positions - self._edges[tasks]).tolist()
            met, inverse = np.unique(tasks, return_inverse=True)
            counts = self._before_each(start, met)
            numbers = tasks.tolist()
            for place, which in enumerate(inverse.tolist()):
                yield numbers[place], offsets[place], counts[which]
                counts[which] += 1
            start = end

    def _positions(self, start: int, stop: int) -> NDArray[np.int64]:
        """The positions of neighbours within one turn of the circle."""
        turn, rest = divmod(start, CIRCLE)
        first, second = self._key(turn)
        x = np.arange(rest, rest + stop - start, dtype=np.uint64)
        for shift, mask in _SWAPS:
            x = (x >> shift) & mask | (x & mask) << shift
        x = x + np.uint64(first) & _MASK64
        x ^= x * _EVEN[0] & _MASK64
        x ^= x * _EVEN[1] & _MASK64
        x = x + np.uint64(second) & _MASK64
        x ^= x * _EVEN[2] & _MASK64
        x ^= x * _EVEN[3] & _MASK64
        return x.astype(np.int64)

    def _before_each(self, index: int, tasks: NDArray[np.int64]) -> list[int]:
        """`before` of several tasks."""
        low, high = self._edges[tasks], self._edges[tasks + 1]
        turn, rest = divmod(index, CIRCLE)
        start = turn * CIRCLE
        count = np.zeros(len(tasks), dtype=np.int64)
        while rest:
            size = 1 << (rest.bit_length() - 1)
            stride = CIRCLE // size
            shift = stride - 1 - self._position(start) % stride
            count += (high + shift) // stride - (low + shift) // stride
            start += size
            rest -= size
        # Whole turns in Python's integers: an index may be larger than 64 bits.
        return [turn * width + part for width, part in zip((high - low).tolist(), count.tolist(), strict=True)]

    def _key(self, turn: int) -> tuple[int, int]:
        keys = self._keys.get(turn)
        if keys is None:
            keys = self._keys[turn] = (
                keyed_int(self._seed, "schedule", turn, 0, n=CIRCLE),
                keyed_int(self._seed, "schedule", turn, 1, n=CIRCLE),
            )
        return keys

    def _position(self, index: int) -> int:
        turn, rest = divmod(index, CIRCLE)
        keys = self._key(turn)
        x = int(f"{rest:032b}"[::-1], 2)
        # The even multipliers are those of Laine and Karras (2011), whose hash is a T-function: every step is a
        # bijection, and a bit is changed by lower bits only.
        x = x + keys[0] & _MASK
        x ^= x * 0x6C50B47C & _MASK
        x ^= x * 0xB82F1E52 & _MASK
        x = x + keys[1] & _MASK
        x ^= x * 0xC7AFE638 & _MASK
        x ^= x * 0x8D22F6E6 & _MASK
        return x


def apportion(weights: Sequence[Fraction | int], total: int) -> list[int]:
    """Whole numbers that sum to `total` in the ratio of `weights`: largest remainders, and at least 1 each.

    Raises:
        ValueError: if there is no weight, one is not positive, or there are more weights than units.
    """
    if not weights or min(weights) <= 0 or len(weights) > total:
        raise ValueError(f"{len(weights)} weights, all of which must be positive, cannot share {total} units")
    whole = sum(weights)
    exact = [Fraction(weight) * total / whole for weight in weights]
    parts = [max(1, int(value)) for value in exact]
    missing = total - sum(parts)
    order = sorted(range(len(parts)), key=lambda k: (parts[k] - exact[k], k))
    if missing >= 0:
        for k in order[:missing]:
            parts[k] += 1
        return parts
    # Many weights so small that they were raised to 1: the largest part pays.
    for k in sorted(range(len(parts)), key=lambda k: (-parts[k], k)):
        paid = min(parts[k] - 1, -missing)
        parts[k] -= paid
        missing += paid
        if missing == 0:
            break
    return parts


def permuted(index: int, n: int, *, key: int) -> int:
    """Where a keyed permutation of range(n) sends `index`: a Feistel network on a near-square grid.

    Results outside the range are sent on until they fall inside. No table is kept: any position of any epoch costs the
    same few microseconds. `key` has 64 bits.
    """
    rows = isqrt(n - 1) + 1 if n > 1 else 1
    columns = -(-n // rows)
    here = index
    while True:
        row, column = divmod(here, columns)
        for step in range(4):
            row = (row + _mix(key, 2 * step, column)) % rows
            column = (column + _mix(key, 2 * step + 1, row)) % columns
        here = row * columns + column
        if here < n:
            return here


def _mix(key: int, step: int, value: int) -> int:
    """The finaliser of SplitMix64."""
    z = key + value * 0x9E3779B97F4A7C15 + step * 0xD1B54A32D192ED03 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ z >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return z ^ z >> 31
