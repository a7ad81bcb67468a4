"""Evaluations that were made once, kept by what decides them, and copied where the same is asked again.

    ~/.cache/instil/evaluations/9f31.../    results.json  samples.jsonl

The name is the fingerprint of the model's content, the suite with all its rows and words, the limit, the number
format, and the versions of all that reads, phrases, computes and judges. Copies are made whole or not at all; the ones
that were not used for longest are removed when there are too many.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from instil.errors import RunError
from instil.evaluation.results_file import write_results
from instil.fingerprint import fingerprint
from instil.runs import writing_folder
from instil.tasks import cache as task_cache

if TYPE_CHECKING:
    from instil.evaluation.suite import Suite
    from instil.models.loading import LoadedModel

#: Bytes of all evaluations that are kept.
MOST_BYTES = 2 << 30
#: What reads, phrases, computes and judges.
_VERSIONED = ("instil", "torch", "transformers", "tokenizers", "numpy", "rouge-score", "sacrebleu")
_FILES = ("samples.jsonl", "results.json")


def folder() -> Path | None:
    """Where evaluations are kept; None where `INSTIL_CACHE` switches that off."""
    place = task_cache.folder()
    return None if place is None else place / "evaluations"


def versions() -> dict[str, str]:
    """The versions of what decides answers and scores."""
    return {name: metadata.version(name) for name in _VERSIONED}


def fingerprint_of(loaded: LoadedModel, suite: Suite, limit: int | None) -> str:
    """Names all that decides the answers of a model to a suite."""
    kind = [str(loaded.model.dtype), loaded.device.type, loaded.max_length]
    return fingerprint([loaded.fingerprint, suite.fingerprint, limit, kind, versions(), code()])


def copy(kept: Path, mark: str, out: Path, *, path: str) -> bool:
    """Copy an evaluation to a folder that holds no results yet; whether there was one.

    Args:
        kept: the folder of all that are kept.
        mark: the evaluation's fingerprint.
        out: where to.
        path: what the model is called now.
    """
    source = kept / mark
    if (out / "results.json").exists() or (out / "samples.partial.jsonl").exists():
        return False
    try:
        results = json.loads((source / "results.json").read_text("utf-8"))
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / "samples.jsonl", out / "samples.jsonl")
    except (OSError, ValueError):
        return False
    results["model"]["path"] = results["model_name"] = results["config"]["model_args"]["path"] = path
    write_results(out / "results.json", results)
    with suppress(OSError):
        os.utime(source)
    return True


def add(kept: Path, mark: str, out: Path) -> None:
    """Keep an evaluation; one that cannot be kept is no error."""
    if sum((out / name).stat().st_size for name in _FILES) > MOST_BYTES // 2:
        return
    with suppress(RunError, OSError):
        with writing_folder(kept / mark) as made:
            for name in _FILES:
                shutil.copyfile(out / name, made / name)
        _sweep(kept)


def _sweep(kept: Path) -> None:
    """Remove what was not used for longest, until the rest is small enough."""
    held = sorted((one for one in kept.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime, reverse=True)
    total = 0
    for one in held:
        total += sum(file.stat().st_size for file in one.iterdir())
        if total > MOST_BYTES:
            shutil.rmtree(one, ignore_errors=True)


@cache
def code() -> str:
    """Names the code that phrases, computes and judges: another version may answer otherwise."""
    hasher = hashlib.blake2b(task_cache.code().encode(), digest_size=16)
    package = Path(__file__).parent.parent
    for part in ("evaluation", "mixtures", "models"):
        for file in sorted((package / part).rglob("*.py")):
            hasher.update(file.name.encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()
