"""What a tuning would cost, before it is begun: `--dry-run`.

    plan(loaded, windows, spec).lines()
      600 steps of 64 prompts: 38,400 prompts, 3,840,000 tokens, 420,000 of them trained on; 4.1% padding
      2.1 epochs of pocket, 0.3 epochs of ni
      of 512 prompts looked at: 3 lose exemplars, 1 loses a part of its input, 0 lose a part of their answer
      memory 0.2 GB: weights 0.0, gradients 0.0, optimizer 0.0, activations 0.1 (of them logits 0.0)
      about 0:04:10 at 15,400 tokens a second on cpu

Tokens and cuts are counted on windows spread over the whole run; time and activations are measured on one of them, by a
forward and a backward pass that change no weight.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from instil.errors import RunError
from instil.models.architecture import forward_of
from instil.models.loading import LoadedModel
from instil.models.parity import evaluating
from instil.tuning.gradient import products_in
from instil.tuning.loop_spec import piece_tokens, product_dtype
from instil.tuning.memory import recomputing
from instil.tuning.optimizers import state_bytes
from instil.tuning.output_loss import AnswerLoss, logits_bytes
from instil.tuning.sft import Replay, TuningSpec, Windows, choose_layout, step_pieces

_WINDOWS_LOOKED_AT = 8


@dataclass(frozen=True, slots=True)
class Source:
    """What a mixture says of one of its sources."""

    share: float
    """Of the prompts, from 0 to 1."""
    examples: int


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """What a tuning would do. Bytes are bytes, seconds are seconds."""

    steps: int
    prompts: int
    tokens: int
    answer_tokens: int
    padded_share: float
    pieces_per_step: float
    longest_prompt: int
    layout: str
    device: str
    epochs: dict[str, float]
    looked_at: int
    cut: dict[str, int]
    """Of the prompts looked at: how many lose `exemplars`, a part of their `input` or of their `answer`."""
    bytes_needed: dict[str, int]
    """`weights`, `gradients`, `optimizer`, `activations` (the logits included), `logits`."""
    tokens_per_second: float
    seconds: float
    messages: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """The memory of one step."""
        return sum(size for part, size in self.bytes_needed.items() if part != "logits")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for machines."""
        return {**asdict(self), "messages": list(self.messages), "total_bytes": self.total_bytes}

    def lines(self) -> list[str]:
        """The plan for people."""
        gb = {part: size / 1e9 for part, size in self.bytes_needed.items()}
        parts = ", ".join(f"{part} {gb[part]:.2f}" for part in ("weights", "gradients", "optimizer", "activations"))
        epochs = ", ".join(f"{count:.2f} epochs of {name}" for name, count in self.epochs.items())
        cut = self.cut
        size = (
            f"{self.steps:,} steps, {self.prompts:,} prompts, {self.tokens:,} tokens, "
            f"{self.answer_tokens:,} of them trained on"
        )
        shape = (
            f"{self.layout}, {self.pieces_per_step:.1f} pieces a step, {self.padded_share:.1%} padding, "
            f"longest prompt {self.longest_prompt:,} tokens"
        )
        cuts = (
            f"of {self.looked_at:,} prompts looked at: {cut['exemplars']:,} lose exemplars, "
            f"{cut['input']:,} lose a part of their input, {cut['answer']:,} lose a part of their answer"
        )
        memory = f"memory {self.total_bytes / 1e9:.2f} GB: {parts} (logits {gb['logits']:.2f} of these)"
        clock = (
            f"about {timedelta(seconds=round(self.seconds))} at {self.tokens_per_second:,.0f} tokens a second "
            f"on {self.device}, evaluation not counted"
        )
        return [*self.messages, size, shape, *([epochs] if epochs else []), cuts, memory, clock]


def plan(
    loaded: LoadedModel,
    windows: Windows,
    spec: TuningSpec,
    *,
    replay: Replay | None = None,
    sources: Mapping[str, Source] | None = None,
) -> TuningPlan:
    """Look at windows of the whole run and time one step; the model is left as it was.

    Raises:
        RunError: if the windows have no prompt to train on.
    """
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    messages: list[str] = []
    layout = choose_layout(loaded, spec, messages.append)
    count = min(spec.max_steps, _WINDOWS_LOOKED_AT)
    looked = [list(windows(number * spec.max_steps // count)) for number in range(count)]
    prompts = [prompt for window in looked for prompt in window]
    if not prompts:
        raise RunError("the mixture gives no prompt to train on", remedy="Look at it with `instil mix show`")
    most = piece_tokens(spec, loaded.device)
    bare = spec.model_copy(update={"replay_share": 0.0})
    flat = [piece for window in looked for piece in step_pieces(loaded, window, bare, layout, most)]
    times = spec.max_steps / count
    tokens = sum(len(prompt.ids) for prompt in prompts) * times
    tokens /= 1.0 - spec.replay_share if spec.replay_share < 1 else 1.0
    typical = sorted(looked, key=lambda window: sum(len(prompt.ids) for prompt in window))[len(looked) // 2]
    pieces = step_pieces(loaded, typical, spec, layout, most, replay=replay)
    rate, activations = _measure(loaded, pieces, layout, spec)
    weights = 4 * loaded.parameters
    cut = Counter(prompt.cut for prompt in prompts)
    return TuningPlan(
        steps=spec.max_steps,
        prompts=spec.max_steps * spec.prompts_per_step,
        tokens=round(tokens),
        answer_tokens=round(
            sum(piece.targets for piece in flat if piece.kind == "loss" and spec.replay_share < 1) * times
        ),
        padded_share=1.0 - sum(piece.tokens for piece in flat) / sum(piece.size for piece in flat),
        pieces_per_step=len(flat) / count,
        longest_prompt=max(len(prompt.ids) for prompt in prompts),
        layout=layout,
        device=str(loaded.device),
        epochs={
            name: spec.max_steps * spec.prompts_per_step * source.share / max(1, source.examples)
            for name, source in (sources or {}).items()
        },
        looked_at=len(prompts),
        cut={part: cut[part] for part in ("exemplars", "input", "answer")},
        bytes_needed={
            "weights": weights,
            "gradients": 4 * sum(weight.numel() for weight in loaded.model.parameters() if weight.requires_grad),
            "optimizer": state_bytes(loaded.model, spec),
            "activations": activations,
            "logits": logits_bytes(loaded.model, max(piece.targets for piece in pieces)),
        },
        tokens_per_second=rate,
        seconds=tokens / rate,
        messages=tuple(messages),
    )


def _measure(loaded: LoadedModel, pieces: Any, layout: Any, spec: TuningSpec) -> tuple[float, int]:
    """Tokens a second of a forward and backward pass, and the most bytes that one piece keeps for its backward."""
    dtype = product_dtype(spec, loaded.device)
    rate, kept = _time_and_bytes(loaded, pieces, layout, dtype)
    if not spec.gradient_checkpointing:
        return rate, kept
    model = loaded.model
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices=devices), recomputing(model, wanted=True):
        model.train()  # blocks are recomputed in training alone; `evaluating` puts the modes back
        rate, outside = _time_and_bytes(loaded, pieces, layout, dtype)
    blocks = sum(isinstance(module, GradientCheckpointingLayer) for module in model.modules())
    # what the blocks keep does not show: the input of each, and all of the one whose gradient is being made
    inputs = 4 * max(piece.size for piece in pieces) * int(model.get_input_embeddings().weight.shape[1])
    return rate, outside + blocks * inputs + max(0, kept - outside) // max(1, blocks)


def _time_and_bytes(loaded: LoadedModel, pieces: Any, layout: Any, dtype: torch.dtype) -> tuple[float, int]:
    """Tokens a second, and the bytes that the largest piece is seen to keep."""
    own = {weight.untyped_storage().data_ptr() for weight in loaded.model.parameters()}
    largest = max(pieces, key=lambda piece: piece.size)
    kept: dict[int, int] = {}
    forward = forward_of(loaded.architecture)
    loss_sum = AnswerLoss(lambda model, item: forward.answer_logits(model, item, layout))

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def passes(piece: Any) -> None:
        with products_in(dtype, loaded.model):
            loss = loss_sum(loaded.model, piece.item)
        torch.autograd.backward(loss * piece.scale)

    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            passes(largest)  # the first pass also warms up
        start = time.perf_counter()
        for piece in pieces:
            passes(piece)
        if loaded.device.type == "cuda":
            torch.cuda.synchronize(loaded.device)
        seconds = time.perf_counter() - start
    finally:
        loaded.model.zero_grad(set_to_none=True)
    return sum(piece.tokens for piece in pieces) / max(seconds, 1e-9), sum(kept.values())
