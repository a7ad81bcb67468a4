"""Reward models: what they say of completions, alone and in ensembles; read from folders and written to them.

    load_reward("runs/reward")          out/model/: a plain Hugging Face folder, and reward.safetensors beside it
    load_ensemble("runs/rewards")       out/reward-0/, out/reward-1/, ...: models that were trained apart
    .rewards([Group([12, 7] -> [4, 2], [8, 2])])                    [[0.82, -1.3]]      ids of its own tokenizer
    .rewards_of([[user "Name a fruit."]], [["Apple", "A chair"]])   [[0.82, -1.3]]      texts, which it encodes itself

Of an ensemble the mean, or the worst: the least of its members, which an answer that fools one of them does not fool.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from instil.errors import ModelError, RunError
from instil.fingerprint import fingerprint
from instil.mixtures.encode import Encoder
from instil.mixtures.groups import encode_groups, lay_out_groups
from instil.models.groups import sharing_fault
from instil.models.loading import LoadedModel, load, resolve, save
from instil.models.memory import is_out_of_memory
from instil.models.parity import evaluating
from instil.models.reward_head import RewardHead, detach_head, head_of, put_head, rewards_at
from instil.models.tensors import Layout, to_tensors
from instil.models.weights import Dtype
from instil.records import Group, Message, Ranking
from instil.runs import writing_folder
from instil.tuning.memory import in_smaller_batches

#: The head's file, beside the weights of the model.
FILE = "reward.safetensors"
#: The members' folders in the run folder of an ensemble.
MEMBER = "reward-{}"
#: Tokens in memory at once, padding included, on a CPU and on a GPU.
_TOKENS = {"cpu": 4096, "cuda": 32768}

Combine = Literal["mean", "worst"]


class RewardModel:
    """A model with a reward head.

    Args:
        loaded: the model, its head attached.
        max_length: the longest prompt with a completion, in tokens; what the model can read by default.
        layout: how completions stand with their prompt; found out by trying the model where it is left out.
        tokens_per_batch: the most tokens, padding included, in memory at once; halved where memory runs out.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_length: int | None = None,
        layout: Layout | None = None,
        tokens_per_batch: int | None = None,
    ) -> None:
        self.loaded = loaded
        self.layout: Layout = _layout(loaded) if layout is None else layout
        self.encoder = encoder_for(loaded, max_length)
        self.tokens_per_batch = tokens_per_batch or _TOKENS.get(loaded.device.type, _TOKENS["cuda"])

    @property
    def fingerprint(self) -> str:
        """Names its content, the head included."""
        return self.loaded.fingerprint

    def rewards(self, groups: Sequence[Group], model: PreTrainedModel | None = None) -> list[list[float]]:
        """The reward of each completion of each prompt, as token ids of this model's tokenizer.

        Args:
            groups: what to judge.
            model: to be asked in place of the one loaded, whose kin it is.

        Raises:
            RunError: if not even one prompt with one completion fits in memory.
        """
        return in_smaller_batches(
            self,
            lambda: self._rewards(groups, self.loaded.model if model is None else model),
            found="memory ran out while a single prompt and its completion were judged",
            remedy="Take a smaller reward model or a device with more memory",
        )

    def rewards_of(
        self, prompts: Sequence[Sequence[Message]], completions: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """The reward of each completion of each prompt, as texts.

        Args:
            prompts: conversations, up to where the completions begin.
            completions: of each of them, one or more.

        Returns:
            For every prompt a number a completion; NaN for those of a prompt that the chat template refuses.
        """
        rankings = [Ranking(tuple(said), tuple(texts)) for said, texts in zip(prompts, completions, strict=True)]
        groups = encode_groups(self.encoder, rankings)
        found = iter(self.rewards([group for group in groups if group is not None and group.completions]))
        return [
            [math.nan] * len(texts) if group is None else next(found) if texts else []
            for group, texts in zip(groups, completions, strict=True)
        ]

    def centre(self, mean: float) -> float:
        """Take what reference answers have on average off every reward: the bias that makes it so.

        Raises:
            RunError: if it is no number.
        """
        if not math.isfinite(mean):
            raise RunError(
                "the rewards of reference answers are no numbers, so that there is nothing to centre",
                remedy="Lower tuning.learning_rate, and start a new run",
            )
        bias = head_of(self.loaded.model).bias
        with torch.no_grad():
            bias.sub_(mean)
        return float(bias.detach())

    def _rewards(self, groups: Sequence[Group], model: PreTrainedModel) -> list[list[float]]:
        architecture = self.loaded.architecture
        starts = np.cumsum([0, *(len(group.completions) for group in groups)])
        flat = np.zeros(starts[-1])
        packs = lay_out_groups(
            groups,
            tokens_per_batch=self.tokens_per_batch,
            specials=self.loaded.specials,
            shared=self.layout == "shared",
            whole_groups=False,
        )
        with evaluating(model), torch.no_grad():
            for item in packs:
                pack = to_tensors(item.pack, model.device)
                ends = torch.from_numpy(item.ends).to(model.device)
                flat[item.numbers] = rewards_at(model, architecture, pack, ends, self.layout).double().cpu().numpy()
        return [flat[start:stop].tolist() for start, stop in pairwise(starts.tolist())]


class RewardEnsemble:
    """Several reward models as one; each reads texts with its own tokenizer.

    Args:
        models: one or more.
        combine: what becomes of their rewards.

    Raises:
        ModelError: if there is none.
    """

    def __init__(self, models: Sequence[RewardModel], combine: Combine = "mean") -> None:
        if not models:
            raise ModelError("an ensemble has no reward model", remedy="Name at least one")
        self.models, self.combine = tuple(models), combine

    @property
    def fingerprint(self) -> str:
        """Names its members and what becomes of their rewards."""
        return fingerprint([self.combine, *(model.fingerprint for model in self.models)])

    def rewards(self, groups: Sequence[Group]) -> list[list[float]]:
        """As of a reward model; all members must have one tokenizer.

        Raises:
            ModelError: if they have not.
        """
        if len({model.loaded.backend.to_str() for model in self.models}) > 1:
            raise ModelError(
                "the reward models of an ensemble have different tokenizers, and were given token ids",
                remedy="Ask them by text (`rewards_of`)",
            )
        return self._combined([model.rewards(groups) for model in self.models])

    def rewards_of(
        self, prompts: Sequence[Sequence[Message]], completions: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """As of a reward model. NaN of one member is NaN of all."""
        return self._combined([model.rewards_of(prompts, completions) for model in self.models])

    def _combined(self, said: Sequence[list[list[float]]]) -> list[list[float]]:
        made = np.mean if self.combine == "mean" else np.min  # both keep NaN
        return [made(np.array(each), axis=0).tolist() if each[0] else [] for each in zip(*said, strict=True)]


def encoder_for(loaded: LoadedModel, max_length: int | None = None) -> Encoder:
    """What turns prompts and completions into this model's ids."""
    return Encoder(
        loaded.backend,
        form=loaded.form,
        max_length=min(max_length or loaded.max_length, loaded.max_length),
        eos_id=loaded.eos_id,
        chat=loaded.chat,
        specials=loaded.specials,
    )


def _layout(loaded: LoadedModel) -> Layout:
    """`shared` where this very model gives the same in it."""
    with still(loaded.model):  # rewards need no gradients, so none are compared
        try:
            return "bucketed" if sharing_fault(loaded) else "shared"
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return "bucketed"


@contextlib.contextmanager
def still(model: PreTrainedModel) -> Iterator[None]:
    """While open, no weight learns."""
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def load_reward(path: str | Path, *, device: str = "auto", dtype: Dtype = "auto") -> RewardModel:
    """Read a reward model.

    Args:
        path: its folder, or that of the run that made it.
        device: see `models.loading.load`; so is `dtype`.
        dtype: see there.

    Raises:
        ModelError: if the folder holds none, or several.
    """
    members = _members(Path(path).expanduser())
    if members:
        raise ModelError(
            f"{path} holds an ensemble of {len(members)} reward models",
            remedy=f"Give one of them, such as {members[0]}, or all of them as `models`",
        )
    folder = resolve(str(path))
    if not (folder / FILE).is_file():
        raise ModelError(f"{path} holds no reward model (it has no {FILE})", remedy="Train one with `instil reward`")
    loaded = load(path, device=device, dtype=dtype)
    put_head(loaded.model, read_head(folder))
    return RewardModel(loaded, max_length=_said(folder).get("max_length"))


def load_ensemble(
    path: str | Path, *, device: str = "auto", dtype: Dtype = "auto", combine: Combine = "mean"
) -> RewardEnsemble:
    """Read all reward models of a run folder.

    Raises:
        ModelError: if it holds none.
    """
    members = _members(Path(path).expanduser()) or [Path(path)]
    return RewardEnsemble([load_reward(one, device=device, dtype=dtype) for one in members], combine)


def _members(folder: Path) -> list[Path]:
    """The folders of an ensemble's members; empty where it is none."""
    found = [one for one in folder.glob(MEMBER.format("*")) if one.name.rpartition("-")[2].isdigit() and one.is_dir()]
    return sorted(found, key=lambda one: int(one.name.rpartition("-")[2]))


def read_head(folder: Path) -> RewardHead:
    """The head in the folder of a reward model.

    Raises:
        ModelError: if its file is not as it was written.
    """
    try:
        tensors = load_file(folder / FILE)
        head = RewardHead(tensors["weight"].shape[1])
        head.load_state_dict(tensors)
    except Exception as error:  # a torn file: safetensors, a missing key and a wrong shape each raise their own kind
        raise ModelError(
            f"{folder / FILE} is not a reward head ({type(error).__name__})", remedy="Copy the folder again"
        ) from error
    return head


def _said(folder: Path) -> Mapping[str, Any]:
    """What `instil.json` says of the reward model."""
    try:
        said = json.loads((folder / "instil.json").read_text("utf-8"))["reward"]
        return said if isinstance(said, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def save_reward(loaded: LoadedModel, folder: Path, *, card: str, details: Mapping[str, Any]) -> None:
    """Write a reward model, whole or not at all: a plain Hugging Face folder, and its head beside it.

    Args:
        loaded: the model, its head attached.
        folder: the place; an earlier folder there is replaced.
        card: the model card, written as README.md.
        details: `reward` in `instil.json`; `max_length` there is the longest text that the model is given.

    Raises:
        RunError: if the disk is full or the place cannot be written.
    """
    head = head_of(loaded.model)
    tensors = {name: value.detach().float().cpu().contiguous() for name, value in head.named_parameters()}
    detach_head(loaded.model)  # which transformers would write among the model's own weights
    try:
        with writing_folder(folder) as temporary:
            save(loaded, temporary / "model", card=card, details={"reward": dict(details)})
            for path in (temporary / "model").iterdir():
                path.rename(temporary / path.name)
            (temporary / "model").rmdir()
            save_file(tensors, temporary / FILE)
    finally:
        put_head(loaded.model, head)
