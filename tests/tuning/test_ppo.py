"""PPO: a bandit whose optimum is known, each part against a slow reference, and the value network's beginning."""

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
from tests.tuning.bandit import (
    OfFirstToken,
    SmallWords,
    apart,
    bandit_optimum,
    first_token,
    learnt,
    spec_of,
    stopped,
)

from instil.models.loading import LoadedModel
from instil.models.reward_head import attach_head
from instil.records import Group
from instil.tuning.policy_method import Learned, PolicyItem, Said
from instil.tuning.ppo import Ppo, PpoSpec
from instil.tuning.reward_model import RewardModel
from instil.tuning.rollouts import Rollout
from instil.tuning.value_network import VALUE

VALUES = torch.rand(66, generator=torch.Generator().manual_seed(0)).tolist()
BANDIT: dict[str, Any] = {
    "max_new_tokens": 1, "missing_end_penalty": 0, "max_steps": 40, "learning_rate": 5e-3, "prompts_per_rollout": 2,
    "completions_per_prompt": 64, "minibatches": 1, "beta": 0.5, "log_every": 10,
}  # fmt: skip


def _asked(number: int, prompts: int) -> Any:
    return bandit.PROMPTS[:prompts]


def _bandit(path: Path, loaded: LoadedModel, **keys: Any) -> tuple[float, float]:
    """How far the policy is from the optimum at beta 0.5, before and behind."""
    optimum = bandit_optimum(loaded, VALUES[: loaded.model.config.vocab_size], beta=0.5)
    before = apart(first_token(loaded, bandit.PROMPTS[:2]), optimum)
    learnt(path, loaded, "ppo", [OfFirstToken(VALUES)], asking=_asked, **{**BANDIT, **keys})
    return before, apart(first_token(loaded, bandit.PROMPTS[:2]), optimum)


@pytest.mark.parametrize("kind", ["llama", "bart"])
def test_ppo_finds_the_closed_form_of_a_bandit_with_kl(tmp_path: Path, kind: str) -> None:
    before, after = _bandit(tmp_path / "run", tiny_loaded(kind))
    assert before > 0.2
    assert after < 0.03


def test_control_another_beta_finds_another_optimum(tmp_path: Path) -> None:
    assert _bandit(tmp_path / "run", tiny_loaded(), beta=0.2)[1] > 0.2


def test_control_advantages_of_the_wrong_sign_lead_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ppo.learned

    def flipped(method: Ppo, rollout: Rollout) -> Learned:
        found = real(method, rollout)
        return replace(found, advantages=-found.advantages)

    monkeypatch.setattr(Ppo, "learned", flipped)
    before, after = _bandit(tmp_path / "run", tiny_loaded())
    assert after > before + 0.1


def _rollout(seed: int = 0, *, samples: int = 2, groups: int = 3, bad: tuple[int, ...] = ()) -> Rollout:
    """Random answers; those of the numbers `bad` have a reward that is none."""
    generator = np.random.default_rng(seed)

    def ids(least: int, most: int) -> Any:
        return generator.integers(3, 60, generator.integers(least, most + 1)).astype(np.int32)

    made = tuple(Group(ids(2, 5), tuple(ids(1, 6) for _ in range(samples))) for _ in range(groups))
    count = groups * samples
    tokens = sum(len(one) for group in made for one in group.completions)

    def floats(scale: float = 1.0) -> Any:
        return (generator.normal(size=tokens) * scale).astype(np.float32)

    rewards = generator.normal(size=count)
    rewards[list(bad)] = np.nan
    return Rollout(
        groups=made,
        texts=tuple(str(number) for number in range(count)),
        finished=generator.random(count) < 0.6,
        rewards=rewards,
        sampled=floats(),
        policy=floats(),
        reference=floats(),
        values=floats(),
        state={"beta": 0.13},
    )


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("bad", [(), (3,)])
def test_what_a_rollout_teaches_against_a_slow_reference(whiten: bool, bad: tuple[int, ...]) -> None:
    """Reward with the last token, KL with every one, whitening, GAE, whitening; groups without a reward left out."""
    spec = PpoSpec(beta=9.0, lam=0.9, gamma=0.97, missing_end_penalty=0.7, scale_rewards=whiten,
                   whiten_advantages=whiten)  # fmt: skip
    rollout = _rollout(4, bad=bad)
    learned = Ppo(spec).learned(rollout)
    left = {number for one in bad for number in range(one // 2 * 2, one // 2 * 2 + 2)}
    rewards: dict[tuple[int, int], float] = {}
    values: dict[tuple[int, int], float] = {}
    places: list[tuple[int, int]] = []
    for n, size in enumerate(rollout.sizes):
        places += [(n, t) for t in range(size)]
    for place, (n, t) in enumerate(places):
        if n in left:
            continue
        rewards[n, t] = -0.13 * (float(rollout.policy[place]) - float(rollout.reference[place]))
        if t == rollout.sizes[n] - 1:
            rewards[n, t] += rollout.rewards[n] - (0.0 if rollout.finished[n] else 0.7)
        values[n, t] = float(rollout.values[place])
    if whiten:
        mean = sum(rewards.values()) / len(rewards)
        spread = math.sqrt(sum((value - mean) ** 2 for value in rewards.values()) / len(rewards))
        rewards = {place: value / spread for place, value in rewards.items()}
    advantages: dict[tuple[int, int], float] = {}
    for n, t in reversed(list(rewards)):
        delta = rewards[n, t] + 0.97 * values.get((n, t + 1), 0.0) - values[n, t]
        advantages[n, t] = delta + 0.97 * 0.9 * advantages.get((n, t + 1), 0.0)
    returns = {place: value + values[place] for place, value in advantages.items()}
    if whiten:
        mean = sum(advantages.values()) / len(advantages)
        spread = math.sqrt(sum((value - mean) ** 2 for value in advantages.values()) / len(advantages) + 1e-8)
        advantages = {place: (value - mean) / spread for place, value in advantages.items()}
    assert learned.advantages.tolist() == pytest.approx([advantages.get(p, 0.0) for p in places], abs=1e-5)
    assert learned.returns.tolist() == pytest.approx([returns.get(p, 0.0) for p in places], abs=1e-5)
    assert [n for n, taken in enumerate(learned.taken) if not taken] == sorted(left)


def test_beta_is_led_to_the_target_by_what_the_rollout_before_came_to() -> None:
    fixed = Ppo(PpoSpec(beta=0.1))
    assert fixed.carried({"beta": 0.1, "kl": 50.0, "answers": 64.0}) == {"beta": 0.1}
    led = Ppo(PpoSpec(beta=0.1, target_kl=5.0, kl_horizon=640))
    assert led.carried(None) == {"beta": 0.1}
    assert led.carried({"beta": 0.3, "kl": 50.0, "answers": 64.0})["beta"] == pytest.approx(0.3 * 1.02)
    assert led.carried({"beta": 0.3, "kl": 4.5, "answers": 64.0})["beta"] == pytest.approx(0.3 * 0.99)
    assert led.carried({"beta": 0.3, "kl": None, "answers": 64.0}) == {"beta": 0.3}  # a KL that was no number
    with pytest.raises(ValidationError, match="target_kl leads beta"):
        PpoSpec(beta=0.0, target_kl=5.0)


def _item(generator: torch.Generator, tokens: int = 12) -> PolicyItem:
    def some() -> torch.Tensor:
        return torch.randn(tokens, generator=generator, dtype=torch.float64)

    nothing: Any = None
    return PolicyItem(
        pack=nothing, places=nothing, weight=nothing, token_weight=torch.ones(tokens), old=some(), sampled=some(),
        reference=some(), advantage=some(), returns=some(), value=some(), tokens=tokens, size=tokens,
    )  # fmt: skip


@pytest.mark.parametrize("cap", [None, 1.5])
def test_the_loss_and_its_figures_against_a_slow_reference(cap: float | None) -> None:
    generator = torch.Generator().manual_seed(2)
    item = _item(generator)
    now, value, entropy = (torch.randn(12, generator=generator, dtype=torch.float64) for _ in range(3))
    spec = PpoSpec(clip=0.15, value_clip=0.3, value_weight=0.4, entropy_weight=0.02, importance_cap=cap)
    method = Ppo(spec)
    found = method.loss(Said(now, entropy, value), item).tolist()
    policy = errors = apart_from_old = 0.0
    for k in range(12):
        ratio = math.exp(float(now[k] - item.old[k]))
        gain = min(ratio * float(item.advantage[k]), min(max(ratio, 0.85), 1.15) * float(item.advantage[k]))
        share = 1.0 if cap is None else min(math.exp(float(item.old[k] - item.sampled[k])), cap)
        policy -= share * gain
        held = float(item.value[k]) + min(max(float(value[k] - item.value[k]), -0.3), 0.3)
        errors += 0.5 * max(float(value[k] - item.returns[k]) ** 2, (held - float(item.returns[k])) ** 2)
        apart_from_old += ratio - 1 - math.log(ratio)
    total = policy + 0.4 * errors - 0.02 * float(entropy.sum())
    named = dict(zip(("loss", *method.figures), found, strict=True))
    assert named["loss"] == pytest.approx(total)
    assert named["policy_loss"] == pytest.approx(policy)
    assert named["value_loss"] == pytest.approx(errors)
    assert named["approx_kl"] == pytest.approx(apart_from_old)
    assert named["entropy"] == pytest.approx(float(entropy.sum()))
    assert named["clipped"] + named["value_clipped"] > 0


def test_the_value_network_begins_as_the_reward_model(tmp_path: Path) -> None:
    """Its value in front of a token is the reward model's reward of what is written so far."""
    judge = tiny_loaded(seed=7, tie_word_embeddings=False)
    attach_head(judge, seed=3)
    policy = tiny_loaded(tie_word_embeddings=False)
    more = {"value_start": judge}
    keys = {"max_new_tokens": 6, "prompts_per_rollout": 3, "completions_per_prompt": 2}
    with stopped(tmp_path / "run", policy, "ppo", [SmallWords()], more=more, **keys) as run:
        rollout = run.keeper.of(0)[0]
        assert hasattr(run.model, VALUE)
        assert not run.model.value_network.lm_head.weight.requires_grad  # which nothing reads
    model, place = RewardModel(judge, layout="bucketed"), 0
    for group in rollout.groups:
        for one in group.completions:
            for t in range(len(one)):
                if t:
                    ((reward,),) = model.rewards([Group(group.prompt, (one[:t],))])
                    assert float(rollout.values[place + t]) == pytest.approx(reward, abs=1e-4)
            place += len(one)
    assert not hasattr(policy.model, VALUE)


def test_a_reward_model_that_reads_other_tokens_is_not_begun_from_and_that_is_said(tmp_path: Path) -> None:
    judge = tiny_loaded("bart")
    attach_head(judge, seed=3)
    said: list[str] = []
    with stopped(tmp_path / "run", tiny_loaded(), "ppo", [SmallWords()], said=said, more={"value_start": judge}) as run:
        assert not run.keeper.of(0)[0].values.any()
    assert any("with a head of zeros" in line for line in said)


def test_the_defaults_are_those_of_the_paper() -> None:
    spec = spec_of("ppo")
    assert isinstance(spec, PpoSpec)
    said = (spec.beta, spec.clip, spec.value_clip, spec.gamma, spec.lam, spec.inner_epochs, spec.minibatches)
    assert said == (0.02, 0.2, 0.2, 1.0, 0.95, 1, 8)
    assert (spec.scale_rewards, spec.whiten_advantages, spec.temperature) == (True, True, 1.0)
