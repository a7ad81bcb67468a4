"""A run is a folder: what was asked, what it came from, what happened, and where it can be continued.

    runs/first/
      recipe.yaml        the resolved recipe, every default written out
      fingerprint.json   {"recipe": "9f..", "inputs": {"data": "31..", "model": "c0.."}, "versions": {"torch": ..}, ..}
      log.txt            2026-03-01 10:02:11  memory ran out at 4,096 tokens a batch; going on with 2,048
      metrics.jsonl      {"step": 10, "loss": 2.31, ...}
      checkpoints/       step-00000100/ ...
      model/             the result

Everything that must be whole or absent is written beside its place, flushed to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import yaml

from instil.errors import RunError
from instil.fingerprint import fingerprint

#: Distributions whose version can change a result.
_VERSIONED = ("instil", "torch", "transformers", "tokenizers", "safetensors", "numpy", "peft")
#: What may lie in a folder before its first run has begun.
_HARMLESS = {".lock"}


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses, a full disk above all, into one line that says what is safe and what to do.

    safetensors reports a full disk as an error of its own, which is known here by its words alone.
    """
    try:
        yield
    except Exception as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
            words in str(error) for words in ("No space left", "StorageFull", "Disk quota")
        )
        if full:
            raise RunError(
                f"the disk is full: {path} was not written, and what was there before is untouched",
                remedy="Free some space and start the same again (tune and pretrain with --resume)",
            ) from error
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            reason = getattr(error, "strerror", None) or str(error)
            raise RunError(
                f"{path} cannot be written ({reason})", remedy="Choose a folder that can be written"
            ) from error
        raise


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        RunError: if the disk is full or the place cannot be written; an earlier file stays as it was.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; see `write_text`."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write JSON whole or not at all; see `write_text`."""
    write_text(path, json_text(content))


def json_text(content: object) -> str:
    """The text that `write_json` writes."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def writing_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target` when the block ends well, and vanishes when it does not.

    with writing_folder(out / "model") as folder:
        (folder / "config.json").write_text(...)

    Raises:
        RunError: if the disk is full or the place cannot be written; an earlier `target` stays as it was.
    """
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                sync(path)
            sync(temporary)
            temporary.chmod(0o755)
            _put(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`. A folder cannot be renamed onto a full one: that one steps aside first."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process had half-written in `folder`."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


class RunFolder:
    """The folder of one run, held by one process at a time.

    run = RunFolder.open(out, recipe=recipe.model_dump(mode="json"), inputs={"data": ..., "model": ...})
    """

    def __init__(self, path: Path, *, resumed: bool, lock: TextIO, echo: Callable[[str], None] | None) -> None:
        self.path = path
        self.resumed = resumed
        """Whether an earlier run is being continued."""
        self.echo = echo
        self.followers: list[Callable[[Mapping[str, Any]], None]] = []
        """Get every row of metrics that is written from now on."""
        self._lock = lock

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        recipe: Mapping[str, Any],
        inputs: Mapping[str, str],
        changeable: Collection[str] = (),
        resume: bool = False,
        echo: Callable[[str], None] | None = None,
    ) -> RunFolder:
        """Begin a run in an empty or absent folder, or continue the one that is there.

        Args:
            path: the folder.
            recipe: the resolved recipe as plain data.
            inputs: the fingerprint of everything the run is made from, by name: `data`, `model`, ...
            changeable: dotted keys of the recipe that may differ when a run is continued (`tuning.max_steps`).
            resume: continue what is there; begin anew, and say so, where nothing is.
            echo: shows a message to the person, the standard error stream by default.

        Raises:
            RunError: if the folder holds something else, a run (without `resume`), a run made from another recipe or
                other inputs (with `resume`), or is in use by another process.
        """
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        known = (path / "fingerprint.json").is_file()
        names = sorted(entry.name for entry in path.iterdir())
        strangers = [name for name in names if name not in _HARMLESS and not name.startswith(".fingerprint")]
        if strangers and not known:
            raise RunError(
                f"{path} is not empty and holds no run (it has {strangers[0]})",
                remedy="Give --out a new folder",
            )
        if known and not resume:
            raise RunError(f"{path} already holds a run", remedy="Continue it with --resume, or give another --out")
        run = cls(path, resumed=known, lock=lock_folder(path), echo=echo)
        try:
            if known:
                run._check_same(recipe, inputs, changeable)
                run._warn_of_versions()
            elif resume:
                run.say(f"nothing to resume in {path}: starting from the beginning")
            before = run._facts().get("execution", {}) if known else {}
            mark = {"recipe": _recipe_mark(recipe, changeable), "inputs": dict(inputs)}
            facts = {**mark, "versions": versions(), "machine": machine(), "execution": before}
            write_json(path / "fingerprint.json", facts)
            write_text(path / "recipe.yaml", _yaml(recipe))
        except BaseException:
            run.close()
            raise
        return run

    def _check_same(self, recipe: Mapping[str, Any], inputs: Mapping[str, str], changeable: Collection[str]) -> None:
        path = self.path / "recipe.yaml"
        new = _flat(yaml.safe_load(_yaml(recipe)))
        old = _flat(yaml.safe_load(path.read_text("utf-8"))) if path.is_file() else new
        for key in sorted(old.keys() | new.keys()):
            if not _may_change(key, changeable) and old.get(key) != new.get(key):
                raise RunError(
                    f"{self.path} was begun with {key} = {_short(old.get(key))}, and the recipe now says "
                    f"{_short(new.get(key))}",
                    remedy="Restore it, or give --out a new folder",
                )
        known = self._facts()["inputs"]
        changed = [name for name in sorted(known.keys() | inputs.keys()) if known.get(name) != inputs.get(name)]
        if changed:
            name, names = changed[0], " and the ".join(changed)
            raise RunError(
                f"the {names} of {self.path} changed since the run began "
                f"(fingerprint {_short(known.get(name))}, now {_short(inputs.get(name))})",
                remedy=f"Restore the {names}, or give --out a new folder",
            )

    def _warn_of_versions(self) -> None:
        before = self._facts()
        self._warn_of_changes({**before.get("versions", {}), **before.get("machine", {})}, {**versions(), **machine()})

    def _warn_of_changes(self, before: Mapping[str, object], now: Mapping[str, object]) -> None:
        for name, old in before.items():
            if name in now and now[name] != old:
                self.say(f"{name} was {old} and is {now[name]} now: the result may differ in its last digits")

    def _facts(self) -> dict[str, Any]:
        """What `fingerprint.json` holds."""
        facts: dict[str, Any] = json.loads((self.path / "fingerprint.json").read_text("utf-8"))
        return facts

    def note(self, **facts: object) -> None:
        """Add facts of the execution (threads, device) to the fingerprint; say which differ from an earlier part's."""
        before = self._facts()
        self._warn_of_changes(before.get("execution", {}), facts)
        write_json(self.path / "fingerprint.json", {**before, "execution": facts})

    def say(self, message: str) -> None:
        """Tell the person, and keep it in `log.txt`."""
        if self.echo is not None:
            self.echo(message)
        else:
            sys.stderr.write(message + "\n")
        self.log(message)

    def log(self, message: str) -> None:
        """Keep a line in `log.txt`."""
        self._append("log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {message}\n")

    def add_metrics(self, row: Mapping[str, object]) -> None:
        """Append a row to `metrics.jsonl`, and show it to who follows."""
        self._append("metrics.jsonl", json.dumps(row, allow_nan=False) + "\n")
        for follower in self.followers:
            follower(row)

    def metrics(self) -> list[dict[str, Any]]:
        """Every whole row of `metrics.jsonl`."""
        return read_metrics(self.path)

    def keep_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the rows that a continued run is going to write again."""
        rows = [json.dumps(row) + "\n" for row in self.metrics() if keep(row)]
        write_text(self.path / "metrics.jsonl", "".join(rows))

    def _append(self, name: str, text: str) -> None:
        with disk_errors(self.path / name), (self.path / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SilentFolder(RunFolder):
    """The run folder as the processes beside the first see it: the first alone writes, and speaks."""

    def __init__(self, path: Path, *, resumed: bool) -> None:
        self.path, self.resumed, self.echo, self.followers = path, resumed, None, []

    def note(self, **facts: object) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""

    def log(self, message: str) -> None:
        """Nothing."""

    def add_metrics(self, row: Mapping[str, object]) -> None:
        """Nothing."""

    def keep_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing: the first process holds the folder."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Every whole row of a run's `metrics.jsonl`; a line that a kill cut short is passed over."""
    path = folder / "metrics.jsonl"
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def lock_folder(path: Path) -> TextIO:
    """Hold the folder until the process ends, however it ends."""
    with disk_errors(path):
        lock = (path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RunError(
            f"another process is writing to {path}", remedy="Wait for it, or give --out a new folder"
        ) from None
    return lock


def _yaml(recipe: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=120)


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    """{"a": {"b": 1}} -> {"a.b": 1}; a list counts by its items."""
    pairs: list[tuple[str, object]] = []
    if isinstance(node, Mapping) and node:
        pairs = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, list) and node:
        pairs = [(str(number), value) for number, value in enumerate(node)]
    if not pairs:
        return {prefix: node} if prefix else {}
    flat: dict[str, object] = {}
    for key, value in pairs:
        flat.update(_flat(value, f"{prefix}.{key}" if prefix else key))
    return flat


def _may_change(key: str, changeable: Collection[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in changeable)


def _recipe_mark(recipe: Mapping[str, Any], changeable: Collection[str]) -> str:
    return fingerprint({key: value for key, value in _flat(recipe).items() if not _may_change(key, changeable)})


def _short(value: object) -> str:
    return "nothing" if value is None else str(value)[:24]


def versions() -> dict[str, str]:
    """Python and what decides the last digits of a result, with their versions."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, str]:
    """The system and the processor, in words."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    return {"system": platform.system(), "processor": processor}
