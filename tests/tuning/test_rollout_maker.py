"""How rollouts are made: seeds, texts, the end of an answer, what is judged, how far sampler and training are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import tiny_loaded
from tests.tuning.bandit import PROMPTS, SmallWords, spec_of, stopped
from tests.tuning.made_up_rankings import encoder_of
from tests.tuning.test_ppo import _rollout

from instil.errors import RunError
from instil.models.loading import LoadedModel
from instil.records import Prompt
from instil.tuning.policy import method_of
from instil.tuning.rewards import RewardBatch, judge
from instil.tuning.rollout_maker import RolloutMaker, _figures, _mismatch
from instil.tuning.sampler import EngineSampler, Sampled
from instil.tuning.token_scores import TokenScorer

SMALL: dict[str, Any] = {"prompts_per_rollout": 4, "completions_per_prompt": 3, "max_new_tokens": 6}


@dataclass
class Watching:
    """A reward that remembers what it was asked."""

    seen: list[RewardBatch] = field(default_factory=list)
    name: str = "watching"
    weight: float = 0.5

    def __call__(self, batch: RewardBatch) -> list[float]:
        self.seen.append(batch)
        return [float(len(text)) for text in batch.completions]


def maker_of(loaded: LoadedModel, *, sampler: Any = None, asked: Any = None, **keys: Any) -> RolloutMaker:
    spec = spec_of("grpo", **{**SMALL, "beta": 0, **keys})
    return RolloutMaker(
        spec=spec,
        method=method_of(spec),
        asked=asked or (lambda number, prompts: PROMPTS[number : number + prompts]),
        encoder=encoder_of(loaded),
        rewards=[SmallWords()],
        sampler=sampler or EngineSampler(loaded, max_new_tokens=6, temperature=spec.temperature, dtype=torch.float32),
        scorer=TokenScorer.of(loaded, "bucketed", tokens_per_batch=512, dtype=torch.float32,
                              temperature=spec.temperature),
        reference=None,
        reference_scorer=None,
    )  # fmt: skip


def test_a_rollout_is_a_function_of_its_number_and_of_the_weights() -> None:
    loaded = tiny_loaded()
    one, _ = maker_of(loaded).make(3, loaded.model, {})
    other, _ = maker_of(loaded).make(3, loaded.model, {})
    third, _ = maker_of(loaded).make(4, loaded.model, {})
    assert one.texts == other.texts
    assert np.array_equal(one.policy, other.policy)
    assert one.texts != third.texts
    with torch.no_grad():
        loaded.model.model.embed_tokens.weight.mul_(1.5)
    moved, _ = maker_of(loaded).make(3, loaded.model, {})
    assert moved.texts != one.texts


def test_an_answer_does_not_depend_on_the_prompts_beside_it() -> None:
    loaded = tiny_loaded()
    whole, _ = maker_of(loaded).make(0, loaded.model, {})
    half, _ = maker_of(loaded, prompts_per_rollout=2).make(0, loaded.model, {})
    assert whole.texts[:6] == half.texts


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_what_is_judged_is_the_text_and_the_tokens_without_the_end(tmp_path: Path, kind: str) -> None:
    watching = Watching()
    loaded = tiny_loaded(kind)
    with stopped(tmp_path / "run", loaded, "rloo", [watching], **{**SMALL, "completions_per_prompt": 16}) as run:
        rollout = run.keeper.of(0)[0]
    (batch,) = watching.seen
    assert [prompt.input for prompt in batch.prompts] == [PROMPTS[k].input for k in range(4) for _ in range(16)]
    answers = [one.tolist() for group in rollout.groups for one in group.completions]
    for ids, text, told, finished in zip(answers, batch.completions, batch.ids, batch.finished, strict=True):
        assert finished == (ids[-1] == loaded.eos_id)
        assert list(told) == (ids[:-1] if finished else ids)
        assert len(ids) <= 6
        assert finished or len(ids) == 6
        assert text == loaded.backend.decode(list(told), skip_special_tokens=True).strip()
    assert rollout.rewards.tolist() == [0.5 * len(text) for text in batch.completions]
    assert rollout.texts == batch.completions
    if kind == "llama":
        assert any(batch.finished)
        assert not all(batch.finished)


@pytest.mark.parametrize(("kind", "temperature"), [("llama", 1.0), ("gpt2", 0.8), ("bart", 1.0)])
def test_the_sampler_and_the_training_agree_on_every_token(kind: str, temperature: float) -> None:
    loaded = tiny_loaded(kind)
    rollout, figures = maker_of(loaded, temperature=temperature).make(0, loaded.model, {})
    assert np.abs(rollout.policy - rollout.sampled).max() < 1e-4
    assert figures["mismatch_max"] is not None
    assert figures["mismatch_max"] < 1e-4


def test_a_sampler_in_other_numbers_has_the_weights_as_they_are(tmp_path: Path) -> None:
    """A copy in bfloat16, without what hangs on the policy: near the training, and not quite."""
    loaded = tiny_loaded()
    keys = {**SMALL, "dtype": "bfloat16", "ema": 0.9, "minibatches": 1}
    with stopped(tmp_path / "run", loaded, "ppo", [SmallWords()], **keys) as run:
        sampler = run.keeper.maker.sampler
        first = run.keeper.of(0)[0]
        assert sampler._copy.dtype == torch.bfloat16
        assert {name for name, _ in sampler._copy.named_children()} == {"model", "lm_head"}
        with torch.no_grad():
            loaded.model.model.embed_tokens.weight.mul_(0.3)
        moved, figures = run.keeper.maker.make(1, loaded.model, {"beta": 0.1})
    for rollout in (first, moved):
        apart = np.abs(rollout.policy - rollout.sampled)
        assert 1e-6 < apart.max() < 1.0
        assert apart.mean() < 0.1
    assert figures["effective_sample"] is not None
    assert 0.5 < figures["effective_sample"] < 1.0


def test_the_mismatch_is_measured_and_the_effective_sample_with_it() -> None:
    rollout = _rollout(2)
    apart = rollout.padded(rollout.policy.astype(np.float64) - rollout.sampled)
    weights = apart.sum(1).exp()
    found = _mismatch(rollout)
    assert found["mismatch_mean"] == pytest.approx(float(apart.abs().sum()) / int(rollout.sizes.sum()), rel=1e-5)
    assert found["mismatch_max"] == pytest.approx(float(apart.abs().max()), rel=1e-5)
    expected = float(weights.sum() ** 2 / (len(weights) * weights.square().sum()))
    assert found["effective_sample"] == pytest.approx(expected, rel=1e-5)
    assert _mismatch(replace(rollout, sampled=rollout.policy))["effective_sample"] == pytest.approx(1.0)
    assert _mismatch(replace(rollout, sampled=np.full_like(rollout.sampled, np.nan))) == {}


def test_figures_leave_out_what_could_not_be_judged() -> None:
    rollout = _rollout(3, bad=(2,))
    rollout = replace(rollout, parts={"a": rollout.rewards, "b": rollout.rewards * 2})
    found = _figures(rollout, np.ones(int(rollout.sizes.sum()), np.float32))
    kept = [rollout.rewards[k] for k in (0, 1, 4, 5)]
    assert found["left_out"] == 2
    assert found["reward"] == pytest.approx(np.mean(kept))
    assert found["reward/b"] == pytest.approx(2 * np.nanmean(rollout.rewards))
    assert found["kl"] == pytest.approx(rollout.kl.mean())
    assert found["length"] == pytest.approx(rollout.sizes.mean())
    assert found["ended"] == pytest.approx(rollout.finished.mean())


def test_a_sampler_without_log_probabilities_is_borne() -> None:
    loaded = tiny_loaded()

    class Silent(EngineSampler):
        def sample(self, *given: Any, **more: Any) -> list[Sampled]:
            return [replace(one, log_probs=()) for one in super().sample(*given, **more)]

    sampler = Silent(loaded, max_new_tokens=6, temperature=1.0, dtype=torch.float32)
    rollout, figures = maker_of(loaded, sampler=sampler).make(0, loaded.model, {})
    assert np.isnan(rollout.sampled).all()
    assert np.isfinite(rollout.policy).all()
    assert "mismatch_max" not in figures


def test_prompts_are_cut_so_that_their_answers_fit() -> None:
    long = Prompt(input=" ".join(f"w{k % 50}" for k in range(400)), target="")
    loaded = tiny_loaded()
    _, rows = maker_of(loaded, asked=lambda number, prompts: [long]).prompts(0)
    assert len(rows[0]) == loaded.max_length - 6


def test_sums_of_rewards_are_weighted_and_a_part_that_is_none_makes_none_of_the_sum() -> None:
    @dataclass
    class Given:
        name: str
        values: list[float]
        weight: float = 1.0

        def __call__(self, batch: RewardBatch) -> list[float]:
            return self.values

    batch = RewardBatch(PROMPTS[:3], ("a", "b", "c"), ((), (), ()), (True,) * 3)
    judged = judge([Given("x", [1.0, 2.0, 3.0], 2.0), Given("y", [1.0, math.inf, math.nan], -1.0)], batch)
    assert judged.total[0] == 1.0
    assert not np.isfinite(judged.total[1:]).any()
    assert judged.by_source["x"] == [1.0, 2.0, 3.0]
    with pytest.raises(RunError, match="gave 2 values for 3 answers"):
        judge([Given("x", [1.0, 2.0])], batch)
