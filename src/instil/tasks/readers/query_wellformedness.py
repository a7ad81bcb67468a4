r"""Query wellformedness: a TSV of question and rating, without header: the share of raters who said yes, 0.0 to 1.0.

    Who discovered x-rays in 1885 ? <tab> 1.0
    The female reproductive gland that matures the egg ? <tab> 0.2
    rate   How well formed is this query, from 0 to 1? Who discovered x-rays in 1885 ?    ->  1.0

Ratings are multiples of a fifth, and of a sixth where there were six raters (`0.833333333333`); they are shown with one
digit after the point, and `rating` keeps the number as the file has it. From 0.8 a query counts as well formed, as in
the paper.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.reading import Declared, Reading, RowProblem
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Source
from instil.tasks.readers.splits import read_split

#: Four of five raters.
WELL_FORMED = 0.8
GRADES = [f"{tenth / 10:.1f}" for tenth in range(11)]
TEMPLATES = (
    direct("rate", "How well formed is this query, from 0 to 1?\n{{ query }}", "{{ grade }}", options="grades"),
    direct("rating", "Query: {{ query }}\nRating of its form (0.0 to 1.0):", "{{ grade }}", options="grades"),
    direct("yes-or-no", "Is this a well-formed question?\n{{ query }}", options="options"),
)
CITATION = "Faruqui and Das 2018, Identifying Well-formed Natural Language Questions, arXiv:1808.09419"

_ROW = re.compile(rb"[^\t]*\t[ ]*(?:[01](?:\.\d+)?|\.\d+)[ ]*\r?")


@dataclass(frozen=True)
class QueryWellformedness:
    """Reads one split."""

    name: str = "query-wellformedness"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A TSV file, most of whose first rows are a text and a number from 0 to 1."""
        return Source(path).suffix == ".tsv" and is_rated(head)

    def read(self, path: Path) -> Reading:
        """One task; its worked examples are the train split's."""
        return read_split(
            self.name,
            path,
            _examples,
            collection="query_wellformedness",
            cluster="rating",
            templates=TEMPLATES,
            licence="CC BY-SA 4.0",
            source="Query wellformedness",
            citation=CITATION,
        )


def is_rated(head: bytes) -> bool:
    """Whether most of the first rows are a text and a number from 0 to 1."""
    lines = [line for line in head.split(b"\n")[:50] if line.strip()]
    return sum(bool(_ROW.fullmatch(line)) for line in lines) * 2 > len(lines)


def _examples(path: Path, reading: Reading) -> list[Example]:
    return examples_of(((f"line {number}", line) for number, line in Source(path).lines()), _fields, reading)


def _fields(line: str) -> dict[str, object]:
    columns = line.split("\t")
    if len(columns) != 2:
        raise RowProblem(f"{len(columns)} {'column' if len(columns) == 1 else 'columns'}, not 2")
    query = columns[0].strip()
    if not query:
        raise RowProblem("empty question")
    try:
        rating = float(columns[1])
    except ValueError:
        raise RowProblem("the rating is no number") from None
    if not (math.isfinite(rating) and 0 <= rating <= 1):
        raise RowProblem("the rating is not from 0 to 1")
    return {
        "query": query,
        "rating": rating,
        "grade": f"{rating:.1f}",
        "grades": GRADES,
        "answer": "yes" if rating >= WELL_FORMED else "no",
        "options": ["yes", "no"],
    }


READERS = (QueryWellformedness(),)
COLLECTIONS = (
    Declared(
        "query_wellformedness",
        "query_wellformedness",
        QueryWellformedness(),
        (".tsv",),
        "Query wellformedness, questions with ratings",
    ),
)
