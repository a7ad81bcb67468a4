"""Supervised fine-tuning on instructions: each step reads a window of prompts and learns their answers.

    window     [What is ... ? | Paris </s>]  [Translate ... | le chat </s>]  ...     prompts_per_step of them
    layout     buckets of like length (CPU) or packed rows (GPU), at most tokens_per_batch at once
    loss       sum of the cross entropies of all answer tokens of the window / their number
               + replay_weight x the mean over the tokens of replayed pre-training text, where there is some
               + of masked models, share / (1 - share) x the mean over words that are masked anywhere in a share of
                 the prompts

How a window is cut into pieces, by layout, memory or devices, does not change the loss: a token counts as one token of
the window wherever it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor
from transformers import PreTrainedModel

from instil.errors import ModelError, RecipeError, RunError
from instil.models.architecture import forward_of
from instil.models.loading import LoadedModel
from instil.models.memory import is_out_of_memory
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.records import Encoded, Pack
from instil.runs import RunFolder
from instil.tuning.corruption import Document
from instil.tuning.distributed import World
from instil.tuning.head import Trained, training_only
from instil.tuning.loop import Evaluate, LoopSpec, Piece, TrainResult, piece_tokens, train
from instil.tuning.lora import LoraSpec, add_lora
from instil.tuning.memory import recomputing
from instil.tuning.objectives import ObjectiveSpec
from instil.tuning.output_loss import AnswerLoss
from instil.tuning.pretrain import text_pieces
from instil.tuning.window import MlmTargets, divided, lay_out, masked_words, packing_fault, revealed

Windows = Callable[[int], Sequence[Encoded]]
"""step -> the encoded prompts of its window: a pure function."""
Replay = Callable[[int, int], Sequence[Document]]
"""(step, tokens) -> documents of pre-training text, at least that many tokens in all: a pure function."""

#: Of the prompts of a masked model, so many have words masked anywhere: Clavié et al. 2025 found 15 to 20% best.
_MLM_SHARE = 0.2


class TuningSpec(LoopSpec):
    """Tuning on instructions."""

    prompts_per_step: int = Field(default=64, ge=1)
    """Prompts in the window of one optimizer step."""
    max_length: int | None = Field(default=None, ge=16)
    """The longest prompt with its answer, in tokens; longer ones are cut as `mixtures.encode` says, and counted. What
    the model can read by default. Of an encoder-decoder, the longest prompt alone."""
    max_answer_length: int | None = Field(default=None, ge=2)
    """The longest answer, in tokens, with its end token; longer ones are cut, and counted. What the model can read by
    default. Answers of masked models have `model.answer_slots`."""
    layout: Literal["auto", "bucketed", "packed"] = "auto"
    """`auto` packs on a GPU and buckets by length on a CPU, where long rows are slow."""
    replay_share: float = Field(default=0.0, ge=0, le=1)
    """Share of a step's tokens that is pre-training text, against forgetting: 0.5 is as much text as prompts. 1 is a
    control: a step reads as many tokens of text as its prompts have, and no prompt."""
    replay_weight: float = Field(default=1.0, ge=0)
    """What the mean loss of the replayed text is multiplied by before it is added to that of the answers."""
    replay_row_tokens: int = Field(default=256, ge=2)
    """Length of the rows of replayed text; a model that cannot look so far gets rows of its own length."""
    mlm_share: float | None = Field(default=None, ge=0, lt=1)
    """Masked models: the share of the prompts in which words are masked anywhere, in place of the answer. 0.2 by
    default."""
    mlm_targets: MlmTargets = "mask"
    """Masked models: what is to be found there: `mask`, the mask token itself; `words`, what was masked."""
    gradient_checkpointing: bool = False
    """Computes each block twice and keeps only its inputs in between: less memory, more time, the same result."""
    trained: Trained = "all"
    """`head` trains the output layer alone, where it is not the embedding too."""
    lora: LoraSpec | None = None
    """Trains thin matrices beside the linear layers instead of all weights; `{}` takes every default of it."""

    @model_validator(mode="after")
    def _one_way_of_training_little(self) -> Self:
        if self.lora is not None and self.trained != "all":
            raise ValueError("lora and `trained: head` exclude each other: an adapter trains itself alone")
        return self


def tune(
    loaded: LoadedModel,
    windows: Windows,
    spec: TuningSpec,
    run: RunFolder,
    *,
    replay: Replay | None = None,
    evaluate: Evaluate | None = None,
    show_progress: bool = True,
) -> TrainResult:
    """Tune `loaded.model` in place on the window of each step; with `spec.lora` it then holds an adapter, not merged.

    Args:
        loaded: the model.
        windows: the encoded prompts of each step.
        spec: how.
        run: where metrics and checkpoints go.
        replay: pre-training text, needed where `spec.replay_share` is not 0.
        evaluate: see `train`.
        show_progress: see `train`.

    Raises:
        RunError, Interrupted: as `train` does.
    """
    if spec.lora is not None:
        add_lora(loaded.model, spec.lora, seed=spec.seed)
    if World.current().size == 1:  # as `train` holds its weights: what is tried in float32 is tried more sharply
        loaded.model.float()
    layout = World.current().together(lambda: choose_layout(loaded, spec, run.say, windows))
    forward = forward_of(loaded.architecture)

    def batches(step: int, tokens_per_batch: int) -> list[Piece[PackTensors]]:
        return step_pieces(loaded, windows(step), spec, layout, tokens_per_batch, step=step, replay=replay)

    def answer_logits(model: PreTrainedModel, item: PackTensors) -> Tensor:
        # a row of replayed text holds one segment, so that both layouts read it alike
        return forward.answer_logits(model, item, layout)

    with training_only(loaded.model, spec.trained), recomputing(loaded.model, spec.gradient_checkpointing):
        loss_sum = AnswerLoss(answer_logits)
        if World.current().size > 1:
            first = batches(0, piece_tokens(spec, loaded.device))
            if first:
                loss_sum.look(loaded.model, first[0].item)
        return train(
            spec, loaded.model, batches, loss_sum, run, evaluate=evaluate, title="tuning", show_progress=show_progress
        )


def choose_layout(
    loaded: LoadedModel, spec: TuningSpec, say: Callable[[str], None], windows: Windows | None = None
) -> Layout:
    """The layout of the spec, where this very model gives the same logits in it as prompt by prompt; else buckets.

    Args:
        loaded: the model.
        spec: names the layout.
        say: is told why prompts are not packed.
        windows: the first of them is tried in packed rows, after random tokens were.

    Raises:
        ModelError: if not even padded rows give the same.
        RunError: if memory does not hold the gradients that are compared.
    """
    try:
        return _tried(loaded, spec, say, windows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            "memory ran out before the first step, while the model's gradients for a few prompts were looked at",
            remedy="Set tuning.lora to {}, or take a smaller model or a device with more memory",
        ) from error


def _tried(loaded: LoadedModel, spec: TuningSpec, say: Callable[[str], None], windows: Windows | None) -> Layout:
    forward = forward_of(loaded.architecture)
    wanted: Layout = "packed" if spec.layout == "packed" or (spec.layout == "auto" and _is_gpu(loaded)) else "bucketed"
    fault = forward.layout_fault(loaded.model, wanted, max_length=loaded.max_length)
    if wanted == "packed" and not fault and windows is not None and (first := windows(0)):
        fault = packing_fault(loaded, first)
    if fault and wanted == "packed":
        say(f"prompts are bucketed, not packed: {fault}")
        wanted = "bucketed"
        fault = forward.layout_fault(loaded.model, wanted, max_length=loaded.max_length)
    if fault:
        raise ModelError(f"{loaded.path} cannot be tuned with padded rows: {fault}", remedy="Give another model")
    return wanted


def refuse_foreign_keys(loaded: LoadedModel, spec: TuningSpec) -> None:
    """Refuse what a recipe asks for and the model's architecture cannot do.

    Raises:
        RecipeError: naming the key.
    """
    architecture = loaded.architecture
    if architecture == "masked" and spec.max_answer_length is not None:
        raise RecipeError(
            f"tuning.max_answer_length is {spec.max_answer_length}, and a masked model answers in slots",
            remedy="Leave it out, and set model.answer_slots",
        )
    if architecture == "causal" and spec.max_answer_length is not None:
        raise RecipeError(
            f"tuning.max_answer_length is {spec.max_answer_length}, and a causal model reads prompt and answer in one "
            "row",
            remedy="Leave it out, and set tuning.max_length for both together",
        )
    if architecture != "masked" and (spec.mlm_share or spec.mlm_targets != "mask"):
        key = "mlm_share" if spec.mlm_share else "mlm_targets"
        raise RecipeError(
            f"tuning.{key} is {getattr(spec, key)!r}, and only a masked model finds masked words; this one is "
            f"{architecture}",
            remedy="Leave it out",
        )


def _is_gpu(loaded: LoadedModel) -> bool:
    return loaded.device.type == "cuda"


def step_pieces(
    loaded: LoadedModel,
    window: Sequence[Encoded],
    spec: TuningSpec,
    layout: Layout,
    tokens_per_batch: int,
    *,
    step: int = 0,
    replay: Replay | None = None,
) -> list[Piece[PackTensors]]:
    """A window, and its replayed text, in pieces that fit in memory."""
    specials, seed = loaded.specials, spec.seed
    share = _mlm_share(loaded, spec)
    answered, others = divided(window, share, seed=seed, step=step)
    shown = revealed(answered, specials, seed=seed, step=step)
    packs = lay_out(answered, layout, tokens_per_batch, specials=specials, revealed=shown)
    pieces = _pieces(packs, loaded, kind="loss", weight=1.0)
    if others:
        hidden = masked_words(others, spec.mlm_targets, tokens_per_batch, specials, seed=seed, step=step)
        pieces += _pieces(hidden, loaded, kind="mlm_loss", weight=share / (1.0 - share))
    if spec.replay_share:
        read = sum(piece.tokens for piece in pieces)
        tokens = read if spec.replay_share == 1 else round(read * spec.replay_share / (1.0 - spec.replay_share))
        pieces = [] if spec.replay_share == 1 else pieces
        pieces += text_pieces(
            _documents(replay, step, tokens),
            loaded,
            tokens_per_batch,
            row_tokens=min(spec.replay_row_tokens, loaded.max_length),
            objective=ObjectiveSpec(),
            seed=seed,
            step=step,
            kind="replay_loss",
            weight=spec.replay_weight,
        )
    return pieces


def _mlm_share(loaded: LoadedModel, spec: TuningSpec) -> float:
    if loaded.architecture != "masked":
        return 0.0
    return _MLM_SHARE if spec.mlm_share is None else spec.mlm_share


def _pieces(packs: Sequence[Pack], loaded: LoadedModel, *, kind: str, weight: float) -> list[Piece[PackTensors]]:
    """Rectangles on the model's device; the mean over all their targets gets `weight`."""
    scale = weight / max(1, sum(len(part.target_ids) for part in packs))
    return [
        Piece(to_tensors(part, loaded.device), scale, len(part.target_ids), part.tokens, part.size, kind)
        for part in packs
        if len(part.target_ids)
    ]


def _documents(replay: Replay | None, step: int, tokens: int) -> list[Document]:
    """The first documents of a step's replay that have `tokens` tokens together."""
    if replay is None:
        raise RunError(
            "replay_share asks for pre-training text, and the model has none", remedy="Set replay_share to 0"
        )
    taken: list[Document] = []
    total = 0
    for document in replay(step, tokens):
        if total >= tokens:
            break
        taken.append(document)
        total += len(document)
    if total < tokens:
        raise RunError(
            f"the replayed text of step {step + 1} has {total:,} tokens, replay_share needs {tokens:,}",
            remedy="Lower replay_share, or give more text",
        )
    return taken
