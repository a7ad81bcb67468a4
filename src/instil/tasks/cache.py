"""Collections that were read from files once, kept as one memory-mapped Arrow file each and opened in a moment.

    ~/.cache/instil/ni-3f1c....arrow       the tasks, rows and quarantine account of (collection, place, chosen files)
    INSTIL_CACHE=off, or another folder    switches it off, or moves it

A kept collection is used while every file that it came from has the size, times and inode that it had then, the folders
around them list the same files, and the code that reads tasks is the same; otherwise it is read anew. It is written
under another name and renamed when whole, so that a killed or a second process does no harm, and what turns out to be
damaged is built again. Collections below a mebibyte are read as they are: that is faster than opening anything.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from instil.tasks.budget import Bounds
from instil.tasks.dialogue import Dialogue
from instil.tasks.mapped import DamagedError, MappedFile, NotPlainError, Writer, open_mapped, plain
from instil.tasks.preference import Better, Rating
from instil.tasks.readers.reading import Quarantined, Reading
from instil.tasks.task import SourceFile, Task
from instil.tasks.template import Renderer, Template

#: Collections whose files are smaller than this together are not kept.
SMALLEST_BYTES = 1 << 20
#: Kept files up to this size are compared with their checksums when they are opened; of larger ones each piece when it
#: is first read.
CHECKED_WHOLE_BYTES = 128 << 20
FORMAT = 2
ABANDONED_SECONDS = 3600

#: Renderers that can be written down and made again: frozen dataclasses of plain values, by the name they are kept by.
RENDERERS: dict[str, type[Any]] = {"template": Template, "dialogue": Dialogue, "better": Better, "rating": Rating}

log = logging.getLogger("instil")


@dataclass(frozen=True, slots=True)
class Found:
    """What reading files gave."""

    tasks: list[Task] = field(default_factory=list)
    quarantined: dict[str, list[Quarantined]] = field(default_factory=dict)
    """Rows that were set aside, by file."""


def folder() -> Path | None:
    """Where collections are kept; None where that is switched off."""
    named = os.environ.get("INSTIL_CACHE", "")
    if named.casefold() == "off":
        return None
    if named:
        return Path(named).absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "instil"
    except RuntimeError:  # a user without a home
        return None


def kept(
    name: str,
    identity: Sequence[str],
    files: Sequence[Path],
    read: Callable[[], Iterator[tuple[Path, Reading]]],
    *,
    beside: Sequence[Path] = (),
) -> Found:
    """What `read` gives, from its kept form where that is still true, and kept where it was not.

    Args:
        name: the collection.
        identity: what else decides what is read: place, reader, columns.
        files: the files that will be read.
        read: reads them, file by file.
        beside: files that the reader may look into besides, such as a train split.
    """
    place = folder()
    if place is None or sum(_size(file) for file in files) < SMALLEST_BYTES:
        return gathered(read())
    words = json.dumps([name, *identity, str(Path.cwd()), *map(str, files)])
    digest = hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    path = place / f"{name}-{digest}.arrow"
    found = _open(path)
    if found is not None:
        return found
    try:
        place.mkdir(parents=True, exist_ok=True)
        whole = _write(path, files, read, beside)
    except NotPlainError as error:
        log.debug("%s is not kept: %s", name, error)
    except OSError as error:
        log.info("%s cannot be kept in %s (%s)", name, place, error.strerror or type(error).__name__)
    else:
        found = _open(path) if whole else None
    return gathered(read()) if found is None else found


def gathered(readings: Iterable[tuple[Path, Reading]]) -> Found:
    """Everything in memory."""
    found = Found()
    for file, reading in readings:
        found.tasks.extend(reading.tasks)
        if reading.quarantined:
            found.quarantined[str(file)] = reading.quarantined
    return found


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


# --- writing -------------------------------------------------------------------------------------------------------


def _write(
    path: Path, files: Sequence[Path], read: Callable[[], Iterator[tuple[Path, Reading]]], beside: Sequence[Path]
) -> bool:
    """Read and keep; False where a file changed meanwhile, or nothing could be read."""
    states = _states([*files, *beside])
    _sweep(path)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}-", suffix=".part")
    os.close(handle)
    writer: Writer | None = None
    try:
        writer = Writer(Path(partial))
        templates: dict[str, int] = {}
        tasks: list[str] = []
        aside: dict[str, list[list[str]]] = {}
        for file, reading in _watched(read(), len(files), path.stem.rpartition("-")[0]):
            for task in reading.tasks:
                states |= _states([Path(source.path) for source in task.files if source.path not in states])
                tasks.append(_described(task, writer, templates))
            if reading.quarantined:
                aside[str(file)] = [[row.where, row.reason] for row in reading.quarantined]
        about = {"format": FORMAT, "code": code(), "templates": list(templates), "quarantined": aside}
        writer.close([json.dumps(about), json.dumps(states), *tasks])
        if not tasks or not _unchanged(states):
            return False
        os.replace(partial, path)  # noqa: PTH105 - the names are texts here
        return True
    except BaseException:
        if writer is not None:
            with suppress(Exception):
                writer.abandon()
        raise
    finally:
        Path(partial).unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what killed processes left of earlier attempts; one that is at work has written within the hour."""
    for partial in path.parent.glob(f"{path.stem}-*.part"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
                partial.unlink()


def _states(paths: Iterable[Path]) -> dict[str, list[int]]:
    """What tells that a file is still the one that was read; of its folder too, where a companion may turn up."""
    names = dict.fromkeys(name for path in paths for name in (str(path), f"{path.parent}/"))
    return {name: _state(name) for name in names}


def _state(name: str) -> list[int]:
    """Size, times and inode of a file; the names of the files in a folder."""
    try:
        if name.endswith("/"):
            inside = sorted(entry.name for entry in os.scandir(name) if not entry.is_dir())
            return [zlib.crc32("/".join(inside).encode("utf-8", "surrogatepass")), len(inside)]
        found = os.stat(name)  # noqa: PTH116 - called for ten thousand files
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _unchanged(states: Mapping[str, list[int]]) -> bool:
    return all(_state(name) == state for name, state in states.items())


def _described(task: Task, writer: Writer, templates: dict[str, int]) -> str:
    """A task as JSON, its rows written."""
    fields = {item.name: getattr(task, item.name) for item in dataclasses.fields(task)}
    numbers = [templates.setdefault(_spelled(template), len(templates)) for template in fields.pop("templates")]
    exemplars = fields.pop("exemplars")
    described = {
        "templates": numbers,
        "examples": writer.add(fields.pop("examples")),
        "exemplars": None if exemplars is None else writer.add(exemplars),
        "files": [[source.path, source.sha256] for source in fields.pop("files")],
        "fingerprint": task.fingerprint,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()},
    }
    return plain(described)


def _spelled(renderer: Renderer) -> str:
    """A renderer as text.

    Raises:
        NotPlainError: if `_respelled` would not make the same of it.
    """
    kind = next((name for name, known in RENDERERS.items() if type(renderer) is known), None)
    if kind is None:
        raise NotPlainError(f"a renderer of type {type(renderer).__name__}")
    values = {
        item.name: getattr(renderer, item.name)
        for item in dataclasses.fields(renderer)  # type: ignore[arg-type]
    }
    values = {
        name: dataclasses.astuple(value) if isinstance(value, Bounds) else value for name, value in values.items()
    }
    text = plain([kind, {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}])
    again = _respelled(text)
    if again != renderer or again.fingerprint != renderer.fingerprint:
        raise NotPlainError(f"template {renderer.name!r}")
    return text


def _respelled(text: str) -> Renderer:
    kind, values = json.loads(text)
    for name, value in values.items():
        if name == "bounds":
            values[name] = Bounds(*value)
        elif isinstance(value, list):
            values[name] = tuple(value)
    made: Renderer = RENDERERS[kind](**values)
    return made


def _watched(readings: Iterator[tuple[Path, Reading]], total: int, name: str) -> Iterator[tuple[Path, Reading]]:
    """The readings, with a bar on stderr where a person looks on."""
    if total < 2 or not sys.stderr.isatty():
        yield from readings
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(
        readings, f"reading {name}", total=total, console=Console(stderr=True), transient=True, update_period=0.5
    )


@cache
def code() -> str:
    """Names the code that reads tasks: another version may read otherwise."""
    hasher = hashlib.blake2b(digest_size=12)
    here = Path(__file__).parent
    for file in [*sorted(here.rglob("*.py")), here.parent / "fingerprint.py", here.parent / "records.py"]:
        hasher.update(file.name.encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()


# --- opening -------------------------------------------------------------------------------------------------------


def _open(path: Path) -> Found | None:
    """What is kept at a path, if it is whole and true."""
    if not path.is_file():
        return None
    try:
        file = open_mapped(path)
        head = file.head()
        about = json.loads(next(head))
        if about["format"] != FORMAT or about["code"] != code() or not _unchanged(json.loads(next(head))):
            return None
        if path.stat().st_size <= CHECKED_WHOLE_BYTES:
            file.check_all()
    except (DamagedError, OSError) as error:
        log.info("%s is built anew: %s", path, error)
        return None
    templates = [_respelled(text) for text in about["templates"]]
    words: dict[Any, Any] = {}
    return Found(
        [_task(json.loads(text), templates, file, words) for text in head],
        {name: [Quarantined(*row) for row in rows] for name, rows in about["quarantined"].items()},
    )


def _task(values: dict[str, Any], templates: Sequence[Renderer], file: MappedFile, words: dict[Any, Any]) -> Task:
    """A task from its description. Words that repeat (clusters, licences, names of fields) are kept once."""
    known = values.pop("fingerprint")
    values["templates"] = tuple(templates[number] for number in values["templates"])
    values["templates"] = words.setdefault(values["templates"], values["templates"])
    values["files"] = tuple(SourceFile(*source) for source in values["files"])
    for name in ("examples", "exemplars"):
        if values[name] is not None:
            values[name] = file.rows(values[name], words)
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = words.setdefault(tuple(value), tuple(value))
        elif isinstance(value, str):
            values[name] = words.setdefault(value, value)
    task = Task(**values)
    task.__dict__["fingerprint"] = known  # as `cached_property` keeps it
    return task
