"""What all methods share: rows of rollouts, rewards that are no numbers, ptx, averages, adapters, the model back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import documents, tiny_loaded, window, window_seq2seq
from tests.tuning.bandit import PROMPTS, SmallWords, asked, learnt, stopped

from instil.errors import RecipeError, RunError
from instil.records import Prompt
from instil.tuning.checkpoint import checkpoints
from instil.tuning.ptx import Ptx
from instil.tuning.rewards import RewardBatch
from instil.tuning.weight_average import AVERAGE

SMALL: dict[str, Any] = {"prompts_per_rollout": 4, "completions_per_prompt": 2, "max_new_tokens": 5, "max_steps": 6}


def rows(path: Path, what: str = "rollout") -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (path / "metrics.jsonl").read_text().splitlines()) if what in row]


@dataclass
class Sometimes:
    """A reward that is no number for some prompts."""

    bad: tuple[str, ...]
    value: float = math.nan
    name: str = "sometimes"
    weight: float = 1.0

    def __call__(self, batch: RewardBatch) -> list[float]:
        good = SmallWords()(batch)
        return [
            self.value if prompt.input in self.bad and number % 2 else reward
            for number, (prompt, reward) in enumerate(zip(batch.prompts, good, strict=True))
        ]


@pytest.mark.parametrize(("method", "kind"), [("ppo", "llama"), ("grpo", "t5"), ("rejection", "bart")])
def test_a_policy_learns_to_write_what_is_rewarded(tmp_path: Path, method: str, kind: str) -> None:
    loaded = tiny_loaded(kind)
    if kind == "t5":  # whose made-up logits are so large that it never draws another word
        with torch.no_grad():
            loaded.model.lm_head.weight.mul_(0.2)
    own = (
        {"minibatches": 2} if method == "ppo" else {"minibatches": 2, "inner_epochs": 2 if method == "rejection" else 1}
    )
    keys = {**SMALL, "completions_per_prompt": 8, "prompts_per_rollout": 8, "max_steps": 36, "learning_rate": 4e-3}
    learnt(tmp_path / "run", loaded, method, [SmallWords()], missing_end_penalty=0, **{**keys, **own})
    found = [row["rollout"]["reward"] for row in rows(tmp_path / "run")]
    assert np.mean(found[-2:]) > found[0] + 0.15, found


def test_every_rollout_has_a_row_and_a_file_before_its_steps(tmp_path: Path) -> None:
    learnt(tmp_path / "run", tiny_loaded(), "ppo", [SmallWords()], minibatches=2, **SMALL)
    found = rows(tmp_path / "run")
    assert [(row["step"], row["rollout"]["number"]) for row in found] == [(0, 0), (2, 1), (4, 2)]
    names = {
        "number", "answers", "left_out", "reward", "kl", "kl_token", "entropy", "length", "ended", "mismatch_mean",
        "mismatch_max", "effective_sample", "beta", "objective", "value", "explained_variance",
    }  # fmt: skip
    assert found[0]["rollout"].keys() == names
    assert found[0]["rollout"]["kl"] == 0
    assert found[-1]["rollout"]["mismatch_max"] < 1e-4
    assert found[-1]["rollout"]["effective_sample"] == pytest.approx(1.0, abs=1e-3)
    steps = rows(tmp_path / "run", "loss")
    assert {"policy_loss", "value_loss", "clipped", "value_clipped", "approx_kl"} <= steps[0].keys()
    assert sorted(path.name for path in (tmp_path / "run" / "rollouts").iterdir()) == [
        "00000.json", "00001.json", "00001.safetensors", "00002.json", "00002.safetensors",
    ]  # fmt: skip


def test_beta_is_led_from_rollout_to_rollout(tmp_path: Path) -> None:
    keys = {**SMALL, "minibatches": 1, "beta": 0.1, "target_kl": 0.05, "kl_horizon": 40, "learning_rate": 1e-2}
    learnt(tmp_path / "run", tiny_loaded(), "ppo", [SmallWords()], **keys)
    found = [row["rollout"] for row in rows(tmp_path / "run")]
    for one, following in pairwise(found):
        error = min(max(one["kl"] / 0.05 - 1, -0.2), 0.2)
        assert following["beta"] == pytest.approx(one["beta"] * (1 + error * 8 / 40))
    assert len({one["beta"] for one in found}) == len(found)


def test_a_run_that_is_continued_for_longer_is_the_longer_run(tmp_path: Path) -> None:
    """And has each row once."""
    weights = []
    for name, lengths in (("once", (9,)), ("twice", (5, 9))):
        for steps in lengths:
            loaded = tiny_loaded()
            keys = {**SMALL, "minibatches": 2, "save_every": 1, "schedule_steps": 9, "max_steps": steps}
            learnt(tmp_path / name, loaded, "ppo", [SmallWords()], **keys)
        weights.append(loaded.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert rows(tmp_path / "once") == rows(tmp_path / "twice")
    assert [row["step"] for row in rows(tmp_path / "twice")] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", ["ppo", "grpo", "rejection"])
def test_a_prompt_whose_rewards_are_no_numbers_is_left_out_and_named(tmp_path: Path, method: str, value: float) -> None:
    said: list[str] = []
    rewards = [SmallWords(), Sometimes((PROMPTS[1].input,), value)]
    with stopped(tmp_path / "run", tiny_loaded(), method, rewards, said=said, minibatches=1, **SMALL) as run:
        (items,) = [[piece.item for piece in run.batches(0, 512)]]
        rollout = run.keeper.of(0)[0]
    assert [line for line in said if "1 of 4 prompts are left out" in line and "(sometimes)" in line]
    assert sum(len(item.weight) for item in items) == (3 if method == "rejection" else 6)
    assert rollout.judged.tolist() == [True, True, False, False, True, True, True, True]
    assert rows(tmp_path / "run")[0]["rollout"]["left_out"] == 2
    # what stands in the step is what it would be without that prompt
    assert all(bool(torch.isfinite(item.advantage).all()) for item in items)


def test_a_rollout_without_any_reward_is_skipped_step_by_step_and_counted(tmp_path: Path) -> None:
    loaded = tiny_loaded()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    bad = [Sometimes(tuple(prompt.input for prompt in PROMPTS))]
    keys = {**SMALL, "minibatches": 2, "max_steps": 4}
    result = learnt(tmp_path / "run", loaded, "ppo", bad, **keys)
    assert result.skipped == 4
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert rows(tmp_path / "run")[0]["rollout"]["reward"] is None


def test_a_rollout_without_any_reward_counts_once_and_rewards_are_named_where_none_comes(tmp_path: Path) -> None:
    bad = [Sometimes(tuple(prompt.input for prompt in PROMPTS))]
    keys = {**SMALL, "minibatches": 2, "max_steps": 20, "max_skipped_in_a_row": 3}
    with pytest.raises(RunError, match="6 steps in a row were not taken") as caught:
        learnt(tmp_path / "run", tiny_loaded(), "ppo", bad, **keys)
    assert "rewards of the last rollouts" in str(caught.value.remedy)


def test_a_masked_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="masked"):
        learnt(tmp_path / "run", tiny_loaded("bert"), "ppo", [SmallWords()], **SMALL)


def test_a_reference_that_reads_other_tokens_is_refused(tmp_path: Path) -> None:
    more = {"reference": tiny_loaded("bart")}
    with pytest.raises(RecipeError, match="reads other tokens"):
        learnt(tmp_path / "run", tiny_loaded(), "ppo", [SmallWords()], more=more, **SMALL)


def test_the_kl_is_to_the_reference_that_is_given(tmp_path: Path) -> None:
    other = tiny_loaded(seed=5)
    with stopped(tmp_path / "run", tiny_loaded(), "grpo", [SmallWords()], more={"reference": other}, **SMALL) as run:
        rollout = run.keeper.of(0)[0]
    group, place = rollout.groups[0], 0
    for one in group.completions:
        row = torch.tensor([[*group.prompt.tolist(), *one.tolist()]])
        with torch.no_grad():
            logs = other.model(input_ids=row).logits[0].log_softmax(-1)
        for t, token in enumerate(one.tolist()):
            expected = float(logs[len(group.prompt) + t - 1, token])
            assert float(rollout.reference[place + t]) == pytest.approx(expected, abs=1e-4)
        place += len(one)


def test_nothing_is_dropped_so_that_the_first_ratios_are_1(tmp_path: Path) -> None:
    drops = {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}
    for checkpointing in (False, True):
        keys = {**SMALL, "gradient_checkpointing": checkpointing, "max_steps": 2, "max_new_tokens": 6}
        learnt(tmp_path / str(checkpointing), tiny_loaded("gpt2", **drops), "grpo", [SmallWords()], **keys)
        assert abs(rows(tmp_path / str(checkpointing), "loss")[0]["approx_kl"]) < 1e-6
    one, other = (rows(tmp_path / name, "loss") for name in ("False", "True"))
    assert one[1]["loss"] == pytest.approx(other[1]["loss"], abs=1e-5)


def test_blocks_that_drop_by_themselves_do_not_where_they_are_computed_twice(tmp_path: Path) -> None:
    loaded = tiny_loaded("bart", dropout=0.5, activation_dropout=0.5)
    keys = {**SMALL, "gradient_checkpointing": True, "max_steps": 1}
    learnt(tmp_path / "run", loaded, "grpo", [SmallWords()], **keys)
    assert abs(rows(tmp_path / "run", "loss")[0]["approx_kl"]) < 1e-6
    assert loaded.model.model.decoder.layers[0].dropout == 0.5


def _cross_entropy(model: Any, encoded: Any, *, seq2seq: bool) -> tuple[torch.Tensor, int]:
    """The summed cross entropy of prompts' answers, one by one, and how many tokens they have."""
    total, count = torch.zeros(()), 0
    for one in encoded:
        ids, start = torch.from_numpy(one.ids.astype(np.int64)), one.answer_start
        if seq2seq:
            fed = torch.cat([torch.zeros(1, dtype=torch.int64), ids[start:-1]])
            logits = model(input_ids=ids[None, :start], decoder_input_ids=fed[None]).logits[0]
        else:
            logits = model(input_ids=ids[None]).logits[0, start - 1 : -1]
        total = total + torch.nn.functional.cross_entropy(logits, ids[start:], reduction="sum")
        count += len(ids) - start
    return total, count


@pytest.mark.parametrize(("method", "kind"), [("ppo", "llama"), ("grpo", "t5")])
def test_with_ptx_the_gradient_is_the_sum_of_both(tmp_path: Path, method: str, kind: str) -> None:
    """gamma times that of the mean cross entropy of prompts with answers, and that of the policy's loss alone."""
    windows = (lambda step, prompts: window_seq2seq(step, prompts)) if kind == "t5" else window
    keys = {**SMALL, "ptx_weight": 3.5, "ptx_ratio": 2.0, "minibatches": 1}
    with stopped(tmp_path / "ptx", tiny_loaded(kind), method, [SmallWords()], more={"ptx": Ptx(windows=windows)},
                 **keys) as run:  # fmt: skip
        whole = run.gradient()
        text = [piece for piece in run.batches(0, 512) if piece.kind == "ptx_loss"]
        loss, count = _cross_entropy(run.model, windows(0, 16), seq2seq=kind == "t5")
        assert sum(piece.targets for piece in text) == count
        (3.5 * loss / count).backward()
        expected = {name: one.grad.clone() for name, one in run.model.named_parameters() if one.grad is not None}
    with stopped(tmp_path / "plain", tiny_loaded(kind), method, [SmallWords()], **keys) as run:
        for name, value in run.gradient().items():
            expected[name] = expected.get(name, 0) + value
    assert whole.keys() == expected.keys()
    for name, value in whole.items():
        assert torch.allclose(value, expected[name], atol=1e-5 * float(value.abs().max()) + 1e-7), name


def test_text_is_mixed_in_by_the_tokens_of_the_step(tmp_path: Path) -> None:
    keys = {**SMALL, "ptx_ratio": 1.5, "minibatches": 2}
    more = {"ptx": Ptx(documents=documents)}
    with stopped(tmp_path / "run", tiny_loaded(), "ppo", [SmallWords()], more=more, **keys) as run:
        pieces = run.batches(0, 512)
        read, text = (sum(one.tokens for one in pieces if one.kind == kind) for kind in ("loss", "ptx_loss"))
        assert 1.5 * read <= text <= 1.5 * read + 13 + 13
        run.loss_sum.ptx = Ptx(documents=lambda step, tokens: documents(step, 5))
        with pytest.raises(RunError, match="ptx_ratio needs"):
            run.batches(0, 512)
    with pytest.raises(ValueError, match="one of both"):
        Ptx()


def test_with_ema_the_average_is_evaluated_kept_and_given_back(tmp_path: Path) -> None:
    """average <- decay x average + (1 - decay) x weights, in front of every step."""
    loaded = tiny_loaded()
    names = [name for name, _ in loaded.model.named_parameters()]
    seen: list[dict[str, torch.Tensor]] = []
    real: list[dict[str, torch.Tensor]] = []

    def evaluate(step: int, model: Any) -> dict[str, float]:
        seen.append({name: model.get_parameter(name).clone() for name in names})
        return {"reward": float(step)}

    keys = {**SMALL, "ema": 0.6, "evaluate_every": 1, "save_every": 1, "keep_last": 9, "minibatches": 2}
    start = {name: loaded.model.get_parameter(name).detach().clone() for name in names}
    learnt(tmp_path / "run", loaded, "ppo", [SmallWords()], more={"evaluate": evaluate}, **keys)
    from safetensors.torch import load_file

    real = [load_file(path / "model.safetensors") for path in checkpoints(tmp_path / "run" / "checkpoints")]
    average, before = start, start
    for step, weights in enumerate(real):  # the average is moved before a step, so that it lags by one
        average = {name: 0.6 * average[name] + 0.4 * before[name] for name in names}
        before = {name: weights[name] for name in names}
        for name in names:
            assert torch.allclose(seen[step][name], average[name], atol=1e-5), (step, name)
    assert all(torch.allclose(loaded.model.get_parameter(name), average[name], atol=1e-5) for name in names)
    assert not hasattr(loaded.model, AVERAGE)
    assert {name for name, _ in loaded.model.named_parameters()} == set(names)


def test_the_reference_of_an_adapter_is_the_base_with_the_adapter_off(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    loaded = tiny_loaded()
    logits = loaded.model(input_ids=torch.tensor([[5, 6, 7]])).logits.detach()
    for method in ("ppo", "rloo"):
        loaded = tiny_loaded()
        keys = {**SMALL, "lora": {"rank": 2}, "learning_rate": 3e-2, "max_steps": 4, "minibatches": 1}
        learnt(tmp_path / method, loaded, method, [SmallWords()], **keys)
        found = [row["rollout"]["kl"] for row in rows(tmp_path / method)]
        assert found[0] == 0
        assert abs(found[-1]) > 0.01
        moved = loaded.model(input_ids=torch.tensor([[5, 6, 7]])).logits
        assert not torch.allclose(moved, logits, atol=1e-3)
        trained = [name for name, one in loaded.model.named_parameters() if one.requires_grad]
        assert trained
        assert all(".lora_" in name for name in trained)


def test_a_rollout_that_a_checkpoint_needs_and_is_gone_is_told(tmp_path: Path) -> None:
    keys = {**SMALL, "minibatches": 4, "save_every": 1, "schedule_steps": 8}
    learnt(tmp_path / "run", tiny_loaded(), "ppo", [SmallWords()], **{**keys, "max_steps": 6})
    path = tmp_path / "run" / "rollouts" / "00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match="rollout 1, which the run goes on from, is gone or damaged"):
        learnt(tmp_path / "run", tiny_loaded(), "ppo", [SmallWords()], **{**keys, "max_steps": 8})


def test_a_prompt_that_asks_nothing_and_prompts_that_run_out_are_borne(tmp_path: Path) -> None:
    def few(number: int, prompts: int) -> list[Prompt]:
        return [] if number == 1 else [Prompt(input="", target=""), *asked(number, 2)]

    result = learnt(tmp_path / "run", tiny_loaded(), "grpo", [SmallWords()], asking=few, **{**SMALL, "max_steps": 3})
    assert result.skipped == 1
    assert [row["rollout"]["answers"] for row in rows(tmp_path / "run")] == [6, 0, 6]
