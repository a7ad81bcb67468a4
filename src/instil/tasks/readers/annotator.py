"""Who gave a preference, where a row says so.

{"prompt": "Hi", "chosen": "Hello", "rejected": "No", "annotator": "ada"}    ->  annotator "ada"
{..., "annotator": 7}                                                        ->  annotator "7"
{..., "annotator": null}                                                     ->  nobody is named
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instil.tasks.readers.reading import as_text


def annotator_in(row: Mapping[str, Any]) -> dict[str, object]:
    """The field `annotator` of a row that names one; nothing where it names none.

    Raises:
        RowProblem: if it is neither a text nor a number.
    """
    value = row.get("annotator")
    name = "" if value is None else as_text(value, "annotator").strip()
    return {"annotator": name} if name else {}
