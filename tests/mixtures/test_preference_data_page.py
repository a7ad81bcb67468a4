"""docs/preference-data.md says what the code does: its rows are read, its keys are those of the recipe section."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.mixtures.made_rankings import every, opened, write

from instil.mixtures.rankings import RankingsSpec

#: A row of the table of forms: the collection, empty where it is the one above, and what it says.
_FORM = re.compile(r"^\| (?:`([a-z-]+)`)? ?\| `(\{.*?\})` \| ", re.MULTILINE)


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "preference-data.md").read_text(encoding="utf-8")


def test_every_row_on_the_page_is_read_by_its_collection(page: str, tmp_path: Path) -> None:
    forms, collection = _FORM.findall(page), ""
    assert len(forms) == 13
    for number, (named, row) in enumerate(forms):
        collection = named or collection
        json.loads(row)
        path = write(tmp_path / f"{number}.jsonl", [row])
        found = opened(path, collection=collection, held_out=0)
        (ranking,) = every(found)
        assert (len(ranking.completions) == 1) == (not ranking.ranks), row
        assert (ranking.annotator, ranking.example) == (
            ("ada", "req-9") if '"req-9"' in row else (ranking.annotator, "1")
        )


def test_the_page_lists_every_key_with_its_default(page: str) -> None:
    keys = page[page.index("## Keys") :]
    told = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \| ", keys.replace("| | ", "|  | "), re.MULTILINE))
    fields = RankingsSpec.model_fields
    assert list(told) == list(fields)
    for name, said in told.items():
        default = fields[name].get_default(call_default_factory=True) if not fields[name].is_required() else None
        shown = "" if default is None else f"`{default}`" if isinstance(default, str) else f"{default:g}"
        assert said.strip() == shown, name
