"""Reward models from rankings (InstructGPT, Ouyang et al. 2022, section 3.5).

    rows       prompts_per_step prompts, each with all its completions: which ones, a function of the step's number
    encode     each prompt once, its completions beside each other, where the model may; each completion once
    reward     w . h at every completion's last token
    loss       of a prompt the mean over its untied pairs of -log sigmoid(better - worse), then the mean over prompts
    end        b such that reference answers average 0

One epoch: the paper's models overfit in the second. At the first step rewards are random and small, the loss is near
log 2, and half of the pairs are ordered rightly.

Shape legend: N completions, P pairs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from transformers import PreTrainedModel

from instil.errors import RecipeError
from instil.models.loading import LoadedModel
from instil.models.reward_head import attach_head, has_head, head_of, rewards_at
from instil.models.tensors import Layout
from instil.records import Architecture, Group
from instil.runs import RunFolder
from instil.tuning.completion_log_probs import choose_group_layout
from instil.tuning.distributed import World
from instil.tuning.loop import LoopSpec, Piece, TrainResult, train
from instil.tuning.lora import LoraSpec, add_lora
from instil.tuning.memory import recomputing
from instil.tuning.preference_rows import EpochOrder
from instil.tuning.ranking_loss import Ties, ranking_loss
from instil.tuning.reward_model import RewardModel, still
from instil.tuning.reward_packs import RewardPack, reward_pieces
from instil.tuning.reward_rows import RewardRow

Learned = Literal["all", "head"]

Rewards = Callable[[Sequence[Group]], list[list[float]]]
"""Prompts with completions -> a reward for each completion."""
Judged = Callable[[Rewards], Mapping[str, Any]]
"""Rewards of a model -> its figures by name; `keep_best` is one of these names."""


class RewardSpec(LoopSpec):
    """Learning rewards from rankings."""

    epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """How often every prompt is read, where `max_steps` is not given: a second time overfits, says the paper."""
    prompts_per_step: int = Field(default=32, ge=1)
    """Prompts of one optimizer step, each with all its completions."""
    ties: Ties = "drop"
    """What completions of one rank teach: nothing (`drop`, as the paper), half a win each way (`half`), or that their
    rewards should be equal (`squared`)."""
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Where completions were scored: by so many times the difference of two scores the better one should be ahead."""
    max_length: int | None = Field(default=None, ge=16)
    """The longest prompt with a completion, in tokens; longer ones are cut and counted. What the model can read by
    default."""
    max_completion_length: int | None = Field(default=None, ge=2)
    """The longest completion, in tokens, with its end token; longer ones are cut."""
    layout: Literal["auto", "shared", "bucketed"] = "auto"
    """`auto` lets the completions of a prompt share it, where the loaded model proves that it computes the same."""
    gradient_checkpointing: bool = False
    """Computes each block twice and keeps only its inputs in between: less memory, more time, the same result."""
    trained: Learned = "all"
    """`head` trains the reward head alone, on the model as it is."""
    lora: LoraSpec | None = None
    """Trains thin matrices beside the linear layers, and the head, instead of all weights; `{}` takes every default of
    it."""

    @model_validator(mode="after")
    def _one_way_of_training_little(self) -> Self:
        if self.lora is not None and self.trained != "all":
            raise ValueError("lora and `trained: head` exclude each other: with lora the head is trained as well")
        return self

    def steps(self, prompts: int) -> int:
        """The steps of `epochs`: the last one is filled from the next epoch."""
        return max(1, math.ceil(self.epochs * prompts / self.prompts_per_step))


def refuse_base(loaded: LoadedModel) -> None:
    """Refuse a model whose rewards nobody would know where to read.

    Raises:
        RecipeError: if it is an encoder-decoder.
    """
    if loaded.architecture == "seq2seq":
        raise RecipeError(
            f"{loaded.path} is an encoder-decoder, and a reward is read from one text: prompt and completion",
            remedy="Give a causal or a masked model; the policy may be seq2seq all the same: texts are encoded anew",
        )


def train_reward(
    loaded: LoadedModel,
    rows: Sequence[RewardRow],
    spec: RewardSpec,
    run: RunFolder,
    *,
    evaluate: Judged | None = None,
    show_progress: bool = True,
) -> TrainResult:
    """Train `loaded.model` in place, with a reward head: it has one afterwards, and with `spec.lora` an adapter.

    The bias of the head stays as it is: only differences of rewards are learned from.

    Args:
        loaded: the model; where it has a head already, that goes on.
        rows: what is learned from, in the order that the epochs are drawn from.
        spec: how.
        run: where metrics and checkpoints go.
        evaluate: called where `train` calls its own, with what gives the rewards of the model as it is then.
        show_progress: see `train`.

    Raises:
        RecipeError: if the model is an encoder-decoder.
        RunError, Interrupted: as `train` does.
    """
    refuse_base(loaded)
    if World.current().size == 1:  # as `train` holds its weights: what is tried in float32 is tried more sharply
        loaded.model.float()
    if spec.lora is not None:
        add_lora(loaded.model, spec.lora, seed=spec.seed)
    if not has_head(loaded.model):
        attach_head(loaded, seed=spec.seed)
    order = EpochOrder(len(rows), seed=spec.seed, size=spec.prompts_per_step)
    with learning(loaded.model, spec.trained), recomputing(loaded.model, spec.gradient_checkpointing):
        layout = World.current().together(lambda: layout_for(loaded, spec, run.say))

        def batches(step: int, tokens_per_batch: int) -> list[Piece[RewardPack]]:
            read = [rows[place] for place in order.window(step)]
            return reward_pieces(loaded, read, layout, tokens_per_batch, margin=spec.margin)

        judge = RewardModel(loaded, layout=layout)

        def asked(_: int, model: PreTrainedModel) -> Mapping[str, Any]:
            assert evaluate is not None
            return evaluate(partial(judge.rewards, model=model))

        return train(
            spec,
            loaded.model,
            batches,
            RewardLoss(loaded.architecture, spec, layout),
            run,
            evaluate=None if evaluate is None else asked,
            title="reward",
            show_progress=show_progress,
        )


def layout_for(loaded: LoadedModel, spec: RewardSpec, say: Callable[[str], None]) -> Layout:
    """How completions stand with their prompt, for this very model."""
    shared, asked = spec.layout != "bucketed", spec.layout == "shared"
    # where the head alone learns, the gradients of the model need not be the same
    with still(loaded.model) if spec.trained == "head" else contextlib.nullcontext():
        return choose_group_layout(loaded, shared=shared, asked=asked, say=say)


@contextlib.contextmanager
def learning(model: PreTrainedModel, part: Learned) -> Iterator[None]:
    """While open, what no reward depends on has no gradient: the output layer, and the head's bias.

    With `head` nothing else than the head's weight has one.
    """
    head, body = head_of(model), model.base_model
    own = {head.weight}
    read = own if part == "head" else own | set(model.parameters() if body is model else body.parameters())
    asked = {weight: weight.requires_grad for weight in model.parameters()}
    for weight in asked:
        weight.requires_grad_(weight in own or (weight.requires_grad and weight in read and weight is not head.bias))
    try:
        yield
    finally:
        for weight, before in asked.items():
            weight.requires_grad_(before or weight in own or weight is head.bias)


class RewardLoss:
    """The summed loss of a piece, and the sums of its figures, over prompts.

    Args:
        architecture: of the model.
        spec: says what ties are.
        layout: of the pieces.
    """

    def __init__(self, architecture: Architecture, spec: RewardSpec, layout: Layout) -> None:
        self.architecture, self.spec, self.layout = architecture, spec, layout
        self.figures = {"loss": ("accuracy", "difference")}

    def __call__(self, model: PreTrainedModel, item: RewardPack) -> Tensor:
        """The loss; the share of pairs that are ordered rightly; by how much the better ones are ahead."""
        reward_N = rewards_at(model, self.architecture, item.pack, item.ends, self.layout)
        loss = ranking_loss(reward_N, item.better, item.worse, item.share, item.margin, item.tied, ties=self.spec.ties)
        with torch.no_grad():
            ahead_P = reward_N.index_select(0, item.better) - reward_N.index_select(0, item.worse)
            # of ties both are half: they are ordered rightly by a coin, and neither is ahead
            right_P = torch.where(item.tied, 0.5, (ahead_P > 0) + 0.5 * (ahead_P == 0))
            figures = [(item.share * right_P).sum(), (item.share * torch.where(item.tied, 0.0, ahead_P)).sum()]
        return torch.stack([loss, *figures])
