"""Losses beside TRL's own, on the same random tensors in float64: the largest differences of values and gradients.

    python benchmarks/peer_losses.py --peer .venv-peer/bin/python [--draws 20]

    dpo/sigmoid     0.71 and 0.71      differ by 2e-16, gradients by 3e-17

Gradients are those of every token's log-probability (of every reward): what decides a step, whatever the metrics say.
Ends with exit code 1 where anything differs by more than 1e-9. TRL 1.16 has no conservative DPO: it is put together
from its plain loss, once with the pairs as they are and once with their labels flipped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from instil.tuning.group_policy import GroupPolicy, GroupPolicySpec
from instil.tuning.policy_losses import answer_weights
from instil.tuning.policy_method import PolicyItem, Said
from instil.tuning.preference_losses import (
    completion_sums,
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_baseline,
    kto_loss,
    robust_dpo_loss,
)
from instil.tuning.ranking_loss import ranking_loss

#: As in peer_loss_values.py.
BETA, SMOOTHING, CLIP = 0.1, 0.1, 0.2
ALLOWED = 1e-9
PAIRS, LONGEST = 6, 9

Found = tuple[Tensor, Tensor]
"""A loss, and its gradient."""


def drawn(seed: int) -> dict[str, Tensor]:
    """Random tensors: better completions first, then worse ones; some margins are far."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    rows = 2 * PAIRS
    lengths = torch.randint(1, LONGEST + 1, (rows,), generator=generator)
    spread = 1.0 + 9.0 * (seed % 3)
    policy = -spread * normal(rows, LONGEST).abs()
    return {
        "mask": (torch.arange(LONGEST)[None] < lengths[:, None]).double(),
        "policy": policy,
        "reference": -spread * normal(rows, LONGEST).abs(),
        "old": policy + 0.3 * normal(rows, LONGEST),
        "good": (torch.rand(rows, generator=generator) < 0.5).double(),
        "mismatched_policy": normal(rows),
        "mismatched_reference": normal(rows),
        "rewards": spread * normal(rows),
        "margins": normal(PAIRS).abs(),
        "advantages": normal(rows),
    }


def pairs(given: dict[str, Tensor], loss: Callable[[Tensor], Tensor], *, by_length: bool = False) -> Found:
    """The mean loss of pairs, from the log-probabilities of tokens on."""
    leaf, mask, sums = _summed(given)
    ratio = sums - (given["reference"] * mask).sum(1)
    ratio = ratio / mask.sum(1) if by_length else ratio
    value = loss(ratio[:PAIRS] - ratio[PAIRS:]).mean()
    return value, torch.autograd.grad(value, leaf)[0]


def unpaired(given: dict[str, Tensor]) -> Found:
    """KTO's mean loss of completions."""
    leaf, mask, sums = _summed(given)
    baseline = kto_baseline(given["mismatched_policy"] - given["mismatched_reference"])
    value = kto_loss(
        sums - (given["reference"] * mask).sum(1),
        given["good"].bool(),
        beta=BETA,
        baseline=baseline,
        desirable_weight=1.3,
        undesirable_weight=0.7,
    ).mean()
    return value, torch.autograd.grad(value, leaf)[0]


def rewarded(given: dict[str, Tensor], *, margin: bool = False) -> Found:
    """The loss of rankings of two completions."""
    leaf = given["rewards"].clone().requires_grad_()
    places, ones = torch.arange(PAIRS), torch.ones(PAIRS)
    margins = given["margins"] if margin else torch.zeros(PAIRS)
    total = ranking_loss(leaf, places, places + PAIRS, ones, margins, torch.zeros(PAIRS, dtype=torch.bool))
    value = total / PAIRS
    return value, torch.autograd.grad(value, leaf)[0]


def grouped(given: dict[str, Tensor], **keys: Any) -> Found:
    """The loss of sampled answers, as the trainer sums and divides it."""
    method = GroupPolicy(GroupPolicySpec.model_validate({"beta": BETA, "clip": CLIP, **keys}))
    leaf, real = given["policy"].clone().requires_grad_(), given["mask"].bool()
    lengths = real.sum(1)
    total = int(lengths.sum())
    places = torch.full(real.shape, total).masked_scatter(real, torch.arange(total))
    weight = answer_weights(lengths, how=method.normalise, most=LONGEST)
    token_weight, advantage = (
        values.repeat_interleave(lengths) for values in (weight, given["advantages"].to(weight.dtype))
    )
    nothing = torch.zeros(0)
    item = PolicyItem(
        pack=cast("Any", None),
        places=places,
        weight=weight,
        token_weight=token_weight,
        old=given["old"][real],
        sampled=torch.full((total,), float("nan")),
        reference=given["reference"][real],
        advantage=advantage,
        returns=nothing,
        value=nothing,
        tokens=total,
        size=total,
    )
    value = method.loss(Said(leaf[real]), item)[0] / total
    return value, torch.autograd.grad(value, leaf)[0]


def _summed(given: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of tokens as a leaf, the mask, and the sums as the trainer makes them."""
    mask = given["mask"]
    leaf = given["policy"].clone().requires_grad_()
    rows, width = mask.shape
    places = torch.arange(rows * width).reshape(rows, width).where(mask.bool(), rows * width)
    return leaf, mask, completion_sums(leaf.reshape(-1), places)


def ours(given: dict[str, Tensor]) -> dict[str, Found]:
    """Every loss that both sides have, by the name that the other side gives it."""
    return {
        "dpo/sigmoid": pairs(given, lambda margin: dpo_loss(margin, beta=BETA)),
        "dpo/conservative": pairs(given, lambda margin: dpo_loss(margin, beta=BETA, label_smoothing=SMOOTHING)),
        "dpo/robust": pairs(given, lambda margin: robust_dpo_loss(margin, beta=BETA, label_smoothing=SMOOTHING)),
        "dpo/hinge": pairs(given, lambda margin: hinge_loss(margin, beta=BETA)),
        "dpo/ipo": pairs(given, lambda margin: ipo_loss(margin, beta=BETA), by_length=True),
        "kto": unpaired(given),
        "reward": rewarded(given),
        "reward/margin": rewarded(given, margin=True),
        "grpo/grpo": grouped(given),
        "grpo/dapo": grouped(given, normalise="token"),
        "grpo/bnpo": grouped(given, normalise="token"),
        "grpo/dr_grpo": grouped(given, normalise="constant"),
        "grpo/clip higher": grouped(given, clip_above=2 * CLIP),
        "grpo/without KL": grouped(given, beta=0.0),
        "rloo": grouped(given, method="rloo"),
    }


def theirs(python: str, given: dict[str, Tensor]) -> dict[str, Found]:
    """The same of TRL, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "given.safetensors", Path(folder) / "found.safetensors"
        save_file(given, asked)
        script = Path(__file__).with_name("peer_loss_values.py")
        done = subprocess.run([python, str(script), str(asked), str(told)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{script.name} ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
        found = load_file(told)
    result = {name: (found[name][0], found[f"{name}/gradient"]) for name in found if f"{name}/gradient" in found}
    straight, flipped = result["dpo/sigmoid"], result["dpo/sigmoid, swapped"]
    value, gradient = ((1 - SMOOTHING) * a + SMOOTHING * b for a, b in zip(straight, flipped, strict=True))
    return result | {"dpo/conservative": (value, gradient)}


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference; as a share of the largest value where that is above 1."""
    return float((one - other).abs().max() / other.abs().max().clamp(min=1.0))


def main() -> None:
    """Compare on a number of draws, and print the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="Python of the peer's environment")
    parser.add_argument("--draws", type=int, default=3, help="random draws; each starts a process of the peer")
    options = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    worst: dict[str, tuple[float, float]] = {}
    for seed in range(options.draws):
        given = drawn(seed)
        peer = theirs(options.peer, given)
        for name, (value, gradient) in ours(given).items():
            off = apart(value.detach(), peer[name][0]), apart(gradient, peer[name][1])
            before = worst.get(name, (0.0, 0.0))
            worst[name] = (max(before[0], off[0]), max(before[1], off[1]))
    for name, (value, gradient) in worst.items():
        print(f"{name:24} values differ by at most {value:.1e}, gradients by {gradient:.1e}")
    if max(map(max, worst.values())) > ALLOWED:
        sys.exit(f"more than {ALLOWED:.0e} apart")


if __name__ == "__main__":
    main()
