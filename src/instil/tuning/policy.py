"""Learning from answers that the policy samples: one loop for PPO, GRPO, RLOO, REINFORCE and rejection sampling.

    before step 0, 8, 16, ...   a rollout: prompts, answers, rewards (`rollout_maker`), kept in a file
    every step                  a minibatch of it (`policy_pieces`), and what is mixed in (`ptx`)
    metrics.jsonl               {"step": 8, "rollout": {"reward": 1.3, "kl": 4.1, ...}}, then rows of the steps

    model        the policy
      .value_network     PPO: taken off at the end
      .weight_average    where `ema` asks for it; the policy has it for weights at the end

No dropout: the policy is trained as it samples, so that the first step on a rollout has ratios of 1. A run that was
killed goes on with the rollout in its folder, whose answers the weights of that time gave; where a rollout begins anew,
it is read if it was made from these very weights, and made again if not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from instil.errors import RecipeError, RunError
from instil.fingerprint import fingerprint
from instil.mixtures.encode import Encoder
from instil.models.architecture import forward_of
from instil.models.groups import completion_logits, log_probs, log_probs_and_entropy
from instil.models.loading import LoadedModel
from instil.models.parity import evaluating
from instil.models.tensors import Layout, PackTensors
from instil.runs import RunFolder
from instil.tuning.checkpoint import checkpoints
from instil.tuning.completion_log_probs import choose_group_layout
from instil.tuning.distributed import World
from instil.tuning.dpo import refuse_policy
from instil.tuning.gradient import Piece
from instil.tuning.group_policy import GroupPolicy, GroupPolicySpec
from instil.tuning.loop import Evaluate, TrainResult, piece_tokens, train
from instil.tuning.loop_spec import product_dtype
from instil.tuning.lora import add_lora
from instil.tuning.memory import recomputing
from instil.tuning.output_loss import AnswerLoss
from instil.tuning.policy_method import Learned, PolicyItem, PolicyMethod, Said
from instil.tuning.policy_pieces import minibatch, policy_pieces
from instil.tuning.policy_reference import PolicyReference
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.ppo import Ppo, PpoSpec
from instil.tuning.ptx import Ptx
from instil.tuning.rejection import Rejection, RejectionSpec
from instil.tuning.rewards import Reward
from instil.tuning.rollout_maker import Asking, RolloutMaker
from instil.tuning.rollouts import Rollout, RolloutFolder, arrays_of, rollout_of
from instil.tuning.sampler import EngineSampler, Sampler
from instil.tuning.sharding import way_of
from instil.tuning.token_scores import TokenScorer, at_temperature, values_at
from instil.tuning.value_network import attach, detach, network_of, value_network
from instil.tuning.weight_average import attach_average, averaged, detach_average, move_average, take_average

Item = PolicyItem | PackTensors


def align_policy(
    loaded: LoadedModel,
    asked: Asking,
    spec: PolicySpec,
    run: RunFolder,
    *,
    encoder: Encoder,
    rewards: Sequence[Reward],
    reference: LoadedModel | None = None,
    value_start: LoadedModel | None = None,
    ptx: Ptx | None = None,
    sampler: Sampler | None = None,
    evaluate: Evaluate | None = None,
    show_progress: bool = True,
) -> TrainResult:
    """Train `loaded.model` in place on rewards of its own answers; with `spec.lora` it then holds an adapter.

    Args:
        loaded: the policy, as it starts.
        asked: the prompts of each rollout.
        spec: of the method: a `PpoSpec`, `GroupPolicySpec` or `RejectionSpec`.
        run: where metrics, checkpoints and rollouts go.
        encoder: of the policy.
        rewards: what answers are judged by, summed by weight.
        reference: what the policy is held near, and the KL is measured to; the policy as it starts by default.
        value_start: ppo: the reward model that the value network begins as; see `value_network`.
        ptx: what is mixed in.
        sampler: writes the answers; the policy's own engine by default.
        evaluate: see `train`; it is given the average of the weights where `spec.ema` asks for one.
        show_progress: see `train`.

    Raises:
        RecipeError: if the policy is masked, the reference reads other tokens, or an average of weights is wanted that
            are cut over processes.
        RunError, Interrupted: as `train` does; also if a rollout that a checkpoint needs is gone.
    """
    refuse_policy(loaded)
    world, method = World.current(), method_of(spec)
    if world.size == 1:  # as `train` holds its weights: what is tried in float32 is tried more sharply
        loaded.model.float()
    held_to = PolicyReference(loaded, reference, adapted=spec.lora is not None)
    network = None
    if method.has_values:
        network = value_network(loaded, value_start, lora=spec.lora, seed=spec.seed, say=run.say)
    if spec.lora is not None:
        add_lora(loaded.model, spec.lora, seed=spec.seed)
    if spec.ema is not None and way_of(spec.parallel, loaded.model, world, optimizer=spec.optimizer) == "fsdp":
        raise world.once(
            RecipeError(
                "alignment.ema keeps an average of whole weights, and parallel fsdp cuts them",
                remedy="Leave ema out, or set parallel to ddp",
            )
        )
    layouts = world.together(lambda: _layouts(loaded, network, held_to, spec, run.say))
    dtype = product_dtype(spec, loaded.device)

    def scorer(of: LoadedModel, layout: Layout) -> TokenScorer:
        tokens = piece_tokens(spec, loaded.device)
        return TokenScorer.of(of, layout, tokens_per_batch=tokens, dtype=dtype, temperature=spec.temperature)

    maker = RolloutMaker(
        spec=spec,
        method=method,
        asked=asked,
        encoder=encoder,
        rewards=rewards,
        sampler=sampler
        or EngineSampler(loaded, max_new_tokens=_longest(spec, encoder), temperature=spec.temperature, dtype=dtype),
        scorer=scorer(loaded, layouts[0]),
        reference=held_to,
        reference_scorer=scorer(held_to.loaded, layouts[1]),
    )
    try:
        if network is not None:
            attach(loaded.model, network.model)
        if spec.ema is not None:
            attach_average(loaded.model)
        learning = _Learning(loaded, spec, run, maker, layouts[0], ptx)
        if world.size > 1 and ptx is not None:
            learning.look(world)
        with recomputing(loaded.model, spec.gradient_checkpointing):
            result = train(
                spec,
                loaded.model,
                learning.batches,
                learning,
                run,
                evaluate=None if evaluate is None else _of_average(evaluate),
                prepare=learning.prepare,
                title=getattr(spec, "method", None) or type(method).__name__.lower(),
                show_progress=show_progress,
            )
        take_average(loaded.model)
        return result
    finally:
        detach_average(loaded.model)
        detach(loaded.model)


def method_of(spec: PolicySpec) -> PolicyMethod:
    """The method of a spec, by its class."""
    if isinstance(spec, PpoSpec):
        return Ppo(spec)
    if isinstance(spec, GroupPolicySpec):
        return GroupPolicy(spec)
    assert isinstance(spec, RejectionSpec), f"no method has a {type(spec).__name__}"
    return Rejection(spec)


def _longest(spec: PolicySpec, encoder: Encoder) -> int:
    """The longest answer: as the recipe says, as far as the context leaves half for the prompt."""
    if encoder.specials.architecture == "seq2seq":
        return spec.max_new_tokens
    return min(spec.max_new_tokens, max(1, encoder.max_length // 2))


def _layouts(
    loaded: LoadedModel,
    network: LoadedModel | None,
    reference: PolicyReference,
    spec: PolicySpec,
    say: Callable[[str], None],
) -> tuple[Layout, Layout]:
    """How answers are laid out for the policy and its value network, and for the reference."""
    wanted = spec.layout == "shared" or (spec.layout == "auto" and spec.completions_per_prompt > 1)

    def chosen(of: LoadedModel, shared: bool) -> Layout:
        return choose_group_layout(of, shared=shared, asked=spec.layout == "shared", say=say)

    own = chosen(loaded, wanted)
    if network is not None and chosen(network, own == "shared") != own:
        own = chosen(loaded, False)
    return own, own if reference.is_kin else chosen(reference.loaded, wanted)


def _of_average(evaluate: Evaluate) -> Evaluate:
    def asked(step: int, model: PreTrainedModel) -> Mapping[str, Any]:
        with averaged(model):
            return evaluate(step, model)

    return asked


class _Learning:
    """The loss of a step, its pieces, and the rollout that they are from.

    Args:
        loaded: the policy, all attached.
        spec: how.
        run: where rollouts and their figures go.
        maker: makes rollouts.
        layout: of the policy's answers.
        ptx: what is mixed in.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: PolicySpec,
        run: RunFolder,
        maker: RolloutMaker,
        layout: Layout,
        ptx: Ptx | None,
    ) -> None:
        self.loaded, self.spec, self.run, self.maker, self.layout, self.ptx = loaded, spec, run, maker, layout, ptx
        self.method = maker.method
        self.figures = {"loss": tuple(self.method.figures)}
        self.folder = RolloutFolder(run.path / "rollouts")
        forward = forward_of(loaded.architecture)
        self._text_loss = AnswerLoss(lambda model, item: forward.answer_logits(model, item, "bucketed"))
        self._number = -1
        self._rollout: Rollout | None = None
        self._learned: Learned | None = None

    # --- rollouts ---------------------------------------------------------------------------------------------------

    def prepare(self, step: int, model: PreTrainedModel) -> None:
        """Have the rollout of a step; and take the weights into their average."""
        if self.spec.ema is not None:
            move_average(model, self.spec.ema)
        number = self.spec.rollout_of(step)
        if number == self._number:
            return
        begins = self.spec.begins_rollout(step)
        rollout = self._begun(number, step, model) if begins else self._kept(number)
        self._number, self._rollout, self._learned = number, rollout, self.method.learned(rollout)

    def _begun(self, number: int, step: int, model: PreTrainedModel) -> Rollout:
        """The rollout that begins with this step: read where these very weights made it, else made."""
        world = World.current()
        key = fingerprint([number, step, _mark_of(model), self.maker.prompts(number)[1]])
        rollout = _shared(world, lambda: self.folder.read(number, key=key))
        if rollout is None:
            before = world.first(lambda: self.folder.summary(number - 1) if number else None)
            if number and before is None:
                raise world.once(_gone(number - 1, self.folder))
            rollout, summary = self.maker.make(number, model, self.method.carried(before))
            self._tell(number, rollout)
            made = rollout
            world.first(lambda: self.folder.write(number, made, key=key, summary=summary))
        world.first(lambda: self._row(number, step))
        return rollout

    def _kept(self, number: int) -> Rollout:
        """The rollout of a run that is continued in the midst of it."""
        world = World.current()
        rollout = _shared(world, lambda: self.folder.read(number))
        if rollout is None:
            raise world.once(_gone(number, self.folder))
        return rollout

    def _row(self, number: int, step: int) -> None:
        """The rollout's row of metrics, once; and old rollouts go."""
        summary = self.folder.summary(number) or {}
        if not any(row["step"] == step and "rollout" in row for row in self.run.metrics()):
            self.run.add_metrics({"step": step, "rollout": {"number": number, **summary}})
        steps = [int(path.name.rpartition("-")[2]) for path in checkpoints(self.run.path / "checkpoints")]
        needed = min([number, *map(self.spec.rollout_of, steps)])
        self.folder.prune(min(needed, number + 1 - self.spec.keep_rollouts))

    def _tell(self, number: int, rollout: Rollout) -> None:
        """Say which answers are not learned from."""
        judged = rollout.judged
        if judged.all():
            return
        by = sorted(name for name, values in rollout.parts.items() if not _finite(values))
        prompts = len(judged[~judged]) // rollout.samples
        self.run.say(
            f"rollout {number}: {prompts} of {len(rollout.groups)} prompts are left out, whose answers have a reward "
            f"that is no number ({', '.join(by)})"
        )

    # --- steps ------------------------------------------------------------------------------------------------------

    def batches(self, step: int, tokens_per_batch: int) -> list[Piece[Item]]:
        """The answers of a step, and what is mixed in."""
        rollout, learned = self._rollout, self._learned
        assert rollout is not None, f"step {step} was not prepared"
        assert learned is not None
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
        with _undropped(model, self.spec.gradient_checkpointing):
            if isinstance(item, PackTensors):
                return self._text_loss(model, item)
            return self.method.loss(self._said(model, item), item)

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
def _undropped(model: PreTrainedModel, checkpointing: bool) -> Iterator[None]:
    """While open, nothing is dropped; blocks are still computed twice where that is wanted."""
    with evaluating(model):
        if not checkpointing:
            yield
            return
        # such a block looks at its own mode to know whether it is trained, and some drop something themselves
        blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        rates = [
            (block, name, value)
            for block in blocks
            for name in ("dropout", "activation_dropout")
            if isinstance(value := getattr(block, name, None), float)
        ]
        try:
            for block in blocks:
                block.training = True
            for block, name, _ in rates:
                setattr(block, name, 0.0)
            yield
        finally:
            for block, name, value in rates:
                setattr(block, name, value)


def _mark_of(model: PreTrainedModel) -> str:
    """Names the bits of all that is trained: any step changes it."""
    sums = [
        [name, int(weight.detach().contiguous().view(torch.int32).sum(dtype=torch.int64))]
        for name, weight in model.named_parameters()
        if weight.requires_grad and weight.element_size() == 4
    ]
    return fingerprint(sums)


def _shared(world: World, read: Callable[[], Rollout | None]) -> Rollout | None:
    """What the first process reads, in all of them."""
    if world.size == 1:
        return read()
    found: list[Rollout | None] = []

    def plain() -> dict[str, Any] | None:
        found.append(rollout := read())
        if rollout is None:
            return None
        arrays = {name: [str(array.dtype), array.tolist()] for name, array in arrays_of(rollout).items()}
        return {"arrays": arrays, "state": dict(rollout.state), "texts": list(rollout.texts)}

    told = world.first(plain)
    if told is None or found:
        return found[0] if found else None
    import numpy as np

    arrays = {name: np.array(values, dtype=dtype) for name, (dtype, values) in told["arrays"].items()}
    return rollout_of(arrays, told["state"], told["texts"])


def _finite(values: Any) -> bool:
    return bool((values == values).all() and abs(values).max(initial=0.0) != float("inf"))


def _gone(number: int, folder: RolloutFolder) -> RunError:
    return RunError(
        f"rollout {number}, which the run goes on from, is gone or damaged in {folder.folder}",
        remedy="Restore it, or start a new run in another folder",
    )
