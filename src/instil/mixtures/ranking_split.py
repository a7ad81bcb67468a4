"""On which side of a split a ranking stands: by its prompt and by who gave it, never by a pair.

                        prompt is trained on    prompt is held out
    other annotators    train                   held_out
    held-out ones       no side                 held_out_annotators        (also prompts that nobody else ranked)

    split([p by ada, p by cem, q by cem, r by ada], held out: cem, and r by its hash)
    ->    train      None      held_out_annotators   held_out

The side of a prompt is a keyed hash of its text: other rows that come or go move no prompt between training and held
out. All they can do is to take a held-out annotator's ranking out of the measurement, where they bring its prompt into
training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, get_args

from instil.errors import RecipeError
from instil.fingerprint import keyed_unit
from instil.mixtures.ranking_rows import split_key
from instil.records import Ranking

SideName = Literal["train", "held_out", "held_out_annotators"]
SIDES: tuple[SideName, ...] = get_args(SideName)

SplitBy = Literal["opening", "prompt"]


def split(
    rankings: Sequence[Ranking], *, seed: int, held_out: float, annotators_out: frozenset[str], by: SplitBy
) -> list[SideName | None]:
    """The side of each ranking; None for those of held-out annotators whose prompt is trained on.

    Args:
        rankings: all there are.
        seed: decides which prompts are held out.
        held_out: the share of prompts that are.
        annotators_out: who is not trained on.
        by: what of a prompt stands on one side as a whole.
    """
    keys = [split_key(one, opening=by == "opening") for one in rankings]
    known = [one.annotator not in annotators_out for one in rankings]
    stays = [keyed_unit(seed, "held-out prompts", key) >= held_out for key in keys]
    trained = {key for key, mine, inside in zip(keys, known, stays, strict=True) if mine and inside}
    sides: list[SideName | None] = []
    for key, mine in zip(keys, known, strict=True):
        if mine:
            sides.append("train" if key in trained else "held_out")
        else:
            sides.append(None if key in trained else "held_out_annotators")
    return sides


def annotators_out(rankings: Iterable[Ranking], asked: float | Sequence[str], *, seed: int) -> frozenset[str]:
    """Who is held out.

    Args:
        rankings: all there are.
        asked: names, or a share: each annotator by a keyed hash of the name, at least one, never all.
        seed: decides who.

    Raises:
        RecipeError: if one ranked nothing, or there are not two.
    """
    names = sorted({one.annotator for one in rankings if one.annotator})
    if not isinstance(asked, float | int):
        for name in asked:
            if name not in names:
                known = f"There are {', '.join(names[:12])}" if names else "No row names an annotator"
                raise RecipeError(f"held_out_annotators: {name!r} ranked nothing", remedy=known)
        return frozenset(asked)
    if not asked:
        return frozenset()
    if len(names) < 2:
        raise RecipeError(
            f"held_out_annotators: {asked:g} of {len(names)} annotators cannot be held out",
            remedy="Say in each row who ranked (`annotator`), or leave it out",
        )
    units = {name: keyed_unit(seed, "held-out annotators", name) for name in names}
    below = sum(unit < asked for unit in units.values())
    ordered = sorted(names, key=lambda name: (units[name], name))
    return frozenset(ordered[: min(max(below, 1), len(names) - 1)])


def alike(sides: Iterable[tuple[SideName, Sequence[Ranking]]]) -> Iterator[tuple[SideName, int]]:
    """For each held-out side how many of its conversations begin as one that is trained on."""
    held = dict(sides)
    trained = {split_key(one, opening=True) for one in held["train"]}
    for name in SIDES[1:]:
        yield name, sum(split_key(one, opening=True) in trained for one in held[name])
