"""Learning from answers that the policy samples: one loop for PPO, GRPO, RLOO, REINFORCE and rejection sampling.

    before step 0, 8, 16, ...   a rollout: prompts, answers, rewards (`rollout_maker`), kept in a file
    every step                  a minibatch of it (`policy_pieces`), and what is mixed in (`ptx`)
    metrics.jsonl               {"step": 8, "rollout": {"reward": 1.3, "kl": 4.1, ...}}, then rows of the steps

    model        the policy
      .value_network     PPO: taken off at the end
      .weight_average    where `ema` asks for it; the policy has it for weights at the end

A run that was killed goes on with the rollout in its folder, whose answers the weights of that time gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

from instil.errors import RecipeError
from instil.mixtures.encode import Encoder
from instil.models.loading import LoadedModel
from instil.models.tensors import Layout
from instil.runs import RunFolder
from instil.tuning.completion_log_probs import choose_group_layout
from instil.tuning.distributed import World
from instil.tuning.dpo import refuse_policy
from instil.tuning.group_policy import GroupPolicy, GroupPolicySpec
from instil.tuning.loop import Evaluate, TrainResult, piece_tokens, train
from instil.tuning.loop_spec import product_dtype
from instil.tuning.lora import add_lora
from instil.tuning.memory import recomputing
from instil.tuning.policy_learning import PolicyLearning, undropped
from instil.tuning.policy_method import PolicyMethod
from instil.tuning.policy_reference import PolicyReference
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.ppo import Ppo, PpoSpec
from instil.tuning.ptx import Ptx
from instil.tuning.rejection import Rejection, RejectionSpec
from instil.tuning.rewards import Reward
from instil.tuning.rollout_keeper import RolloutKeeper
from instil.tuning.rollout_maker import Asking, RolloutMaker
from instil.tuning.sampler import EngineSampler, Sampler
from instil.tuning.sharding import way_of
from instil.tuning.token_scores import TokenScorer
from instil.tuning.value_network import attach, detach, value_network
from instil.tuning.weight_average import attach_average, averaged, detach_average, take_average


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
        reference: what the policy is held near, and the KL is measured to; the policy as it starts by default, where
            the method needs one.
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
    held_to = None
    if method.has_reference or reference is not None:
        held_to = PolicyReference(loaded, reference, adapted=spec.lora is not None)
    network = None
    if method.has_values:
        network = value_network(loaded, value_start, lora=spec.lora, seed=spec.seed, say=run.say)
    if spec.lora is not None:
        add_lora(loaded.model, spec.lora, seed=spec.seed)
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
        reference_scorer=None if held_to is None else scorer(held_to.loaded, layouts[1]),
    )
    try:
        if network is not None:
            attach(loaded.model, network.model)
        sharded = way_of(spec.parallel, loaded.model, world, optimizer=spec.optimizer) == "fsdp"
        if spec.ema is not None and sharded:
            raise world.once(
                RecipeError(
                    "alignment.ema keeps an average of whole weights, and parallel fsdp cuts them",
                    remedy="Leave ema out, or set parallel to ddp",
                )
            )
        if spec.ema is not None:
            attach_average(loaded.model)
        keeper = RolloutKeeper(spec, run, maker)
        learning = PolicyLearning(loaded, spec, method, keeper, layouts[0], ptx=ptx, sharded=sharded)
        if world.size > 1 and ptx is not None:
            learning.look(world)
        again = spec.gradient_checkpointing
        with recomputing(loaded.model, again), undropped(loaded.model, again):
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
    reference: PolicyReference | None,
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
    return own, own if reference is None or reference.is_kin else chosen(reference.loaded, wanted)


def _of_average(evaluate: Evaluate) -> Evaluate:
    def asked(step: int, model: PreTrainedModel) -> Mapping[str, Any]:
        with averaged(model):
            return evaluate(step, model)

    return asked
