"""What it saves to read a prompt once for all its completions: operations, memory and time, by how long both are.

    python benchmarks/sharing.py --write

One prompt with K = 9 completions, forward and backward, one thread; a Llama with random weights. Each layout is run
in turn, REPEATS times; times are of the processor. Operations are those of matrix products: of linear layers as torch
counts them, of attention two products for every pair of tokens of which one sees the other, three times that with the
backward pass. Memory is what the forward pass keeps for the backward one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from results import machine, table, write_section
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from instil.mixtures.groups import lay_out_groups
from instil.models.groups import completion_logits, hidden_at, log_probs
from instil.models.tensors import Layout, PackTensors, to_tensors
from instil.records import Group, GroupPack, Specials

K = 9
#: Tokens of the prompt, and of each completion.
LENGTHS = ((32, 64), (64, 64), (128, 64), (256, 64), (512, 64))
REPEATS = 5
WIDTH, LAYERS = 384, 5
CPU = torch.device("cpu")
_ATTENTION = {"_scaled_dot_product", "flex_attention"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one forward and backward pass."""

    tokens: int
    operations: float
    kept: int
    """Bytes kept for the backward pass."""
    seconds: float


def fresh() -> PreTrainedModel:
    """A small Llama, as transformers makes it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=WIDTH,
        intermediate_size=1024,
        num_hidden_layers=LAYERS,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def cost(model: PreTrainedModel, group: Group, *, shared: bool, reward: bool) -> Cost:
    """What one pass over a group takes; of the time, the median."""
    layout: Layout = "shared" if shared else "bucketed"
    laid = lay_out_groups([group], tokens_per_batch=1 << 20, specials=Specials(), shared=shared)
    packs = [(to_tensors(item.pack, CPU), torch.from_numpy(item.ends)) for item in laid]

    def passed() -> None:
        for pack, ends in packs:
            _loss(model, pack, ends, layout, reward=reward).backward()
        model.zero_grad(set_to_none=True)

    seconds = []
    passed()
    for _ in range(REPEATS):
        began = time.process_time()
        passed()
        seconds.append(time.process_time() - began)
    with FlopCounterMode(display=False) as counter:
        passed()
    counted = counter.get_flop_counts()["Global"]
    linear = sum(value for name, value in counted.items() if not any(part in str(name) for part in _ATTENTION))
    return Cost(
        tokens=sum(item.pack.tokens for item in laid),
        operations=linear + 12.0 * WIDTH * LAYERS * sum(_pairs(item) for item in laid),
        kept=_kept(model, packs, layout, reward=reward),
        seconds=statistics.median(seconds),
    )


def _loss(model: PreTrainedModel, pack: PackTensors, ends: Tensor, layout: Layout, *, reward: bool) -> Tensor:
    if reward:
        return hidden_at(model, "causal", pack, ends, layout).sum()
    return log_probs(completion_logits(model, "causal", pack, layout), pack.target_ids).sum()


def _pairs(item: GroupPack) -> int:
    """Pairs of tokens of which one sees the other, itself included: as many as its logical place and one."""
    return int((item.pack.positions[item.pack.segments > 0].astype(np.int64) + 1).sum())


def _kept(model: PreTrainedModel, packs: list[tuple[PackTensors, Tensor]], layout: Layout, *, reward: bool) -> int:
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    losses = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses += [_loss(model, pack, ends, layout, reward=reward) for pack, ends in packs]
    return sum(held.values())


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the section in RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, generator = fresh(), np.random.default_rng(0)
    rows = []
    for prompt, completion in LENGTHS:
        group = Group(
            generator.integers(3, 4000, prompt).astype(np.int32),
            tuple(generator.integers(3, 4000, completion).astype(np.int32) for _ in range(K)),
        )
        for reward in (True, False):
            apart, shared = (cost(model, group, shared=one, reward=reward) for one in (False, True))
            rows.append(
                [
                    f"{prompt} / {completion}, {'reward' if reward else 'policy'}",
                    f"{apart.tokens:,} / {shared.tokens:,}",
                    f"{apart.operations / 1e9:.0f} / {shared.operations / 1e9:.0f}",
                    f"{apart.operations / shared.operations:.2f}",
                    f"{apart.kept / 1e6:.0f} / {shared.kept / 1e6:.0f}",
                    f"{apart.kept / shared.kept:.2f}",
                    f"{apart.seconds * 1e3:.0f} / {shared.seconds * 1e3:.0f}",
                    f"{apart.seconds / shared.seconds:.2f}",
                ]
            )
            print(" | ".join(rows[-1]), flush=True)
    columns = ["prompt / completion", "tokens", "GFLOP", "ratio", "kept, MB", "ratio", "processor ms", "ratio"]
    size = sum(weight.numel() for weight in model.parameters()) / 1e6
    text = f"""## A prompt read once for its {K} completions

`python benchmarks/sharing.py --write` on {machine("torch")}. A Llama of {size:.1f} million parameters, float32, one
thread, forward and backward of one prompt with {K} completions: each behind its own copy of the prompt / all in one
tree. A reward is read at the end of a completion, a policy's log-probabilities at every token of it. Median of
{REPEATS} passes in processor time.

{table(columns, rows)}"""
    print(text)
    if arguments.write:
        write_section("sharing", text)


if __name__ == "__main__":
    main()
