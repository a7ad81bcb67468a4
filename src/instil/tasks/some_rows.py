"""Some rows of a task, by their numbers, read as lazily as the task's own.

SomeRows(rows, range(100))              what `limit: 100` leaves
SomeRows(rows, np.array([0, 2, 5]))     what is left without repeated rows; the part of a hub data set that is one task
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from instil.records import Example


@dataclass(frozen=True, slots=True, eq=False)
class SomeRows(Sequence[Example]):
    """The rows at some places of a sequence."""

    rows: Sequence[Example]
    places: range | NDArray[np.int64]
    content: str = ""
    """Names the rows, so that nobody needs to read them all for that; empty where the task does."""

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """The row at the index-th place."""
        if isinstance(index, slice):
            return [self.rows[int(place)] for place in self.places[index]]
        return self.rows[int(self.places[index])]
