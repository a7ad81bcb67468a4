"""From a recipe to a mixture: own files, real data, and messages for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import instil
from instil.errors import DataError, InstilError, RecipeError
from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.records import Prompt


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "my.jsonl"
    rows = [{"question": f"What is {k} + 1?", "answer": str(k + 1)} for k in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def source(**keys: Any) -> dict[str, Any]:
    return {"collection": "jsonl", "path": "my.jsonl", "map": {"inputs": "question", "targets": "answer"}, **keys}


def test_a_file_of_ones_own_is_a_mixture(own_file: Path) -> None:
    mixture = instil.load_mixture({"sources": [source()]}, own_file.parent)
    prompts = mixture.window(0, 20)
    assert {(prompt.input, prompt.target) for prompt in prompts} == {
        (f"What is {k} + 1?", str(k + 1)) for k in range(20)
    }
    assert prompts[0].task == "jsonl/my"


def test_a_whole_recipe_its_section_and_its_file_give_the_same(own_file: Path) -> None:
    section = {"sources": [source()], "settings": {"few-shot-2": 1}, "seed": 4}
    whole = {"name": "x", "data": str(own_file.parent), "model": {"path": "m"}, "mixture": section, "tuning": {"?": 1}}
    recipe = own_file.parent / "recipe.yaml"
    recipe.write_text(json.dumps(whole), encoding="utf-8")
    mixtures = [
        load_mixture(section, own_file.parent),
        load_mixture(whole),
        load_mixture(recipe),
        load_mixture(str(recipe)),
        load_mixture({**whole, "data": "nowhere"}, own_file.parent),
    ]
    assert all(mixture[:30] == mixtures[0][:30] for mixture in mixtures)
    assert len({mixture.fingerprint for mixture in mixtures}) == 1


def test_a_changed_byte_of_the_data_changes_the_fingerprint(own_file: Path) -> None:
    before = load_mixture({"sources": [source()]}, own_file.parent).fingerprint
    own_file.write_text(own_file.read_text(encoding="utf-8").replace("What is 7", "What's 7"), encoding="utf-8")
    assert load_mixture({"sources": [source()]}, own_file.parent).fingerprint != before


def test_rows_set_aside_and_listed_tasks_that_are_absent_are_remarked(own_file: Path) -> None:
    with own_file.open("a", encoding="utf-8") as file:
        file.write("{broken\n")
    (own_file.parent / "list.txt").write_text("my\nother\n", encoding="utf-8")
    mixture = load_mixture({"sources": [source(tasks=["list.txt"])]}, own_file.parent)
    assert len(mixture) == 20
    absent, aside = mixture.remarks
    assert "1 listed tasks are not there, other for one" in absent
    assert "1 rows in 1 files were set aside" in aside
    assert "line 21" in aside


def test_excluded_tasks_are_left_out_by_name_or_pattern(own_file: Path) -> None:
    (own_file.parent / "other.jsonl").write_text('{"inputs": "a", "targets": "b"}\n', encoding="utf-8")
    both = {"collection": "jsonl", "path": "."}
    names = {task.name for task in load_mixture({"sources": [{**both, "map": {}}]}, own_file.parent).tasks}
    assert names == {"jsonl/other"}  # my.jsonl has other columns
    for pattern in ("jsonl/other", "oth*"):
        with pytest.raises(DataError, match="has no task"):
            load_mixture({"sources": [{**both, "exclude": [pattern]}]}, own_file.parent)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({}, "no mapping `mixture`"),
        ({"data": 5, "mixture": {"sources": [{"collection": "ni"}]}}, "data is no path"),
        ({"mixture": None}, "no mapping `mixture`"),
        ({"mixture": {"sources": [{"collecton": "ni"}]}}, "did you mean 'collection'"),
        ({"sources": [{"collection": "jsonl", "path": "none.jsonl"}]}, "none.jsonl"),
        ({"sources": [{"collection": "nope"}]}, "no collection 'nope'"),
        ("none.yaml", "no recipe at none.yaml"),
    ],
)
def test_what_is_wrong_is_one_line(recipe: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InstilError) as caught:
        load_mixture(recipe)
    assert said in str(caught.value)
    assert isinstance(caught.value, (RecipeError, DataError))


def test_neither_torch_nor_transformers_are_imported_for_mixtures(own_file: Path) -> None:
    code = (
        "import sys, instil\n"
        "assert not {'numpy', 'pydantic', 'jinja2', 'yaml'} & set(sys.modules), 'import instil must be light'\n"
        "import instil.mixtures.showing, instil.mixtures.packing, instil.mixtures.tokenizer, instil.cli.mix\n"
        f"instil.load_mixture({{'sources': [{source()!r}]}}, {str(own_file.parent)!r})[0]\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.fixture(scope="module")
def real(data_root: Path) -> Mixture:
    reasoned = {"zero-shot-cot": 1, "few-shot-2-cot": 1}
    spec = {
        "seed": 1,
        "settings": {"zero-shot": 0.5, "few-shot-3": 0.5},
        "sources": [
            {"collection": "ni", "tasks": ["task11*", "task06*"], "share": 0.5, "cap": 500},
            {
                "collection": "cot",
                "tasks": ["creak"],
                "share": 0.25,
                "settings": reasoned,
            },
            {"collection": "p3", "tasks": ["quarel*", "paws*"], "share": 0.25},
        ],
    }
    return load_mixture(spec, data_root)


def test_real_collections_are_mixed_in_their_shares(real: Mixture) -> None:
    prompts = real.window(3, 1024)
    counts = Counter(prompt.collection for prompt in prompts)
    assert not real.holes
    assert abs(counts["ni"] - 512) <= 1
    assert abs(counts["cot"] - 256) <= 1
    assert all(prompt.target.strip() and (prompt.input.strip() or prompt.instruction) for prompt in prompts)


def test_real_queries_are_never_among_their_exemplars(real: Mixture) -> None:
    for place in real[5000:5400]:
        assert isinstance(place, Prompt)
        assert place.input not in [shown.input for shown in place.exemplars]
        assert place.example not in [shown.example for shown in place.exemplars]


def test_real_chains_of_thought_end_in_their_answer(real: Mixture) -> None:
    prompts = [prompt for prompt in real.window(0, 200) if prompt.setting.endswith("-cot")]
    assert prompts
    assert all(prompt.answer and prompt.answer in prompt.target for prompt in prompts)


def test_templates_beside_a_recipe_phrase_its_rows(own_file: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "mine.yaml").write_text(
        "templates:\n- {name: mine, input: 'Sum: {{ question }}', target: '{{ answer }}'}\n"
    )
    recipe = folder / "recipe.yaml"
    recipe.write_text("sources: [{collection: jsonl, path: my.jsonl, templates: mine.yaml}]\n")
    prompts = load_mixture(recipe, own_file.parent).window(0, 20)
    assert {prompt.template for prompt in prompts if isinstance(prompt, Prompt)} == {"mine"}
    assert {prompt.input for prompt in prompts if isinstance(prompt, Prompt)} == {
        f"Sum: What is {k} + 1?" for k in range(20)
    }


def test_a_folder_with_splits_is_trained_on_by_its_train_split(tmp_path: Path) -> None:
    for name in ("mine_train", "mine_dev", "mine_test", "other_test", "latest"):
        (tmp_path / f"{name}.jsonl").write_text('{"inputs": "a", "targets": "b"}\n', encoding="utf-8")
    mixture = load_mixture({"sources": [{"collection": "jsonl", "path": "."}]}, tmp_path)
    assert set(mixture.shares) == {"jsonl/mine_train", "jsonl/other_test", "jsonl/latest"}
    assert any("jsonl/mine_dev" in remark and "`tasks`" in remark for remark in mixture.remarks)
    assert any("no train split is here beside jsonl/other_test (such tasks: 1)" in said for said in mixture.remarks)
    named = {"sources": [{"collection": "jsonl", "path": ".", "tasks": ["mine_*"]}]}
    assert len(load_mixture(named, tmp_path).shares) == 3
    assert not load_mixture(named, tmp_path).remarks


def test_a_split_is_known_by_its_pool_where_its_name_is_another(tmp_path: Path) -> None:
    folder = tmp_path / "e2e"
    folder.mkdir()
    for name in ("trainset.csv", "devset.csv", "testset_w_refs.csv"):
        lines = "".join(f'"name[{name} {n}], area[city centre]","It is {name} {n}."\n' for n in range(4))
        (folder / name).write_text("mr,ref\n" + lines)
    mixture = load_mixture({"sources": [{"collection": "e2e_nlg", "path": "e2e"}]}, tmp_path)
    assert [task.name for task in mixture.tasks] == ["e2e_nlg/trainset"]
    asked = {"collection": "e2e_nlg", "path": "e2e", "tasks": ["testset_w_refs"]}
    assert [task.name for task in load_mixture({"sources": [asked]}, tmp_path).tasks] == ["e2e_nlg/testset_w_refs"]
    (folder / "trainset.csv").unlink()
    assert len(list(load_mixture({"sources": [{"collection": "e2e_nlg", "path": "e2e"}]}, tmp_path).tasks)) == 2


def test_no_real_collection_is_trained_on_by_the_splits_beside_its_train_split(data_root: Path) -> None:
    for name, kept in (("disfl_qa", {"disfl_qa/train"}), ("clinc", {"clinc/data_small_train"})):
        assert set(load_mixture({"sources": [{"collection": name}]}, data_root).shares) == kept
    p3 = load_mixture({"sources": [{"collection": "p3"}]}, data_root)
    assert not any("train split" in remark for remark in p3.remarks), "p3/quarel_logic_test is a template's name"
