"""The words of the pocket world. Each is one token of its tokenizer, and each list has one meaning.

CATEGORIES["animal"] -> cat dog fox ...      PAST["runs"] -> ran      OPPOSITE["hot"] -> cold
"""

from __future__ import annotations

CATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": tuple("cat dog fox cow hen pig bear lion goat mouse".split()),
    "fruit": tuple("fig pear plum lime kiwi apple grape lemon mango peach".split()),
    "tool": tuple("saw axe drill rake spade clamp brush ruler wedge lever".split()),
    "clothes": tuple("hat coat sock shoe scarf glove shirt belt vest cape".split()),
    "vehicle": tuple("car bus van tram boat ship train truck bike plane".split()),
    "furniture": tuple("bed chair table desk lamp sofa shelf bench stool couch".split()),
}
NOUNS: tuple[str, ...] = tuple(noun for nouns in CATEGORIES.values() for noun in nouns)
CATEGORY_OF: dict[str, str] = {noun: category for category, nouns in CATEGORIES.items() for noun in nouns}

PEOPLE: tuple[str, ...] = tuple("tom ann joe eva max lily sam kate ben nora".split())
COLOURS: tuple[str, ...] = tuple("red blue green pink black white grey brown".split())
PLACES: tuple[str, ...] = tuple("park house garden school market street forest beach".split())
FOODS: tuple[str, ...] = tuple("tea milk cake bread soup rice juice honey".split())
SIDES: tuple[str, ...] = tuple("left right up down north south inside outside".split())

VERBS: tuple[tuple[str, str, str], ...] = (
    ("sleep", "sleeps", "slept"),
    ("run", "runs", "ran"),
    ("sing", "sings", "sang"),
    ("swim", "swims", "swam"),
    ("eat", "eats", "ate"),
    ("sit", "sits", "sat"),
    ("wait", "waits", "waited"),
    ("jump", "jumps", "jumped"),
)
STEM: dict[str, str] = {third: stem for stem, third, _ in VERBS}
PAST: dict[str, str] = {third: past for _, third, past in VERBS}
THIRD: tuple[str, ...] = tuple(third for _, third, _ in VERBS)

_PAIRS = "hot cold,big small,old new,fast slow,dark light,hard soft,full empty,wet dry,rich poor,early late"
OPPOSITE: dict[str, str] = {}
for _pair in _PAIRS.split(","):
    _one, _other = _pair.split()
    OPPOSITE[_one] = _other
    OPPOSITE[_other] = _one
ADJECTIVES: tuple[str, ...] = tuple(OPPOSITE)

DAYS: tuple[str, ...] = tuple("monday tuesday wednesday thursday friday saturday sunday".split())
MONTHS: tuple[str, ...] = tuple(
    "january february march april may june july august september october november december".split()
)
SEASONS: tuple[str, ...] = ("winter", "spring", "summer", "autumn")
LETTERS: tuple[str, ...] = tuple("abcdefghijklmnopqrstuvwxyz")

_IRREGULAR = {
    "mouse": "mice",
    "fox": "foxes",
    "peach": "peaches",
    "scarf": "scarves",
    "bus": "buses",
    "shelf": "shelves",
}
_IRREGULAR |= {"bench": "benches", "couch": "couches", "brush": "brushes", "mango": "mangoes"}
PLURAL: dict[str, str] = {noun: _IRREGULAR.get(noun, noun + "s") for noun in NOUNS}

ONES: tuple[str, ...] = tuple("zero one two three four five six seven eight nine".split())
TENS: dict[int, str] = dict(
    zip(range(20, 100, 10), "twenty thirty forty fifty sixty seventy eighty ninety".split(), strict=True)
)


def every_word() -> list[str]:
    """Every word of the world, once: each becomes one token."""
    forms = [*PLURAL.values(), *(form for forms in VERBS for form in forms)]
    names = [*NOUNS, *CATEGORIES, *PEOPLE, *COLOURS, *PLACES, *FOODS, *SIDES, *ADJECTIVES, *DAYS, *MONTHS, *SEASONS]
    digits = [*map(str, range(100)), *ONES, *TENS.values()]
    return list(
        dict.fromkeys([*names, *LETTERS, *forms, *digits, "vowel", "consonant", "odd", "even", "yes", "no", "maybe"])
    )
