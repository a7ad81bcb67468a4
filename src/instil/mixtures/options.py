r"""The choices of a task, listed in one of many styles.

    Does it follow?            lettered, "(A)"        Does it follow?       bullets
    Choose from:                                      OPTIONS:
    (A) yes                                           - yes
    (B) no            ->  (A)                         - no          ->  yes

The style of a prompt, and the words before the list, are drawn by the prompt's seed; its exemplars have the same. Under
a lettered or numbered style the answer is the label: target, options and references become labels, and so does the
final answer of a chain of thought where it is an option.

What lists of options hold, and what becomes of it:

- an empty option is dropped, and one that stands twice is listed once;
- fewer than two options are no choice: the prompt is refused, and another is drawn;
- an option of several lines is shown under labels only, where it can be told where it ends; one that holds the comma or
  semicolon of a one-line style is never shown in that style;
- options that are labels themselves (A, B, C) have nothing to list, and the prompt is refused as well;
- where the template's own text lists them already, in this order and close together, nothing is added;
- an answer that is not among the options is never labelled;
- the 27th letter is AA.

The list stands at the end of the input, or before a last line that asks for the answer (`Output:`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from instil.errors import TemplateError
from instil.fingerprint import fingerprint, keyed_choice, keyed_order
from instil.mixtures.option_styles import STARTS, STYLES, OptionStyle, count, words
from instil.records import Example, Exemplar
from instil.tasks.template import Rendered, Renderer, RenderRefused, exemplar_seed

#: A last line that asks for the answer, or for the reasoning before it.
_CUE = re.compile(r"[^\n]{0,40}:|(?=[^\n]*\b(?:step|reason|think|thoughts|explain|rationale)\b)[^\n]{0,80}[.:]", re.I)
#: Between one listed option and the next stand at most so many characters.
_GAP = 12


@dataclass(frozen=True)
class WithOptions:
    """A template with the choices listed. See the module's picture."""

    inner: Renderer
    styles: tuple[str, ...] = tuple(STYLES)
    """The names of the styles that prompts draw from."""

    @property
    def name(self) -> str:
        """The template's own."""
        return self.inner.name

    @property
    def cot(self) -> bool:
        """Whether the target reasons before it answers."""
        return self.inner.cot

    @property
    def inverted(self) -> bool:
        """Whether it asks for the question."""
        return self.inner.inverted

    @property
    def shows_options(self) -> bool:
        """It does."""
        return True

    @cached_property
    def fingerprint(self) -> str:
        """Names what it would render."""
        return fingerprint(["options", self.inner.fingerprint, list(self.styles), words(self.styles)])

    def pinned(self, style: str) -> WithOptions:
        """As this, in one style: exemplars take that of their query."""
        return replace(self, styles=(style,))

    def render(self, example: Example, *, seed: int) -> Rendered:
        """Phrase an example, and list its options.

        Raises:
            RenderRefused: if there are fewer than two, or they cannot be listed in any of the styles.
        """
        return self._with_options(self.inner.render(example, seed=seed), example, seed)

    def _with_options(self, rendered: Rendered, example: Example, seed: int) -> Rendered:
        options = self._options(rendered, example)
        if already_listed(rendered.input, options):
            return rendered
        style = self._drawn(options, example, _can_label(rendered, options, cot=self.cot), seed)
        shown = replace(rendered, options=() if self.cot else options, option_style=style.name)
        shown = replace(shown, input=_placed(rendered.input, _list(style, options, seed)))
        if shown.messages:
            last = shown.messages[-1]
            shown = replace(shown, messages=(*shown.messages[:-1], replace(last, content=shown.input)))
        return _labelled(shown, style, options, cot=self.cot) if style.labels else shown

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        """Phrase an example as a worked one, in the words that the template has for it, with its options."""
        if getattr(self.inner, "exemplar", ...) is None:
            worded = self.inner.render(example, seed=exemplar_seed(self.inner, example, seed))
            whole = self._with_options(worded, example, seed)
            return Exemplar(input=whole.input, target=whole.target, example=example.key)
        shown = self.inner.render_exemplar(example, number=number, seed=seed)
        rendered = self.inner.render(example, seed=seed)
        options = self._options(rendered, example)
        if already_listed(shown.input, options):
            return shown
        worked = replace(rendered, input=shown.input, target=shown.target)
        style = self._drawn(options, example, _can_label(worked, options, cot=self.cot), seed)
        target = _labelled(worked, style, options, cot=self.cot).target if style.labels else shown.target
        return replace(shown, input=_placed(shown.input, _list(style, options, seed)), target=target)

    def _options(self, rendered: Rendered, example: Example) -> tuple[str, ...]:
        options = distinct(rendered.choices or rendered.options or listed_in(example))
        if len(options) < 2:
            raise self._refused(example, "no options", "has fewer than two options")
        if only_labels(options):
            raise self._refused(example, "options without texts", "has options that are labels themselves")
        return options

    def _drawn(self, options: Sequence[str], example: Example, labels_fit: bool, seed: int) -> OptionStyle:
        for place in keyed_order(len(self.styles), seed, "option style"):
            style = STYLES[self.styles[place]]
            if style.fits(options) and (labels_fit or not style.labels):
                return style
        names = ", ".join(self.styles)
        raise self._refused(example, "no style for its options", f"has options that none of {names} can show")

    def _refused(self, example: Example, reason: str, message: str) -> RenderRefused:
        return RenderRefused(f"template {self.name!r}, row {example.key!r} {message}", reason=reason)


def listed_in(example: Example) -> tuple[str, ...]:
    """The options that the row itself holds, in its field `options`."""
    held = example.fields.get("options")
    return tuple(option for option in held if isinstance(option, str)) if isinstance(held, (list, tuple)) else ()


def already_listed(text: str, options: Sequence[str]) -> bool:
    """Whether a text lists the options: in their order, at most a few characters apart (`yes, no or maybe`)."""
    if not all(option in text for option in options):
        return False
    first, *others = [re.compile(rf"(?<!\w){re.escape(option)}(?!\w)") for option in options]
    for begun in first.finditer(text):
        found: re.Match[str] | None = begun
        for option, pattern in zip(options[1:], others, strict=True):
            found = pattern.search(text, found.end(), found.end() + _GAP + len(option)) if found else None
        if found:
            return True
    return False


def distinct(options: Sequence[str]) -> tuple[str, ...]:
    """Options without blanks at their ends, empty ones and repetitions."""
    return tuple(option for option in dict.fromkeys(option.strip() for option in options) if option)


def with_options(templates: Sequence[Renderer], examples: Sequence[Example], styles: Sequence[str]) -> list[Renderer]:
    """The templates with the choices listed, without those for which the first rows have none.

    Args:
        templates: those that list the choices themselves stay as they are.
        examples: the rows.
        styles: the names of the styles to draw from.
    """
    first = [examples[row] for row in range(min(len(examples), 8))]
    held = any(_listable(listed_in(example)) for example in first)
    found: list[Renderer] = []
    for template in templates:
        if template.shows_options:
            found.append(template)
        elif (held and not _own(template)) or any(_listable(_choices(template, example)) for example in first):
            found.append(WithOptions(template, tuple(styles)))
    return found


def _own(template: Renderer) -> bool:
    """Whether a template names its choices itself; a renderer that is no `Template` may."""
    return bool(getattr(template, "answer_choices", True))


def _choices(template: Renderer, example: Example) -> tuple[str, ...]:
    try:
        rendered = template.render(example, seed=0) if _own(template) else None
    except TemplateError:
        return ()
    return (rendered.choices or rendered.options) if rendered else ()


def _listable(options: Sequence[str]) -> bool:
    kept = distinct(options)
    return len(kept) > 1 and not only_labels(kept)


def only_labels(options: Sequence[str]) -> bool:
    """Whether options are A, B, C or (1), (2), (3) without the texts that these stand for: nothing to list."""
    bare = [option.strip("()[]. :").upper() for option in options]
    return any(bare == [count(first, place) for place in range(len(bare))] for first in ("A", "1"))


def _place(answer: str, options: Sequence[str]) -> int | None:
    """Which option an answer is, without regard to case where that leaves no doubt."""
    if answer in options:
        return options.index(answer)
    alike = [place for place, option in enumerate(options) if option.casefold() == answer.casefold()]
    return alike[0] if len(alike) == 1 else None


def _list(style: OptionStyle, options: Sequence[str], seed: int) -> str:
    start = keyed_choice(STARTS, seed, "option start")
    return start + ("\n" if style.between == "\n" else " ") + style.listed(options)


def _placed(text: str, listed: str) -> str:
    """The text with the list at its end, or before a last line that only asks for the answer."""
    head, line, cue = text.rpartition("\n")
    if line and head.strip() and _CUE.fullmatch(cue):
        return f"{head.rstrip()}\n{listed}\n{cue}"
    return f"{text}\n{listed}" if text else listed


def _can_label(rendered: Rendered, options: Sequence[str], *, cot: bool) -> bool:
    if not cot:
        return _place(rendered.target, options) is not None
    return _place(rendered.answer, options) is not None and _final(rendered) is not None


def _final(rendered: Rendered) -> re.Match[str] | None:
    """Where a chain of thought says its answer."""
    matches = list(re.finditer(rf"(?<!\w){re.escape(rendered.answer)}(?!\w)", rendered.target))
    return matches[-1] if matches else None


def _labelled(rendered: Rendered, style: OptionStyle, options: Sequence[str], *, cot: bool) -> Rendered:
    """With labels in place of answers. The answer is one of the options."""
    names = [style.named(place) for place in range(len(options))]

    def label(answer: str) -> str | None:
        place = _place(answer, options)
        return None if place is None else names[place]

    if not cot:
        target = label(rendered.target) or rendered.target
        references = [label(text) for text in rendered.references]
        kept = tuple(dict.fromkeys(text for text in references if text))
        return replace(rendered, target=target, options=tuple(names), references=kept or (target,))
    answer, final = label(rendered.answer) or rendered.answer, _final(rendered)
    text = rendered.target
    target = text if final is None else text[: final.start()] + answer + text[final.end() :]
    return replace(rendered, target=target, references=(target,), answer=answer)
