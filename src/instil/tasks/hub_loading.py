"""Data sets through `datasets`: from the hub, from its cache where there is no network, or from a folder.

loader("glue", None, "mrpc", None, "glue/mrpc")("train")   -> a map-style data set, or one line of what is wrong
"""

from __future__ import annotations

import logging
import re
import socket
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from instil.errors import AbsentError, DataError

log = logging.getLogger("instil")

#: Files that `save_to_disk` leaves in its folder.
_SAVED = ("dataset_dict.json", "state.json")


def configurations(path: str, base: Path, revision: str | None) -> list[str]:
    """The names of a data set's configurations; none for a folder that `save_to_disk` wrote.

    Raises:
        DataError: if the data set cannot be had.
    """
    folder = folder_of(path, base)
    if folder is not None and any((folder / name).is_file() for name in _SAVED):
        return []
    datasets = _library()
    if folder is None:
        _settle_network(datasets)
    try:
        return list(datasets.get_dataset_config_names(path if folder is None else str(folder), revision=revision))
    except Exception as error:  # noqa: BLE001 - whatever a library or the network makes of it
        raise _explained(error, path, "") from None


def folder_of(path: str, base: Path) -> Path | None:
    """The folder that a path names, if it is no name on the hub."""
    return next((place for place in (base / path, Path(path)) if place.exists()), None)


@cache
def _settle_network(datasets: Any) -> None:
    """Without a way to the hub, look into its cache alone: each request would be tried for half a minute."""
    import huggingface_hub.constants as hub

    if hub.HF_HUB_OFFLINE or getproxies():  # behind a proxy a name need not resolve here
        return
    place = urlsplit(hub.ENDPOINT)
    try:
        socket.create_connection((place.hostname or "", place.port or 443), timeout=5).close()
    except OSError:
        hub.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        log.warning("%s cannot be reached: data sets of the hub come from its cache alone", place.hostname)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError("hub data sets need the package `datasets`", remedy="pip install 'instil[hub]'") from None
    return datasets


def loader(
    path: str, folder: Path | None, config: str | None, revision: str | None, title: str
) -> Callable[[str], Any]:
    """What loads a split."""
    datasets = _library()
    if folder is None:
        _settle_network(datasets)
    if folder is not None and any((folder / name).is_file() for name in _SAVED):
        for option, given in (("config", config), ("revision", revision)):
            if given is not None:
                raise DataError(f"{title}: a saved data set has no {option}", remedy="Leave it out")
        return lambda split: _saved(datasets, folder, split, title)
    where = str(folder) if folder is not None else path

    if folder is not None and folder.is_file():
        raise DataError(f"{folder} is a file, not a data set", remedy="Give `collection: jsonl`, or the folder")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()

    def load(split: str) -> Any:
        try:
            return datasets.load_dataset(where, name=config, split=split, revision=revision)
        except Exception as error:  # noqa: BLE001 - whatever a library or the network makes of it
            raise _explained(error, title, split) from None

    return load


def _saved(datasets: Any, folder: Path, split: str, title: str) -> Any:
    """One split of what `save_to_disk` wrote."""
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # noqa: BLE001 - a damaged folder can fail in any way
        raise _explained(error, title, split) from None
    if not isinstance(found, datasets.DatasetDict):
        if split == "train":
            return found
        raise DataError(f"{title} is one split alone, not {split!r}", remedy="Leave `split` out")
    if split not in found:
        raise DataError(f"{title} has no split {split!r}", remedy=f"It has {', '.join(found)}")
    return found[split]


def _explained(error: Exception, title: str, split: str) -> DataError:
    """The one line of what went wrong, with what to do."""
    said = " ".join(str(error).split())
    if "scripts are no longer supported" in said or "trust_remote_code" in said:
        remedy = "Give a revision that holds Parquet files, such as `revision: refs/convert/parquet`"
        return DataError(f"{title} is a script, and code from the hub is never run", remedy=remedy)
    if found := re.search(r"Unknown split \"(.*?)\"\. Should be one of (\[.*\])", said):
        return DataError(f"{title} has no split {split!r}", remedy=f"It has {_listed(found[2])}")
    if found := re.search(r"BuilderConfig '(.*?)' not found\. Available: (\[.*\])", said):
        return DataError(f"{title}: no configuration {found[1]!r}", remedy=f"It has {_listed(found[2])}")
    if found := re.search(r"Config name is missing\..*?configs: (\[.*?\])", said):
        return DataError(f"{title} has several configurations", remedy=f"Give `config`, one of {_listed(found[1])}")
    if isinstance(error, ConnectionError) or "offline" in said.lower() or "Couldn't reach" in said:
        remedy = "Check the connection (and HF_HUB_OFFLINE), or give the path of a folder written by `save_to_disk`"
        return AbsentError(f"{title} cannot be reached on the hub", remedy=remedy)
    if isinstance(error, FileNotFoundError):
        return AbsentError(f"{title}: nothing that `datasets` can read", remedy="Check the name or the path")
    return DataError(f"{title} cannot be loaded ({type(error).__name__}: {said[:200]})", remedy="Check path and split")


def _listed(text: str) -> str:
    return ", ".join(re.findall(r"['\"](.+?)['\"]", text))


def train_split(load: Callable[[str], Any]) -> Any:
    """The train split, where there is one."""
    try:
        return load("train")
    except DataError:
        return None
