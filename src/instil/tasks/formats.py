"""Every format that instil reads, found by looking: a new one is one new file in `readers/`, and nothing else.

    readers/mmlu.py    READERS = (Mmlu(),)                             asked by `instil tasks check`
                       COLLECTIONS = (Declared("mmlu", "mmlu", ...),)   named by recipes: `collection: mmlu`

Readers are asked in the order of their module's `RANK` (0 where it has none), then of its name; those of one rank
recognise different files, and a test holds them to it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from instil.tasks import readers
from instil.tasks.readers.reading import Declared, Reader


def _modules() -> Iterator[Any]:
    return (import_module(f"{readers.__name__}.{found.name}") for found in pkgutil.iter_modules(readers.__path__))


_MODULES = sorted(_modules(), key=lambda module: (getattr(module, "RANK", 0), module.__name__))

#: The first that recognises a file reads it.
READERS: tuple[Reader, ...] = tuple(reader for module in _MODULES for reader in getattr(module, "READERS", ()))

#: The collections that are folders of files, by name.
DECLARED: dict[str, Declared] = {
    declared.name: declared for module in _MODULES for declared in getattr(module, "COLLECTIONS", ())
}
