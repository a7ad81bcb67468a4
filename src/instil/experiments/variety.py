"""How varied what a model writes is: what a policy that collapses loses first.

    distinct([[1, 2, 1, 2], [1, 3]], 1)      0.5      3 different tokens among 6
    distinct([[1, 2, 1, 2], [1, 3]], 2)      0.75     12, 21, 12, 13: 3 different pairs among 4
    repeated([5, 6, 7, 5, 6, 7], 3)          0.25     567, 675, 756, 567: the last one was there before
    unique(["Yes.", "Yes.", "No."])          0.67     2 different answers among 3

`distinct` is distinct-n of Li et al. (2016), over tokens. It falls as texts grow longer, whatever they say, so it is to
be read beside the length.
"""

from __future__ import annotations

from collections.abc import Sequence


def distinct(completions: Sequence[Sequence[int]], n: int) -> float:
    """Different n-grams over all n-grams of all completions together; 0 where there is none."""
    every = [gram for ids in completions for gram in _grams(ids, n)]
    return len(set(every)) / len(every) if every else 0.0


def repeated(ids: Sequence[int], n: int) -> float:
    """The share of a completion's n-grams that it has had before; 0 where it has none."""
    grams = _grams(ids, n)
    return (len(grams) - len(set(grams))) / len(grams) if grams else 0.0


def unique(texts: Sequence[str]) -> float:
    """Different texts over all texts, blanks around them left out; 0 where there is none."""
    return len({text.strip() for text in texts}) / len(texts) if texts else 0.0


def _grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)]
