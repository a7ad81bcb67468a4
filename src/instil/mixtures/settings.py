"""A setting says how a template is used: with how many exemplars, reasoning or not, options shown or not, ...

    zero-shot             What is 2 + 3?                                            -> 5
    few-shot-2            What is 1 + 1? 2   What is 4 + 0? 4   What is 2 + 3?      -> 5
    few-shot-2-mixed      1 + 1 = 2   The sum of 4 and 0 is 4   What is 2 + 3?      -> 5
    zero-shot-cot         What is 2 + 3?                                            -> 2 and 3 make 5. The answer is 5.
    zero-shot-options     What is 2 + 3? (A) 4 (B) 5                                -> (B)
    zero-shot-inverted    Ask something that is answered by 5.                      -> What is 2 + 3?
    few-shot-1-dialogue   User: What is 1 + 1? Assistant: 2 User: What is 2 + 3?    -> 5

The parts of a name stand in this order, each with a meaning of its own:

    zero-shot | few-shot-K   how many exemplars stand before the query
    -mixed                   each exemplar in a template of its own; all in the query's template otherwise
    -cot                     the target reasons before it answers
    -options | -no-options   the choices are listed, or not; as the template has it otherwise
    -inverted                the question is asked for, given the answer
    -dialogue                a conversation: exemplars are its earlier turns

A recipe weighs them: `settings: {zero-shot: 0.5, few-shot-3: 0.3, zero-shot-cot: 0.2}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(
    r"(?:zero-shot|few-shot-(?P<shots>[1-9][0-9]?))(?P<mixed>-mixed)?(?P<cot>-cot)?"
    r"(?:(?P<options>-options)|(?P<hidden>-no-options))?(?P<inverted>-inverted)?(?P<dialogue>-dialogue)?"
)
_GRAMMAR = (
    "there are zero-shot, few-shot-K (K from 1 to 99), each followed by any of -mixed, -cot, -options or -no-options, "
    "-inverted, -dialogue, in this order"
)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a template is used. `Setting.parse(setting.name) == setting`.

    Raises:
        ValueError: if its parts contradict each other.
    """

    shots: int = 0
    """How many exemplars stand before the query."""
    cot: bool = False
    """Whether the target reasons before it answers."""
    mixed: bool = False
    """Whether each exemplar has a template of its own, drawn from those of the same kind."""
    options: bool | None = None
    """Whether the choices are listed; None: as the template has it."""
    inverted: bool = False
    """Whether the question is asked for, given the answer."""
    dialogue: bool = False
    """Whether the prompt is a conversation with the exemplars as earlier turns."""

    def __post_init__(self) -> None:
        if self.mixed and not self.shots:
            raise ValueError(
                f"{self.name!r} mixes the templates of exemplars and has none; write few-shot-K-mixed, or zero-shot"
            )
        if self.inverted and self.options is not None:
            raise ValueError(
                f"{self.name!r} asks for the question, which is not chosen among options; "
                "leave out -options, -no-options or -inverted"
            )

    @property
    def name(self) -> str:
        """`zero-shot`, `few-shot-3`, `zero-shot-cot`, `few-shot-5-mixed-options`, ..."""
        parts = (
            (f"few-shot-{self.shots}" if self.shots else "zero-shot", True),
            ("-mixed", self.mixed),
            ("-cot", self.cot),
            ("-options", self.options is True),
            ("-no-options", self.options is False),
            ("-inverted", self.inverted),
            ("-dialogue", self.dialogue),
        )
        return "".join(part for part, on in parts if on)

    @classmethod
    def parse(cls, name: str) -> Setting:
        """The setting with this name.

        Raises:
            ValueError: if no setting has this name; the message says which names there are.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"no setting is called {name!r}{_meant(name)}; {_GRAMMAR}")
        return cls(
            shots=int(match["shots"] or 0),
            cot=match["cot"] is not None,
            mixed=match["mixed"] is not None,
            options=True if match["options"] else False if match["hidden"] else None,
            inverted=match["inverted"] is not None,
            dialogue=match["dialogue"] is not None,
        )


def _meant(name: str) -> str:
    """The setting whose parts these are, where only their order or a capital letter is wrong."""
    found = re.findall(
        r"zero-shot|few-shot-[1-9][0-9]?(?![0-9])|mixed|cot|no-options|options|inverted|dialogue", name.casefold()
    )
    if "-".join(found) != name.casefold() or len(set(found)) < len(found):
        return ""
    order = ("zero", "few", "mixed", "cot", "options", "no-options", "inverted", "dialogue")
    likely = "-".join(sorted(found, key=lambda part: [part.startswith(start) for start in order].index(True)))
    return f" (did you mean {likely!r}?)" if _NAME.fullmatch(likely) else ""
