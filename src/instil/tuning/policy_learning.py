"""The loss of a step that learns from sampled answers, and its pieces.

    batches(step)      [B b0 b1] [E e0 e1] of the rollout      [text] that is mixed in (`ptx`)
    loss(piece)        the method's loss of the answers        its cross entropy

No dropout: the policy is trained as it samples, so that the first step on a rollout has ratios of 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd
from transformers import PreTrainedModel

from instil.models.architecture import forward_of
from instil.models.groups import completion_logits, log_probs, log_probs_and_entropy
from instil.models.loading import LoadedModel
from instil.models.parity import evaluating
from instil.models.tensors import Layout, PackTensors
from instil.tuning.distributed import World
from instil.tuning.gradient import Piece
from instil.tuning.loop_spec import piece_tokens
from instil.tuning.output_loss import AnswerLoss
from instil.tuning.policy_method import PolicyItem, PolicyMethod, Said
from instil.tuning.policy_pieces import minibatch, policy_pieces
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.ptx import Ptx
from instil.tuning.rollout_keeper import RolloutKeeper
from instil.tuning.token_scores import at_temperature, values_at
from instil.tuning.value_network import network_of
from instil.tuning.weight_average import move_average

Item = PolicyItem | PackTensors


class PolicyLearning:
    """What the loop is given: `prepare`, `batches`, and the loss itself.

    Args:
        loaded: the policy, all attached.
        spec: how.
        method: which.
        keeper: has the rollouts.
        layout: of the policy's answers.
        ptx: what is mixed in.
        sharded: whether processes hold a part of every weight each.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: PolicySpec,
        method: PolicyMethod,
        keeper: RolloutKeeper,
        layout: Layout,
        *,
        ptx: Ptx | None,
        sharded: bool,
    ) -> None:
        self.loaded, self.spec, self.method, self.keeper = loaded, spec, method, keeper
        self.layout, self.ptx, self.sharded = layout, ptx, sharded
        self.figures = {"loss": self.method.figures}
        forward = forward_of(loaded.architecture)
        self._text_loss = AnswerLoss(lambda model, item: forward.answer_logits(model, item, "bucketed"))

    def prepare(self, step: int, model: PreTrainedModel) -> None:
        """Have the rollout of a step; and take the weights into their average."""
        if self.spec.ema is not None:
            move_average(model, self.spec.ema)
        self.keeper.prepare(step, model)

    def batches(self, step: int, tokens_per_batch: int) -> list[Piece[Item]]:
        """The answers of a step, and what is mixed in."""
        rollout, learned = self.keeper.of(step)
        chosen = minibatch(rollout, learned.taken, self.spec, step)
        if not chosen.answers:
            return []
        pieces: list[Piece[Any]] = list(
            policy_pieces(
                self.loaded,
                rollout,
                learned,
                chosen,
                self.layout,
                tokens_per_batch,
                normalise=self.method.normalise,
                most=self.spec.max_new_tokens,
            )
        )
        if self.ptx is not None and self.spec.ptx_weight:
            tokens = sum(piece.tokens for piece in pieces)
            pieces += self.ptx.pieces(
                self.loaded, self.spec, step, tokens_per_batch, answers=chosen.answers, tokens=tokens
            )
        return pieces

    def __call__(self, model: PreTrainedModel, item: Item) -> Tensor:
        """The summed loss of a piece, and its figures."""
        evaluated = contextlib.nullcontext() if self.spec.gradient_checkpointing else evaluating(model)
        with evaluated:
            if isinstance(item, PackTensors):
                return self._of_text(model, item)
            return self.method.loss(self._said(model, item), item)

    def _of_text(self, model: PreTrainedModel, item: PackTensors) -> Tensor:
        loss = self._text_loss(model, item)
        if self.sharded and self.method.has_values:
            # who holds a part of the value network waits until all use it, and others may be at answers meanwhile
            return loss + 0.0 * values_at(network_of(model), self.loaded.architecture, item, "bucketed").sum()
        return loss

    def _said(self, model: PreTrainedModel, item: PolicyItem) -> Said:
        architecture, method = self.loaded.architecture, self.method
        logits_KV = completion_logits(model, architecture, item.pack, self.layout)
        logits_KV = at_temperature(logits_KV, self.spec.temperature)
        value_K = entropy_K = None
        if method.has_entropy:
            log_prob_K, entropy_K = log_probs_and_entropy(logits_KV, item.pack.target_ids)
        else:
            log_prob_K = log_probs(logits_KV, item.pack.target_ids)
        if method.has_values:
            value_K = values_at(network_of(model), architecture, item.pack, self.layout)
        return Said(log_prob_K, entropy_K, value_K)

    def look(self, world: World) -> None:
        """See to what must be known of the model before processes hold parts of it."""
        ptx, tokens = self.ptx, piece_tokens(self.spec, self.loaded.device)
        assert ptx is not None
        pieces = world.together(lambda: ptx.pieces(self.loaded, self.spec, 0, tokens, answers=1, tokens=1))
        if pieces:
            self._text_loss.look(self.loaded.model, pieces[0].item)


@contextlib.contextmanager
def undropped(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """While open and wanted, a model that is in training drops nothing.

    Blocks that are computed twice must be in training, and are computed again when the loss is long done; so the rates
    themselves are 0, those of layers and those that blocks keep as numbers.
    """
    found = [
        (module, name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, _DropoutNd)))
    ]
    try:
        for module, name, _ in found if wanted else ():
            setattr(module, name, 0.0)
        yield
    finally:
        for module, name, value in found:
            setattr(module, name, value)
