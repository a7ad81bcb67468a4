"""K-wise comparisons: one prompt and several completions that somebody ranked or scored, ties allowed.

    {"prompt": "Name a fruit.", "completions": ["Apple", "Pear", "A chair"], "ranking": [1, 1, 2]}
    ->  messages [user "Name a fruit."]   completions [...]   ranks [1, 1, 2]     Apple and Pear are tied
    {"prompt": [{"role": "user", ...}], "completions": [...], "scores": [0.9, 0.9, 0.1]}      ranks [1, 1, 2]
    {"prompt": "...", "completions": [...], "ranking": [[0, 1], [2]]}                         ranks [1, 1, 2]

A `ranking` (or `ranks`) gives each completion its rank, the smallest is best, whatever it starts from; a list of lists
is the other way round: the places of the completions, from 0, best first, those of one inner list tied. Of `scores` the
highest is best. Where a row has both, they must not contradict each other. Ranks are counted anew, from 1 without gaps.

A row may say who ranked (`annotator`) and what it is called (`id`). A single completion with its score is a rating: it
has no rank. An empty completion stays where it stands as long as two others have text, so that what uses the row can
leave out that one alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.records import Example
from instil.tasks.preference import PREFERENCES
from instil.tasks.readers.annotator import annotator_in
from instil.tasks.readers.conversation import as_messages, messages_in
from instil.tasks.readers.plain import first_rows, rows_of
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.splits import read_split
from instil.tasks.readers.trl import said

RANKS = ("ranking", "ranks")


@dataclass(frozen=True)
class Comparisons:
    """Reads one file of comparisons."""

    name: str = "comparisons"

    def recognises(self, path: Path, head: bytes) -> bool:
        """Rows with a prompt, completions, and ranks or scores."""
        return any(fits(row) for row in first_rows(path, head))

    def read(self, path: Path) -> Reading:
        """One task with every comparison."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="comparisons",
            cluster="Preferences",
            templates=PREFERENCES,
            metrics=("accuracy",),
            licence="not stated",
            language="not stated",
            source=path.name,
        )


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(rows_of(path), fields_of, reading, key="id")


def fits(row: Mapping[str, Any]) -> bool:
    """Whether a row has a prompt, completions, and ranks or scores."""
    asked, said = {"prompt", "messages"} & set(row), {*RANKS, "scores"} & set(row)
    return isinstance(row.get("completions"), (list, tuple)) and bool(asked and said)


def fields_of(row: Mapping[str, Any]) -> dict[str, object]:
    """What a row holds, in the form of preferences.

    Raises:
        RowProblem: if it is none that can be compared, or scored.
    """
    messages = said(row, "prompt", "user") if "prompt" in row else messages_in(row, "messages")
    named = next((name for name in RANKS if row.get(name) is not None), "")
    scored = row.get("scores") is not None
    completions = _completions(row, 1 if scored and not named else 2)
    ranks = _ranks(row[named], named, len(completions)) if named else None
    fields: dict[str, object] = {"messages": messages, "completions": completions}
    if scored:
        scores = _scores(row["scores"], len(completions))
        fields["scores"] = scores
        by_score = dense([-score for score in scores])
        if ranks is not None and ranks != by_score:
            raise RowProblem("ranks and scores contradict each other")
        ranks = by_score if len(scores) > 1 else []
    if ranks is None:
        raise RowProblem("no ranking and no scores")
    if ranks:
        fields["ranks"] = ranks
    if isinstance(row.get("id"), (str, int)):
        fields["id"] = as_text(row["id"], "id")
    return fields | annotator_in(row)


def _completions(row: Mapping[str, Any], least: int) -> list[str]:
    """The completions, of which at least so many have text."""
    listed = row.get("completions")
    if not isinstance(listed, (list, tuple)):
        raise RowProblem("field 'completions' is no list")
    if len(listed) < least:
        raise RowProblem("fewer than two completions" if least > 1 else "no completion")
    found = [_completion(one) for one in listed]
    if len([text for text in found if text]) < min(2, len(found)):
        raise RowProblem("empty reply")
    return found


def _completion(value: object) -> str:
    """A completion: a text, or a message (or a list of one)."""
    listed = [value] if isinstance(value, Mapping) else value
    if not isinstance(listed, (list, tuple)):
        return as_text(value, "completions").strip()
    messages = as_messages(listed, "completions")
    if len(messages) != 1:
        raise RowProblem("a completion is more than one message")
    content: str = messages[0]["content"]
    return content


def _ranks(value: object, name: str, count: int) -> list[int]:
    if not isinstance(value, (list, tuple)):
        raise RowProblem(f"field {name!r} is no list")
    if any(isinstance(one, (list, tuple)) for one in value):
        return _grouped(value, name, count)
    return dense(_numbers(value, name, count))


def _grouped(value: Sequence[object], name: str, count: int) -> list[int]:
    """The rank of each completion, from the places of the completions, best first."""
    ranks: dict[object, int] = {}
    for rank, group in enumerate(value, start=1):
        for place in group if isinstance(group, (list, tuple)) else (group,):
            if not isinstance(place, int) or isinstance(place, bool) or place in ranks or not 0 <= place < count:
                raise RowProblem(f"field {name!r} does not name each completion once")
            ranks[place] = rank
    if len(ranks) != count:
        raise RowProblem(f"field {name!r} does not name each completion once")
    return dense([ranks[place] for place in range(count)])


def _scores(value: object, count: int) -> list[float]:
    if not isinstance(value, (list, tuple)):
        raise RowProblem("field 'scores' is no list")
    return _numbers(value, "scores", count)


def _numbers(value: Sequence[object], name: str, count: int) -> list[float]:
    if len(value) != count:
        raise RowProblem(f"field {name!r} has not one number for each completion")
    numbers = []
    for one in value:
        if isinstance(one, bool) or not isinstance(one, (int, float)):
            raise RowProblem(f"field {name!r} holds something other than numbers")
        try:
            numbers.append(float(one))
        except OverflowError:
            raise RowProblem(f"field {name!r} holds a number that is too large") from None
        if not math.isfinite(numbers[-1]):
            raise RowProblem(f"field {name!r} holds NaN or an infinite number")
    return numbers


def dense(values: Sequence[float]) -> list[int]:
    """Ranks from 1 without gaps, the smallest value first: [3, 1, 1] -> [2, 1, 1]."""
    order = {value: rank for rank, value in enumerate(sorted(set(values)), start=1)}
    return [order[value] for value in values]


READERS = (Comparisons(),)
COLLECTIONS = (
    Declared(
        "comparisons",
        "comparisons",
        Comparisons(),
        (".jsonl", ".json", ".parquet"),
        "comparisons of one's own: prompt, completions, ranking or scores",
    ),
)
