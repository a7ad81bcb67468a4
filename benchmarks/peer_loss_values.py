"""The peer's losses on given tensors: TRL's own code. Runs in an environment of its own (`make bench-peer`).

    python peer_loss_values.py GIVEN.safetensors FOUND.safetensors
    GIVEN   log-probabilities, rewards, masks, ... as peer_losses.py draws them
    FOUND   dpo/sigmoid [0.69], dpo/sigmoid/gradient (2 P, L), ...

A trainer is made without its constructor, and its model gives the tensors in place of what it would compute: what runs
is the body of its loss, unchanged.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer

BETA, SMOOTHING, CLIP = 0.1, 0.1, 0.2


class Alone:
    """Stands for the accelerator of a single process."""

    device = torch.device("cpu")
    num_processes, process_index = 1, 0
    sync_gradients, is_main_process = True, True

    def gather(self, value: Tensor) -> Tensor:
        """What all processes have."""
        return value

    gather_for_metrics = gather

    def reduce(self, value: Tensor, reduction: str = "sum") -> Tensor:
        """The sum over them."""
        return value


def bare(kind: type, **attributes: Any) -> Any:
    """A trainer that has only what its loss reads."""
    trainer = object.__new__(kind)
    common = {
        "accelerator": Alone(),
        "model": SimpleNamespace(training=True),
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    for name, value in {**common, **attributes}.items():
        object.__setattr__(trainer, name, value)
    return trainer


def outputs(log_probs: Tensor) -> SimpleNamespace:
    """What a model with a fused head gives; all but the log-probabilities goes to metrics alone."""
    nothing = torch.zeros_like(log_probs).detach()
    return SimpleNamespace(
        log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), log_sum_sq_probs=nothing
    )


def masked(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A leaf, and what is made of it: 0 outside the mask, as the fused head leaves log-probabilities."""
    leaf = values.clone().requires_grad_()
    return leaf, leaf * mask


def with_first(mask: Tensor) -> Tensor:
    """A mask of completions in rows that begin with one token of a prompt."""
    return torch.cat([torch.zeros_like(mask[:, :1]), mask], dim=1)


def dpo(given: dict[str, Tensor], kind: str, *, swapped: bool = False) -> tuple[Tensor, Tensor]:
    """The mean loss over pairs, better ones first; the gradient of every token's log-probability."""
    mask, held = given["mask"].long(), given["reference"]
    leaf, log_probs = masked(given["policy"], mask)
    pairs, rows = len(mask) // 2, torch.arange(len(mask))
    order = torch.cat([rows[pairs:], rows[:pairs]]) if swapped else rows
    sums = (held * mask).sum(1)[order]
    trainer = bare(
        DPOTrainer,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=BETA,
        label_smoothing=SMOOTHING,
        use_weighting=False,
    )
    whole = with_first(mask[order])
    inputs = {
        "input_ids": torch.ones_like(whole),
        "attention_mask": torch.ones_like(whole),
        "completion_mask": whole,
        "ref_chosen_logps": sums[:pairs],
        "ref_rejected_logps": sums[pairs:],
    }
    loss = trainer._compute_loss(lambda **_: outputs(log_probs[order]), inputs, False)
    return loss, torch.autograd.grad(loss, leaf)[0]


def kto(given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The mean loss over completions, with the baseline of mismatched ones."""
    mask = given["mask"].long()
    leaf, log_probs = masked(given["policy"], mask)
    trainer = bare(
        KTOTrainer,
        loss_type="kto",
        calculate_KL=True,
        precompute_ref_logps=True,
        beta=BETA,
        desirable_weight=1.3,
        undesirable_weight=0.7,
    )
    whole = with_first(mask)
    inputs = {
        "input_ids": torch.ones_like(whole),
        "attention_mask": torch.ones_like(whole),
        "completion_mask": whole,
        "KL_input_ids": torch.ones_like(whole),
        "KL_attention_mask": torch.ones_like(whole),
        "KL_completion_mask": whole,
        "label": given["good"].bool(),
        "ref_logps": (given["reference"] * mask).sum(1),
        "ref_KL_logps": given["mismatched_reference"],
    }
    answers = iter([outputs(given["mismatched_policy"][:, None] * torch.eye(1, mask.shape[1])), outputs(log_probs)])
    loss = trainer._compute_loss(lambda **_: next(answers), inputs, False)
    return loss, torch.autograd.grad(loss, leaf)[0]


def reward(given: dict[str, Tensor], *, margin: bool = False) -> tuple[Tensor, Tensor]:
    """The mean loss over pairs of rewards, better ones first."""
    rewards = given["rewards"].clone().requires_grad_()
    trainer = bare(RewardTrainer, args=SimpleNamespace(center_rewards_coefficient=None))
    inputs = {"attention_mask": torch.ones(len(rewards), 1), **({"margin": given["margins"]} if margin else {})}
    loss = trainer.compute_loss(lambda **_: SimpleNamespace(logits=rewards[:, None]), inputs)
    return loss, torch.autograd.grad(loss, rewards)[0]


def policy(given: dict[str, Tensor], kind: type, **attributes: Any) -> tuple[Tensor, Tensor]:
    """The loss of a batch of rollouts with their advantages."""
    mask = given["mask"]
    leaf, log_probs = masked(given["policy"], mask)
    trainer = bare(kind, **{"epsilon_low": CLIP, "epsilon_high": CLIP, **attributes})
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (log_probs, torch.zeros_like(mask), None)
    inputs = {
        "prompt_ids": torch.ones(len(mask), 1).long(),
        "prompt_mask": torch.ones(len(mask), 1).long(),
        "completion_ids": torch.ones_like(mask).long(),
        "completion_mask": mask,
        "advantages": given["advantages"],
        "old_per_token_logps": given["old"] * mask,
        "old_logps": (given["old"] * mask).sum(1),
        "ref_per_token_logps": given["reference"] * mask,
        "num_items_in_batch": mask.sum(),
    }
    loss = trainer._compute_loss(None, inputs)
    return loss, torch.autograd.grad(loss, leaf)[0]


def grpo(given: dict[str, Tensor], loss_type: str, **attributes: Any) -> tuple[Tensor, Tensor]:
    """GRPO's clipped loss with its penalty of divergence, averaged as `loss_type` says."""
    return policy(
        given,
        GRPOTrainer,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        loss_type=loss_type,
        **{"beta": BETA, **attributes},
        importance_sampling_level="token",
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=given["mask"].shape[1],
    )


def main() -> None:
    """Every loss that TRL has, with its gradient."""
    torch.set_default_dtype(torch.float64)
    given = load_file(sys.argv[1])
    losses: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "dpo/sigmoid": lambda: dpo(given, "sigmoid"),
        "dpo/sigmoid, swapped": lambda: dpo(given, "sigmoid", swapped=True),
        "dpo/robust": lambda: dpo(given, "robust"),
        "dpo/hinge": lambda: dpo(given, "hinge"),
        "dpo/ipo": lambda: dpo(given, "ipo"),
        "kto": lambda: kto(given),
        "reward": lambda: reward(given),
        "reward/margin": lambda: reward(given, margin=True),
        "grpo/grpo": lambda: grpo(given, "grpo"),
        "grpo/dapo": lambda: grpo(given, "dapo"),
        "grpo/bnpo": lambda: grpo(given, "bnpo"),
        "grpo/dr_grpo": lambda: grpo(given, "dr_grpo"),
        "grpo/clip higher": lambda: grpo(given, "grpo", epsilon_high=2 * CLIP),
        "grpo/without KL": lambda: grpo(given, "grpo", beta=0.0),
        "rloo": lambda: policy(given, RLOOTrainer),
    }
    found = {}
    for name, loss in losses.items():
        value, gradient = loss()
        found[name], found[f"{name}/gradient"] = value.detach().reshape(1), gradient.contiguous()
    save_file(found, sys.argv[2])


if __name__ == "__main__":
    main()
