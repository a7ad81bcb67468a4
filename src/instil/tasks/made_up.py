"""Rows made up for templates without data: the fields that they name, filled with what they can work on.

    template   {% if label == 2 %}{{ answers.text[0] }}{% endif %} {{ title.split("_")[1] }}
    shapes     label one of (2)      answers {text: [at least 1 text]}      title a text with "_" in it
    row        {"label": 2, "answers": {"text": ["red stone", "old river"]}, "title": "blue door_cold wind"}

The templates of a file share their rows, so what one shows of a field helps the others. It is a guess, and a good one:
it is how `instil tasks templates` tells templates that never render from those that do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes

from instil.errors import TemplateError
from instil.fingerprint import keyed_int
from instil.records import Example
from instil.tasks.sandbox import tree_of
from instil.tasks.shapes import USUAL_LENGTH, Shape, Shapes
from instil.tasks.template import Template

_WORDS = ("red stone", "old river", "blue door", "cold wind", "green hill", "late train", "small bird", "quiet road")


class _Filler:
    """Fills shapes; every choice is decided by the number of the row and by where the value stands."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.made: dict[int, Any] = {}

    def draw(self, where: str, n: int) -> int:
        return keyed_int(self.number, "made up", where, n=n)

    def value(self, shape: Shape, where: str, depth: int = 0) -> Any:
        """A value of the shape."""
        if shape.one_of is not None and depth < 6:
            items = self.made.get(id(shape.one_of))
            items = self.value(shape.one_of, f"{where}~", depth + 1) if items is None else items
            if isinstance(items, (list, str)) and items:
                return items[self.draw(where, len(items))]
        made = self._new(shape, where, depth)
        self.made.setdefault(id(shape), made)
        return made

    def _new(self, shape: Shape, where: str, depth: int) -> Any:
        if shape.is_tested and self.draw(f"{where}?", 4) == 0:
            return [] if shape.item is not None else "" if shape.is_text else None
        if depth > 8:
            return "deep"
        if shape.keys:
            return {name: self.value(each, f"{where}.{name}", depth + 1) for name, each in shape.keys.items()}
        if shape.parts:
            return self._split(shape, where, depth)
        if shape.item is not None and not shape.is_text:
            length = max(shape.least, USUAL_LENGTH)
            if shape.lengths and self.draw(f"{where}#", 3):
                length = max(shape.least, shape.lengths[self.draw(f"{where}##", len(shape.lengths))])
            return [self.value(shape.item, f"{where}[{place}]", depth + 1) for place in range(min(length, 40))]
        if shape.constants and self.draw(f"{where}=", 6):
            return shape.constants[self.draw(f"{where}==", len(shape.constants))]
        if shape.is_number and not shape.is_text:
            return self.draw(where, shape.below or 3)
        return self._text(shape, where)

    def _text(self, shape: Shape, where: str) -> str:
        count = shape.lengths[self.draw(f"{where}#", len(shape.lengths))] // 8 + 1 if shape.lengths else 1
        words = [_WORDS[self.draw(f"{where}{word}", len(_WORDS))] for word in range(min(count, 200))]
        return " ".join([*([shape.starts] if shape.starts else []), *words, *(f"{held} more" for held in shape.holds)])

    def _split(self, shape: Shape, where: str, depth: int) -> str:
        text = self._text(shape, where)
        for separator, parts in sorted(shape.parts.items(), key=lambda pair: pair[0] == " "):
            assert parts.item is not None
            items = [self.value(parts.item, f"{where}/{place}", depth + 1) for place in range(max(parts.least, 2))]
            # What the whole begins with or holds, it still does.
            whole = [text, *map(str, items[1:])] if shape.starts or shape.holds else list(map(str, items))
            text = separator.join([text, *whole[1:]] if text.count(separator) and separator != " " else whole)
        return text


def made_up_rows(templates: Sequence[Template], n: int) -> Iterator[Example]:
    """Rows with the fields that the templates name, together.

    Args:
        templates: of one data set.
        n: how many rows.

    Raises:
        TemplateError: if a template does not compile.
    """
    reader = Shapes()
    for template in templates:
        reader.read(template)
        if template.references:
            reader.fields.setdefault(template.references, Shape()).items().is_text = True
    # Lists that others choose from come first, so that what is one of them is found among them.
    order = sorted(reader.fields.items(), key=lambda pair: (pair[1].one_of is not None, pair[0]))
    for number in range(n):
        filler = _Filler(number)
        yield Example(f"made-up-{number + 1}", {name: filler.value(shape, name) for name, shape in order})


@dataclass(frozen=True, slots=True)
class Tried:
    """A template, and how it did on made-up rows."""

    name: str
    fields: tuple[str, ...]
    """What it takes from a row."""
    filters: tuple[str, ...]
    rendered: int
    """How many of the rows it phrased."""
    rows: int
    reason: str = ""
    """Why it refused a row, the commonest reason first."""


def tried(templates: Sequence[Template], n: int) -> Iterator[Tried]:
    """Each template on rows made up for all of them; on rows made up for it alone where it renders none of those."""
    shared = list(made_up_rows(templates, n))
    for template in templates:
        rendered, reason = _renders(template, shared)
        if not rendered:
            rendered, reason = _renders(template, list(made_up_rows([template], n)))
        parts = (template.input, template.target, template.answer_choices, template.instruction, template.rationale)
        trees = [tree_of(part) for part in parts if part]
        filters = {used.name for tree in trees for used in tree.find_all(nodes.Filter)}
        yield Tried(template.name, tuple(sorted(template.fields)), tuple(sorted(filters)), rendered, n, reason)


def _renders(template: Template, rows: Sequence[Example]) -> tuple[int, str]:
    reasons: Counter[str] = Counter()
    for number, row in enumerate(rows):
        try:
            template.render(row, seed=number)
        except TemplateError as error:
            reasons[error.message.partition(f"row {row.key!r}: ")[2] or error.message] += 1
    return len(rows) - reasons.total(), next((reason for reason, _ in reasons.most_common(1)), "")
