"""GRPO, RLOO and REINFORCE: the bandit's optimum, losses against slow references, the prompt shared."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.tiny_models import tiny_loaded
from tests.tuning import bandit
from tests.tuning.bandit import OfFirstToken, SmallWords, apart, bandit_optimum, first_token, learnt, stopped
from tests.tuning.test_ppo import BANDIT, VALUES, _rollout

from instil.tuning.group_policy import GroupPolicy, GroupPolicySpec
from instil.tuning.policy_method import PolicyItem, Said

F64 = torch.float64
KEYS = {key: value for key, value in BANDIT.items() if key != "minibatches"}


@pytest.mark.parametrize(
    ("method", "kind", "keys"),
    [
        ("rloo", "llama", {}),
        ("grpo", "bart", {"kl": "reward", "scaled": False, "temperature": 1.3}),
        ("reinforce", "gpt2", {"baseline": "running"}),
    ],
)
def test_each_finds_the_closed_form_of_a_bandit_with_kl(
    tmp_path: Path, method: str, kind: str, keys: dict[str, Any]
) -> None:
    """At another temperature than 1, policy and reference are those at that temperature."""
    loaded, temperature = tiny_loaded(kind), keys.get("temperature", 1.0)
    values = VALUES[: loaded.model.config.vocab_size]
    optimum = bandit_optimum(loaded, values, beta=0.5, temperature=temperature)

    def distance() -> float:
        now = first_token(loaded, bandit.PROMPTS[:2]).pow(1 / temperature)
        return apart(now / now.sum(1, keepdim=True), optimum)

    before = distance()
    asking = {"asking": lambda number, prompts: bandit.PROMPTS[:prompts]}
    learnt(tmp_path / "run", loaded, method, [OfFirstToken(VALUES)], **asking, **{**KEYS, **keys})
    assert before > 0.2
    assert distance() < 0.045


@pytest.mark.parametrize("method", ["grpo", "rloo", "reinforce"])
@pytest.mark.parametrize("bad", [(), (2,)])
def test_what_a_rollout_teaches_against_a_slow_reference(method: str, bad: tuple[int, ...]) -> None:
    rollout = replace(_rollout(6, samples=3, groups=4, bad=bad), state={})
    spec = GroupPolicySpec(method=method, beta=0.3, completions_per_prompt=3, missing_end_penalty=0.4)
    learned = GroupPolicy(spec).learned(rollout)
    ends = np.cumsum(rollout.sizes)
    left = {number for one in bad for number in range(one // 3 * 3, one // 3 * 3 + 3)}
    worth: dict[int, float] = {}
    for n in range(12):
        if n in left:
            continue
        own = slice(ends[n] - rollout.sizes[n], ends[n])
        kl = float((rollout.policy[own].astype(float) - rollout.reference[own]).sum())
        worth[n] = float(rollout.rewards[n]) - (0.0 if rollout.finished[n] else 0.4) - (method != "grpo") * 0.3 * kl
    expected = []
    for n in range(12):
        others = [worth[k] for k in range(n // 3 * 3, n // 3 * 3 + 3) if k in worth]
        if n in left:
            found = 0.0
        elif method == "grpo":
            mean = sum(others) / 3
            found = (worth[n] - mean) / (math.sqrt(sum((one - mean) ** 2 for one in others) / 2) + 1e-4)
        elif method == "rloo":
            found = worth[n] - (sum(others) - worth[n]) / 2
        else:
            found = worth[n] - sum(worth.values()) / len(worth)
        expected += [found] * int(rollout.sizes[n])
    assert learned.advantages.tolist() == pytest.approx(expected, abs=1e-5)
    assert [n for n, taken in enumerate(learned.taken) if not taken] == sorted(left)


def test_a_running_baseline_is_carried_from_rollout_to_rollout() -> None:
    spec = GroupPolicySpec(method="reinforce", baseline="running", baseline_decay=0.5, beta=0, missing_end_penalty=0)
    method, rollout = GroupPolicy(spec), replace(_rollout(1), state={})
    assert method.carried(None) == {}
    first = method.told(rollout, method.learned(rollout))
    mean = float(rollout.rewards.mean())
    assert first["next_baseline"] == pytest.approx(mean)
    second = replace(_rollout(2), state=method.carried(first))
    assert second.state == {"baseline": pytest.approx(mean)}
    assert method.learned(second).advantages[0] == pytest.approx(second.rewards[0] - mean, abs=1e-6)
    found = method.told(second, method.learned(second))
    assert found["next_baseline"] == pytest.approx(0.5 * mean + 0.5 * float(second.rewards.mean()))


def _item(sizes: list[int], weights: list[float], seed: int) -> PolicyItem:
    """Answers of these lengths, one behind the other."""
    total, longest = sum(sizes), max(sizes)
    generator = torch.Generator().manual_seed(seed)
    places = torch.full((len(sizes), longest), total)
    start = 0
    for n, size in enumerate(sizes):
        places[n, :size] = torch.arange(start, start + size)
        start += size
    nothing: Any = None
    per_answer = torch.randn(len(sizes), generator=generator, dtype=F64)
    lengths = torch.tensor(sizes)

    def some() -> torch.Tensor:
        return torch.randn(total, generator=generator, dtype=F64) * 0.3

    weight = torch.tensor(weights, dtype=F64)
    return PolicyItem(
        pack=nothing, places=places, weight=weight, token_weight=weight.repeat_interleave(lengths), old=some(),
        sampled=some(), reference=some(), advantage=per_answer.repeat_interleave(lengths), returns=nothing,
        value=nothing, tokens=total, size=total,
    )  # fmt: skip


@pytest.mark.parametrize("cap", [None, 1.1])
def test_the_loss_of_tokens_against_a_slow_reference(cap: float | None) -> None:
    """GRPO, equation 3: the clipped ratio of each token, and beta times k3."""
    sizes, weights = [3, 1, 4], [0.5, 2.0, 1.5]
    item = _item(sizes, weights, 1)
    now = torch.randn(8, generator=torch.Generator().manual_seed(9), dtype=F64) * 0.3
    spec = GroupPolicySpec(beta=0.2, clip=0.1, clip_above=0.3, importance_cap=cap)
    method = GroupPolicy(spec)
    found = dict(zip(("loss", *method.figures), method.loss(Said(now), item).tolist(), strict=True))
    policy = kl = 0.0
    for k, weight in enumerate(w for w, size in zip(weights, sizes, strict=True) for _ in range(size)):
        ratio, advantage = math.exp(float(now[k] - item.old[k])), float(item.advantage[k])
        share = 1.0 if cap is None else min(math.exp(float(item.old[k] - item.sampled[k])), cap)
        policy -= weight * share * min(ratio * advantage, min(max(ratio, 0.9), 1.3) * advantage)
        lower = float(item.reference[k] - now[k])
        kl += weight * (math.exp(lower) - 1 - lower)
    assert found["policy_loss"] == pytest.approx(policy)
    assert found["kl"] == pytest.approx(kl)
    assert found["loss"] == pytest.approx(policy + 0.2 * kl)


@pytest.mark.parametrize("cap", [None, 1.1])
def test_the_loss_of_whole_answers_against_a_slow_reference(cap: float | None) -> None:
    """The ratio is that of the answer's probability; each answer counts once, however long it is."""
    sizes = [3, 1, 4]
    item = _item(sizes, [8 / (3 * size) for size in sizes], 2)
    now = torch.randn(8, generator=torch.Generator().manual_seed(9), dtype=F64) * 0.3
    method = GroupPolicy(GroupPolicySpec(method="rloo", clip=0.1, importance_cap=cap))
    vector = method.loss(Said(now), item)
    policy, start = 0.0, 0
    for size in sizes:
        own = slice(start, start + size)
        ratio = math.exp(float((now[own] - item.old[own]).sum()))
        advantage = float(item.advantage[start])
        share = 1.0 if cap is None else min(math.exp(float((item.old[own] - item.sampled[own]).sum())), cap)
        policy -= share * min(ratio * advantage, min(max(ratio, 0.9), 1.1) * advantage)
        start += size
    assert float(vector[0]) / 8 == pytest.approx(policy / 3)  # the step divides by its tokens: a mean over answers


def test_at_the_first_update_the_gradient_of_whole_answers_is_that_of_their_log_probability() -> None:
    item = _item([3, 1, 4], [8 / (3 * size) for size in (3, 1, 4)], 3)
    now = item.old.clone().requires_grad_()
    GroupPolicy(GroupPolicySpec(method="rloo")).loss(Said(now), item)[0].backward()
    assert now.grad is not None
    assert torch.allclose(now.grad / 8, -item.advantage / 3)


@pytest.mark.parametrize(("method", "kind"), [("grpo", "llama"), ("rloo", "gpt2"), ("ppo", "qwen3")])
def test_a_shared_prompt_gives_the_gradient_of_prompts_of_their_own(tmp_path: Path, method: str, kind: str) -> None:
    """And so does any cut of the step."""
    keys = {"prompts_per_rollout": 4, "completions_per_prompt": 3, "max_new_tokens": 7, "minibatches": 1}
    found = {}
    for layout in ("shared", "bucketed"):
        said: list[str] = []
        with stopped(
            tmp_path / layout, tiny_loaded(kind), method, [SmallWords()], layout=layout, said=said, **keys
        ) as run:
            assert not any("own copy" in line for line in said)
            rollout = run.keeper.of(0)[0]
            whole, cut = run.gradient(), run.gradient(tokens_per_batch=24)
            found[layout] = whole
            assert len(run.batches(0, 24)) > len(run.batches(0, 512))
        for name, value in whole.items():
            assert torch.allclose(cut[name], value, atol=1e-5 * float(value.abs().max()) + 1e-7), name
        assert len(rollout.groups) == 4
    assert found["shared"].keys() == found["bucketed"].keys()
    for name, value in found["bucketed"].items():
        assert torch.allclose(found["shared"][name], value, atol=2e-4 * float(value.abs().max()) + 1e-7), name


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"completions_per_prompt": 1}, "2 or more"),
        ({"method": "rloo", "scaled": True}, "does not divide"),
        ({"baseline": "running"}, "belongs to reinforce"),
        ({"method": "rloo", "normalise": "token"}, "normalise is for ratios of tokens"),
    ],
)
def test_keys_that_a_method_does_not_have_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GroupPolicySpec(**keys)
