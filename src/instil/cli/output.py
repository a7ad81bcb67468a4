"""What a person sees: one line for a problem on stderr, results on stdout, colour only where it is welcome.

complain("error", "no recipe at x.yaml. Give ...")   -> stderr: error: no recipe at x.yaml. Give ...
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from unicodedata import category

if TYPE_CHECKING:
    from rich.console import Console


def complain(kind: str, text: str) -> None:
    """One line on stderr, whatever line breaks or control characters the text holds."""
    line = " ".join(text.split())
    line = "".join(character for character in line if character.isprintable())
    mark = f"\x1b[1;31m{kind}:\x1b[0m" if sys.stderr.isatty() and "NO_COLOR" not in os.environ else f"{kind}:"
    print(f"{mark} {line}", file=sys.stderr)


def visible(text: str) -> str:
    """Control and formatting characters by their numbers: data must not steer a terminal or hide in it."""
    return "".join(
        character
        if character in "\n\t" or character.isprintable() or category(character) == "Zs"
        else f"<U+{ord(character):04X}>"
        for character in text
    )


def console() -> Console:
    """A rich console on stdout; rich is imported here, not at start."""
    from rich.console import Console

    return Console(highlight=False)
