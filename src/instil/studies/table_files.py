"""Results on the disk, for people and programs: the same bytes whether or not the study was ever stopped.

results.parquet, results.csv    a row a run, ask, task, setting, method and metric: the mean over items, and n
items.parquet                   a row an item
facts.json                      what is known of each run, how long it took included; what is missing, and why

pd.read_parquet("items.parquet").query("arm == 'tuned' and headline").groupby(["seed", "task"]).score.mean()
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from instil.errors import RunError
from instil.runs import disk_errors, write_json, write_text
from instil.studies.grid import Run
from instil.studies.table import Missing, Results, Scored

RESULTS, CSV, ITEMS, FACTS = "results.parquet", "results.csv", "items.parquet", "facts.json"
#: What stands between the groups of a task in the CSV file, which has no lists.
_BETWEEN = " "
#: What every row of both tables says besides the run and its axes.
_OF = ("suite", "task", "cluster", "groups", "setting", "method", "metric", "headline")


def write_results(results: Results, out: Path) -> None:
    """Write the tables into a study's folder.

    Raises:
        RunError: if the disk refuses.
    """
    axes = results.axes
    means = list(_means(results, axes))
    _write_parquet(out / RESULTS, means, {**_columns(results, axes), "score": "float64", "n": "int64"})
    write_text(out / CSV, _csv(means, ["run", *axes, *_OF, "score", "n"]))
    _write_parquet(out / ITEMS, _items(results, axes), {**_columns(results, axes), "item": "str", "score": "float64"})
    runs = [{"key": run.key, "axes": dict(run.axes), "facts": results.facts(run.key)} for run in results.runs_asked]
    write_json(out / FACTS, {"runs": runs, "missing": [asdict(one) for one in results.missing]})


def read_results(out: Path) -> Results:
    """The results that a study's folder holds.

    Raises:
        RunError: if they are not there, or are not what `write_results` writes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about = json.loads((out / FACTS).read_text("utf-8"))
        runs = tuple(Run(one["key"], one["axes"], model="as it was") for one in about["runs"])
        facts = {one["key"]: one["facts"] for one in about["runs"] if one["facts"]}
        missing = tuple(Missing(**one) for one in about["missing"])
        rows = pq.read_table(out / ITEMS).to_pylist()
        return Results(runs, list(_scored(rows)), facts, missing)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise RunError(
            f"{out} holds no results of a study ({type(error).__name__}: {error})", remedy="Carry out the study first"
        ) from error


def _columns(results: Results, axes: Iterable[str]) -> dict[str, str]:
    """The columns that both tables have, with their types."""
    columns = {"run": "str"}
    for axis in axes:
        values = [run.axes[axis] for run in results.runs_asked if axis in run.axes]
        columns[axis] = _type(values)
    return {**columns, **dict.fromkeys(_OF, "str"), "groups": "list", "headline": "bool"}


def _type(values: list[Any]) -> str:
    """What holds all values of an axis; text where they are of different kinds."""
    if all(isinstance(value, bool) for value in values):
        return "bool"
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return "int64"
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return "float64"
    return "str"


def _of(one: Scored, run: Run, axes: Iterable[str]) -> dict[str, Any]:
    about = {name: getattr(one, name) for name in _OF}
    return {"run": one.run, **{axis: run.axes.get(axis) for axis in axes}, **about}


def _means(results: Results, axes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    runs = {run.key: run for run in results.runs_asked}
    for one in results.scored:
        yield {**_of(one, runs[one.run], axes), "score": one.mean, "n": len(one.scores)}


def _items(results: Results, axes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    runs = {run.key: run for run in results.runs_asked}
    for one in results.scored:
        about = _of(one, runs[one.run], axes)
        for item, score in zip(one.items, one.scores, strict=True):
            yield {**about, "item": item, "score": score}


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]], columns: dict[str, str]) -> None:
    """A table, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"str": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(name, types.get(kind) or pa.list_(pa.string())) for name, kind in columns.items()])
    texts = [name for name, kind in columns.items() if kind == "str"]
    held: dict[str, list[Any]] = {name: [] for name in columns}
    for row in rows:
        for name, values in held.items():
            values.append(row[name])
    for name in texts:  # an axis of different kinds is text
        held[name] = [value if value is None or isinstance(value, str) else str(value) for value in held[name]]
    table = pa.table(held, schema=schema)
    with disk_errors(path), tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        beside = Path(file.name)
        try:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            beside.chmod(0o644)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def _csv(rows: Iterable[dict[str, Any]], columns: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        held = {**row, "groups": _BETWEEN.join(row["groups"])}
        writer.writerow(["" if held[name] is None else held[name] for name in columns])
    return text.getvalue()


def _scored(rows: Iterable[dict[str, Any]]) -> Iterator[Scored]:
    """The items put together again: rows of one kind stand one after another."""
    for of, same in groupby(rows, key=lambda row: (row["run"], *(_hashable(row[name]) for name in _OF))):
        held = list(same)
        items = tuple(row["item"] for row in held)
        scores = tuple(row["score"] for row in held)
        yield Scored(run=of[0], **dict(zip(_OF, of[1:], strict=True)), items=items, scores=scores)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
