"""Throws that are the same on every machine: the pocket world is drawn with these and with nothing else.

    dice = Dice("probe", 7); dice.choice(NOUNS), dice.sample(NOUNS, 3), dice.below(10)

Only `random.Random.random()` is used underneath, whose sequence Python promises to keep for a given integer seed;
`choice`, `sample` and `shuffle` of the standard library carry no such promise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from instil.fingerprint import KeyPart, keyed_int

T = TypeVar("T")


class Dice:
    """A named stream of throws: equal names give equal throws."""

    __slots__ = ("_next",)

    def __init__(self, *name: KeyPart) -> None:
        self._next = random.Random(keyed_int(*name, n=1 << 62)).random

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self._next() * n)

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        return low + int(self._next() * (high - low + 1))

    def unit(self) -> float:
        """A float in [0, 1)."""
        return self._next()

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._next() * len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` different items, in random order (a partial Fisher-Yates shuffle)."""
        pool = list(items)
        for place in range(k):
            other = place + int(self._next() * (len(pool) - place))
            pool[place], pool[other] = pool[other], pool[place]
        return pool[:k]
