"""What a recipe says about which tasks there are: nesting, filters, limits, what is missing, strictness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from instil.errors import DataError, InstilError, RecipeError
from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.records import Prompt


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files a, b and c of 20, 10 and 5 rows."""
    for name, count in (("a", 20), ("b", 10), ("c", 5)):
        rows = [{"inputs": f"What is {name}{k}?", "targets": str(k)} for k in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def own(name: str, **keys: Any) -> dict[str, Any]:
    return {"collection": "jsonl", "path": f"{name}.jsonl", **keys}


def load(root: Path, *sources: dict[str, Any], strict: bool = False, **keys: Any) -> Mixture:
    return load_mixture({"sources": list(sources), **keys}, root, strict=strict)


def write(path: Path, *sources: dict[str, Any], **keys: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"name": path.stem, "mixture": {"sources": list(sources), **keys}}), "utf-8")
    return path


def names(mixture: Mixture) -> list[str]:
    return [task.name for task in mixture.tasks]


def test_a_nested_recipe_lies_beside_the_one_that_names_it(root: Path) -> None:
    write(root / "recipes" / "inner.yaml", own("a", share=0.9), own("b", share=0.1), settings={"few-shot-1": 1})
    outer = write(root / "recipes" / "outer.yaml", {"mixture": "inner.yaml", "share": 0.5}, own("c", share=0.5), seed=3)
    mixture = load_mixture(outer, root)
    assert {name: round(float(share), 6) for name, share in mixture.shares.items()} == {
        "jsonl/a": 0.45,
        "jsonl/b": 0.05,
        "jsonl/c": 0.5,
    }
    by_task = {prompt.task: prompt.setting for prompt in mixture.window(0, 64)}
    assert by_task == {"jsonl/a": "few-shot-1", "jsonl/b": "few-shot-1", "jsonl/c": "zero-shot"}


def test_a_nested_recipe_is_found_under_the_data_root_and_in_the_working_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "inner.yaml", own("a"))
    assert names(load(root, {"mixture": "inner.yaml"}, own("b"))) == ["jsonl/a", "jsonl/b"]
    monkeypatch.chdir(root)
    assert names(load_mixture({"sources": [{"mixture": "inner.yaml"}]})) == ["jsonl/a"]


def test_what_a_nested_recipe_says_is_part_of_the_fingerprint_and_its_place_is_not(root: Path) -> None:
    outer = {"mixture": "inner.yaml", "share": 0.5}, own("c", share=0.5)
    write(root / "inner.yaml", own("a"), own("b"))
    first = load(root, *outer).fingerprint
    write(root / "else" / "inner.yaml", own("a"), own("b"))
    assert load(root, {"mixture": "else/inner.yaml", "share": 0.5}, own("c", share=0.5)).fingerprint == first
    write(root / "inner.yaml", own("a"), own("b"), cap=5)
    assert load(root, *outer).fingerprint != first


def test_a_mixture_that_holds_itself_is_refused(root: Path) -> None:
    write(root / "one.yaml", {"mixture": "two.yaml"})
    write(root / "two.yaml", {"mixture": "one.yaml"})
    with pytest.raises(RecipeError, match="holds itself"):
        load_mixture(root / "one.yaml", root)


def test_a_nested_recipe_that_is_absent_or_wrong_is_named(root: Path) -> None:
    with pytest.raises(InstilError, match=r"no recipe at nowhere\.yaml"):
        load(root, {"mixture": "nowhere.yaml"})
    write(root / "wrong.yaml", own("a", sharee=1))
    with pytest.raises(RecipeError, match=r"wrong\.yaml.*did you mean 'share'"):
        load(root, {"mixture": "wrong.yaml"})


def test_missing_sources_and_tasks_are_errors_or_remarks(root: Path) -> None:
    sources = own("a", share=0.4), own("nowhere", share=0.4), own("b", share=0.2, tasks=["b", "bb"])
    with pytest.raises(InstilError, match="nothing at"):
        load(root, *sources)
    mixture = load(root, *sources, missing="skip")
    assert {name: round(float(share), 6) for name, share in mixture.shares.items()} == {
        "jsonl/a": 0.666667,
        "jsonl/b": 0.333333,
    }
    skipped, absent = mixture.remarks
    assert "jsonl was skipped: collection 'jsonl': nothing at" in skipped
    assert "1 listed tasks are not there, bb for one" in absent
    with pytest.raises(DataError, match="the mixture has no task"):
        load(root, own("nowhere"), missing="skip")


def test_skipping_reaches_into_nested_recipes(root: Path) -> None:
    write(root / "inner.yaml", own("a"), own("nowhere"))
    with pytest.raises(InstilError, match="nothing at"):
        load(root, {"mixture": "inner.yaml"}, own("b"))
    assert names(load(root, {"mixture": "inner.yaml"}, own("b"), missing="skip")) == ["jsonl/a", "jsonl/b"]


def test_a_nested_recipe_of_which_nothing_is_there_is_skipped_as_a_whole(root: Path) -> None:
    write(root / "inner.yaml", own("nowhere"), hold_out={"clusters": ["x"]})
    mixture = load(root, {"mixture": "inner.yaml"}, own("b"), missing="skip", hold_out={"tasks": ["nothing*"]})
    assert names(mixture) == ["jsonl/b"]
    assert "was skipped: mixture.sources.0 (inner.yaml) has no task" in mixture.remarks[1]


def test_a_limit_uses_the_first_examples_alone(root: Path) -> None:
    mixture = load(root, own("a"), own("b", limit=3), own("c"), limit=7)
    assert [part.examples for part in mixture.parts] == [7, 3, 5]
    seen = {(prompt.task, prompt.input) for prompt in mixture.window(0, 256)}
    assert seen == {
        (f"jsonl/{name}", f"What is {name}{k}?") for name, n in (("a", 7), ("b", 3), ("c", 5)) for k in range(n)
    }
    assert mixture.fingerprint != load(root, own("a"), own("b"), own("c")).fingerprint
    few = load(root, own("a", limit=2), settings={"few-shot-5": 1}).window(0, 8)
    assert {len(prompt.exemplars) for prompt in few} == {1}


def test_tasks_are_chosen_by_cluster_and_catalogue(root: Path) -> None:
    (root / "facts.yaml").write_text(
        yaml.safe_dump(
            {"tasks": {"a": {"cluster": "Sums", "licence": "MIT"}, "b": {"cluster": "sums", "licence": "GPL"}}}
        ),
        "utf-8",
    )
    every = {"collection": "jsonl", "path": ".", "catalogue": "facts.yaml"}
    assert names(load(root, {**every, "clusters": ["SUM*"]})) == ["jsonl/a", "jsonl/b"]
    permissive = load(root, every, licence=["permissive"])
    assert names(permissive) == ["jsonl/a"]
    assert permissive.tasks[0].licence == "MIT"
    assert names(load(root, every, licence=["permissive", "unknown"])) == ["jsonl/a", "jsonl/c"]
    assert "2 of 3 tasks are left out for their licence" in permissive.remarks
    with pytest.raises(DataError, match="all 3 tasks are left out for their licence"):
        load(root, every, licence=["custom"])


def test_tasks_are_chosen_by_language(root: Path) -> None:
    facts = {"a": {"language": "German"}, "b": {"language": "English, German"}, "c": {"language": "fr"}}
    (root / "facts.yaml").write_text(yaml.safe_dump({"tasks": facts}), "utf-8")
    every = {"collection": "jsonl", "path": ".", "catalogue": "facts.yaml"}
    german = load(root, every, language=["de"])
    assert names(german) == ["jsonl/a"]
    assert "2 of 3 tasks are left out for their language" in german.remarks
    assert names(load(root, every, language=["German", "en"])) == ["jsonl/a", "jsonl/b"]
    with pytest.raises(RecipeError, match="'no such tongue' is none that is known"):
        load(root, every, language=["no such tongue"])


def test_held_out_tasks_and_subsets_leave_the_mixture_and_shares_grow(root: Path) -> None:
    every = own("a", share=0.5), own("b", share=0.3), own("c", share=0.2)
    held = load(root, *every, hold_out={"tasks": ["a"]})
    assert {name: round(float(share), 6) for name, share in held.shares.items()} == {"jsonl/b": 0.6, "jsonl/c": 0.4}
    assert held.remarks == ("1 of 3 tasks are left out as held out",)
    two = [set(names(load(root, *every, subset={"tasks": 2, "draw": draw}))) for draw in range(6)]
    assert {len(some) for some in two} == {2}
    assert len({frozenset(some) for some in two}) > 1


def test_the_official_split_of_natural_instructions_can_be_held_out(data_root: Path) -> None:
    listed = "natural_instructions/splits/present/dev_tasks.txt"
    mixture = load_mixture({"sources": [{"collection": "ni"}], "hold_out": {"tasks": [listed]}}, data_root)
    dev = set((data_root / listed).read_text("utf-8").split())
    assert dev
    assert dev.isdisjoint(task.name.removeprefix("ni/") for task in mixture.tasks)
    assert f"{len(dev):,} of {len(mixture.tasks) + len(dev):,} tasks are left out as held out" in mixture.remarks


def test_strict_refuses_the_first_row_with_file_place_and_reason(root: Path) -> None:
    with (root / "b.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"inputs": "x"}\n{broken\n')
    assert len(load(root, own("a"), own("b"))) == 30
    with pytest.raises(DataError, match=r"b\.jsonl, line 11: no columns .* leave out --strict"):
        load(root, own("a"), own("b"), strict=True)
    assert len(load(root, own("a"), strict=True)) == 20


def test_strict_is_an_option_of_mix_show(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from instil.cli.app import run

    recipe = write(root / "r.yaml", own("a"))
    with (root / "a.jsonl").open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    assert run(["mix", "show", str(recipe), "--data", str(root), "-n", "1", "--strict"]) == 2
    said = capsys.readouterr().err
    assert "a.jsonl, line 21: not JSON" in said
    assert said.count("\n") == 1
    assert run(["mix", "show", str(recipe), "--data", str(root), "-n", "1"]) == 0


def test_repeated_rows_are_left_out_where_asked(root: Path) -> None:
    (root / "d.jsonl").write_text((root / "a.jsonl").read_text("utf-8") * 2, "utf-8")
    kept = load(root, own("d"))
    dropped = load(root, own("d"), duplicates="drop-exact")
    assert (len(kept), len(dropped)) == (40, 20)
    assert kept.fingerprint != dropped.fingerprint
    assert any("repeat another" in remark for remark in dropped.remarks)
    assert all(isinstance(place, Prompt) for place in dropped[:20])
