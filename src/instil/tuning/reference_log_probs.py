"""What the reference gives to every completion: computed once, before the first step, and kept in the run folder.

    run/reference/train-00000.safetensors      log_probs [-3.1, -7.4, ...] of the first 256 prompts that the run meets
                  train-00001.safetensors      of the next 256, ...
        metadata  {"key": reference, prompts and completions, "checksum": of the numbers}

By default the reference is the policy as it starts: then no second model is ever in memory. A run that is continued
reads what it kept. What is damaged, or belongs to another reference or to other rows, is made again, and said so.
Prompts are taken in the order in which the run meets them, in parts cut at fixed places: a run that reads a part of
them asks the reference for no more, and one that is continued for longer asks for what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from instil.errors import RunError
from instil.fingerprint import fingerprint
from instil.records import Group
from instil.runs import RunFolder, write_bytes
from instil.tuning.completion_log_probs import CompletionScorer
from instil.tuning.distributed import World

#: Prompts whose numbers are kept in one file.
PROMPTS_PER_PART = 256

Sums = Callable[[Sequence[Group]], Sequence[NDArray[np.float32]]]
"""groups -> for each, the summed log-probability of each of its completions."""


class HeldTo:
    """The reference of a run, asked once for every completion.

    Args:
        run: whose folder keeps the numbers.
        scorer: gives what asks the reference; called only where something is not kept.
        fingerprint: of the reference; empty where there is none, and every log-probability is 0.
    """

    def __init__(self, run: RunFolder, *, scorer: Callable[[], CompletionScorer], fingerprint: str) -> None:
        self.run, self.fingerprint = run, fingerprint
        self._make_scorer = scorer
        self._scorer: CompletionScorer | None = None

    def log_probs(self, groups: Sequence[Group], *, name: str) -> list[NDArray[np.float32]]:
        """For every group, what the reference gives to each of its completions; from the run folder where it is kept.

        Args:
            groups: in the order in which they are needed.
            name: of the files.

        Raises:
            RunError: if the reference gives something that is no number, or the disk is full.
        """
        if not self.fingerprint:
            return [np.zeros(len(group.completions), dtype=np.float32) for group in groups]
        run, world = self.run, World.current()
        parts = [groups[start : start + PROMPTS_PER_PART] for start in range(0, len(groups), PROMPTS_PER_PART)]
        paths = [run.path / "reference" / f"{name}-{number:05}.safetensors" for number in range(len(parts))]
        keys = [_key(part, self.fingerprint) for part in parts]
        kept = world.first(lambda: [_read(path, key, run.say) for path, key in zip(paths, keys, strict=True)])
        found = {k: np.array(numbers, dtype=np.float32) for k, numbers in enumerate(kept) if numbers is not None}
        missing = [number for number in range(len(parts)) if number not in found]
        if missing:
            run.say(f"asking the reference for its log-probabilities of {_told([parts[k] for k in missing])}")
        for start in range(0, len(missing), world.size):  # a round: every process asks for one part
            numbers = missing[start : start + world.size]
            found |= _round(numbers, parts, world.together(self._asking).sums, world)
            for number in numbers:
                world.first(partial(_write, paths[number], keys[number], found[number]))
        return [values for number, part in enumerate(parts) for values in _by_group(part, found[number])]

    def _asking(self) -> CompletionScorer:
        if self._scorer is None:
            self._scorer = self._make_scorer()
        return self._scorer


def _round(
    numbers: Sequence[int], parts: Sequence[Sequence[Group]], ask: Sums, world: World
) -> dict[int, NDArray[np.float32]]:
    """The parts of one round, in every process."""
    own = numbers[world.rank] if world.rank < len(numbers) else None
    made = world.together(lambda: [] if own is None else _asked(parts[own], ask))
    sizes = {number: sum(len(group.completions) for group in parts[number]) for number in numbers}
    flat = world.summed([value for k in numbers for value in (made if k == own else [0.0] * sizes[k])])
    found, start = {}, 0
    for number, size in sizes.items():
        found[number], start = np.array(flat[start : start + size], dtype=np.float32), start + size
    return found


def _asked(part: Sequence[Group], ask: Sums) -> list[float]:
    values = [float(value) for sums in ask(part) for value in sums]
    if not np.isfinite(values).all():
        raise RunError(
            "the reference gives log-probabilities that are no numbers",
            remedy="Give another reference, or set tuning.dtype to float32",
        )
    return values


def _key(part: Sequence[Group], reference: str) -> str:
    """Names the reference and what it was asked."""
    hasher = hashlib.blake2b(digest_size=16)
    for group in part:
        for ids in (group.prompt, *group.completions):
            hasher.update(b"%d:" % len(ids))
            hasher.update(np.ascontiguousarray(ids, dtype="<i4").tobytes())
        hasher.update(b";")
    return fingerprint([reference, hasher.hexdigest()])


def _write(path: Path, key: str, values: NDArray[np.float32]) -> None:
    about = json.dumps({"key": key, "checksum": _checksum(values)})  # one entry: several are written in any order
    write_bytes(path, safetensors_bytes({"log_probs": values}, metadata={"instil": about}))


def _read(path: Path, key: str, say: Callable[[str], None]) -> list[float] | None:
    """What a file keeps; None where it is not there, is damaged or belongs to something else."""
    if not path.is_file():
        return None
    with (
        contextlib.suppress(SafetensorError, OSError, KeyError, ValueError),
        safe_open(path, framework="np") as file,
    ):
        about, values = json.loads((file.metadata() or {})["instil"]), file.get_tensor("log_probs")
        if about.get("key") != key:
            say(f"{path.name} belongs to another reference or to other rows: made again")
            return None
        if about.get("checksum") == _checksum(values):
            kept: list[float] = values.tolist()
            return kept
    say(f"{path.name} is damaged: made again")
    return None


def _checksum(values: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()


def _by_group(part: Sequence[Group], values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    ends = np.cumsum([len(group.completions) for group in part])
    return list(np.split(values, ends[:-1]))


def _told(parts: Sequence[Sequence[Group]]) -> str:
    completions = sum(len(group.completions) for part in parts for group in part)
    return f"{completions:,} completions of {sum(map(len, parts)):,} prompts"
