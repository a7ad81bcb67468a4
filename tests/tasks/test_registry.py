"""Named collections: found under a data root, chosen by name, glob or list, with clear errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.tasks.readers.damage import COT, NI, P3, ROWS, YAML, write

from instil.errors import DataError
from instil.tasks.registry import collections, load_collection, open_collection


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tasks = tmp_path / "natural_instructions" / "tasks"
    tasks.mkdir(parents=True)
    for number in range(3):
        write(tasks, f"task{number}_cold.json", NI, zipped=number == 1)
    (tasks / "README.md").write_text("# tasks")
    (tmp_path / "flan_cot").mkdir()
    write(tmp_path / "flan_cot", "gsm8k_train.tsv", COT)
    (tmp_path / "p3").mkdir()
    write(tmp_path / "p3", "paws_labeled_final_Meaning.jsonl", P3)
    return tmp_path


def _names(name: str, root: Path, **options: object) -> list[str]:
    return [task.name for task in load_collection(name, root, **options)]  # type: ignore[arg-type]


def test_all_tasks_of_a_folder_are_loaded_in_order_of_name(root: Path) -> None:
    assert _names("ni", root) == ["ni/task0_cold", "ni/task1_cold", "ni/task2_cold"]


@pytest.mark.parametrize("asked", ["task1_cold", "ni/task1_cold", "task1*", "*1_c?ld"])
def test_tasks_are_chosen_by_name_or_glob(root: Path, asked: str) -> None:
    assert _names("ni", root, tasks=[asked]) == ["ni/task1_cold"]


def test_a_list_file_may_name_tasks_that_are_not_there(root: Path) -> None:
    (root / "natural_instructions" / "mine.txt").write_text("task0_cold\ntask9_absent\n\ntask2_cold\n")
    for asked in ("mine.txt", "natural_instructions/mine.txt", str(root / "natural_instructions" / "mine.txt")):
        found = open_collection("ni", root, tasks=[asked])
        assert [task.name for task in found.tasks] == ["ni/task0_cold", "ni/task2_cold"]
        assert found.absent == ("task9_absent",)


def test_only_the_chosen_files_are_read(root: Path) -> None:
    (root / "natural_instructions" / "tasks" / "task3_broken.json").write_text("{")
    assert _names("ni", root, tasks=["task0_cold"]) == ["ni/task0_cold"]
    found = open_collection("ni", root)
    assert len(found.tasks) == 3
    assert sum(map(len, found.quarantined.values())) == 1


def test_templates_that_were_set_aside_are_counted_with_the_rows(root: Path) -> None:
    one = "templates:\n  a: !Template {name: good, jinja: 'x {{ text }} ||| y'}\n"
    (root / "some.yaml").write_text(one + "  b: !Template {name: torn, jinja: '{{ text }}'}\n")
    (root / "mine.jsonl").write_text('{"text": "ice"}\n')
    found = open_collection("promptsource", root, path="mine.jsonl", templates="some.yaml")
    (aside,) = found.quarantined[str(root / "some.yaml")]
    assert (aside.where, aside.reason) == ("template 'torn'", "no ||| between input and target")


def test_collections_say_licence_and_cluster(root: Path) -> None:
    (cot,) = load_collection("cot", root)
    assert (cot.name, cot.cluster, cot.licence) == ("cot/gsm8k", "math word problems", "MIT")
    (p3,) = load_collection("p3", root)
    assert (p3.cluster, p3.source, p3.collection) == ("paraphrase identification", "paws", "p3")


def test_rows_of_ones_own_are_loaded_from_the_root_or_the_working_folder(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "mine.jsonl", ROWS)
    assert _names("jsonl", root, path="mine.jsonl") == ["jsonl/mine"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (elsewhere / "here.jsonl").write_text('{"q": "a", "a": "b"}\n')
    assert _names("jsonl", root, path="here.jsonl", columns={"inputs": "q", "targets": "a"}) == ["jsonl/here"]


def test_promptsource_templates_phrase_rows_of_ones_own(root: Path) -> None:
    write(root, "templates.yaml", YAML)
    (root / "mine.jsonl").write_text('{"text": "ice", "label": 0}\nbroken\n')
    found = open_collection("promptsource", root, path="mine.jsonl", templates="templates.yaml")
    assert [task.name for task in found.tasks] == ["promptsource/made_up"]
    assert sum(map(len, found.quarantined.values())) == 1


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nix", {}, "no collection 'nix'. Did you mean 'ni'?"),
        ("bbh", {}, "collection 'bbh': nothing at"),
        ("ni", {"path": "nowhere"}, "Give the data root with --data"),
        ("ni", {"tasks": ["task1_cald"]}, "Did you mean 'task1_cold'?"),
        ("ni", {"tasks": ["nothing*like*this"]}, "There are 3 tasks"),
        ("ni", {"tasks": ["absent.txt"]}, "no list of tasks at"),
        ("ni", {"tasks": ["none.txt"]}, "none of the 1 listed tasks is at"),
        ("ni", {"path": "flan_cot"}, "no task can be read for collection 'ni'"),
        ("ni", {"columns": {"inputs": "q"}}, "collection 'ni' takes no 'map'"),
        ("ni", {"colour": "red"}, "collection 'ni' takes no 'colour'"),
        ("jsonl", {}, "collection 'jsonl' needs a path"),
        ("jsonl", {"path": "none.txt", "columns": {"input": "q"}}, "no field 'input' to map"),
        ("jsonl", {"path": "asked.jsonl"}, "(line 1: no columns 'inputs' and 'targets'). Name the columns that it has"),
        ("jsonl", {"path": "talk.jsonl"}, "It is of another form: write `collection: chat` with this path"),
        ("pocket", {"tasks": ["skills/reverze"]}, "has no task 'skills/reverze'. Did you mean 'skills/reverse'?"),
        ("promptsource", {"path": "none.txt"}, "needs templates"),
    ],
)
def test_what_is_not_there_is_one_clear_error(root: Path, name: str, options: dict[str, object], words: str) -> None:
    (root / "none.txt").write_text("task9_absent\n")
    (root / "asked.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    (root / "talk.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    )
    with pytest.raises(DataError) as caught:
        load_collection(name, root, **options)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_are_an_error(root: Path) -> None:
    write(root / "natural_instructions" / "tasks", "task0_cold.json", NI, zipped=True)
    with pytest.raises(DataError, match="two files make task 'ni/task0_cold'"):
        load_collection("ni", root)


def test_the_present_splits_of_the_real_data_load(data_root: Path) -> None:
    dev = open_collection("ni", data_root, tasks=["splits/present/dev_tasks.txt"])
    assert (len(dev.tasks), dev.absent) == (12, ())
    official = open_collection("ni", data_root, tasks=["natural_instructions/splits/default/test_tasks.txt"])
    assert len(official.tasks) + len(official.absent) == 119


def test_pocket_is_known_by_its_entry_point() -> None:
    assert {"ni", "cot", "p3", "bbh", "bigbench", "jsonl", "promptsource", "pocket"} <= set(collections())


def test_tasks_import_neither_torch_nor_transformers(root: Path) -> None:
    code = (
        "import sys, json; from pathlib import Path; from instil.tasks.registry import load_collection;"
        "from instil.tasks.check import check; from instil.tasks.metrics import rouge_l; rouge_l('a', ['a']);"
        f"load_collection('ni', Path({str(root)!r})); list(check(Path({str(root)!r})));"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers"} & set(json.loads(done.stdout))
