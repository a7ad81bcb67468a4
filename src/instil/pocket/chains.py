"""Chains: skills applied one after another, the steps between them being the natural chain of thought.

Chain((reverse, first)).steps("cat dog fox") -> ["fox dog cat", "fox"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from instil.fingerprint import keyed_order
from instil.pocket.dice import Dice
from instil.pocket.skills import SKILLS, Skill

PROBES = 48


@dataclass(frozen=True, slots=True)
class Chain:
    """One skill, or several in a row; each takes what the one before gives."""

    skills: tuple[Skill, ...]

    @property
    def name(self) -> str:
        """`reverse`, or `reverse+first`."""
        return "+".join(skill.name for skill in self.skills)

    @property
    def depth(self) -> int:
        """How many skills it has."""
        return len(self.skills)

    @property
    def cluster(self) -> str:
        """The cluster of a single skill; all longer chains are the cluster `compositions`."""
        return self.skills[0].cluster if self.depth == 1 else "compositions"

    def draw(self, dice: Dice) -> str:
        """An input for the first skill."""
        return self.skills[0].draw(dice)

    def steps(self, text: str) -> list[str]:
        """What each skill gives in turn; the last is the answer."""
        results: list[str] = []
        for skill in self.skills:
            text = skill.apply(text)
            results.append(text)
        return results

    @cache  # noqa: B019  # chains are few, and live as long as the process
    def signature(self) -> tuple[str, ...]:
        """Its answers on fixed probes of its kind: two chains with equal signatures are the same function."""
        dice = Dice("probe", self.skills[0].takes)
        return (self.skills[0].takes, *(self.steps(self.draw(dice))[-1] for _ in range(PROBES)))


def single(name: str) -> Chain:
    """The chain of one skill.

    Raises:
        KeyError: if there is no such skill.
    """
    return Chain((SKILLS[name],))


@cache
def singles(*, control: bool = False) -> tuple[Chain, ...]:
    """Every skill that pre-training shows, or every skill of the negative control."""
    return tuple(Chain((skill,)) for skill in SKILLS.values() if skill.control is control)


@cache
def compositions() -> tuple[Chain, ...]:
    """Every chain of two skills whose function is new: no single skill and no other pair equals it.

    Steps that change nothing, give nothing, or make the answer longer than ten words are left out. The order is a
    keyed permutation, so that any prefix is a fair sample.
    """
    return _new_functions(singles(), singles(), taken={c.signature() for c in (*singles(), *singles(control=True))})


def deeper(heads: Sequence[Chain], tails: Sequence[Chain], count: int) -> tuple[Chain, ...]:
    """The first `count` chains `head + tail`, in keyed order, whose function no shorter chain has."""
    taken = {chain.signature() for chain in (*singles(), *singles(control=True), *compositions())}
    return _new_functions(heads, tails, taken=taken, count=count)


def _new_functions(
    heads: Sequence[Chain], tails: Sequence[Chain], *, taken: set[tuple[str, ...]], count: int | None = None
) -> tuple[Chain, ...]:
    pairs = [(head, tail) for head in heads for tail in tails if head.skills[-1].gives == tail.skills[0].takes]
    found: list[Chain] = []
    for place in keyed_order(len(pairs), "compositions", len(heads)):
        if len(found) == count:
            break
        head, tail = pairs[place]
        chain = Chain((*head.skills, *tail.skills))
        if _works(chain) and (signature := chain.signature()) not in taken:
            taken.add(signature)
            found.append(chain)
    return tuple(found)


def _works(chain: Chain) -> bool:
    dice = Dice("works", chain.name)
    for _ in range(PROBES):
        text = chain.draw(dice)
        try:
            steps = chain.steps(text)
        except (IndexError, ValueError, KeyError):
            return False
        if (
            not all(steps)
            or len(steps[-1].split()) > 10
            or any(a == b for a, b in zip([text, *steps], steps, strict=False))
        ):
            return False
    return any(chain.steps(text := chain.draw(dice))[-1] != text for _ in range(PROBES))
