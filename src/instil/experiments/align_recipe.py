"""The recipe of an aligned model: which start, what it learns from, how it is watched, what it may cost.

    name: helpful
    method: ppo                                  # or grpo, rloo, reinforce, rejection, best-of-n; dpo, ipo, kto
    model: runs/sft                              # the tuned start; it is the reference too
    prompts: {sources: [{collection: chat, path: prompts.jsonl}]}
    rewards: [{model: runs/reward}]              # what answers are learned by: the proxy
    gold: [{python: my_rewards.py:gold}]         # what they are watched by alone
    alignment: {max_steps: 200, evaluate_every: 20, patience: 3}
    monitor: {kl_budget: 15}
    evaluation: {suites: [pocket]}               # the alignment tax

Methods that learn from rankings have `rankings` in place of prompts and rewards. Evaluations are made ten times a run,
and the weights of the best `score` (see `monitor`) become the model, where `alignment` says nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializeAsAny, model_validator

from instil.experiments.align_methods import METHODS, WAYS, Method, Way, spec_of
from instil.experiments.monitor import SCORE, MonitorSpec
from instil.experiments.recipe import EvaluationSpec, ModelSpec
from instil.experiments.reward_source_spec import RewardSourceSpec
from instil.mixtures.load import beside
from instil.mixtures.rankings import RankingsSpec
from instil.mixtures.spec import MixtureSpec
from instil.recipe import Section, load_yaml, override, parse
from instil.tuning.loop_spec import LoopSpec
from instil.tuning.remote_sampler import RemoteSamplerSpec
from instil.tuning.trackers import Name

#: Evaluations of a run that does not say how many.
_EVALUATIONS = 10


class AlignRecipe(Section):
    """All of one alignment run."""

    name: str
    """What the run is called in its report and model card; the file's name by default."""
    method: Method
    """How it learns: ppo, grpo, rloo, reinforce, rejection, best-of-n; dpo, ipo, kto."""
    model: ModelSpec
    """The model to start from, which was tuned before; a plain text is its `path`."""
    reference: ModelSpec | None = None
    """What the policy is held near, and the KL is measured to; the start itself by default."""
    prompts: MixtureSpec | None = None
    """Methods that sample: what is answered. Targets are not looked at, but by a reward that is a metric."""
    rankings: RankingsSpec | None = None
    """dpo, ipo, kto: what is learned from. Methods that sample answer the prompts of these, where there are no
    `prompts`."""
    rewards: list[RewardSourceSpec] = Field(default_factory=list)
    """Methods that sample: what answers are learned by, summed by weight: the proxy."""
    gold: list[RewardSourceSpec] = Field(default_factory=list)
    """What answers are watched by and training never sees: what wins are counted by, and weights chosen."""
    alignment: SerializeAsAny[LoopSpec]
    """How it is trained: the keys of the method."""
    ptx: MixtureSpec | str | None = None
    """What is mixed in against the alignment tax (`alignment` says how much): a text by name or file, or a mixture."""
    sampler: RemoteSamplerSpec | None = None
    """A server that samples in place of the policy's own engine, for those who outgrow one machine: it speaks OpenAI's
    completions, as vLLM does, and is given the weights anew for every rollout."""
    monitor: MonitorSpec = Field(default_factory=MonitorSpec)
    """What is watched."""
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    """Suites that the start and the aligned model are asked: the alignment tax."""
    data: str | None = None
    """The folder that paths of mixtures, rankings and suites start from; `--data` overrides it."""
    trackers: list[Name] = Field(default_factory=list)
    """Where the figures of training go besides metrics.jsonl: tensorboard, trackio, mlflow, wandb."""
    seed: int = 0
    """Of prompts, of training and of what is drawn, where those say nothing."""

    @property
    def way(self) -> Way:
        """What its method is made of."""
        return WAYS[self.method]

    @model_validator(mode="before")
    @classmethod
    def _parts_in_full(cls, raw: Any) -> Any:
        """The method's section by its class, with the seed, and with evaluations that choose where it says nothing."""
        if not isinstance(raw, Mapping):
            return raw
        method, seed = str(raw.get("method")), raw.get("seed", 0)
        full = dict(raw)
        for key in ("model", "reference"):
            if isinstance(full.get(key), str):
                full[key] = {"path": full[key]}
        for key in ("prompts", "rankings", "ptx"):
            if isinstance(full.get(key), Mapping):
                full[key] = {"seed": seed, **full[key]}
        monitor = full.get("monitor") or {}
        prompts = full.get("prompts")
        if isinstance(prompts, Mapping) and isinstance(monitor, Mapping):
            full["prompts"] = _holding_out(prompts, monitor)
        said = full.get("alignment") or {}
        if method in METHODS and isinstance(said, Mapping):
            full["alignment"] = _with_evaluations(method, {"seed": seed, **said})
        elif method not in METHODS:
            full["alignment"] = LoopSpec()  # the method alone is wrong: whose keys these are, nobody knows
        return full

    @model_validator(mode="after")
    def _what_the_method_cannot_use(self) -> Self:
        way, method = self.way, self.method
        if way.on_policy:
            if self.prompts is not None and self.rankings is not None:
                raise ValueError(f"prompts and rankings are given, and {method} answers one of them: leave one out")
        else:
            if self.rewards:
                raise ValueError(f"{method} learns from rankings, not from rewards: put them under gold to watch them")
            if self.prompts is not None:
                raise ValueError(f"{method} samples nothing to learn from: leave prompts out")
        if self.ptx is not None and not hasattr(self.alignment, "ptx_weight"):
            raise ValueError(f"ptx is mixed in by ppo, grpo, rloo and reinforce, and method is {method}")
        if self.sampler is not None and (not way.on_policy or getattr(self.alignment, "lora", None) is not None):
            why = "alignment.lora trains an adapter" if way.on_policy else f"{method} samples nothing"
            raise ValueError(f"a sampler is a server that is given whole weights, and {why}")
        for model in (self.model, self.reference):
            if model is not None and (model.from_scratch or model.added_tokens):
                key = "from_scratch" if model.from_scratch else "added_tokens"
                raise ValueError(f"model.{key} is for tuning: an aligned model starts from one that was tuned")
        minibatches, prompts = (getattr(self.alignment, key, None) for key in ("minibatches", "prompts_per_rollout"))
        if minibatches is not None and prompts is not None and minibatches > prompts:
            raise ValueError(
                f"alignment.minibatches is {minibatches} and alignment.prompts_per_rollout {prompts}: some steps would "
                "have nothing to learn from"
            )
        if self.evaluation.suites and not way.trains:
            raise ValueError(f"evaluation.suites ask what training changed, and {method} changes nothing")
        if self.alignment.keep_best is not None and not way.trains:
            raise ValueError(f"alignment.keep_best chooses weights, and {method} trains none")
        return self


def _holding_out(prompts: Mapping[str, Any], monitor: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mixture of prompts, of which some are kept for the monitor."""
    kept = prompts.get("hold_out") or {}
    if not isinstance(kept, Mapping) or "examples" in kept:
        return prompts
    default = MonitorSpec.model_fields["examples_per_task"].default
    return {**prompts, "hold_out": {**kept, "examples": monitor.get("examples_per_task", default)}}


def _with_evaluations(method: str, said: Mapping[str, Any]) -> LoopSpec:
    way, full = WAYS[method], dict(said)
    if way.trains:
        steps = full.get("max_steps", LoopSpec.model_fields["max_steps"].default)
        if "evaluate_every" not in full and isinstance(steps, int):
            full["evaluate_every"] = max(1, steps // _EVALUATIONS)
        if "keep_best" not in full and full.get("evaluate_every"):
            full["keep_best"] = SCORE
    return spec_of(method, full)


def read_align_recipe(
    path: Path, assignments: Sequence[str] = (), *, data: Path | None = None, method: str | None = None
) -> AlignRecipe:
    """The recipe in a file, with `--set`, `--data` and `--method` applied.

    Raises:
        RecipeError: if the file, a key or an override is wrong; the message names the nearest valid key.
    """
    raw = {"name": path.stem, **load_yaml(path)}
    for key in ("prompts", "ptx"):
        if isinstance(raw.get(key), dict):
            raw[key] = beside(raw[key], path.parent)
    origin = str(path) + (" with --set" if assignments else "")
    return resolve_align(raw, assignments, data=data, method=method, origin=origin)


def resolve_align(
    raw: Mapping[str, Any],
    assignments: Sequence[str] = (),
    *,
    data: Path | None = None,
    method: str | None = None,
    origin: str = "the recipe",
) -> AlignRecipe:
    """A recipe from plain data: the models' short forms written out, then overrides, then `data` and `method`."""
    plain = dict(raw)
    for key in ("model", "reference"):
        if isinstance(plain.get(key), str):
            plain[key] = {"path": plain[key]}
    plain = override(plain, assignments)
    if data is not None:
        plain["data"] = str(data)
    if method is not None:
        plain["method"] = method
    return parse(AlignRecipe, plain, origin=origin, remedy="Correct the recipe; docs/alignment.md lists every key")
