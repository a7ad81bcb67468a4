"""Skills: what the pocket world can be asked to do. Each is a pure function from a text to a text.

    reverse("cat dog fox")                            -> "fox dog cat"
    colour_of("cat red 3, dog blue 5; dog")           -> "blue"

A skill *takes* a kind of input and *gives* a kind of output, so that skills chain where the kinds meet. Skills of one
kind share their inputs: the input alone never tells what is wanted, only the instruction does. Every skill has
several names, and the names alone carry no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from instil.pocket import inputs
from instil.pocket.dice import Dice
from instil.pocket.lexicon import (
    CATEGORY_OF,
    DAYS,
    LETTERS,
    MONTHS,
    ONES,
    OPPOSITE,
    PAST,
    PLURAL,
    SEASONS,
    STEM,
    TENS,
)


@dataclass(frozen=True, slots=True)
class Skill:
    """One thing that can be asked for.

    Attributes:
        name: unique, in snake case.
        cluster: the family that it is split and reported by.
        labels: its names in text; the first is the usual one.
        takes: kind of input, a key of `inputs.DRAW`.
        gives: kind of output; a key of `inputs.DRAW` if another skill can take it, else `answer`.
        apply: the function itself.
        control: a skill that no pre-training document shows: the negative control.
    """

    name: str
    cluster: str
    labels: tuple[str, ...]
    takes: str
    gives: str
    apply: Callable[[str], str]
    control: bool = False

    def draw(self, dice: Dice) -> str:
        """An input for this skill."""
        return inputs.DRAW[self.takes](dice)


SKILLS: dict[str, Skill] = {}


Table = dict[str, tuple[str, Callable[[str], str]]]
"""name -> (its labels, split by slashes; the function)."""


def _add(cluster: str, takes: str, gives: str, table: Table, *, control: bool = False) -> None:
    for name, (labels, apply) in table.items():
        if name in SKILLS:
            raise ValueError(f"two skills are called {name!r}")
        SKILLS[name] = Skill(name, cluster, tuple(labels.split(" / ")), takes, gives, apply, control)


def _on_words(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    return lambda text: " ".join(change(text.split()))


def _on_each(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: " ".join(map(change, text.split()))


def _on_number(change: Callable[[int], int | str]) -> Callable[[str], str]:
    return lambda text: str(change(int(text)))


def _on_numbers(change: Callable[[list[int]], list[int] | int | str]) -> Callable[[str], str]:
    def apply(text: str) -> str:
        result = change([int(word) for word in text.split()])
        return " ".join(map(str, result)) if isinstance(result, list) else str(result)

    return apply


def _in_query(answer: Callable[[list[str], int], str]) -> Callable[[str], str]:
    """For `cat dog fox; dog`: the words, and the place of the word asked for."""

    def apply(text: str) -> str:
        words, _, asked = text.partition("; ")
        return answer(words.split(), words.split().index(asked))

    return apply


def _in_rows(answer: Callable[[list[list[str]], str], str]) -> Callable[[str], str]:
    """For `cat red 3, dog blue 5; dog`: the rows as lists of words, and the word asked for."""

    def apply(text: str) -> str:
        rows, _, asked = text.partition("; ")
        return answer([row.split() for row in rows.split(", ")], asked)

    return apply


def _row(rows: list[list[str]], asked: str) -> int:
    return next(number for number, row in enumerate(rows) if asked in row)


def _next(rows: list[list[str]], asked: str) -> list[str]:
    return rows[(_row(rows, asked) + 1) % len(rows)]


def _letter(letter: str, step: int) -> str:
    """The letter so many places on; after z comes a."""
    return LETTERS[(LETTERS.index(letter) + step) % len(LETTERS)]


def _common_category(text: str) -> str:
    odd = inputs.odd_one(text.split())
    return CATEGORY_OF[next(word for word in text.split() if word != odd)]


def _yes(condition: bool) -> str:
    return "yes" if condition else "no"


def in_words(number: int) -> str:
    """42 -> forty two (20 to 99)."""
    tens, ones = divmod(number, 10)
    return TENS[tens * 10] + (f" {ONES[ones]}" if ones else "")


def _verdict(text: str) -> str:
    """Does the second sentence follow from the first? Sentences are `the red cat sleeps in the park`."""
    premise, hypothesis = (sentence.split() for sentence in text.split("; "))
    if " not " in f" {' '.join(hypothesis)} ":
        return "no"
    colour = hypothesis[1] if len(hypothesis) > 3 and hypothesis[2] == premise[2] else premise[1]
    return "yes" if colour == premise[1] and hypothesis[-1] in (premise[3], premise[-1]) else "maybe"


# A line a skill: the tables are read downwards.
# fmt: off
_add("editing lists", "words", "words", {
    "reverse": ("reverse / backwards", _on_words(lambda w: w[::-1])),
    "drop_first": ("drop first / behead", _on_words(lambda w: w[1:])),
    "drop_last": ("drop last / shorten", _on_words(lambda w: w[:-1])),
    "rotate_left": ("rotate left / cycle", _on_words(lambda w: w[1:] + w[:1])),
    "rotate_right": ("rotate right / unwind", _on_words(lambda w: w[-1:] + w[:-1])),
    "swap_ends": ("swap ends / exchange", _on_words(lambda w: [w[-1], *w[1:-1], w[0]])),
    "swap_first_two": ("swap first two / switch", _on_words(lambda w: [w[1], w[0], *w[2:]])),
    "drop_second": ("drop second / skip", _on_words(lambda w: [w[0], *w[2:]])),
})
_add("picking words", "words", "word", {
    "first": ("first word / head", _on_words(lambda w: w[:1])),
    "last": ("last word / tail", _on_words(lambda w: w[-1:])),
    "second": ("second word / runner up", _on_words(lambda w: w[1:2])),
    "second_last": ("last but one / penultimate", _on_words(lambda w: w[-2:-1])),
})
_add("picking words", "words", "words", {
    "first_two": ("first two / opening", _on_words(lambda w: w[:2])),
    "last_two": ("last two / closing", _on_words(lambda w: w[-2:])),
    "ends": ("both ends / borders", _on_words(lambda w: [w[0], w[-1]])),
})
_add("building lists", "words", "words", {
    "double_each": ("double each / stutter", _on_words(lambda w: [x for x in w for _ in (0, 1)])),
    "twice": ("twice over / repeat", _on_words(lambda w: w + w)),
    "mirror": ("mirror / palindrome", _on_words(lambda w: w + w[::-1])),
    "append_first": ("append first / close loop", _on_words(lambda w: w + w[:1])),
    "prepend_last": ("prepend last / wrap", _on_words(lambda w: w[-1:] + w)),
    "repeat_last": ("echo last / linger", _on_words(lambda w: w + w[-1:])),
})
_add("searching lists", "query", "word", {
    "word_after": ("word after / follower", _in_query(lambda w, i: w[i + 1])),
    "word_before": ("word before / leader", _in_query(lambda w, i: w[i - 1])),
})
_add("searching lists", "query", "answer", {
    "place_of": ("place of / index", _in_query(lambda w, i: str(i + 1))),
})
_add("searching lists", "query", "words", {
    "without": ("without it / remove", _in_query(lambda w, i: " ".join(w[:i] + w[i + 1 :]))),
    "up_to": ("up to it / until", _in_query(lambda w, i: " ".join(w[: i + 1]))),
    "from_it": ("from it on / since", _in_query(lambda w, i: " ".join(w[i:]))),
})
_add("categories", "word", "answer", {
    "category": ("category / kind", lambda text: CATEGORY_OF[text]),
})
_add("categories", "odd group", "word", {
    "odd_one": ("odd one out / stranger", lambda text: inputs.odd_one(text.split())),
})
_add("categories", "odd group", "answer", {
    "common_category": ("common category / majority", _common_category),
    "odd_place": ("odd place / odd index", lambda text: str(text.split().index(inputs.odd_one(text.split())) + 1)),
})
_add("categories", "two words", "answer", {
    "same_category": ("same category / alike", lambda text: _yes(len({CATEGORY_OF[w] for w in text.split()}) == 1)),
    "both_categories": ("both categories / kinds", lambda text: " ".join(CATEGORY_OF[w] for w in text.split())),
})
_add("stated rules", "rule", "answer", {
    "follow_rule": ("follow rule / obey", lambda text: inputs.rule(text)[0]),
    "flip_rule": ("break rule / disobey", lambda text: inputs.rule(text)[1]),
    "rule_reason": ("rule reason / because", lambda text: CATEGORY_OF[text.split("; ")[1]]),
})
_add("stated rules", "threshold", "answer", {
    "follow_limit": ("follow limit / judge", lambda text: inputs.threshold(text)[0]),
    "flip_limit": ("break limit / misjudge", lambda text: inputs.threshold(text)[1]),
})
_add("spelling", "word", "letters", {
    "spell": ("spelling / letters", lambda text: " ".join(text)),
    "spell_backwards": ("backward spelling / reversed letters", lambda text: " ".join(text[::-1])),
})
_add("spelling", "word", "letter", {
    "first_letter": ("first letter / initial", lambda text: text[0]),
    "last_letter": ("last letter / ending", lambda text: text[-1]),
})
_add("spelling", "word", "answer", {
    "word_length": ("length / letter count", lambda text: str(len(text))),
})
_add("spelling", "words", "answer", {
    "initials": ("initials / acronym", lambda text: " ".join(w[0] for w in text.split())),
})
_add("alphabet", "letter", "letter", {
    "next_letter": ("next letter / letter after", lambda text: _letter(text, 1)),
    "previous_letter": ("previous letter / letter before", lambda text: _letter(text, -1)),
})
_add("alphabet", "letters", "letters", {
    "shift_letters": ("shift letters / caesar", _on_each(lambda x: _letter(x, 1))),
    "vowels_hidden": ("vowels hidden / masked", _on_each(lambda x: "_" if x in "aeiou" else x)),
})
_add("alphabet", "letter", "answer", {
    "letter_number": ("letter number / alphabet place", lambda text: str(LETTERS.index(text) + 1)),
    "is_vowel": ("vowel or consonant / letter type", lambda text: "vowel" if text in "aeiou" else "consonant"),
})
_add("numbers", "number", "number", {
    "plus_one": ("plus one / successor", _on_number(lambda n: n + 1)),
    "minus_one": ("minus one / predecessor", _on_number(lambda n: n - 1)),
    "plus_ten": ("plus ten / next decade", _on_number(lambda n: n + 10)),
    "swap_digits": ("swap digits / digit flip", _on_number(lambda n: n % 10 * 10 + n // 10)),
    "round_down": ("round down / decade", _on_number(lambda n: n // 10 * 10)),
})
_add("numbers", "number", "answer", {
    "tens_digit": ("tens digit / left digit", _on_number(lambda n: n // 10)),
    "units_digit": ("units digit / right digit", _on_number(lambda n: n % 10)),
    "parity": ("parity / even or odd", _on_number(lambda n: ("even", "odd")[n % 2])),
    "in_words": ("in words / written out", _on_number(in_words)),
})
_add("comparison", "two numbers", "number", {
    "larger": ("larger one / winner", _on_numbers(max)),
    "smaller": ("smaller one / loser", _on_numbers(min)),
    "even_one": ("even one / divisible", _on_numbers(lambda n: next((x for x in n if x % 2 == 0), n[0]))),
})
_add("comparison", "two numbers", "answer", {
    "larger_side": ("larger side / heavier side", _on_numbers(lambda n: "left" if n[0] > n[1] else "right")),
    "rises": ("rising / going up", _on_numbers(lambda n: _yes(n[0] < n[1]))),
})
_add("ordering", "numbers", "numbers", {
    "sort_up": ("sorted up / ascending", _on_numbers(sorted)),
    "sort_down": ("sorted down / descending", _on_numbers(lambda n: sorted(n, reverse=True))),
})
_add("ordering", "numbers", "number", {
    "middle": ("middle value / median", _on_numbers(lambda n: sorted(n)[1])),
})
_add("ordering", "numbers", "answer", {
    "peak_place": ("peak place / summit", _on_numbers(lambda n: n.index(max(n)) + 1)),
    "extremes": ("extremes / range", _on_numbers(lambda n: [min(n), max(n)])),
})
_add("dates", "day", "day", {
    "next_day": ("next day / tomorrow", lambda text: DAYS[(DAYS.index(text) + 1) % 7]),
    "previous_day": ("previous day / yesterday", lambda text: DAYS[(DAYS.index(text) - 1) % 7]),
})
_add("dates", "month", "month", {
    "next_month": ("next month / month after", lambda text: MONTHS[(MONTHS.index(text) + 1) % 12]),
    "previous_month": ("previous month / month before", lambda text: MONTHS[(MONTHS.index(text) - 1) % 12]),
})
_add("dates", "month", "answer", {
    "month_number": ("month number / calendar place", lambda text: str(MONTHS.index(text) + 1)),
    "season": ("season / time of year", lambda text: SEASONS[(MONTHS.index(text) + 1) // 3 % 4]),
})
_add("facts", "facts by person", "answer", {
    "thing_of": ("thing of / belonging", _in_rows(lambda rows, q: rows[_row(rows, q)][-1])),
    "person_after": ("person after / next owner", _in_rows(lambda rows, q: _next(rows, q)[0])),
    "thing_after": ("thing after / next belonging", _in_rows(lambda rows, q: _next(rows, q)[-1])),
})
_add("facts", "facts by thing", "answer", {
    "owner": ("owner / holder", _in_rows(lambda rows, q: rows[_row(rows, q)][0])),
    "owner_place": ("which owner / numbered holder", _in_rows(lambda rows, q: str(_row(rows, q) + 1))),
})
_add("tables", "table by noun", "answer", {
    "colour_of": ("colour / paint", _in_rows(lambda rows, q: rows[_row(rows, q)][1])),
    "number_of": ("amount / stock", _in_rows(lambda rows, q: rows[_row(rows, q)][2])),
    "row_of": ("row / line number", _in_rows(lambda rows, q: str(_row(rows, q) + 1))),
})
_add("tables", "table by colour", "answer", {
    "noun_with_colour": ("coloured item / painted thing", _in_rows(lambda rows, q: rows[_row(rows, q)][0])),
    "number_with_colour": ("coloured amount / painted stock", _in_rows(lambda rows, q: rows[_row(rows, q)][2])),
})
_add("sentences", "sentence", "answer", {
    "who": ("subject / actor", lambda text: text.split()[2]),
    "does_what": ("action / deed", lambda text: text.split()[3]),
    "where": ("location / scene", lambda text: text.split()[-1]),
    "what_colour": ("shade / tint", lambda text: text.split()[1]),
    "past": ("past form / history", _on_each(lambda w: PAST.get(w, w))),
    "negated": ("negation / denial", _on_each(lambda w: f"does not {STEM[w]}" if w in STEM else w)),
    "bare": ("bare form / summary", lambda text: " ".join(["the", *text.split()[2:4]])),
})
_add("inference", "sentence pair", "answer", {
    "follows": ("entailment / follows", _verdict),
    "contradicts": ("contradiction / conflict", lambda text: _yes(_verdict(text) == "no")),
    "undecided": ("undecided / unknown", lambda text: _yes(_verdict(text) == "maybe")),
    "certain": ("certainty / proof", lambda text: _yes(_verdict(text) == "yes")),
})
_add("formatting", "words", "answer", {
    "commas": ("comma form / comma list", lambda text: ", ".join(text.split())),
    "dashes": ("dash form / dash list", lambda text: " - ".join(text.split())),
    "numbered": ("numbered form / numbered list", _on_words(lambda w: [f"{i} {x}" for i, x in enumerate(w, 1)])),
    "with_and": ("spoken form / with and", lambda text: " ".join([*text.split()[:-1], "and", text.split()[-1]])),
    "bracketed": ("bracket form / bracket list", _on_each(lambda w: f"( {w} )")),
})
_add("dialogue", "dialogue", "answer", {
    "last_speaker": ("last speaker / final voice", _in_rows(lambda rows, _: rows[-1][0])),
    "first_speaker": ("first speaker / starting voice", _in_rows(lambda rows, _: rows[0][0])),
    "last_wish": ("last wish / final order", _in_rows(lambda rows, _: rows[-1][-1])),
    "all_wishes": ("all wishes / full order", _in_rows(lambda rows, _: " ".join(row[-1] for row in rows))),
    "speakers": ("speakers / voices", _in_rows(lambda rows, _: " ".join(row[0] for row in rows))),
})
_add("word forms", "word", "answer", {
    "plural": ("plural / many", lambda text: PLURAL[text]),
    "article": ("article / a or an", lambda text: ("an " if text[0] in "aeiou" else "a ") + text),
    "tagged": ("labelled / tagged", lambda text: f"{CATEGORY_OF[text]} {text}"),
})
_add("word forms", "adjective", "adjective", {
    "opposite": ("opposite / inverse", lambda text: OPPOSITE[text]),
})
_add("word forms", "adjective", "answer", {
    "denied": ("denied / not so", lambda text: f"not {text}"),
    "opposite_pair": ("with opposite / contrast", lambda text: f"{text} {OPPOSITE[text]}"),
})
# The negative control: no pre-training document shows them, so no tuning on other skills can teach them.
_add("control", "words", "answer", {
    "third_to_front": ("third to front / promote", _on_words(lambda w: [w[2], *w[:2], *w[3:]])),
    "first_three_times": ("first three times / chant", _on_words(lambda w: w[:1] * 3)),
    "second_and_last": ("second and last / bracketing", _on_words(lambda w: [w[1], w[-1]])),
    "last_around": ("last around / encase", _on_words(lambda w: [w[-1], *w[:-1], w[-1], w[-1]])),
    "ends_twice": ("ends twice / refrain", _on_words(lambda w: [w[0], w[-1], w[0], w[-1]])),
    "second_doubled": ("second doubled / accent", _on_words(lambda w: [w[0], w[1], w[1], *w[2:]])),
    "fold": ("folded / pleat", _on_words(lambda w: [w[-1], w[0], w[1]])),
    "last_then_second": ("last then second / knight", _on_words(lambda w: [w[-1], w[1], w[0]])),
}, control=True)
# fmt: on
