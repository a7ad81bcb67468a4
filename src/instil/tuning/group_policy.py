"""Policy gradients without a value network: what an answer is worth is told by the other answers of its prompt.

                 advantage of an answer                        KL          ratio      mean over
    grpo         (r - mean of its prompt) / deviation          in loss     token      answers of means over tokens
    rloo         r - mean of the others of its prompt          in reward   answer     answers
    reinforce    r - mean of the rollout, or a running mean    in reward   answer     answers

    rewards of one prompt  [1 0 0 1]     grpo [.87 -.87 -.87 .87]     rloo [.67 -.67 -.67 .67]

KL in the reward: beta (log pi(y) - log reference(y)) is taken from the reward of the whole answer. KL in the loss: beta
times the estimator k3 of each token is added to the loss; its gradient is that of KL(reference, policy), so that the
optimum is not the one of a penalty in the reward (nor is it where rewards are divided by their deviation). The table
gives defaults, every column has a key of its own: `scaled: false` is Dr. GRPO's advantage, `normalise: constant` its
mean; `normalise: token` with `clip_above` is DAPO's.

All answers of a prompt are in one step and share the prompt in memory, where the model may (`models.groups`).

Sources: GRPO, Shao et al. 2024; RLOO, Ahmadian et al. 2024; Dr. GRPO, Liu et al. 2025; DAPO, Yu et al. 2025.
Shape legend: G prompts, S answers a prompt, N answers, K tokens of all answers or of those in a rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from instil.tuning.advantages import Estimator, group_advantages, running
from instil.tuning.policy_losses import Normalise, importance, k3, policy_loss
from instil.tuning.policy_method import Learned, PolicyItem, Said
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.preference_losses import completion_sums
from instil.tuning.rollouts import Rollout


class GroupPolicySpec(PolicySpec):
    """Policy gradients whose baseline is other answers."""

    method: Estimator = "grpo"
    """What an answer is compared with; see above."""
    beta: float = Field(default=0.04, ge=0)
    """What a nat of KL to the reference costs."""
    kl: Literal["loss", "reward"] | None = None
    """Where it costs: `loss` for grpo, `reward` for the others, by default."""
    clip: float = Field(default=0.2, gt=0)
    """How far the ratio to the policy that sampled may gain; of answers as wholes, that of their products."""
    clip_above: float | None = Field(default=None, gt=0)
    """The same above 1, where it is another."""
    scaled: bool | None = None
    """Whether advantages are divided by the deviation of rewards, of a prompt (grpo) or of the rollout (reinforce);
    grpo does by default."""
    ratio: Literal["token", "sequence"] | None = None
    """Whether ratios are of tokens or of whole answers; `token` for grpo, `sequence` for the others, by default."""
    normalise: Normalise | None = None
    """What the mean over answers is over, where ratios are of tokens: `sequence` by default."""
    baseline: Literal["rollout", "running"] = "rollout"
    """reinforce: the mean reward of the rollout, or an average of the rollouts before it."""
    baseline_decay: float = Field(default=0.9, ge=0, lt=1)
    """reinforce, running: the share of the average that stays with every rollout."""

    @model_validator(mode="after")
    def _keys_of_the_method(self) -> Self:
        if self.method != "reinforce" and self.completions_per_prompt < 2:
            raise ValueError(f"{self.method} compares answers of a prompt: give completions_per_prompt 2 or more")
        if self.method == "rloo" and self.scaled:
            raise ValueError("rloo does not divide by a deviation: leave scaled out")
        if self.baseline == "running" and (self.method != "reinforce" or self.scaled):
            raise ValueError("a running baseline belongs to reinforce, and is not scaled")
        if self.ratio_of == "sequence" and self.normalise is not None:
            raise ValueError("normalise is for ratios of tokens: set ratio to token, or leave normalise out")
        return self

    @property
    def kl_in(self) -> Literal["loss", "reward"]:
        """Where KL costs."""
        return self.kl or ("loss" if self.method == "grpo" else "reward")

    @property
    def ratio_of(self) -> Literal["token", "sequence"]:
        """What ratios are of."""
        return self.ratio or ("token" if self.method == "grpo" else "sequence")

    @property
    def is_scaled(self) -> bool:
        """Whether advantages are divided by a deviation."""
        return self.method == "grpo" if self.scaled is None else self.scaled


class GroupPolicy:
    """These methods, as `policy` runs them.

    Args:
        spec: which, and how.
    """

    has_values = False
    has_entropy = False

    def __init__(self, spec: GroupPolicySpec) -> None:
        self.spec = spec
        self.has_reference = spec.beta > 0
        self.normalise: Normalise = spec.normalise or "sequence"
        self.in_loss = spec.kl_in == "loss" and spec.beta > 0
        own = ("policy_loss", "clipped", "approx_kl")
        self.figures: tuple[str, ...] = (*own, "kl") if self.in_loss else own

    def carried(self, before: Mapping[str, Any] | None) -> dict[str, float]:
        """The average of rewards that the next answers are compared with; none before the first."""
        if self.spec.baseline != "running" or before is None or "next_baseline" not in before:
            return {}
        return {"baseline": float(before["next_baseline"])}

    def scores(self, rollout: Rollout) -> Tensor:
        """The reward (N,) of each whole answer, with what it is penalised for; NaN where left out."""
        spec = self.spec
        whole_N = rollout.rewards - spec.missing_end_penalty * ~rollout.finished
        if spec.kl_in == "reward" and spec.beta:
            whole_N = whole_N - spec.beta * rollout.kl
        return torch.from_numpy(np.where(rollout.judged, whole_N, np.nan))

    def learned(self, rollout: Rollout) -> Learned:
        """Compare each answer with others; all its tokens have its advantage."""
        spec, judged_N = self.spec, rollout.judged
        scores_GS = self.scores(rollout).reshape(len(rollout.groups), rollout.samples)
        kept_G = torch.from_numpy(judged_N).reshape(scores_GS.shape).all(1)
        advantages_GS = torch.zeros_like(scores_GS)
        if kept_G.any():
            if "baseline" in rollout.state:
                advantages_GS[kept_G] = scores_GS[kept_G] - rollout.state["baseline"]
            else:
                found_GS = group_advantages(scores_GS[kept_G], estimator=spec.method, scaled=spec.is_scaled)
                advantages_GS[kept_G] = found_GS
        by_token_K = np.repeat(advantages_GS.reshape(-1).numpy(), rollout.sizes).astype(np.float32)
        return Learned(judged_N, by_token_K, np.zeros(0, dtype=np.float32))

    def told(self, rollout: Rollout, learned: Learned) -> dict[str, float]:
        """beta; the share of prompts whose answers all score alike, which teach nothing; the running baseline."""
        scores_N = self.scores(rollout)[torch.from_numpy(rollout.judged)]
        found = {"beta": self.spec.beta}
        if rollout.samples > 1:
            scores_GS = scores_N.numpy().reshape(-1, rollout.samples)
            equal = scores_GS.max(1, initial=-np.inf) == scores_GS.min(1, initial=np.inf)
            found["equal"] = float(equal.mean()) if len(equal) else float("nan")
        if self.spec.baseline == "running":
            found["next_baseline"] = running(rollout.state.get("baseline"), scores_N, decay=self.spec.baseline_decay)
        return found

    def loss(self, said: Said, item: PolicyItem) -> Tensor:
        """The clipped policy loss, with the KL where it is a part of the loss."""
        policy, clipped = self._sequences(said, item) if self.spec.ratio_of == "sequence" else self._tokens(said, item)
        figures = [policy, clipped, k3(item.old, said.log_prob).sum()]
        total = policy
        if self.in_loss:
            kl = (item.token_weight * k3(said.log_prob, item.reference)).sum()
            total = total + self.spec.beta * kl
            figures.append(kl)
        return torch.stack([total, *(figure.detach() for figure in figures)])

    def _tokens(self, said: Said, item: PolicyItem) -> tuple[Tensor, Tensor]:
        spec = self.spec
        found = policy_loss(said.log_prob, item.old, item.advantage, clip=spec.clip, clip_above=spec.clip_above)
        loss_K = item.token_weight * found.loss
        if spec.importance_cap is not None:
            loss_K = loss_K * importance(item.old, item.sampled, cap=spec.importance_cap)
        return loss_K.sum(), found.clipped.sum()

    def _sequences(self, said: Said, item: PolicyItem) -> tuple[Tensor, Tensor]:
        """The same of whole answers, whose log-probabilities are sums; a mean over tokens makes them weigh alike."""
        spec, places = self.spec, item.places
        lengths_N = (places < len(item.old)).sum(1)
        advantage_N = item.advantage.index_select(0, places[:, 0])
        new_N, old_N = completion_sums(said.log_prob, places), completion_sums(item.old, places)
        found = policy_loss(new_N, old_N, advantage_N, clip=spec.clip, clip_above=spec.clip_above)
        # weights of tokens make each answer count once in a mean over tokens, if divided by its length
        loss_N = item.weight * lengths_N * found.loss
        if spec.importance_cap is not None:
            loss_N = loss_N * importance(old_N, completion_sums(item.sampled, places), cap=spec.importance_cap)
        return loss_N.sum(), (lengths_N * found.clipped).sum()
