"""The split files of a data set: which split a file is, and the train split beside it as its pool of worked examples.

    gsm8k/test.jsonl   is `test`;  beside it lies gsm8k/train.jsonl.gz  ->  exemplars train-1, train-2, ...
    gsm8k/train.jsonl  is `train`: its own rows are its pool (never the query itself)

Rows of an evaluated split are never shown as worked examples where a train split lies beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from instil.fingerprint import fingerprint
from instil.records import Example
from instil.tasks.readers.reading import Reading
from instil.tasks.readers.source import Damage, Source
from instil.tasks.task import SourceFile, Task

#: A split's name as a word of a file's name: `s1.dev`, `cose_dev_v1.0.jsonl`, `devset.csv`.
_SPLIT = re.compile(r"(?<![a-z])(train|dev|validation|valid|val|test)(?=(?:set)?(?![a-z]))")


def split_of(path: Path) -> str:
    """The split that a file's name says: `train`, `dev`, ...; empty where it says none."""
    found = _SPLIT.search(path.name)
    return found[1] if found else ""


def beside(path: Path, name: str) -> Path | None:
    """The file of a name in the same folder, zipped or not."""
    bare = path.parent / name.removesuffix(".gz")
    return next((file for file in (bare, bare.with_name(f"{bare.name}.gz")) if file.is_file()), None)


def train_beside(path: Path) -> Path | None:
    """The train split's file beside one of another split."""
    if split_of(path) in ("", "train"):
        return None
    return beside(path, _SPLIT.sub("train", path.name, count=1))


def pool(file: Path | None, examples: Callable[[Path, Reading], list[Example]]) -> list[Example] | None:
    """The worked examples in a file of another split, under keys of their own; None where there is none.

    Its damaged rows are left out here: they are set aside where the file itself is read.
    """
    if file is None:
        return None
    try:
        found = examples(file, Reading("exemplars"))
    except Damage:
        return None
    split = split_of(file) or file.parent.name
    return [Example(f"{split}-{example.key}", example.fields) for example in found] or None


def read_split(
    reader: str,
    path: Path,
    examples: Callable[[Path, Reading], list[Example]],
    *,
    collection: str,
    title: str = "",
    train: Path | None = None,
    also: str = "",
    **facts: Any,
) -> Reading:
    """One task of all rows of a file, its worked examples those of the train split.

    Args:
        reader: the format's name.
        path: the file.
        examples: reads a file of the format.
        collection: what the task belongs to.
        title: what it is called; as the file is, by default.
        train: the file of the train split, where it is not named like this one.
        also: what decides the rows besides the files.
        facts: what else a `Task` says: cluster, templates, metrics, licence, ...
    """
    reading = Reading(reader)
    rows = examples(path, reading)
    if rows:
        train = train or train_beside(path)
        files = source_files((path, train))
        reading.tasks.append(
            Task(
                name=f"{collection}/{title or Source(path).stem}",
                collection=collection,
                examples=rows,
                exemplars=pool(train, examples),
                content=content_of(files) + also,
                files=files,
                **facts,
            )
        )
    return reading


def source_files(paths: Iterable[Path | None]) -> tuple[SourceFile, ...]:
    """What a task was read from; None stands for a file that is not there."""
    return tuple(SourceFile(str(path), Source(path).sha256()) for path in paths if path is not None)


def content_of(files: Iterable[SourceFile]) -> str:
    """Names the content of several files."""
    return fingerprint([file.sha256 for file in files])
