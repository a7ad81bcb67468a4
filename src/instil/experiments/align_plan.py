"""What an alignment would take, before it is begun: `--dry-run`. Everything is opened, nothing is written.

ppo: 200 steps, 25 rollouts of 64 prompts x 1 answer: 1,600 answers of at most 64 tokens
prompts: 3,120, of which these are 0.5 epochs
learned by: helpful, 0.5 x right        watched by: gold
watched: 64 held-out prompts every 20 steps; tested: 200 others, before and after
memory of weights 93.6 MB: policy 12.4 MB, reference 12.4 MB, gradients 12.4 MB, ...; activations come on top
"""

from __future__ import annotations

import math
from typing import Any

from instil.experiments.align_prepare import AlignPrepared
from instil.experiments.align_prompts import ListedPrompts, MixturePrompts
from instil.experiments.reward_sources import FromModel
from instil.experiments.rewards import Judge
from instil.tuning.optimizers import state_bytes

#: Bytes of a weight while it is trained.
_FLOAT = 4


def plan_lines(prepared: AlignPrepared) -> list[str]:
    """What it would take, a line each."""
    return [line for line in (*_work(prepared), *_judges(prepared), _asks(prepared), _memory(prepared)) if line]


def _work(prepared: AlignPrepared) -> list[str]:
    recipe, spec = prepared.recipe, _any(prepared)
    if prepared.asked is None:
        assert prepared.rankings is not None
        rows = len(prepared.rankings.train) + (len(prepared.rankings.rated) if recipe.method == "kto" else 0)
        seen = spec.max_steps * spec.prompts_per_step
        return [
            f"{recipe.method}: {spec.max_steps:,} steps of {spec.prompts_per_step:,} prompts",
            f"rankings: {rows:,} to train on, {seen / max(1, rows):.1f} epochs",
        ]
    if not recipe.way.trains:
        return [f"{recipe.method}: {spec.completions_per_prompt:,} answers to each held-out prompt; nothing is trained"]
    rollouts = math.ceil(spec.max_steps / spec.steps_per_rollout)
    prompts = rollouts * spec.prompts_per_rollout
    answers = prompts * spec.completions_per_prompt
    each = "1 answer" if spec.completions_per_prompt == 1 else f"{spec.completions_per_prompt:,} answers"
    made = f"{recipe.method}: {spec.max_steps:,} steps, {rollouts:,} rollouts of {spec.prompts_per_rollout:,} prompts"
    lines = [f"{made} x {each}: {answers:,} answers of at most {spec.max_new_tokens:,} tokens"]
    asked = prepared.asked
    size = len(asked.mixture) if isinstance(asked, MixturePrompts) else None
    size = len(asked.prompts) if isinstance(asked, ListedPrompts) else size
    if size:
        lines.append(f"prompts: {size:,}, of which these are {prompts / size:.1f} epochs")
    if prepared.text is not None or prepared.demonstrations is not None:
        what = "text" if prepared.text is not None else "prompts with answers"
        lines.append(f"ptx: {what}, {spec.ptx_ratio:g} for each of the step, times {spec.ptx_weight:g}")
    return lines


def _judges(prepared: AlignPrepared) -> list[str]:
    said = []
    for what, judge in (("learned by", prepared.proxy), ("watched by", prepared.gold)):
        if judge is not None:
            parts = [one.name if one.weight == 1 else f"{one.weight:g} x {one.name}" for one in judge.rewards]
            said.append(f"{what}: {', '.join(parts)}")
    return said


def _asks(prepared: AlignPrepared) -> str:
    spec = prepared.recipe.alignment
    every = "never" if not spec.evaluate_every else "every step" if spec.evaluate_every == 1 else ""
    every = every or f"every {spec.evaluate_every:,} steps"
    return (
        f"watched: {len(prepared.watched):,} held-out prompts {every}; tested: {len(prepared.tested):,} others, before "
        "and after"
    )


def _memory(prepared: AlignPrepared) -> str:
    recipe, spec, model = prepared.recipe, _any(prepared), prepared.start.model
    weights = _FLOAT * prepared.start.parameters
    lora = getattr(spec, "lora", None) is not None
    parts = {"policy": weights, "reference": weights}
    if recipe.way.trains and not lora:
        parts["gradients"], parts["optimizer"] = weights, state_bytes(model, spec)
    if recipe.method == "ppo":
        parts["value network with gradients and optimizer"] = 2 * weights + (0 if lora else state_bytes(model, spec))
    rewards: list[Any] = [one.model for one in (prepared.proxy or Judge(())).rewards if isinstance(one, FromModel)]
    sizes = [member.loaded.parameters for one in rewards for member in getattr(one, "models", (one,))]
    if sizes:
        parts["reward models"] = _FLOAT * sum(sizes)
    told = ", ".join(f"{name} {_size(size)}" for name, size in parts.items())
    return f"memory of weights {_size(sum(parts.values()))}: {told}; activations and the cache come on top"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _any(prepared: AlignPrepared) -> Any:
    return prepared.recipe.alignment
