from __future__ import annotations

from pathlib import Path

import pytest
from tests.mixtures.test_duplicates import LONG, OTHERS, task

from instil.mixtures import dropped, duplicates
from instil.mixtures.dropped import drop_duplicates, drop_list
from instil.mixtures.mixture import Mixture
from instil.mixtures.spec import MixtureSpec
from instil.records import Prompt


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_dropping_shrinks_epochs_keeps_the_first_and_enters_the_fingerprint():
    toxic, again = task("toxic", [*OTHERS, OTHERS[0]]), task("again", [*OTHERS, (LONG, "no")])
    (kept, later), remarks = drop_duplicates([[toxic], [again]], "drop-exact")
    assert [example.key for example in kept[0].examples] == [f"r{row}" for row in range(6)]
    assert [example.key for example in later[0].examples] == ["r6"]
    assert remarks == ["7 of 14 rows repeat another exactly and were left out"]
    spec = MixtureSpec.model_validate({"sources": [{"collection": "a"}, {"collection": "b"}]})
    whole, dropped = Mixture(spec, [[toxic], [again]]), Mixture(spec, [kept, later])
    assert len(dropped) == 7
    assert dropped.fingerprint != whole.fingerprint
    shown = [prompt for prompt in dropped if isinstance(prompt, Prompt)]
    assert len({(prompt.input, prompt.target) for prompt in shown}) == 7


def test_a_task_that_only_repeats_goes_as_a_whole():
    (kept, later), remarks = drop_duplicates([[task("toxic", OTHERS)], [task("again", OTHERS)]], "drop-near")
    assert len(kept) == 1
    assert later == []
    assert "made/again" in remarks[1]


def test_rows_are_looked_for_once_and_again_where_a_task_or_the_code_changes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = [task("toxic", [*OTHERS, OTHERS[0]])]
    looks: list[int] = []
    find = duplicates.find_duplicates
    monkeypatch.setattr(duplicates, "find_duplicates", lambda tasks, **more: looks.append(1) or find(tasks, **more))
    first = drop_list(asked, "drop-exact")
    assert first.rows == {"made/toxic": [6]}
    assert drop_list([task("toxic", [*OTHERS, OTHERS[0]])], "drop-exact") == first
    assert len(looks) == 1
    assert drop_list([task("toxic", [*OTHERS, OTHERS[1]])], "drop-exact") == first
    drop_list(asked, "drop-near")
    assert len(looks) == 3
    monkeypatch.setattr(dropped, "_code", lambda: ["another"])
    drop_list(asked, "drop-exact")
    assert len(looks) == 4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": 3}', '{"rows": {"a": ["x"]}, "looked_at": 1}'])
def test_a_damaged_list_is_made_anew(cache: Path, text: str):
    asked = [task("toxic", [*OTHERS, OTHERS[0]])]
    made = drop_list(asked, "drop-exact")
    (file,) = cache.glob("drop-exact-*.json")
    file.write_text(text)
    assert drop_list(asked, "drop-exact") == made


def test_without_a_cache_the_rows_are_the_same(monkeypatch: pytest.MonkeyPatch):
    asked = [task("toxic", [*OTHERS, OTHERS[0]])]
    made = drop_list(asked, "drop-exact")
    monkeypatch.setenv("INSTIL_CACHE", "off")
    assert drop_list(asked, "drop-exact") == made
