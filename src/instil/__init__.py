"""instil: instruction-tune a pre-trained language model, and show by experiment how much it helps.

import instil
mixture = instil.load_mixture("recipes/pocket.yaml")
mixture[0]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instil.mixtures.load import load_mixture

__all__ = ["load_mixture"]


def __getattr__(name: str) -> object:
    # Loaded when asked for: `import instil` must cost nothing, and every verb of the command line begins with it.
    if name == "load_mixture":
        from instil.mixtures.load import load_mixture

        return load_mixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
