"""The styles that options are listed in, by the names that a recipe calls them.

    dashes       - yes     lettered     (A) yes     numbered     1. yes     commas     yes, no
                 - no                   (B) no                   2. no

`option_styles: [lettered, numbered]` of a source leaves the others out; each prompt draws one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class OptionStyle:
    """One way to list options."""

    name: str
    before: str = ""
    """Stands before each option; `{}` is its label."""
    between: str = "\n"
    """Stands between one option and the next."""
    labels: str = ""
    """`A`, `a` or `1`: what the first is called; empty where options have no label."""
    label: str = "{}"
    """How an answer writes the label."""

    def fits(self, options: Sequence[str]) -> bool:
        """Whether it can be told where each option ends."""
        if self.labels and self.between == "\n":
            return True
        marks = {"\n", self.between.strip() or "\n"}
        return not any(mark in option for option in options for mark in marks)

    def named(self, place: int) -> str:
        """What an answer calls the option at `place`, from 0; empty where options have no label."""
        return self.label.format(count(self.labels, place)) if self.labels else ""

    def listed(self, options: Sequence[str]) -> str:
        """The options, one after another."""
        shown = (self.before.format(count(self.labels, place)) + option for place, option in enumerate(options))
        return self.between.join(shown)


def count(first: str, place: int) -> str:
    """The label at a place, from 0: `A`, `B`, ..., `Z`, `AA`, `AB`, ...; or `1`, `2`, ..."""
    if first in ("", "1"):
        return str(place + 1)
    text, number = "", place + 1
    while number:
        number, letter = divmod(number - 1, 26)
        text = chr(ord(first) + letter) + text
    return text


#: Every style by its name in a recipe's `option_styles`.
STYLES: Mapping[str, OptionStyle] = {
    style.name: style
    for style in (
        OptionStyle("dashes", "- "),
        OptionStyle("stars", "* "),
        OptionStyle("bullets", "• "),
        OptionStyle("arrows", "> "),
        OptionStyle("lines"),
        OptionStyle("commas", between=", "),
        OptionStyle("semicolons", between="; "),
        OptionStyle("slashes", between=" / "),
        OptionStyle("lettered", "({}) ", labels="A", label="({})"),
        OptionStyle("lettered-paren", "{}) ", labels="A"),
        OptionStyle("lettered-dot", "{}. ", labels="A"),
        OptionStyle("lettered-colon", "{}: ", labels="A"),
        OptionStyle("lettered-brackets", "[{}] ", labels="A", label="[{}]"),
        OptionStyle("lettered-line", "({}) ", between=" ", labels="A", label="({})"),
        OptionStyle("lowercase", "({}) ", labels="a", label="({})"),
        OptionStyle("lowercase-dot", "{}. ", labels="a"),
        OptionStyle("numbered", "{}. ", labels="1"),
        OptionStyle("numbered-paren", "{}) ", labels="1"),
        OptionStyle("numbered-round", "({}) ", labels="1", label="({})"),
        OptionStyle("numbered-brackets", "[{}] ", labels="1", label="[{}]"),
    )
}

#: What introduces a list; that of a one-line style stands in its line.
STARTS = (
    "OPTIONS:",
    "Options:",
    "Choices:",
    "CHOICES:",
    "Choose from:",
    "Choose one of these:",
    "Pick from:",
    "Pick your answer from:",
    "Select from:",
    "Possible answers:",
    "The possible answers are:",
    "Available options:",
    "Answer with one of:",
    "One of these is right:",
)


def words(names: Sequence[str]) -> list[object]:
    """All that these styles write, as plain data: what is shown with options is named by it."""
    return [list(STARTS), [list(astuple(STYLES[name])) for name in names]]


def style_names(names: Sequence[str] | None) -> tuple[str, ...]:
    """The names of styles, all where None.

    Raises:
        ValueError: if one is not known, or there is none.
    """
    if names is None:
        return tuple(STYLES)
    unknown = [name for name in names if name not in STYLES]
    if unknown or not names:
        what = f"no option style {unknown[0]!r}" if unknown else "option_styles is empty"
        raise ValueError(f"{what}; there are {', '.join(STYLES)}")
    return tuple(dict.fromkeys(names))
