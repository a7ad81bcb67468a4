"""What a policy is watched by: the start beside itself, figures against slow counts, budgets, alarms, and files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_models import tiny_loaded, tiny_model

from instil.evaluation.scoring import encoder_of
from instil.experiments.monitor import Monitor, MonitorSpec, Written, alarms_of, step_file, steps_written
from instil.experiments.rewards import Judge
from instil.fingerprint import keyed_int
from instil.models.loading import LoadedModel
from instil.records import Message, Prompt
from instil.tuning.rewards import RewardBatch
from instil.tuning.sampler import EngineSampler

PROMPTS = [Prompt(f"w{k} w{k + 1} w{k + 2}", "w1", task="words", example=str(k)) for k in range(16)]


class By:
    """A reward made from a function of the text."""

    weight = 1.0

    def __init__(self, name: str, score: Callable[[str], float]) -> None:
        self.name, self.score = name, score

    def __call__(self, batch: RewardBatch) -> list[float]:
        return [self.score(text) for text in batch.completions]


def long(text: str) -> float:
    return float(len(text.split()))


def monitor(tmp_path: Path, policy: LoadedModel, **more: Any) -> Monitor:
    keys: dict[str, Any] = {
        "proxy": Judge([By("long", long)]), "gold": None, "folder": tmp_path, "max_new_tokens": 8, "reference": policy,
        "spec": MonitorSpec(), "prompts": PROMPTS, "encoder": encoder_of(policy),
    }  # fmt: skip
    keys |= more
    return Monitor(keys.pop("spec"), keys.pop("prompts"), **keys)


def moved(policy: LoadedModel, by: float = 0.3, seed: int = 9) -> Any:
    """Another model: the policy some way from its start."""
    model = tiny_model("llama")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * weight.abs().mean() * torch.randn(weight.shape, generator=generator))
    return model


@pytest.fixture
def start() -> LoadedModel:
    loaded = tiny_loaded("llama")
    with torch.no_grad():
        for weight in loaded.model.parameters():
            if weight.ndim > 1:
                weight.mul_(0.5)  # so that it is not sure of itself
    return loaded


def test_the_start_beside_itself_is_no_way_off_and_wins_half(tmp_path: Path, start: LoadedModel) -> None:
    watched = monitor(tmp_path, start)
    watched.begin(start)
    figures = watched(0, start.model)
    assert figures["kl"] == 0
    assert figures["win_rate"] == 0.5
    assert figures["score"] == figures["proxy_reward"]
    assert figures["entropy"] > 0.1
    assert json.loads(step_file(tmp_path, 0).read_text())["alarms"] == []


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_the_figures_are_those_of_the_answers(tmp_path: Path, kind: str) -> None:
    policy = tiny_loaded(kind)
    reference = replace(policy, model=tiny_model(kind, seed=3))
    watched = monitor(tmp_path, policy, reference=reference, gold=Judge([By("short", lambda text: -long(text))]))
    watched.begin(policy)
    figures = watched(5, policy.model)
    rows = json.loads(step_file(tmp_path, 5).read_text())["answers"]
    assert figures["kl"] == pytest.approx(sum(row["kl"] for row in rows) / len(rows))
    assert figures["kl"] > 0
    assert figures["length"] == pytest.approx(sum(row["tokens"] for row in rows) / len(rows))
    assert figures["entropy"] == pytest.approx(sum(row["entropy"] for row in rows) / sum(row["tokens"] for row in rows))
    assert figures["ended"] == sum(row["finished"] for row in rows) / len(rows)
    assert figures["proxy_reward"] == pytest.approx(sum(long(row["text"]) for row in rows) / len(rows))
    assert figures["gold_reward"] == pytest.approx(-figures["proxy_reward"])
    assert figures["score"] == figures["gold_reward"]
    assert figures["proxy_low"] <= figures["proxy_reward"] <= figures["proxy_high"]
    assert all(len(row["ids"]) == row["tokens"] - row["finished"] for row in rows)


def test_answers_are_drawn_alike_at_every_step(tmp_path: Path, start: LoadedModel) -> None:
    watched = monitor(tmp_path, start)
    watched.begin(start)
    torch.manual_seed(1)
    first = watched(1, start.model)
    torch.manual_seed(2)
    assert watched(2, start.model) == first
    other = monitor(tmp_path / "other", start, seed=1)
    other.begin(start)
    other(1, start.model)
    assert [a.text for a in steps_written(tmp_path, 1)] != [a.text for a in steps_written(tmp_path / "other", 1)]


def test_answers_are_those_that_a_rollout_would_draw(tmp_path: Path, start: LoadedModel) -> None:
    """Rollouts end by the end token alone: so does what is watched, though evaluation would end at a next turn."""
    policy = replace(start, form=replace(start.form, turn_separator=" ", user="w7 "))  # `w7` begins a turn
    prompts = [replace(one, messages=(Message("user", one.input),)) for one in PROMPTS]
    keys: dict[str, Any] = {"prompts": prompts, "encoder": encoder_of(policy), "max_new_tokens": 24}
    written = monitor(tmp_path, policy, **keys).ask(policy)
    sampler = EngineSampler(policy, max_new_tokens=24, temperature=1.0, dtype=torch.float32)
    rows = [reading.ids for reading in encoder_of(policy).read(prompts, 24)]
    seeds = [keyed_int(0, "monitor", place, n=1 << 63) for place in range(len(rows))]
    drawn = sampler.sample(rows, samples=1, seeds=seeds)
    assert [(one.text, one.finished, one.tokens) for one in written] == [
        (one.text, one.finished, len(one.ids)) for one in drawn
    ]
    as_evaluated = monitor(tmp_path, policy, **keys, stops=True).ask(policy)
    assert any("w7" in one.text for one in written)
    assert not any("w7" in one.text for one in as_evaluated)


def test_a_short_context_of_the_policy_leaves_half_for_the_prompt(tmp_path: Path, start: LoadedModel) -> None:
    watched = monitor(tmp_path, start, encoder=encoder_of(start, 16), max_new_tokens=64)
    assert max(one.tokens for one in watched.ask(start)) == 8


def test_gold_decides_what_wins_where_there_is_gold(tmp_path: Path, start: LoadedModel) -> None:
    policy = moved(start)
    by_proxy = monitor(tmp_path / "a", start)
    by_gold = monitor(tmp_path / "b", start, gold=Judge([By("short", lambda text: -long(text))]))
    rates = []
    for watched in (by_proxy, by_gold):
        watched.begin(start)
        rates.append(watched(3, policy)["win_rate"])
    assert rates[0] + rates[1] == pytest.approx(1)
    assert rates[0] != 0.5


def test_beyond_the_budget_there_is_no_score_and_an_alarm(tmp_path: Path, start: LoadedModel) -> None:
    said: list[str] = []
    watched = monitor(tmp_path, start, spec=MonitorSpec(kl_budget=0.01), say=said.append, strength="alignment.beta")
    watched.begin(start)
    assert math.isfinite(watched(0, start.model)["score"])
    figures = watched(1, moved(start))
    assert math.isnan(figures["score"])
    assert math.isfinite(figures["proxy_reward"])
    (told,) = [line for line in said if ", kl: " in line]
    assert "the budget is 0.01" in told
    assert "Raise alignment.beta" in told


def test_rewards_that_are_no_numbers_are_left_out_and_counted(tmp_path: Path, start: LoadedModel) -> None:
    def sometimes(text: str) -> float:
        return math.nan if len(text) % 2 else 1.0

    watched = monitor(tmp_path, start, proxy=Judge([By("odd", sometimes)]))
    watched.begin(start)
    figures = watched(1, start.model)
    texts = [one.text for one in steps_written(tmp_path, 1)]
    assert figures["invalid"] == sum(len(text) % 2 for text in texts) / len(texts) > 0
    assert figures["proxy_reward"] == 1.0


def test_several_rewards_are_shown_one_by_one(tmp_path: Path, start: LoadedModel) -> None:
    half = By("half", lambda text: 0.5)
    watched = monitor(tmp_path, start, proxy=Judge([By("long", long), half]))
    watched.begin(start)
    figures = watched(1, start.model)
    assert figures["reward/half"] == 0.5
    assert figures["proxy_reward"] == pytest.approx(figures["reward/long"] + 0.5)


def test_without_any_judge_the_score_is_the_figure_that_was_named(tmp_path: Path, start: LoadedModel) -> None:
    watched = monitor(tmp_path, start, proxy=None, score="accuracy", besides=lambda model: {"accuracy": 0.7})
    watched.begin(start)
    figures = watched(1, start.model)
    assert figures["score"] == figures["accuracy"] == 0.7
    assert "win_rate" not in figures


def test_a_proxy_that_rises_while_gold_falls_sets_off_the_alarm(tmp_path: Path, start: LoadedModel) -> None:
    """Answers as an earlier part of the run has left them; gold is the opposite of the proxy."""
    watched = monitor(tmp_path, start, gold=Judge([By("gold", lambda text: -long(text))]))
    watched.begin(start)
    rows = []
    for step in (0, 10):
        watched(step, start.model)
        content = json.loads(step_file(tmp_path, step).read_text())
        for row in content["answers"]:
            row |= {"proxy": -20.0 + 0.01 * len(row["text"]), "gold": 20.0 + 0.01 * len(row["text"]) + step}
        step_file(tmp_path, step).write_text(json.dumps(content))
        rows.append(json.dumps({"step": step, "evaluation": {}}))
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    watched(20, start.model)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "evaluation": {}}\n')
    (alarm,) = alarms_of(tmp_path)
    assert alarm["kind"] == "reward hacking"
    assert alarm["step"] == 20
    assert "since step 10" in alarm["message"]


def test_what_a_longer_run_left_behind_is_not_looked_at(tmp_path: Path, start: LoadedModel) -> None:
    watched = monitor(tmp_path, start, gold=Judge([By("gold", long)]))
    watched.begin(start)
    watched(30, start.model)  # of a part that was killed and is taken again from step 20
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "evaluation": {}}\n')
    assert alarms_of(tmp_path) == []
    watched(20, start.model)
    assert not any("since" in alarm["message"] for alarm in json.loads(step_file(tmp_path, 20).read_text())["alarms"])


def test_kept_answers_are_read_again_for_the_same_model_and_prompts_alone(tmp_path: Path, start: LoadedModel) -> None:
    watched = monitor(tmp_path, start)
    asked: list[int] = []
    plain = watched.ask

    def ask(loaded: LoadedModel) -> list[Written]:
        asked.append(1)
        return plain(loaded)

    watched.ask = ask  # type: ignore[method-assign]
    first = watched.answered("start", start)
    assert watched.answered("start", start) == first
    assert len(asked) == 1
    watched.answered("start", replace(start, fingerprint="another"))
    assert len(asked) == 2
    (tmp_path / "monitor" / "start.json").write_text("{")
    assert watched.answered("start", start) == first
    assert len(asked) == 3


def test_an_answer_comes_back_from_its_row_as_it_was() -> None:
    one = Written("Apple.", (4, 5), True, 0.5, 1.5, 3, proxy=math.nan, gold=2.0, rewards={"a": math.nan, "b": 1.0})
    row = json.loads(json.dumps(one.row(), allow_nan=False))
    assert str(Written.of(row)) == str(one)


def test_answers_do_not_depend_on_what_is_asked_beside_them(tmp_path: Path, start: LoadedModel) -> None:
    whole, part = monitor(tmp_path, start), monitor(tmp_path, start, prompts=PROMPTS[:8])
    few: Sequence[Written] = part.ask(start)
    assert [one.text for one in whole.ask(start)][:8] == [one.text for one in few]
