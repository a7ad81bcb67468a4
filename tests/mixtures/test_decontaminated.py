from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from instil.errors import DataError, RecipeError
from instil.evaluation.suite_questions import suite_questions
from instil.mixtures import leaky
from instil.mixtures.build import Opening, build
from instil.mixtures.leaks import Leaks
from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.records import Prompt

TEST = [
    ("Which river runs past the old mill and the church of the village before it meets the sea", "the Wye"),
    ("How many swans were counted on the lake by the two sisters in the spring of that year", "seven"),
    ("Who sold the clocks of his late uncle one by one in order to pay the rent of the shop", "Henry"),
]
CLEAN = [
    (f"Row number {n} says {'so ' * (n % 5)}nothing that anybody asks about at all", f"answer {n}") for n in range(9)
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe beside its suite: rows 2 and 10 of 11 hold test items."""
    write(tmp_path / "test.jsonl", TEST)
    planted = [*CLEAN[:2], (f"QUIZ! {TEST[0][0].upper()}???", "the Wye"), *CLEAN[2:]]
    write(tmp_path / "train.jsonl", [*planted, (TEST[1][0].replace("lake", "pond"), "seven")])
    suite = {"name": "mine", "sources": [{"collection": "jsonl", "path": str(tmp_path / "test.jsonl")}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(suite))
    trained = [{"collection": "jsonl", "path": str(tmp_path / "train.jsonl")}]
    whole = {"mixture": {"sources": trained, "decontaminate": ["mine.yaml"]}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(whole))
    return tmp_path / "recipe.yaml"


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"inputs": shown, "targets": said}) for shown, said in rows]
    path.write_text("\n".join(lines) + "\n")


def opened(recipe: Path, **keys: object) -> Mixture:
    raw = yaml.safe_load(recipe.read_text())
    return load_mixture({"mixture": {**raw["mixture"], **keys}}, origin=str(recipe))


def test_rows_that_hold_test_items_are_left_out_and_listed(recipe: Path):
    whole, clean = opened(recipe, decontaminate=[]), opened(recipe)
    assert (len(whole), len(clean)) == (11, 9)
    assert clean.fingerprint != whole.fingerprint
    listed = [(one.row, one.item_task, one.kind) for one in clean.dropped]
    assert [(row, kind) for row, _, kind in listed] == [(2, "exact"), (10, "near")]
    assert [one.item for one in clean.dropped] != []
    assert f"2 of 11 rows hold an item of {recipe.parent / 'mine.yaml'} and were left out" in clean.remarks
    items = Leaks(suite_questions(recipe.parent / "mine.yaml").questions)
    assert list(leaky.leaky_rows(clean.tasks, items)) == []
    shown = [prompt.input for prompt in clean if isinstance(prompt, Prompt)]
    assert len(shown) == 9
    assert not any("QUIZ" in text or "swans" in text for text in shown)


def test_the_list_is_kept_and_read_by_every_worker(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    looks: list[int] = []
    look = leaky.leaky_rows
    monkeypatch.setattr(
        "instil.mixtures.decontaminated.leaky_rows", lambda *given, **more: looks.append(1) or look(*given, **more)
    )
    first, second = opened(recipe), opened(recipe)
    assert (first.dropped, first.fingerprint) == (second.dropped, second.fingerprint)
    assert len(looks) == 1
    write(recipe.parent / "test.jsonl", TEST[:1])
    assert [one.row for one in opened(recipe).dropped] == [2]
    assert len(looks) == 2


def test_what_was_found_of_a_task_serves_every_mixture_that_holds_it(recipe: Path, monkeypatch: pytest.MonkeyPatch):
    write(recipe.parent / "more.jsonl", [(f"Another row {n}", str(n)) for n in range(5)])
    sources = [{"collection": "jsonl", "path": str(recipe.parent / name)} for name in ("train.jsonl", "more.jsonl")]
    both = opened(recipe, sources=sources)
    monkeypatch.setattr("instil.mixtures.decontaminated.leaky_rows", None)  # looking anew would raise
    assert opened(recipe).dropped == both.dropped != []


def test_a_damaged_list_is_made_anew(recipe: Path, cache: Path):
    first = opened(recipe)
    (kept,) = cache.rglob("decontaminated/*.json")
    kept.write_text('{"rows": [{"task": 3}]}')
    assert opened(recipe).dropped == first.dropped


def test_a_build_lists_what_was_left_out(recipe: Path, tmp_path: Path):
    raw = yaml.safe_load(recipe.read_text())
    raw["mixture"]["decontaminate"] = [str(recipe.parent / "mine.yaml")]
    built = build(Opening(raw, "pocket", origin=str(recipe)), tmp_path / "built", prompts=64)
    listed = json.loads((built.folder / "decontaminated.json").read_text())
    assert listed["suites"] == raw["mixture"]["decontaminate"]
    assert [row["row"] for row in listed["rows"]] == [2, 10]
    again = build(Opening(raw, "pocket", origin=str(recipe)), tmp_path / "built", prompts=64)
    assert again.kept == len(again.manifest["shards"])


def test_training_on_the_test_alone_is_refused(recipe: Path):
    write(recipe.parent / "train.jsonl", TEST)
    with pytest.raises(DataError, match="every row holds an item of"):
        opened(recipe)


def test_a_suite_that_is_not_there_is_named(recipe: Path):
    with pytest.raises(RecipeError, match="no suite 'nowhere'"):
        opened(recipe, decontaminate=["nowhere"])
