"""Which answers a step learns from: every taken one once an epoch, whatever the cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_models import tiny_loaded
from tests.tuning.test_ppo import _rollout

from instil.tuning.policy_method import Learned
from instil.tuning.policy_pieces import minibatch, policy_pieces
from instil.tuning.policy_spec import PolicySpec


@given(
    seed=st.integers(0, 1000), minibatches=st.integers(1, 5), epochs=st.integers(1, 3), share=st.floats(0.0, 1.0),
    number=st.integers(0, 3),
)  # fmt: skip
def test_every_taken_answer_is_read_once_in_every_epoch(
    seed: int, minibatches: int, epochs: int, share: float, number: int
) -> None:
    rollout = _rollout(seed, samples=3, groups=5)
    taken = np.random.default_rng(seed).random(15) < share
    spec = PolicySpec(minibatches=minibatches, inner_epochs=epochs, completions_per_prompt=3)
    owner = np.repeat(np.arange(15), rollout.sizes)
    orders = []
    for epoch in range(epochs):
        read: list[int] = []
        for part in range(minibatches):
            chosen = minibatch(rollout, taken, spec, number * minibatches * epochs + epoch * minibatches + part)
            assert chosen.answers == sum(len(group.completions) for group in chosen.groups)
            assert [len(one) for group in chosen.groups for one in group.completions] == [
                len(list(tokens)) for tokens in _runs(owner[chosen.tokens])
            ]
            flat = [token for group in chosen.groups for one in group.completions for token in one.tolist()]
            every = np.concatenate([one for group in rollout.groups for one in group.completions])
            assert flat == every[chosen.tokens].tolist()
            prompts = {int(k) // 3 for k in owner[chosen.tokens]}
            assert len(prompts) == len(chosen.groups)  # answers of a prompt stay in one step
            read += chosen.tokens.tolist()
        assert sorted(read) == np.flatnonzero(taken[owner]).tolist()
        orders.append(read)


def _runs(owners: Any) -> list[list[int]]:
    found: list[list[int]] = []
    for one in owners.tolist():
        if not found or found[-1][0] != one:
            found.append([])
        found[-1].append(one)
    return found


def test_epochs_have_orders_of_their_own() -> None:
    rollout = _rollout(1, samples=2, groups=12)
    spec = PolicySpec(minibatches=4, inner_epochs=2, completions_per_prompt=2)
    every = np.ones(24, dtype=bool)
    first, second = ([minibatch(rollout, every, spec, step + k).tokens.tolist() for k in range(4)] for step in (0, 4))
    assert first != second
    assert minibatch(rollout, every, spec, 2).tokens.tolist() == first[2]


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("tokens_per_batch", [16, 1000])
def test_every_token_has_what_the_rollout_knows_of_it(kind: str, tokens_per_batch: int) -> None:
    rollout = _rollout(2, samples=2, groups=4)
    generator = np.random.default_rng(0)
    size = int(rollout.sizes.sum())
    learned = Learned(np.ones(8, dtype=bool), *(generator.normal(size=size).astype(np.float32) for _ in range(2)))
    spec = PolicySpec(completions_per_prompt=2)
    chosen = minibatch(rollout, learned.taken, spec, 0)
    pieces = policy_pieces(
        tiny_loaded(kind), rollout, learned, chosen, "bucketed", tokens_per_batch, normalise="sequence", most=9
    )
    known = {float(advantage): k for k, advantage in enumerate(learned.advantages)}
    every = np.concatenate([one for group in rollout.groups for one in group.completions])
    owner = np.repeat(np.arange(8), rollout.sizes)
    seen = []
    for piece in pieces:
        item = piece.item
        assert piece.targets == len(item.advantage)
        for k in range(piece.targets):
            place = known[float(item.advantage[k])]
            seen.append(place)
            assert int(item.pack.target_ids[k]) == every[place]
            for mine, theirs in (
                (item.old, rollout.policy), (item.sampled, rollout.sampled), (item.reference, rollout.reference),
                (item.returns, learned.returns), (item.value, rollout.values),
            ):  # fmt: skip
                assert float(mine[k]) == float(theirs[place])
            weight = size / (8 * int(rollout.sizes[owner[place]]))
            assert float(item.token_weight[k]) == pytest.approx(weight, rel=1e-6)
        lengths = (item.places < piece.targets).sum(1)
        _, own = np.unique(owner[seen[-piece.targets :]], return_counts=True)
        assert sorted(lengths.tolist()) == sorted(own.tolist())
        assert torch.equal(item.weight, item.token_weight[item.places[:, 0]])
    assert sorted(seen) == list(range(size))
    assert sum(piece.scale * piece.targets for piece in pieces) == pytest.approx(1.0)
