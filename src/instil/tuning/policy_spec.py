"""What all methods have that learn from answers of their own: how many are sampled, and how they are learned from.

prompts_per_rollout 64, completions_per_prompt 8     512 answers a rollout
minibatches 4, inner_epochs 2                        each rollout is learned from in 8 steps, 128 answers each

step       0 1 2 3 4 5 6 7 | 8 ...
rollout    0               | 1
epoch      0       1       | 0
minibatch  0 1 2 3 0 1 2 3 | 0
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from instil.tuning.loop_spec import LoopSpec
from instil.tuning.lora import LoraSpec


class PolicySpec(LoopSpec):
    """Learning from answers that the policy samples."""

    prompts_per_rollout: int = Field(default=64, ge=1)
    """Prompts that are answered between two times that the policy samples."""
    completions_per_prompt: int = Field(default=8, ge=1)
    """Answers sampled to each of them."""
    minibatches: int = Field(default=1, ge=1)
    """Optimizer steps in which a rollout is learned from once; answers of a prompt stay in one step."""
    inner_epochs: int = Field(default=1, ge=1)
    """How often a rollout is learned from."""
    max_new_tokens: int = Field(default=64, ge=1)
    """The longest answer, in tokens, with its end token."""
    max_length: int | None = Field(default=None, ge=16)
    """The longest prompt with its answer, in tokens; what the model can read by default. Longer prompts are cut. Of an
    encoder-decoder, the longest prompt alone."""
    temperature: float = Field(default=1.0, gt=0)
    """What logits are divided by, where answers are sampled and in every log-probability; all words may be drawn."""
    missing_end_penalty: float = Field(default=1.0, ge=0)
    """What is taken from the reward of an answer that a length limit cut: it has no end token."""
    importance_cap: float | None = Field(default=None, gt=0)
    """Where the sampler computes in other numbers than the training: gradients are weighed by policy over sampler, at
    most by this. Left out, the difference is told and not corrected."""
    layout: Literal["auto", "shared", "bucketed"] = "auto"
    """`auto` lets the answers of a prompt share it, where the loaded model proves that it computes the same."""
    ptx_weight: float = Field(default=1.0, ge=0)
    """gamma: what the mean loss a token of what is mixed in (ptx) is multiplied by; InstructGPT took 27.8."""
    ptx_ratio: float = Field(default=1.0, gt=0)
    """How much is mixed in: prompts with answers for each sampled answer of the step, or tokens of text for each token
    that the step reads."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """The share of an average of the weights over steps that stays in each; the average is what is evaluated and kept.
    InstructGPT took 0.992. Left out, the weights themselves are kept."""
    keep_rollouts: int = Field(default=2, ge=1)
    """Rollouts whose answers stay in the run folder; those that a checkpoint needs stay in any case."""
    gradient_checkpointing: bool = False
    """Computes each block twice and keeps only its inputs in between: less memory, more time, the same result."""
    lora: LoraSpec | None = None
    """Trains thin matrices beside the linear layers instead of all weights; `{}` takes every default of it."""

    #: What to do where step after step had nothing to learn from.
    nothing_to_learn: ClassVar[str] = (
        "No answer had a reward that is a number, or was worth learning: look at the rewards of the last rollouts in "
        "metrics.jsonl, and mend their source"
    )

    @property
    def skips_allowed(self) -> int:
        """So many steps in a row may be left out: a rollout that nothing could judge counts once, not once a step."""
        return self.max_skipped_in_a_row * self.steps_per_rollout

    @property
    def steps_per_rollout(self) -> int:
        """Optimizer steps between two rollouts."""
        return self.minibatches * self.inner_epochs

    def rollout_of(self, step: int) -> int:
        """The number of the rollout that a step learns from."""
        return step // self.steps_per_rollout

    def begins_rollout(self, step: int) -> bool:
        """Whether answers are sampled before a step."""
        return step % self.steps_per_rollout == 0
