"""One data set of the hub as many tasks: by its configurations, by a column that names the task, by a choice of rows.

    {collection: hub, path: bigscience/P3, tasks: ["ag_news_*"]}
    ->  hub/bigscience/P3/ag_news_classify, ...                   one for each configuration that fits
    {collection: hub, path: .../flan2021_submix_original, task_column: task_name, where: {template_type: zs_opt}}
    ->  hub/.../flan2021_submix_original@zs_opt/glue/mnli:2.0.0, ...    one for each value of the column

The rows of a part are found once, by its columns in Arrow, and kept as their numbers: no row is read for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from instil.errors import DataError
from instil.fingerprint import fingerprint
from instil.tasks.hub import Rows, open_hub
from instil.tasks.hub_loading import configurations
from instil.tasks.some_rows import SomeRows
from instil.tasks.task import Task
from instil.tasks.template_file import TemplateFile

if TYPE_CHECKING:
    import pyarrow as pa

Where = Mapping[str, str | Sequence[str]]
_NONE: NDArray[np.int64] = np.zeros(0, np.int64)


def open_parts(
    path: str,
    *,
    base: Path = Path(),
    tasks: Sequence[str] | None = None,
    config: str | None = None,
    task_column: str | None = None,
    where: Where | None = None,
    columns: Mapping[str, str] | None = None,
    templates: TemplateFile | None = None,
    **options: str,
) -> tuple[list[Task], list[str]]:
    """The tasks of a data set, and which of the names that were asked for fit none.

    Args:
        path: a name on the hub, or a folder. See `open_hub`, also for what is not named here.
        base: the data root.
        tasks: names or patterns of the parts; all if None.
        config: which configuration; without it, every one that `tasks` fits is a task.
        task_column: the column that names the task of a row.
        where: only rows whose columns hold these values.
        columns: which column stands for inputs, targets, options.
        templates: phrase the rows.
        options: split and revision.

    Raises:
        DataError: if it cannot be had, a column is not there, or no row is left.
    """

    def opened(named: str | None) -> Task:
        return open_hub(path, base=base, config=named, columns=columns, templates=templates, **options)

    if config is None and tasks is not None and task_column is None:
        offered = configurations(path, base, options.get("revision"))
        if len(offered) > 1:
            wanted = [name for name in offered if _fits(name, path, tasks)]
            return [_chosen(replace(opened(name), source=name), where or {}) for name in wanted], _idle(
                tasks, offered, path
            )
    whole = opened(config)
    if task_column is None:
        found = [_chosen(whole, where or {})]
        return [task for task in found if tasks is None or _fits(_title(task), path, tasks)], _idle(
            tasks or (), [_title(whole)], path
        )
    return _by_column(whole, task_column, where or {}, path, tasks)


def _by_column(
    whole: Task, column: str, where: Where, path: str, tasks: Sequence[str] | None
) -> tuple[list[Task], list[str]]:
    """A task for each value of a column."""
    rows, mark = _rows(whole), _mark(where)
    parts = _parts(rows, column, _matching(rows, where, whole.name), whole.name)
    pool = _pool(whole, where)
    worked = {} if pool is None else _parts(pool[0], column, pool[1], whole.name)
    found = []
    for name, places in parts.items():
        if len(places) and (tasks is None or _fits(name, path, tasks)):
            content = fingerprint([whole.content, column, name, _plain(where)])
            shown = worked.get(name, _NONE)
            found.append(
                replace(
                    whole,
                    name=f"{whole.name}{mark}/{name}",
                    cluster=name,
                    examples=SomeRows(rows, places),
                    exemplars=SomeRows(pool[0], shown, content) if pool is not None and len(shown) else None,
                    source=name,
                    content=content,
                )
            )
    if not found and tasks is None:
        raise DataError(f"{whole.name}: no row names its task in column {column!r}", remedy="Check `where`")
    return found, _idle(tasks or (), list(parts), path)


def _parts(rows: Rows, column: str, numbers: NDArray[np.int64], name: str) -> dict[str, NDArray[np.int64]]:
    """Which of the rows with these numbers hold each value of a column."""
    codes, values = _coded(_column(rows, column, name))
    codes = codes[numbers]
    # A stable sort keeps the rows of a task in their order.
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(values) + 1))
    return {value: numbers[order[ends[code] : ends[code + 1]]] for code, value in enumerate(values)}


def _chosen(task: Task, where: Where) -> Task:
    """The task with the rows that are asked for alone."""
    if not where:
        return task
    rows = _rows(task)
    places = _matching(rows, where, task.name)
    content = fingerprint([task.content, _plain(where)])
    pool = _pool(task, where)
    exemplars = None if pool is None else SomeRows(*pool, content)
    return replace(
        task, name=f"{task.name}{_mark(where)}", examples=SomeRows(rows, places), exemplars=exemplars, content=content
    )


def _pool(task: Task, where: Where) -> tuple[Rows, NDArray[np.int64]] | None:
    """The train split and its rows that are as asked, if any: a worked example is of the kind of what is asked."""
    pool = task.exemplars
    if not isinstance(pool, Rows):
        return None
    try:
        return pool, _matching(pool, where, task.name)
    except DataError:  # none of them holds these values
        return None


def _matching(rows: Rows, where: Where, name: str) -> NDArray[np.int64]:
    """The numbers of the rows whose columns hold the values."""
    kept = np.ones(len(rows), dtype=bool)
    for column, wanted in where.items():
        listed = [wanted] if isinstance(wanted, str) else list(wanted)
        codes, names = _coded(_column(rows, column, name))
        absent = [value for value in listed if value not in names]
        if absent:
            held = ", ".join(sorted(names)[:12])
            raise DataError(f"{name}: no row has {absent[0]!r} in column {column!r}", remedy=f"It holds {held}")
        kept &= np.isin(codes, [names.index(value) for value in listed])
    if not kept.any():
        raise DataError(f"{name}: no row is as `where` asks", remedy="Ask for less")
    return np.flatnonzero(kept).astype(np.int64)


def _coded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """A column as numbers of its values, and the values as text; rows without one get -1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = pc.cast(column, pa.string()).dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no chunk at all
        return np.zeros(0, dtype=np.int64), []
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _column(rows: Rows, column: str, name: str) -> pa.ChunkedArray:
    import pyarrow as pa

    dataset = rows.dataset
    if column not in dataset.column_names:
        raise DataError(f"{name} has no column {column!r}", remedy=f"It has {', '.join(dataset.column_names)}")
    if dataset._indices is not None:  # a slice or a selection: the table holds other rows, too
        return pa.chunked_array([pa.array(dataset[column])])
    return dataset.data.column(column)


def _rows(task: Task) -> Rows:
    assert isinstance(task.examples, Rows)
    return task.examples


def _title(task: Task) -> str:
    return task.name.partition("/")[2]


def _fits(name: str, path: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern fits the part's own name, or its name with the data set's in front."""
    names = (name, f"{path.rpartition('/')[2]}/{name}", f"{path}/{name}")
    return any(fnmatchcase(named, pattern.removeprefix("hub/")) for pattern in patterns for named in names)


def _idle(patterns: Sequence[str], names: Sequence[str], path: str) -> list[str]:
    return [pattern for pattern in patterns if not any(_fits(name, path, [pattern]) for name in names)]


def _mark(where: Where) -> str:
    return "".join(f"@{value if isinstance(value, str) else '+'.join(value)}" for value in where.values())


def _plain(where: Where) -> dict[str, object]:
    return {column: value if isinstance(value, str) else list(value) for column, value in where.items()}
