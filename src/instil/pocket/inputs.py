"""Inputs of the pocket skills, by kind. A kind is a shape of text that several skills share.

words            cat dog fox                 query           cat dog fox; dog
facts by person  tom has cup, ann has hat; ann
table by noun    cat red 3, dog blue 5; dog  sentence pair   the red cat sleeps ...; the cat sleeps
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from instil.pocket.dice import Dice
from instil.pocket.lexicon import (
    ADJECTIVES,
    CATEGORIES,
    CATEGORY_OF,
    COLOURS,
    DAYS,
    FOODS,
    LETTERS,
    MONTHS,
    NOUNS,
    PEOPLE,
    PLACES,
    SIDES,
    STEM,
    THIRD,
)


def odd_one(words: list[str]) -> str:
    """The word whose category no other word of the list has."""
    counts = Counter(CATEGORY_OF[word] for word in words)
    return next(word for word in words if counts[CATEGORY_OF[word]] == 1)


def rule(text: str) -> tuple[str, str]:
    """For `animal left, fruit right; cat`: what the rule says (left), and the other side (right)."""
    sides, _, noun = text.partition("; ")
    table = dict(side.split() for side in sides.split(", "))
    wanted = table[CATEGORY_OF[noun]]
    return wanted, next(side for side in table.values() if side != wanted)


def threshold(text: str) -> tuple[str, str]:
    """For `over 40 left, else right; 52`: what the rule says (left), and the other side (right)."""
    sides, _, number = text.partition("; ")
    _, limit, above, _, below = sides.replace(",", "").split()
    return (above, below) if int(number) > int(limit) else (below, above)


def _words(dice: Dice) -> str:
    return " ".join(dice.sample(NOUNS, dice.between(3, 5)))


def _query(dice: Dice) -> str:
    words = dice.sample(NOUNS, dice.between(4, 5))
    return f"{' '.join(words)}; {words[dice.between(1, len(words) - 2)]}"


def _odd_group(dice: Dice) -> str:
    common, other = dice.sample(tuple(CATEGORIES), 2)
    words = dice.sample(CATEGORIES[common], 3)
    words.insert(dice.below(4), dice.choice(CATEGORIES[other]))
    return " ".join(words)


def _two_words(dice: Dice) -> str:
    first, other = dice.sample(tuple(CATEGORIES), 2)
    if dice.below(2):
        return " ".join(dice.sample(CATEGORIES[first], 2))
    return f"{dice.choice(CATEGORIES[first])} {dice.choice(CATEGORIES[other])}"


def _rule(dice: Dice) -> str:
    kinds, sides = dice.sample(tuple(CATEGORIES), 2), dice.sample(SIDES, 2)
    noun = dice.choice(CATEGORIES[dice.choice(kinds)])
    return f"{kinds[0]} {sides[0]}, {kinds[1]} {sides[1]}; {noun}"


def _threshold(dice: Dice) -> str:
    sides = dice.sample(SIDES, 2)
    return f"over {dice.between(2, 7) * 10} {sides[0]}, else {sides[1]}; {_digits(dice)}"


def _digits(dice: Dice) -> int:
    """A number of two different digits, so that it never equals a round limit and swapping its digits changes it."""
    tens, units = dice.between(2, 8), dice.between(1, 8)
    return tens * 10 + (units if units != tens else 9)


def _two_numbers(dice: Dice) -> str:
    one = _digits(dice)
    other = next(n for n in iter(lambda: _digits(dice), 0) if n % 2 != one % 2)
    return f"{one} {other}"


def _numbers(dice: Dice) -> str:
    return " ".join(str(n) for n in dice.sample(range(10, 99), 3))


def _pairs(dice: Dice, rows: int) -> list[tuple[str, str]]:
    return list(zip(dice.sample(PEOPLE, rows), dice.sample(NOUNS, rows), strict=True))


def _facts(dice: Dice, column: int) -> str:
    pairs = _pairs(dice, dice.between(2, 3))
    return ", ".join(f"{person} has {thing}" for person, thing in pairs) + f"; {dice.choice(pairs)[column]}"


def _table(dice: Dice, column: int) -> str:
    count = dice.between(2, 3)
    rows = list(
        zip(dice.sample(NOUNS, count), dice.sample(COLOURS, count), dice.sample(range(1, 10), count), strict=True)
    )
    return ", ".join(f"{noun} {colour} {number}" for noun, colour, number in rows) + f"; {dice.choice(rows)[column]}"


def _sentence(dice: Dice) -> str:
    subject = dice.choice(CATEGORIES["animal"])
    return f"the {dice.choice(COLOURS)} {subject} {dice.choice(THIRD)} in the {dice.choice(PLACES)}"


def _sentence_pair(dice: Dice) -> str:
    premise = _sentence(dice)
    _, colour, subject, verb, *_, place = premise.split()
    other_verb = dice.choice([v for v in THIRD if v != verb])
    other_place = dice.choice([p for p in PLACES if p != place])
    follows = (f"the {subject} {verb}", f"the {colour} {subject} {verb}", f"the {subject} {verb} in the {place}")
    denies = (f"the {subject} does not {STEM[verb]}", f"the {colour} {subject} does not {STEM[verb]}")
    leaves_open = (
        f"the {subject} {other_verb}",
        f"the {subject} {verb} in the {other_place}",
        f"the {colour} {subject} {other_verb}",
    )
    return f"{premise}; {dice.choice(dice.choice((follows, denies, leaves_open)))}"


def _dialogue(dice: Dice) -> str:
    count = dice.between(2, 4)
    lines = zip(dice.sample(PEOPLE, count), dice.sample(FOODS, count), strict=True)
    return ", ".join(f"{person} wants {food}" for person, food in lines)


DRAW: dict[str, Callable[[Dice], str]] = {
    "words": _words,
    "word": lambda dice: dice.choice(NOUNS),
    "two words": _two_words,
    "odd group": _odd_group,
    "query": _query,
    "rule": _rule,
    "threshold": _threshold,
    "letters": lambda dice: " ".join(dice.choice(NOUNS)),
    "letter": lambda dice: dice.choice(LETTERS),
    "adjective": lambda dice: dice.choice(ADJECTIVES),
    "number": lambda dice: str(_digits(dice)),
    "two numbers": _two_numbers,
    "numbers": _numbers,
    "day": lambda dice: dice.choice(DAYS),
    "month": lambda dice: dice.choice(MONTHS),
    "facts by person": lambda dice: _facts(dice, 0),
    "facts by thing": lambda dice: _facts(dice, 1),
    "table by noun": lambda dice: _table(dice, 0),
    "table by colour": lambda dice: _table(dice, 1),
    "sentence": _sentence,
    "sentence pair": _sentence_pair,
    "dialogue": _dialogue,
}
