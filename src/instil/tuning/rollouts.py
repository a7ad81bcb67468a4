"""Rollouts: answers that the policy sampled, with all that is known of them before the first step on them.

    rollouts/00012.safetensors    prompts, answers, log-probabilities, values, rewards      while a run may need them
             00012.json           what it came to ("summary": {"reward": 1.3, ...}), texts, a checksum       for good

    token       4     2        the answer [4 2], sampled after a prompt
    sampled    -0.7  -0.1      log-probability as the sampler said
    policy     -0.7  -0.1      by the forward pass that trains: what ratios are taken to
    reference  -0.9  -0.1      of the model that the policy is held near
    values      0.3   0.5      what the value network expects in front of the token

A rollout is a function of its number and of the weights that sampled it, and is written before it is used: a run that
was killed in the midst of it reads it again, one that was killed before makes it again, and both go on bitwise alike.

Shape legend: N answers, K tokens of all answers, one answer behind the other, T tokens of the longest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as tensors_of
from safetensors.numpy import save as bytes_of
from torch import Tensor

from instil.fingerprint import fingerprint
from instil.records import Group
from instil.runs import json_text, write_bytes, write_text

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """Answers to the prompts of one rollout."""

    groups: tuple[Group, ...]
    """Each prompt with its answers, equally many for each; an answer that ended by itself has its end token."""
    texts: tuple[str, ...]
    """N of them, as they were judged."""
    finished: NDArray[np.bool_]
    """(N,): whether an answer ended by itself."""
    rewards: NDArray[np.float64]
    """(N,): what the rewards say in sum; NaN where one of them gave no number."""
    sampled: Floats
    """(K,): log-probabilities as the sampler gave them; NaN where it gave none."""
    policy: Floats
    """(K,): the same by the forward pass that trains."""
    reference: Floats
    """(K,): of the reference; empty where there is none."""
    values: Floats
    """(K,): of the value network in front of each token; empty where there is none."""
    parts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """(N,) of each source of rewards."""
    state: Mapping[str, float] = field(default_factory=dict)
    """What the method carries from rollout to rollout, as it holds for this one: beta, a baseline."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N,): tokens of each answer."""
        return np.array([len(one) for group in self.groups for one in group.completions], dtype=np.int64)

    @property
    def samples(self) -> int:
        """Answers of a prompt."""
        return len(self.groups[0].completions) if self.groups else 0

    @property
    def kl(self) -> NDArray[np.float64]:
        """(N,): log policy - log reference of each whole answer, in nats; 0 where there is no reference."""
        if not len(self.reference):
            return np.zeros(len(self.finished))
        ends = np.cumsum(self.sizes)
        sums = np.concatenate([[0.0], np.cumsum((self.policy - self.reference).astype(np.float64))])
        return np.asarray(np.diff(sums[np.concatenate([[0], ends])]))

    @property
    def mask(self) -> Tensor:
        """(N, T): true where a token stands, T being the longest answer."""
        sizes_N = torch.from_numpy(self.sizes)
        return torch.arange(int(self.sizes.max(initial=0)))[None] < sizes_N[:, None]

    def padded(self, values: NDArray[Any]) -> Tensor:
        """Values of all tokens (K,) as (N, T) in double precision, 0 where nothing stands."""
        mask_NT = self.mask
        return torch.zeros(mask_NT.shape, dtype=torch.float64).masked_scatter(
            mask_NT, torch.from_numpy(values.astype(np.float64))
        )

    @property
    def judged(self) -> NDArray[np.bool_]:
        """(N,): whether an answer is learned from: all of its prompt have a reward that is a number."""
        whole = np.isfinite(self.rewards).reshape(len(self.groups), self.samples).all(1)
        return np.repeat(whole, self.samples)


class RolloutFolder:
    """The rollouts of a run.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, number: int, rollout: Rollout, *, key: str, summary: Mapping[str, Any]) -> None:
        """Keep a rollout, whole or not at all: what names its bytes is written last.

        Args:
            number: its number.
            rollout: what is kept.
            key: names what it was made from.
            summary: what it came to.

        Raises:
            RunError: if the disk is full.
        """
        content = bytes_of(arrays_of(rollout))
        write_bytes(self._tensors(number), content)
        mark = {
            "number": number,
            "key": key,
            "sha256": hashlib.sha256(content).hexdigest(),
            "state": dict(rollout.state),
            "summary": dict(summary),
            "texts": list(rollout.texts),
        }
        write_text(self._mark(number), json_text({**mark, "checksum": fingerprint(mark)}))

    def read(self, number: int, *, key: str | None = None) -> Rollout | None:
        """A rollout as it was written; None where it is not there, or not as it was written.

        Args:
            number: its number.
            key: what it should have been made from; None where nobody can tell any more.
        """
        mark = self._known(number)
        try:
            content = self._tensors(number).read_bytes()
        except OSError:
            return None
        if mark is None or hashlib.sha256(content).hexdigest() != mark["sha256"]:
            return None
        if key is not None and mark["key"] != key:
            return None
        return rollout_of(tensors_of(content), mark["state"], mark["texts"])

    def summary(self, number: int) -> dict[str, Any] | None:
        """What a rollout came to, and the state that held for it, however long ago it was."""
        mark = self._known(number)
        return None if mark is None else {**mark["summary"], **mark["state"]}

    def prune(self, before: int) -> None:
        """Remove the tensors of rollouts before one; what they came to stays."""
        for path in self.folder.glob("*.safetensors"):
            if path.stem.isdigit() and int(path.stem) < before:
                path.unlink(missing_ok=True)

    def _known(self, number: int) -> dict[str, Any] | None:
        try:
            mark: dict[str, Any] = json.loads(self._mark(number).read_text("utf-8"))
            checksum = mark.pop("checksum")
        except (OSError, ValueError, AttributeError, KeyError):
            return None
        return mark if checksum == fingerprint(mark) and mark["number"] == number else None

    def _tensors(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"

    def _mark(self, number: int) -> Path:
        return self.folder / f"{number:05d}.json"


_PER_TOKEN = ("sampled", "policy", "reference", "values")


def arrays_of(rollout: Rollout) -> dict[str, NDArray[Any]]:
    """All but texts and state, as named arrays."""
    prompts = [group.prompt for group in rollout.groups]
    answers = [one for group in rollout.groups for one in group.completions]
    return {
        "prompt_ids": _joined(prompts),
        "prompt_sizes": np.array([len(prompt) for prompt in prompts], dtype=np.int64),
        "completion_ids": _joined(answers),
        "completion_sizes": rollout.sizes,
        "group_sizes": np.array([len(group.completions) for group in rollout.groups], dtype=np.int64),
        "finished": rollout.finished,
        "rewards": rollout.rewards,
        **{name: getattr(rollout, name) for name in _PER_TOKEN},
        **{f"part/{name}": values for name, values in rollout.parts.items()},
    }


def _joined(parts: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)


def rollout_of(arrays: Mapping[str, NDArray[Any]], state: Mapping[str, float], texts: Sequence[str]) -> Rollout:
    """What `arrays_of` was given."""
    prompts = _cut(arrays["prompt_ids"], arrays["prompt_sizes"])
    answers = _cut(arrays["completion_ids"], arrays["completion_sizes"])
    starts = np.concatenate([[0], np.cumsum(arrays["group_sizes"])]).tolist()
    return Rollout(
        groups=tuple(
            Group(prompt, tuple(answers[start:stop]))
            for prompt, (start, stop) in zip(prompts, pairwise(starts), strict=True)
        ),
        finished=arrays["finished"],
        rewards=arrays["rewards"],
        parts={
            name.removeprefix("part/"): values for name, values in sorted(arrays.items()) if name.startswith("part/")
        },
        texts=tuple(texts),
        state=dict(state),
        **{name: arrays[name] for name in _PER_TOKEN},
    )


def _cut(ids: NDArray[np.int32], sizes: NDArray[np.int64]) -> list[NDArray[np.int32]]:
    ends = np.cumsum(sizes)
    return [ids[stop - size : stop] for size, stop in zip(sizes.tolist(), ends.tolist(), strict=True)]
