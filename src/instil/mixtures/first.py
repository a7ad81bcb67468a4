"""The first rows of a task, read as lazily as the task's own: what `limit: 100` leaves of each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from instil.records import Example


@dataclass(frozen=True, slots=True, eq=False)
class First(Sequence[Example]):
    """The first `size` of some rows."""

    rows: Sequence[Example]
    size: int

    def __len__(self) -> int:
        return min(self.size, len(self.rows))

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """The index-th row."""
        places = range(len(self))[index]
        return [self.rows[place] for place in places] if isinstance(places, range) else self.rows[places]
