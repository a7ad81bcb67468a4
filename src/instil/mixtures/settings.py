"""A setting says how a template is used: with how many exemplars, and with or without a chain of thought.

    zero-shot         What is 2 + 3?                                  -> 5
    few-shot-2        What is 1 + 1? 2   What is 4 + 0? 4   What is 2 + 3?  -> 5
    zero-shot-cot     What is 2 + 3?                                  -> 2 and 3 make 5. So the answer is 5.
    few-shot-2-cot    the same with two worked examples that reason

A recipe weighs them: `settings: {zero-shot: 0.5, few-shot-3: 0.3, zero-shot-cot: 0.2}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"(?:zero-shot|few-shot-([1-9][0-9]?))(-cot)?")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a template is used. `Setting.parse(setting.name) == setting`."""

    shots: int = 0
    """How many exemplars stand before the query."""
    cot: bool = False
    """Whether the target reasons before it answers."""

    @property
    def name(self) -> str:
        """`zero-shot`, `few-shot-3`, `zero-shot-cot`, ..."""
        shots = f"few-shot-{self.shots}" if self.shots else "zero-shot"
        return f"{shots}-cot" if self.cot else shots

    @classmethod
    def parse(cls, name: str) -> Setting:
        """The setting with this name.

        Raises:
            ValueError: if no setting has this name; the message says which names there are.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"no setting is called {name!r}; there are zero-shot, few-shot-K (K from 1 to 99), each also with -cot"
            )
        return cls(shots=int(match[1] or 0), cot=match[2] is not None)
