"""Data sets through `datasets`, offline: saved folders, folders of files, and what cannot be had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from instil.errors import AbsentError, DataError
from instil.tasks.hub import Rows, open_hub
from instil.tasks.hub_loading import _settle_network
from instil.tasks.registry import open_collection
from instil.tasks.template import RenderRefused

TEMPLATES = """templates:
  - name: mood
    input: "{{ text }} Is it {{ label_names | join(' or ') }}?"
    target: "{{ answer_choices[label] }}"
    answer_choices: bad ||| good
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root with saved sets and folders of files; nothing of it reaches the user's own cache."""
    import datasets

    root = tmp_path_factory.mktemp("hub")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "a-b": datasets.Value("string"),
        }
    )
    train = datasets.Dataset.from_dict(
        {"text": [f"train {n}" for n in range(5)], "label": [0, 1, 0, 1, 0], "a-b": ["x"] * 5}, features=features
    )
    test = train.select(range(2)).map(
        lambda row: {"text": row["text"].replace("train", "test")}, load_from_cache_file=False
    )
    datasets.DatasetDict(train=train, test=test).save_to_disk(root / "mood")
    train.save_to_disk(root / "single")
    (root / "mood.yaml").write_text(TEMPLATES, encoding="utf-8")
    for name, split, rows in (
        ("pairs", "train", [{"inputs": "2 + 2", "targets": "4"}, {"inputs": "", "targets": "x"}]),
        ("pairs", "test", [{"inputs": "3 + 3", "targets": "6"}]),
        ("prefer", "train", [{"prompt": "Name a fruit.", "chosen": "Apple", "rejected": "A chair"}]),
        (
            "chats",
            "train",
            [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}],
        ),
        ("odd", "train", [{"question": "1 + 1", "solution": "2"}]),
    ):
        (root / name).mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / name / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    (root / "configs" / "one").mkdir(parents=True)
    (root / "configs" / "two").mkdir()
    listed = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in ("one", "two"))
    card = f"---\nconfigs:\n{listed}---\n"
    (root / "configs" / "README.md").write_text(card, encoding="utf-8")
    for name in ("one", "two"):
        (root / "configs" / name / "a.jsonl").write_text(f'{{"inputs": "{name}", "targets": "t"}}\n', encoding="utf-8")
    (root / "parquet").mkdir()
    train.to_parquet(root / "parquet" / "train-00000-of-00001.parquet")
    (root / "script").mkdir()
    (root / "script" / "script.py").write_text("raise SystemExit('run')\n", encoding="utf-8")
    pictures = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_dict({"image": [None], "text": ["a"]}, features=pictures).save_to_disk(root / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
        yield root


def test_class_labels_stay_numbers_and_their_names_stand_beside_them(hub: Path) -> None:
    (task,) = open_collection("hub", hub, path="mood", templates="mood.yaml").tasks
    assert (task.name, task.size) == ("hub/mood", 5)
    fields = dict(task.examples[1].fields)
    assert fields == {"text": "train 1", "label": 1, "a_b": "x", "label_names": ["neg", "pos"]}
    made = task.templates[0].render(task.examples[1], seed=0)
    assert (made.input, made.target, made.options) == ("train 1 Is it neg or pos?", "good", ("bad", "good"))


def test_a_mapped_class_label_is_read_by_its_name_and_the_names_are_options(hub: Path) -> None:
    (task,) = open_collection("hub", hub, path="mood", columns={"inputs": "text", "targets": "label"}).tasks
    made = task.templates[0].render(task.examples[1], seed=0)
    assert (made.input, made.target, made.options) == ("train 1", "pos", ("neg", "pos"))


def test_exemplars_come_from_the_train_split_under_keys_of_their_own(hub: Path) -> None:
    (task,) = open_collection("hub", hub, path="mood", columns={}, templates="mood.yaml", split="test").tasks
    assert (task.name, task.size) == ("hub/mood/test", 2)
    assert task.exemplars is not None
    assert [example.key for example in task.exemplars] == [f"train-{n}" for n in range(1, 6)]
    assert task.examples[0].fields["text"] == "test 0"
    (train,) = open_collection("hub", hub, path="mood", templates="mood.yaml").tasks
    assert train.exemplars is None


def test_rows_are_made_when_they_are_asked_for(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    import datasets

    real = datasets.Dataset.__getitem__
    monkeypatch.setattr(datasets.Dataset, "__getitem__", lambda self, key: (read.append(key), real(self, key))[1])
    task = open_hub("pairs", base=hub, split="test")
    assert len(read) <= 1  # the first row tells how to phrase them
    assert task.fingerprint
    assert len(read) <= 1
    assert isinstance(task.examples, Rows)
    assert task.examples[-1].key == "1"
    assert [example.key for example in task.examples[0:1]] == ["1"]
    with pytest.raises(IndexError):
        task.examples[1]


def test_files_in_a_folder_are_loaded_with_their_splits(hub: Path) -> None:
    task = open_hub("pairs", base=hub, split="test")
    assert task.templates[0].render(task.examples[0], seed=0).target == "6"
    assert task.exemplars is not None
    assert task.exemplars[0].fields["targets"] == ["4"]
    assert {Path(file.path).name for file in task.files} == {"train.jsonl", "test.jsonl"}
    assert open_hub("parquet", base=hub, columns={"inputs": "text", "targets": "a-b"}).size == 5
    assert open_hub("pairs", base=hub, split="train[:1]").size == 1


def test_a_row_that_cannot_be_used_is_refused_when_it_is_rendered(hub: Path) -> None:
    task = open_hub("pairs", base=hub)
    assert task.examples[1].fields == {"set_aside": "empty input"}
    with pytest.raises(RenderRefused) as refused:
        task.templates[0].render(task.examples[1], seed=0)
    assert refused.value.reason == "missing field"


def test_hidden_files_and_caches_beside_the_data_are_no_part_of_it(hub: Path, tmp_path: Path) -> None:
    for name in ("train.jsonl", ".git/config", ".cache/huggingface/x", "cache-1.arrow"):
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text('{"inputs": "a", "targets": "b"}\n', encoding="utf-8")
    assert [Path(file.path).name for file in open_hub("own", base=tmp_path).files] == ["train.jsonl"]


def test_known_types_of_rows_bring_their_own_template(hub: Path) -> None:
    assert open_hub("prefer", base=hub).templates[0].name == "better"
    chats = open_hub("chats", base=hub)
    assert chats.templates[0].render(chats.examples[0], seed=0).messages[0].content == "Hi"


def test_the_fingerprint_names_the_rows(hub: Path, tmp_path: Path) -> None:
    once = open_hub("pairs", base=hub).fingerprint
    assert open_hub("pairs", base=hub).fingerprint == once
    assert open_hub("pairs", base=hub, split="test").fingerprint != once
    changed = tmp_path / "pairs"
    changed.mkdir()
    rows = (hub / "pairs" / "train.jsonl").read_text(encoding="utf-8")
    (changed / "train.jsonl").write_text(rows.replace("4", "5"), encoding="utf-8")
    assert open_hub("pairs", base=tmp_path).fingerprint != once


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("glue", {"config": "mrpc"}, "glue/mrpc cannot be reached on the hub"),
        ("configs", {}, "configs has several configurations. Give `config`, one of one, two"),
        ("configs", {"config": "three"}, "no configuration 'three'. It has one, two"),
        ("pairs", {"split": "dev"}, "pairs has no split 'dev'. It has train, test"),
        ("mood", {"split": "dev"}, "mood has no split 'dev'. It has train, test"),
        ("single", {"split": "test"}, "single is one split alone, not 'test'"),
        ("mood", {"config": "x"}, "a saved data set has no config"),
        ("script", {}, "code from the hub is never run"),
        ("pictures", {}, "column 'image' holds Image, not text"),
        ("odd", {}, "nothing says how to phrase its rows \\(question, solution\\)"),
        ("mood.yaml", {}, "is a file, not a data set"),
        ("odd", {"columns": {"inputs": "ask"}}, "odd has no column 'ask'. It has question, solution"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(hub: Path, path: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        open_collection("hub", hub, path=path, **options)
    assert "\n" not in str(error.value)
    assert error.value.remedy


def test_a_damaged_saved_set_is_one_clear_line(hub: Path, tmp_path: Path) -> None:
    for file in ("state.json", "dataset_info.json"):
        (tmp_path / file).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be loaded"):
        open_hub(str(tmp_path))


def test_the_path_is_needed_and_other_collections_take_no_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs a path"):
        open_collection("hub", tmp_path)
    with pytest.raises(DataError, match="takes no 'split'"):
        open_collection("jsonl", tmp_path, path="x.jsonl", split="test")


def test_without_a_way_to_the_hub_its_cache_alone_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    _settle_network.cache_clear()
    with pytest.raises(AbsentError, match="cannot be reached"):
        open_hub("nobody/nothing")
    assert huggingface_hub.constants.HF_HUB_OFFLINE is True
    _settle_network.cache_clear()
