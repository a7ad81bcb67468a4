"""Damaged files: no exception, every row accounted for, whole rows kept."""

from __future__ import annotations

import contextlib
import gzip
import os
from pathlib import Path

import pytest
from tests.tasks.readers.damage import FILES, ROWS, damaged, write

from instil.errors import TemplateError
from instil.tasks.check import READERS, check, reading_of


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_recognised_and_read(tmp_path: Path, name: str, zipped: bool) -> None:
    content, rows, makes_task = FILES[name]
    reading = reading_of(write(tmp_path, name, content, zipped=zipped))
    assert (reading.read, reading.accepted, len(reading.tasks)) == (rows, rows, int(makes_task))
    for task in reading.tasks:
        for example in task.examples:
            for template in task.templates:
                assert template.render(example, seed=0).target


@pytest.mark.parametrize("name", FILES)
def test_mutations_raise_nothing_and_lose_nothing(tmp_path: Path, name: str) -> None:
    _mutate(tmp_path, name, range(50))


@pytest.mark.soak
@pytest.mark.parametrize("name", FILES)
def test_thousands_of_mutations_raise_nothing_and_lose_nothing(tmp_path: Path, name: str) -> None:
    _mutate(tmp_path, name, range(50, 1500))


def _mutate(tmp_path: Path, name: str, seeds: range) -> None:
    content, _, _ = FILES[name]
    outcomes = set()
    for seed in seeds:
        path = write(tmp_path, name, damaged(content, seed))
        for reading in (reader.read(path) for reader in READERS if reader.name not in ("promptsource", "empty")):
            assert reading.read == reading.accepted + len(reading.quarantined)
            assert sum(reading.reasons.values()) == len(reading.quarantined)
        reading = reading_of(path)
        assert not any("the reader failed" in reason for reason in reading.reasons)
        assert reading.accepted == sum(task.size for task in reading.tasks) or not reading.tasks
        outcomes.add((reading.accepted > 0, bool(reading.quarantined)))
        for task in reading.tasks:
            for example in task.examples:
                for template in task.templates[:2]:
                    with contextlib.suppress(TemplateError):
                        assert template.render(example, seed=seed).target
    assert len(outcomes) >= 2  # the mutations did something, and not always everything


@pytest.mark.parametrize("name", FILES)
def test_a_cut_gzip_stream_is_set_aside(tmp_path: Path, name: str) -> None:
    content, _, _ = FILES[name]
    whole = len(gzip.compress(content, mtime=0))
    for cut in (0, 1, 2, 5, 11, whole // 2, whole - 9, whole - 1):
        path = write(tmp_path, name, content, zipped=True, cut=cut)
        reading = reading_of(path)
        assert reading.read == reading.accepted + len(reading.quarantined)
        if cut >= 2:
            assert any("gzip" in reason for reason in reading.reasons)


def test_whole_lines_before_a_cut_are_kept(tmp_path: Path) -> None:
    lines = b"".join(
        b'{"inputs": "q %d", "targets": "%s"}\n' % (n, os.urandom(200).hex().encode()) for n in range(2000)
    )
    path = write(tmp_path, "rows.jsonl", lines, zipped=True, cut=200_000)
    reading = reading_of(path)
    assert 500 < reading.accepted < 2000
    assert reading.reasons == {"the gzip stream is damaged or ends early": 1}


def test_damaged_lines_are_set_aside_one_by_one(tmp_path: Path) -> None:
    content = b"".join(
        [
            b'{"inputs": "a", "targets": "b"}\n',
            b"not json\n",
            b'{"inputs": "\xff", "targets": "b"}\n',
            b'{"inputs": "a", "targets": ""}\n',
            b'{"inputs": "a", "targets": NaN}\n',
            b'{"inputs": "a", "inputs": "c", "targets": "b"}\n',
            b'{"inputs": null, "targets": "b"}\n',
            b'{"targets": "b"}\n',
            b'["a", "b"]\n',
            b'{"inputs": "\\ud800", "targets": "b"}\n',
            b'{"inputs": ' + b"[" * 200_000 + b"\n",
            b'{"inputs": ' + b"9" * 5000 + b', "targets": "b"}\n',
            b'{"inputs": "a", "targets": "b", "options": "b"}\n',
            b"\n",
            b"   \n",
            '{"inputs": "\u2028 is no line end", "targets": 7}\r\n'.encode(),
            b'{"inputs": "no end of line", "targets": "b"}',
        ]
    )
    reading = reading_of(write(tmp_path, "rows.jsonl", content))
    assert (reading.read, reading.accepted) == (15, 3)
    assert [row.where for row in reading.quarantined] == [f"line {n}" for n in range(2, 14)]
    assert [row.reason for row in reading.quarantined] == [
        "not JSON (expecting value)",
        "not UTF-8",
        "empty target",
        "field 'targets' is NaN or infinite, not text",
        "key 'inputs' stands twice",
        "field 'inputs' is null, not text",
        "no columns 'inputs' and 'targets'",
        "not an object",
        "field 'inputs' holds half a surrogate pair",
        "not usable JSON (nested too deeply)",
        "not usable JSON (a number is too long)",
        "field 'options' is no list",
    ]
    assert [dict(example.fields)["targets"] for example in reading.tasks[0].examples] == [["b"], ["7"], ["b"]]


def test_a_row_beyond_the_limit_is_set_aside_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instil.tasks.readers.source.MAX_LINE_BYTES", 1000)
    row = b'{"inputs": "a", "targets": "b"}\n'
    huge = b'{"inputs": "' + b"a" * 5000 + b'", "targets": "b"}\n'
    reading = reading_of(write(tmp_path, "rows.jsonl", row + huge + row))
    assert (reading.read, reading.accepted) == (3, 2)
    assert reading.quarantined[0].where == "line 2"
    assert "longer than" in reading.quarantined[0].reason


def test_a_first_row_longer_than_the_head_is_read(tmp_path: Path) -> None:
    content = b'{"inputs": "' + b"a" * 200_000 + b'", "targets": "b"}\n' + ROWS
    reading = reading_of(write(tmp_path, "rows.jsonl", content))
    assert (reading.format, reading.accepted) == ("jsonl", 7)


def test_a_folder_of_damage_is_walked_to_its_end(tmp_path: Path) -> None:
    for number, (name, (content, _, _)) in enumerate(FILES.items()):
        write(
            tmp_path,
            f"{number}-{name}",
            damaged(content, number),
            zipped=bool(number % 2),
            cut=300 if number % 3 else None,
        )
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "nul.jsonl").write_bytes(b"\0" * 5000)
    (tmp_path / "noise.bin").write_bytes(os.urandom(5000))
    (tmp_path / os.fsdecode(b"bad\xffname.txt")).write_bytes(b"text\n")
    rows = list(check(tmp_path))
    assert len(rows) == len(FILES) + 6
    for row in rows:
        assert row.read == row.accepted + row.quarantined
        row.path.encode()
    named = {row.path: row for row in rows}
    assert named["pipe.jsonl"].format == "unknown"
    assert named["loop"].format == "unknown"
    assert named["noise.bin"].quarantined == 1
