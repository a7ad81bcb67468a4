"""Split files: which split a name says, and the train split as the pool of worked examples."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tasks.readers.damage import write

from instil.records import Example
from instil.tasks.readers.reading import Reading
from instil.tasks.readers.source import Damage
from instil.tasks.readers.splits import beside, content_of, pool, source_files, split_of, train_beside


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl.gz", "train"),
        ("cose_dev_v1.0_processed.jsonl", "dev"),
        ("s1.test", "test"),
        ("anatomy_val.csv", "val"),
        ("devset.csv", "dev"),
        ("testset_w_refs.csv", "test"),
        ("validation.json", "validation"),
        ("greatest.json", ""),
        ("training.json", ""),
        ("devices.json", ""),
    ],
)
def test_a_split_is_a_word_of_the_name(name: str, split: str) -> None:
    assert split_of(Path(name)) == split


def test_the_train_split_lies_beside_zipped_or_not(tmp_path: Path) -> None:
    test = write(tmp_path, "test.jsonl", b"")
    assert train_beside(test) is None
    zipped = write(tmp_path, "train.jsonl", b"", zipped=True)
    assert train_beside(test) == zipped
    assert train_beside(write(tmp_path, "test.jsonl", b"", zipped=True)) == zipped
    plain = write(tmp_path, "train.jsonl", b"")
    assert train_beside(test) == beside(test, "train.jsonl.gz") == plain
    assert train_beside(plain) is None
    assert train_beside(tmp_path / "rows.jsonl") is None


def test_worked_examples_have_keys_of_their_own_and_damage_leaves_none(tmp_path: Path) -> None:
    train = write(tmp_path, "train.jsonl", b"")

    def examples(path: Path, reading: Reading) -> list[Example]:
        reading.quarantine("line 1", "counted where the file itself is read")
        return [Example("7", {"a": path.name})]

    def broken(path: Path, reading: Reading) -> list[Example]:
        raise Damage("not JSON")

    assert pool(train, examples) == [Example("train-7", {"a": "train.jsonl"})]
    assert pool(None, examples) is pool(train, lambda path, reading: []) is pool(train, broken) is None


def test_files_of_a_task_are_named_by_their_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path, "1", b"a"), write(tmp_path, "2", b"b")
    files = source_files((one, None, two))
    assert [file.path for file in files] == [str(one), str(two)]
    assert content_of(files) != content_of(files[:1])
    write(tmp_path, "2", b"a")
    assert content_of(source_files((one, two))) != content_of(files)
