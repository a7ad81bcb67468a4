"""Data sets of the Hugging Face hub, or saved on disk, as tasks: rows stay in their Arrow files, read one at a time.

    {collection: hub, path: glue, config: mrpc, split: validation, templates: glue_mrpc.yaml}
    ->  Task hub/glue/mrpc/validation   408 rows of {sentence1, sentence2, label, idx}
        a column of class labels stays a number; its names are beside it: label 1, label_names ["not_equivalent", ...]
        exemplars from the train split

    {collection: hub, path: saved/my_set}     a folder that `save_to_disk` wrote, or one of JSONL, CSV or Parquet files

Rows are phrased by a file of templates, by a map of columns to inputs and targets, or, where their columns are those
of a known type of rows (conversations, preferences, instructions, ...), by that type's own template. A row that
cannot be used is refused when it is rendered: no data set is read through to open it. Code from the hub is never run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

from instil.errors import DataError
from instil.fingerprint import fingerprint
from instil.records import Example
from instil.tasks.hub_loading import folder_of, loader, train_split
from instil.tasks.preference import PREFERENCES
from instil.tasks.readers import alpaca, comparisons, flan, hh_rlhf, sharegpt, trl
from instil.tasks.readers.plain import TEMPLATE, Plain, json_value
from instil.tasks.readers.promptsource import metrics_of
from instil.tasks.readers.reading import RowProblem
from instil.tasks.readers.source import Source
from instil.tasks.readers.splits import content_of
from instil.tasks.task import SourceFile, Task
from instil.tasks.template import Renderer
from instil.tasks.template_file import TemplateFile

Fields = Callable[[Mapping[str, Any]], Mapping[str, object]]

_MEDIA = ("Image", "Audio", "Video", "Pdf", "Nifti")


@dataclass(frozen=True)
class Shape:
    """A known type of rows: how its fields are read, and phrased."""

    fits: Callable[[Mapping[str, Any]], bool]
    fields: Fields
    templates: tuple[Renderer, ...]
    metrics: tuple[str, ...]
    cluster: str = ""


SHAPES = (
    *(Shape(kind.fits, kind.fields, kind.templates, kind.metrics, kind.cluster) for kind in trl.READERS),
    Shape(hh_rlhf.is_pair, hh_rlhf.fields_of, PREFERENCES, ("accuracy",), "Preferences"),
    Shape(comparisons.fits, comparisons.fields_of, PREFERENCES, ("accuracy",), "Preferences"),
    Shape(sharegpt.fits, sharegpt.fields_of, (sharegpt.TEMPLATE,), ("rouge_l",), "Dialogue"),
    Shape(alpaca.fits, alpaca.fields_of, (alpaca.TEMPLATE,), ("rouge_l",), "Open-ended instructions"),
    Shape(flan.fits, flan.fields_of, (flan.TEMPLATE,), ("exact_match", "rouge_l")),
)


@dataclass(frozen=True)
class Rows(Sequence[Example]):
    """The examples of a map-style data set, each made when it is asked for."""

    dataset: Any
    fields: Fields
    prefix: str = ""
    """What a key starts with, so that rows of another split have keys of their own."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of class labels, by the field that they stand in."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which column stands for inputs, targets, options: a class label there is read by its name."""
    content: str = ""
    """Names the rows, so that nobody needs to read them all for that."""

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        row = {str(name): json_value(value) for name, value in self.dataset[place].items()}
        row |= {name: list(listed) for name, listed in self.names.items() if name not in row}
        for part in ("inputs", "targets"):
            self._name_label(row, part)
        try:
            fields = self.fields(row)
        except RowProblem as problem:  # templates refuse it: it has none of the fields that they need
            fields = {"set_aside": str(problem)}
        return Example(f"{self.prefix}{place + 1}", fields)

    def _name_label(self, row: dict[str, Any], part: str) -> None:
        """The name in place of a mapped label's number; those of a target are its options."""
        column = self.columns.get(part, "")
        listed, label = self.names.get(f"{column}_names"), row.get(column)
        if listed and isinstance(label, int) and 0 <= label < len(listed):
            row[column] = listed[label]
            if part == "targets" and "options" not in self.columns:
                row.setdefault("options", list(listed))

    def __iter__(self) -> Iterator[Example]:
        return (self[place] for place in range(len(self)))


def open_hub(
    path: str,
    *,
    base: Path = Path(),
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    columns: Mapping[str, str] | None = None,
    templates: TemplateFile | None = None,
) -> Task:
    """One split of a data set as a task.

    Args:
        path: a name on the hub, or a folder: absolute, from the base, or from the working folder.
        base: the data root.
        config: which configuration, where there are several.
        split: which split; `train` where None. Slices such as `train[:100]` are as in `datasets`.
        revision: a branch, tag or commit on the hub.
        columns: which column stands for inputs, targets, options.
        templates: phrase the rows with their columns as they are.

    Raises:
        DataError: if it cannot be had, or its rows cannot be phrased.
    """
    folder = folder_of(path, base)
    wanted = split or "train"
    title = "/".join(part for part in (folder.resolve().name if folder else path, config) if part)
    load = loader(path, folder, config, revision, title)
    dataset = load(wanted)
    _refuse_media(dataset, title)
    kind = _shape(dataset, columns, templates, title)
    names = _label_names(dataset)
    named = re.split(r"[\[+]", wanted, maxsplit=1)[0]
    pool = None if named == "train" else train_split(load)
    files = _files(folder)
    content = _content(dataset, pool, files, path, config, wanted, columns)
    own = [SourceFile(str(templates.path), templates.sha256)] if templates else []
    return Task(
        name=f"hub/{title}" if wanted == "train" else f"hub/{title}/{wanted}",
        cluster=kind.cluster or title,
        collection="hub",
        templates=templates.templates if templates else kind.templates,
        examples=Rows(dataset, kind.fields, "", names, columns or {}, content),
        exemplars=None if pool is None else Rows(pool, kind.fields, "train-", names, columns or {}, content),
        metrics=kind.metrics,
        licence=str(dataset.info.license or "").strip() or "not stated",
        language="not stated",
        source=path if folder is None else folder.name,
        citation=" ".join(str(dataset.info.citation or "").split()),
        content=content,
        files=(*files, *own),
    )


def _shape(dataset: Any, columns: Mapping[str, str] | None, templates: TemplateFile | None, title: str) -> Shape:
    """How the rows are read and phrased."""
    unknown = set(columns or ()) - {"inputs", "targets", "options"}
    if unknown:
        raise DataError(f"no field {min(unknown)!r} to map", remedy="Map inputs, targets or options to a column")
    absent = sorted(set((columns or {}).values()) - set(dataset.column_names))
    if absent:
        raise DataError(f"{title} has no column {absent[0]!r}", remedy=f"It has {', '.join(dataset.column_names)}")
    plain = Plain(map=dict(columns or {}))
    if templates is not None and not columns:
        return Shape(lambda row: True, _as_it_is, (TEMPLATE,), metrics_of(templates.templates))
    mapped = Shape(plain.fits, plain.fields_of, (TEMPLATE,), ("exact_match", "rouge_l"))
    if not len(dataset):
        raise DataError(f"{title} has no rows", remedy="Choose another split")
    first = {str(name): json_value(value) for name, value in dataset[0].items()}
    for shape in (mapped,) if columns else (*SHAPES, mapped):
        if shape.fits(first):
            return shape
    listed = ", ".join(dataset.column_names)
    remedy = "Give `templates: FILE`, or map inputs and targets to columns"
    raise DataError(f"{title}: nothing says how to phrase its rows ({listed})", remedy=remedy)


def _as_it_is(row: Mapping[str, Any]) -> dict[str, object]:
    """The columns by names that a template can use: promptsource writes `-` as `_`."""
    return {name.replace("-", "_"): value for name, value in row.items()}


def _refuse_media(dataset: Any, title: str) -> None:
    """Pictures and sound are no text."""
    for name, feature in dataset.features.items():
        found = next((kind for kind in _MEDIA if f"{kind}(" in repr(feature)), None)
        if found:
            remedy = f"Save it without that column: remove_columns({name!r}), then save_to_disk"
            raise DataError(f"{title}: column {name!r} holds {found}, not text", remedy=remedy)


def _label_names(dataset: Any) -> dict[str, tuple[str, ...]]:
    """The names of the class labels, under `COLUMN_names`."""
    found = {}
    for name, feature in dataset.features.items():
        inner = getattr(feature, "feature", feature)
        if type(inner).__name__ == "ClassLabel":
            found[f"{name}_names"] = tuple(inner.names)
    return found


def _files(folder: Path | None) -> tuple[SourceFile, ...]:
    """What a folder holds; what comes from the hub is named by its revision instead."""
    if folder is None:
        return ()
    found = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden and not file.name.startswith("cache-"):
            status = file.stat()
            found.append(SourceFile(str(file), _sha256(file, status.st_size, status.st_mtime_ns)))
    return tuple(found)


@lru_cache(maxsize=4096)  # a folder with many configurations is opened once for each
def _sha256(file: Path, size: int, modified: int) -> str:
    return Source(file).sha256()


def _content(
    dataset: Any,
    pool: Any,
    files: Sequence[SourceFile],
    path: str,
    config: str | None,
    split: str,
    columns: Mapping[str, str] | None,
) -> str:
    """Names the rows: by the bytes of a folder's files; else by the fingerprint of what the hub gave."""
    origin: list[object] = [content_of(files)] if files else [path, dataset._fingerprint, str(dataset.info.version)]
    if pool is not None and not files:
        origin.append(pool._fingerprint)
    return fingerprint([*origin, config, split, dict(columns or {}), repr(dataset.features), len(dataset)])
