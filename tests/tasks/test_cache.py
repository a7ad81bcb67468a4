"""Kept collections: the same as fresh ones, never stale, never half, readable from other processes."""

from __future__ import annotations

import gzip
import io
import json
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.errors import DataError
from instil.fingerprint import fingerprint
from instil.mixtures.load import load_mixture
from instil.recipe import load_yaml
from instil.records import Example
from instil.tasks import cache
from instil.tasks.mapped import PIECE_BYTES, DamagedError, MappedRows, NotPlainError, Writer, open_mapped
from instil.tasks.registry import open_collection
from instil.tasks.task import Task
from instil.tasks.template import Template


@pytest.fixture(autouse=True)
def kept_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every collection is kept, in a folder of the test."""
    monkeypatch.setattr(cache, "SMALLEST_BYTES", 0)
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("one", "two"):
        lines = [{"inputs": f"{name} {k}?", "targets": str(k), "options": ["0", str(k)]} for k in range(50)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text + "{broken\n", encoding="utf-8")
    return folder


def opened(folder: Path) -> dict[str, Task]:
    return {task.name: task for task in open_collection("jsonl", None, path=str(folder)).tasks}


def content(task: Task) -> str:
    pool = None if task.exemplars is None else [[row.key, list(row.fields.items())] for row in task.exemplars]
    return fingerprint([[[row.key, list(row.fields.items())] for row in task.examples], pool])


def kept_file(folder: Path) -> Path:
    (file,) = folder.glob("*.arrow")
    return file


@pytest.mark.parametrize("name", ["ni", "bbh", "mmlu", "fastchat", "llmbar"])
def test_a_kept_collection_equals_the_fresh_one(
    name: str, data_root: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ["task12*"] if name == "ni" else None
    open_collection(name, data_root, tasks=some)
    kept = open_collection(name, data_root, tasks=some)
    monkeypatch.setenv("INSTIL_CACHE", "off")
    fresh = open_collection(name, data_root, tasks=some)
    assert len(list(kept_in.glob("*.arrow"))) == 1
    assert [task.name for task in kept.tasks] == [task.name for task in fresh.tasks]
    assert kept.quarantined == fresh.quarantined
    for one, other in zip(kept.tasks, fresh.tasks, strict=True):
        assert isinstance(one.examples, MappedRows)
        assert not isinstance(other.examples, MappedRows)
        assert one.templates == other.templates
        assert repr(one.templates) == repr(other.templates)
        assert replace(one).fingerprint == other.fingerprint == one.fingerprint
        assert vars(replace(one, examples=(), exemplars=())) == vars(replace(other, examples=(), exemplars=()))
        assert content(one) == content(other)


def test_mixtures_of_kept_and_fresh_tasks_give_the_same_prompts(
    repository: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = load_yaml(repository / "recipes" / "real-mix.yaml")["mixture"]
    raw["sources"][0]["tasks"] = ["task3*"]
    load_mixture(raw, data_root)
    kept = load_mixture(raw, data_root)
    monkeypatch.setenv("INSTIL_CACHE", "off")
    fresh = load_mixture(raw, data_root)
    assert kept[5000:5200] == fresh[5000:5200]
    assert kept.fingerprint == fresh.fingerprint
    assert kept.remarks == fresh.remarks


def test_rows_that_were_set_aside_are_still_told(rows: Path) -> None:
    first = open_collection("jsonl", None, path=str(rows)).quarantined
    assert {file: [row.where for row in aside] for file, aside in first.items()} == {
        str(rows / "one.jsonl"): ["line 51"],
        str(rows / "two.jsonl"): ["line 51"],
    }
    assert open_collection("jsonl", None, path=str(rows)).quarantined == first


def test_nothing_is_read_again_until_a_file_changes(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened(rows)["jsonl/one"].fingerprint
    read: list[Path] = []

    def write(path: Path, *_: object) -> bool:
        read.append(path)
        return False

    monkeypatch.setattr(cache, "_write", write)
    assert opened(rows)["jsonl/one"].fingerprint == before
    assert read == []
    file = rows / "one.jsonl"
    times = file.stat()
    file.write_text(file.read_text("utf-8").replace("one 7?", "one 8?"), encoding="utf-8")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # the size is the same as well
    assert opened(rows)["jsonl/one"].examples[7].fields["inputs"] == "one 8?"
    assert len(read) == 1


def test_a_new_file_and_a_removed_file_are_seen(rows: Path) -> None:
    assert set(opened(rows)) == {"jsonl/one", "jsonl/two"}
    (rows / "three.jsonl").write_text('{"inputs": "a", "targets": "b"}\n', encoding="utf-8")
    assert set(opened(rows)) == {"jsonl/one", "jsonl/two", "jsonl/three"}
    (rows / "one.jsonl").unlink()
    assert set(opened(rows)) == {"jsonl/two", "jsonl/three"}


def test_another_map_is_another_collection(rows: Path) -> None:
    opened(rows)
    turned = open_collection("jsonl", None, path=str(rows), columns={"inputs": "targets", "targets": "inputs"}).tasks
    assert turned[0].examples[3].fields["inputs"] == "3"
    assert opened(rows)["jsonl/one"].examples[3].fields["inputs"] == "one 3?"


def test_other_code_reads_anew(rows: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(rows)
    before = kept_file(kept_in).stat().st_ino
    monkeypatch.setattr(cache, "code", lambda: "another version")
    opened(rows)
    assert kept_file(kept_in).stat().st_ino != before


def test_whatever_happens_to_the_kept_file_the_rows_are_right(rows: Path, kept_in: Path) -> None:
    expected = {name: content(task) for name, task in opened(rows).items()}
    file = kept_file(kept_in)
    whole = file.read_bytes()
    damages = [whole[:cut] for cut in range(0, len(whole), len(whole) // 20)] + [b"", b"ARROW1"]
    places = range(0, len(whole), len(whole) // 70)
    damages += [whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :] for place in places]
    for damage in damages:
        file.write_bytes(damage)
        assert {name: content(task) for name, task in opened(rows).items()} == expected


def test_damage_that_is_met_late_is_one_line_and_the_next_opening_is_right(
    rows: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "CHECKED_WHOLE_BYTES", 0)
    opened(rows)
    file = kept_file(kept_in)
    file.write_bytes(file.read_bytes().replace(b"one 7?", b"one 8?"))
    with pytest.raises(DataError, match=r"is damaged .* Run again: it is built anew"):
        content(opened(rows)["jsonl/one"])
    assert opened(rows)["jsonl/one"].examples[7].fields["inputs"] == "one 7?"


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("INSTIL_CACHE", str(tmp_path / "file" / "below"))
    assert opened(rows)["jsonl/one"].size == 50


def test_the_usual_place_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INSTIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "instil"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path.home() / ".cache" / "instil"
    monkeypatch.setenv("INSTIL_CACHE", "off")
    assert cache.folder() is None


OPEN = """
import sys
from instil.tasks import cache
from instil.tasks.registry import open_collection
cache.SMALLEST_BYTES = 0
tasks = open_collection("jsonl", None, path=sys.argv[1]).tasks
print(*[task.fingerprint for task in tasks], sum(len(row.fields["inputs"]) for task in tasks for row in task.examples))
"""


def test_processes_that_open_at_once_all_get_everything(rows: Path, kept_in: Path) -> None:
    asked = [sys.executable, "-c", OPEN, str(rows)]
    running = [subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=60)[0] for process in running}
    tasks = opened(rows).values()
    length = sum(len(str(row.fields["inputs"])) for task in tasks for row in task.examples)
    assert said == {f"{' '.join(task.fingerprint for task in tasks)} {length}\n"}
    assert [file.suffix for file in kept_in.iterdir()] == [".arrow"]


def test_what_a_killed_process_left_is_swept_away(rows: Path, kept_in: Path) -> None:
    opened(rows)
    file = kept_file(kept_in)
    old, young = (file.with_name(f"{file.stem}-{name}.part") for name in ("old", "young"))
    for left in (old, young):
        left.write_bytes(b"ARROW1")
    os.utime(old, (0, 0))
    file.unlink()
    opened(rows)
    assert not old.exists()
    assert young.exists()


def first_inputs(task: Task, numbers: Sequence[int]) -> list[object]:
    return [task.examples[number].fields["inputs"] for number in numbers]


def test_kept_tasks_go_to_other_processes(rows: Path, kept_in: Path) -> None:
    task = opened(rows)["jsonl/two"]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(first_inputs, (task, [0, 49, -1])) == ["two 0?", "two 49?", "two 49?"]


@dataclass(frozen=True)
class Shouting:
    """A renderer that is no plain template."""

    name: str = "shouting"


def test_what_cannot_be_written_down_is_not_kept(rows: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from instil.tasks.readers import plain

    monkeypatch.setattr(plain, "TEMPLATE", replace(plain.TEMPLATE, metadata={"made": {1, 2}}))
    assert opened(rows)["jsonl/one"].size == 50
    assert list(kept_in.glob("*")) == []
    with pytest.raises(NotPlainError, match="Shouting"):
        cache._spelled(Shouting())  # type: ignore[arg-type]


def test_templates_come_back_as_they_were() -> None:
    template = Template(
        "x", "{{ a }}", None, answer_choices="a ||| b", exemplar=("{{ a }}", "b"), metadata={"metrics": ["Accuracy"]}
    )
    again = cache._respelled(cache._spelled(template))
    assert again == template
    assert isinstance(again, Template)
    assert (again.metadata, again.bounds) == (template.metadata, template.bounds)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def alike(one: Any, other: Any) -> bool:
    """Equal in value, type and order; NaN is itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "ü\ud800"]), values, max_size=3), max_size=8))
def test_every_row_that_json_can_hold_comes_back(fields: list[dict[str, Any]]) -> None:
    rows = [Example(f"k{number}\u2028", row) for number, row in enumerate(fields)]
    for again in written([rows]):
        assert [row.key for row in again] == [row.key for row in rows]
        assert all(alike(row.fields, other.fields) for row, other in zip(again, rows, strict=True))


def written(tasks: Sequence[Sequence[Example]]) -> Iterator[MappedRows]:
    path = Path(os.environ["INSTIL_CACHE"]) / "rows.arrow"
    path.parent.mkdir(exist_ok=True)
    writer = Writer(path)
    places = [writer.add(rows) for rows in tasks]
    writer.close([])
    file = open_mapped(path)
    file.check_all()
    return (file.rows(place) for place in places)


@given(place=st.floats(0, 1, exclude_max=True), by=st.integers(1, 255), end=st.booleans())
def test_no_damage_gives_other_rows_or_ends_the_process(place: float, by: int, end: bool) -> None:
    rows = [Example(f"k{k}", {"same": "s", "own": f"row {k}"}) for k in range(60)]
    (again,) = written([rows])
    whole = bytearray(again.file.path.read_bytes())
    at = len(whole) - 1 - int(place * 2000) if end else int(place * len(whole))
    whole[at] ^= by
    damaged = again.file.path.with_name("damaged.arrow")
    damaged.write_bytes(whole)
    try:
        file = open_mapped(damaged)
        found = list(replace(again, file=file))
    except (DamagedError, DataError):
        return
    assert found == rows


def test_many_rows_are_cut_into_pieces_and_shared_fields_kept_once() -> None:
    rows = [Example(str(k), {"definition": "d" * 2000, "input": f"{k}" * 100}) for k in range(3000)]
    (again,) = written([rows])
    assert PIECE_BYTES // 1000 < again.per_piece < 3000
    assert again.file.shared(again.first, again.per_piece) == {"definition": "d" * 2000}
    for place in (0, 1, again.per_piece - 1, again.per_piece, 2999, -1):
        assert again[place] == rows[place]
    assert again[1490:1510:7] == rows[1490:1510:7]
    assert list(again) == rows
    with pytest.raises(IndexError):
        again[3000]
    assert again.file.path.stat().st_size < 2 * sum(len(str(row.fields["input"])) + 20 for row in rows)


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, b"x", {1}, Path("x")])
def test_values_that_json_would_change_are_refused(value: object) -> None:
    with pytest.raises(NotPlainError):
        list(written([[Example("k", {"a": [value]})]]))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_while_reading_and_on_a_terminal_alone(
    rows: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(rows)
    assert capsys.readouterr() == ("", "")
    kept_file(kept_in).unlink()
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    opened(rows)
    assert "reading jsonl" in terminal.getvalue()
    terminal.truncate(0)
    opened(rows)
    assert terminal.getvalue() == ""


def test_gzipped_files_are_kept_as_what_they_hold(tmp_path: Path) -> None:
    folder = tmp_path / "zipped"
    folder.mkdir()
    (folder / "z.jsonl.gz").write_bytes(gzip.compress(b'{"inputs": "a", "targets": "b"}\n' * 9))
    opened(folder)
    assert opened(folder)["jsonl/z"].examples[8].fields["targets"] == ["b"]
