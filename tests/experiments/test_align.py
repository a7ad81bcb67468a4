"""A recipe becomes an aligned model: files, report, resume; what cannot be done is refused before a folder is there."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.experiments.preferences import offline, on_policy
from tests.models.tiny import build, wrap
from tests.tiny_models import tiny_folder, tiny_loaded

from instil.errors import InstilError
from instil.experiments.align import AlignResult, align, finite
from instil.experiments.align_prepare import Given, prepare_align
from instil.experiments.align_recipe import resolve_align
from instil.experiments.align_report import recommended
from instil.mixtures.encode import Encoder
from instil.models.loading import load, save
from instil.models.reward_head import attach_head
from instil.records import Prompt, PromptFormat
from instil.runs import read_metrics
from instil.tuning.reward_model import load_reward, save_reward

OFFLINE = ("dpo", "ipo", "kto")


def carried_out(raw: dict[str, Any], out: Path, *assignments: str, **more: Any) -> AlignResult:
    said: list[str] = []
    more.setdefault("say", said.append)
    return align(resolve_align(raw, assignments), out, show_progress=False, **more)


def weights(out: Path) -> dict[str, Any]:
    return {name: one.numpy().tobytes() for name, one in load_file(out / "model" / "model.safetensors").items()}


@pytest.mark.parametrize("method", OFFLINE)
def test_a_method_that_learns_from_rankings_learns_their_order(tiny_base: Path, tmp_path: Path, method: str) -> None:
    done = carried_out(offline(tiny_base, tmp_path, method), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["ordered"]["score"] > 0.9
    assert report["ordered"]["ci95"][0] > 0.5
    assert report["verdict"].startswith(f"{method.upper()} learned the order")
    assert [point["step"] for point in report["points"]] == [0, 2, 4]
    assert report["points"][0]["kl"] == 0 < report["points"][1]["kl"]
    assert report["kl"]["score"] > 0
    assert "win_rate" not in report
    assert (tmp_path / "run" / "report.html").read_text().startswith("<!doctype html>")
    assert load(done.model).architecture == "causal"
    assert report["verdict"] in (done.model / "README.md").read_text()


def test_gold_judges_what_rankings_taught(tiny_base: Path, tmp_path: Path) -> None:
    raw = offline(tiny_base, tmp_path)
    (tmp_path / "own.py").write_text("def short(prompts, completions):\n    return [-len(t) for t in completions]\n")
    raw["gold"] = [{"python": f"{tmp_path / 'own.py'}:short", "name": "short"}]
    report: Any = carried_out(raw, tmp_path / "run").report
    assert report["win_rate"]["judge"] == "gold"
    assert report["gold_reward"]["n"] == report["win_rate"]["n"] == 10
    assert report["gold_reward"]["gain"]["score"] == pytest.approx(
        report["gold_reward"]["score"] - report["gold_reward"]["start"]
    )
    assert "proxy_reward" not in report
    chosen = max(report["points"], key=lambda point: (point["gold_reward"], -point["step"]))
    assert report["chosen_step"] == report["recommended"]["step"] == chosen["step"]


def test_watched_and_tested_prompts_are_trained_on_by_nobody_and_are_apart(tiny_base: Path, tmp_path: Path) -> None:
    prepared = prepare_align(resolve_align(offline(tiny_base, tmp_path)))
    assert prepared.rankings is not None
    trained = {ranking.messages for ranking in prepared.rankings.train}
    watched, tested = ({prompt.messages for prompt in side} for side in (prepared.watched, prepared.tested))
    assert len(watched) == 8
    assert len(tested) == 10
    assert not watched & tested
    assert not trained & (watched | tested)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tiny_base: Path, tmp_path: Path) -> None:
    raw = offline(tiny_base, tmp_path)
    carried_out(raw, tmp_path / "whole")

    def stop(row: Any) -> None:
        if row.get("step") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(raw, tmp_path / "parts", follow=stop)
    carried_out(raw, tmp_path / "parts", resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    for step in (0, 2, 4):
        name = f"monitor/step-{step:08d}.json"
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()
    whole, parts = (json.loads((tmp_path / run / "report.json").read_text()) for run in ("whole", "parts"))
    for key in ("verdict", "points", "ordered", "kl", "samples", "alarms", "recommended"):
        assert whole[key] == parts[key]


def test_a_run_made_from_other_rewards_is_not_gone_on_with(tiny_base: Path, tmp_path: Path) -> None:
    raw = offline(tiny_base, tmp_path)
    own = tmp_path / "own.py"
    own.write_text("def short(prompts, completions):\n    return [-len(t) for t in completions]\n")
    raw["gold"] = [{"python": f"{own}:short", "name": "short"}]
    carried_out(raw, tmp_path / "run")
    own.write_text("def short(prompts, completions):\n    return [len(t) for t in completions]\n")
    with pytest.raises(InstilError, match=r"the gold of .* changed since the run began"):
        carried_out(raw, tmp_path / "run", resume=True)


@pytest.mark.parametrize("method", ["ppo", "grpo", "rloo", "reinforce", "rejection"])
def test_a_method_that_samples_its_answers_goes_from_recipe_to_report(
    tiny_base: Path, tmp_path: Path, method: str
) -> None:
    done = carried_out(on_policy(tiny_base, tmp_path, method), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["win_rate"]["judge"] == "gold"
    assert report["gold_reward"]["n"] == report["proxy_reward"]["n"] == 10
    assert {"score", "n", "ci95", "start", "gain"} <= report["proxy_reward"].keys()
    assert [point["step"] for point in report["points"]] == [0, 2, 4]
    assert report["points"][2]["kl"] > 0
    assert "Answers sampled" in report["trained_on"]
    assert load(done.model).architecture == "causal"
    assert not [name for name in load_file(done.model / "model.safetensors") if "value" in name or "average" in name]


def test_ppo_that_was_stopped_ends_as_one_that_was_not(tiny_base: Path, tmp_path: Path) -> None:
    raw = on_policy(tiny_base, tmp_path)
    carried_out(raw, tmp_path / "whole")

    def stop(row: Any) -> None:
        if row.get("step") == 3 and "loss" in row:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(raw, tmp_path / "parts", follow=stop)
    carried_out(raw, tmp_path / "parts", resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    whole, parts = (json.loads((tmp_path / run / "report.json").read_text()) for run in ("whole", "parts"))
    for key in ("verdict", "points", "win_rate", "gold_reward", "proxy_reward", "kl", "samples", "alarms"):
        assert whole[key] == parts[key]


def test_ppo_learns_what_it_is_rewarded_for(tiny_base: Path, tmp_path: Path) -> None:
    """Answers of this letter alone: the proxy rises clearly on prompts that chose nothing."""
    raw = on_policy(tiny_base, tmp_path)
    (tmp_path / "own.py").write_text(
        "def letter(prompts, completions):\n    return [text.count('a') / 8 for text in completions]\n"
    )
    raw |= {"rewards": [{"python": f"{tmp_path / 'own.py'}:letter", "name": "letter"}], "gold": []}
    raw["alignment"] |= {
        "max_steps": 60, "prompts_per_rollout": 32, "minibatches": 1, "evaluate_every": 30, "learning_rate": 5e-3,
        "beta": 0.001, "missing_end_penalty": 0.0,
    }  # fmt: skip
    raw["monitor"] |= {"test_prompts": 12}
    report: Any = carried_out(raw, tmp_path / "run").report
    assert report["proxy_reward"]["gain"]["ci95"][0] > 0
    assert report["win_rate"]["ci95"][0] > 0.5
    assert report["win_rate"]["judge"] == "proxy"
    assert "what it was trained by is also what judged it" in report["verdict"]
    assert any("over-optimisation would not" in note for note in report["notes"])


def reward_model(folder: Path, kind: str, *, seed: int = 0) -> str:
    """A random reward model of another kind, with a tokenizer of its own."""
    loaded = tiny_loaded(kind)
    attach_head(loaded, seed=seed)
    save_reward(loaded, folder, card="random", details={"max_length": 128})
    return str(folder)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_reward_model_with_another_tokenizer_reads_texts(tiny_base: Path, tmp_path: Path, kind: str) -> None:
    """The policy speaks bytes, the reward model words: it judges what was written, not its ids."""
    raw = on_policy(tiny_base, tmp_path)
    raw["rewards"] = [{"model": reward_model(tmp_path / "reward", kind), "name": "model"}]
    said: list[str] = []
    report: Any = carried_out(raw, tmp_path / "run", say=said.append).report
    assert [line for line in said if "the value network begins as the policy" in line]
    judge = load_reward(tmp_path / "reward")
    rows = json.loads((tmp_path / "run" / "monitor" / "test-aligned.json").read_text())["answers"]
    prompts = prepare_align(resolve_align(raw)).tested
    again = judge.rewards_of(
        [prompt.conversation(PromptFormat()) for prompt in prompts], [[row["text"]] for row in rows]
    )
    assert [row["rewards"]["model"] for row in rows] == pytest.approx([value for (value,) in again], abs=1e-4)
    assert report["proxy_reward"]["n"] == 10


def test_an_ensemble_gives_the_worst_of_its_members(tiny_base: Path, tmp_path: Path) -> None:
    members = [reward_model(tmp_path / f"reward-{seed}", "llama", seed=seed) for seed in range(3)]
    raw = on_policy(tiny_base, tmp_path)
    raw["rewards"] = [{"models": members, "combine": "worst", "name": "worst"}]
    raw["gold"] = [{"model": member, "name": f"m{k}"} for k, member in enumerate(members)]
    prepared = prepare_align(resolve_align(raw))
    assert prepared.proxy is not None
    assert prepared.gold is not None
    texts = ["w1 w2", "w3", "w9 w8 w7"]
    asked = (list(prepared.tested[:3]), texts, [(), (), ()], [True] * 3)
    worst, each = prepared.proxy(*asked)[0], prepared.gold(*asked)[1]
    assert worst == pytest.approx([min(values) for values in zip(*each.values(), strict=True)])
    with pytest.raises(InstilError, match="names a model twice"):
        prepare_align(resolve_align({**raw, "rewards": [{"models": [members[0], members[0]]}], "gold": []}))


@pytest.mark.parametrize("method", ["ppo", "grpo", "dpo"])
def test_an_encoder_decoder_is_aligned_too(tmp_path: Path, method: str) -> None:
    base = tiny_folder(tmp_path / "t5", "t5")
    make = offline if method == "dpo" else on_policy
    report: Any = carried_out(make(base, tmp_path, method), tmp_path / "run").report
    assert report["points"][0]["kl"] == pytest.approx(0, abs=1e-6)
    assert report["points"][-1]["kl"] > 0
    assert load(tmp_path / "run").architecture == "seq2seq"


@pytest.mark.parametrize("method", ["grpo", "dpo"])
def test_an_adapter_is_kept_and_merged(tiny_base: Path, tmp_path: Path, method: str) -> None:
    make = offline if method == "dpo" else on_policy
    raw = make(tiny_base, tmp_path, method)
    raw["alignment"] |= {"lora": {"rank": 2}, "learning_rate": 1e-2}
    done = carried_out(raw, tmp_path / "run")
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    report: Any = done.report
    assert report["points"][-1]["kl"] > 0
    assert load(done.model).parameters == load(tiny_base).parameters


def test_a_reference_that_is_not_the_start_is_what_the_distance_is_measured_to(tiny_base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save(wrap(build("llama", seed=3)), other, card="another random model")
    for make, method in ((offline, "dpo"), (on_policy, "ppo")):
        raw = {**make(tiny_base, tmp_path, method), "reference": str(other)}
        report: Any = carried_out(raw, tmp_path / method).report
        assert report["points"][0]["kl"] > 0.1
        assert any("which is not the start" in note for note in report["notes"])


def test_a_check_against_targets_is_no_judge_to_be_doubted(tiny_base: Path, tmp_path: Path) -> None:
    raw = {**on_policy(tiny_base, tmp_path, "grpo"), "rewards": [{"metric": "task"}], "gold": []}
    report: Any = carried_out(raw, tmp_path / "run").report
    assert report["verifiable"]
    assert "is also what judged it" not in report["verdict"]
    assert not any("over-optimisation" in note for note in report["notes"])


def test_only_what_learns_from_rankings_is_asked_as_in_evaluation(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "stops", lambda self, prompt: ("a", "e", "o", " "))
    found = {}
    for method, raw in (("dpo", offline(tiny_base, tmp_path)), ("grpo", on_policy(tiny_base, tmp_path, "grpo"))):
        carried_out(raw, tmp_path / method, "alignment.max_steps=1")
        found[method] = json.loads((tmp_path / method / "monitor" / "test-start.json").read_text())["answers"]
    assert not any(set("aeo ") & set(one["text"]) for one in found["dpo"])
    assert any(set("aeo ") & set(one["text"]) for one in found["grpo"])


def test_what_a_reward_may_look_at_is_part_of_the_run(tiny_base: Path, tmp_path: Path) -> None:
    plain = [Prompt(f"Say {k}.", "aa", task="mine", example=str(k), references=("aa", "a")) for k in range(40)]
    handed: dict[str, Any] = {"prompts": plain[:20], "monitor_prompts": plain[20:30], "test_prompts": plain[30:]}
    raw = on_policy(tiny_base, tmp_path, "grpo")
    del raw["prompts"]

    def named(**more: Sequence[Prompt]) -> dict[str, str]:
        return prepare_align(resolve_align(raw), given=Given(**{**handed, **more})).inputs

    was = named()
    assert named() == was
    for changed in ({"target": "bb"}, {"references": ("aa",)}, {"answer": "a"}, {"metadata": {"level": "1"}}):
        for side, name in (
            ("prompts", "prompts"), ("monitor_prompts", "held-out prompts"), ("test_prompts", "held-out prompts")
        ):  # fmt: skip
            other = [replace(handed[side][0], **changed), *handed[side][1:]]  # type: ignore[arg-type]
            now = named(**{side: other})
            assert {key for key in was if now[key] != was[key]} == {name}


TEMPLATE = (
    "{% for m in messages %}{% if 'number 3' in m.content %}{{ raise_exception('not this') }}{% endif %}"
    "{{ '[' + m.role + '] ' + m.content + ('<pad>' if m.role == 'assistant' else '\\n') }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)


@pytest.mark.parametrize("method", ["dpo", "grpo"])
def test_a_chat_model_is_asked_through_its_template(tiny_base: Path, tmp_path: Path, method: str) -> None:
    base = tmp_path / "chat"
    shutil.copytree(tiny_base, base)
    (base / "chat_template.jinja").write_text(TEMPLATE)
    raw = offline(base, tmp_path)
    raw["model"] = {"path": str(base), "chat": True}
    if method == "grpo":
        raw |= {key: on_policy(base, tmp_path, method)[key] for key in ("method", "rewards", "alignment")}
    report: Any = carried_out(raw, tmp_path / "run").report
    assert all(sample["prompt"].endswith("\n[assistant] ") for sample in report["samples"])
    assert not any("number 3" in sample["prompt"] for sample in report["samples"])
    assert report["points"][-1]["kl"] > 0
    if method == "dpo":
        assert "held-out prompts are not asked" in (tmp_path / "run" / "log.txt").read_text()


def test_suites_tell_the_alignment_tax(tiny_base: Path, tmp_path: Path, suite_file: Path) -> None:
    raw = {**offline(tiny_base, tmp_path), "evaluation": {"suites": [str(suite_file)]}}
    report: Any = carried_out(raw, tmp_path / "run").report
    (table,) = report["suites"]
    assert {"base", "tuned", "gain"} <= table["groups"][0].keys()
    assert (tmp_path / "run" / "eval" / "start" / "sums" / "results.json").is_file()
    assert (tmp_path / "run" / "eval" / "aligned" / "sums" / "results.json").is_file()


def test_pre_training_text_or_demonstrations_are_mixed_in(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(f"some plain text, number {k}" for k in range(30)))
    raw = on_policy(tiny_base, tmp_path)
    for name, ptx in (("text", str(tmp_path / "text.txt")), ("mixture", raw["prompts"])):
        carried_out({**raw, "ptx": ptx}, tmp_path / name)
        losses = [row.get("ptx_loss") for row in read_metrics(tmp_path / name) if "loss" in row]
        assert len(losses) == 4
        assert all(isinstance(loss, float) and loss > 0 for loss in losses)


def test_answers_whose_reward_is_no_number_are_left_out_and_told(tiny_base: Path, tmp_path: Path) -> None:
    raw = on_policy(tiny_base, tmp_path, "grpo")
    (tmp_path / "own.py").write_text(
        "def sometimes(prompts, completions):\n"
        "    return [float('nan') if hash_of(t) % 3 == 0 else 1.0 for t in completions]\n"
        "def hash_of(text):\n    return sum(map(ord, text))\n"
    )
    raw |= {"rewards": [{"python": f"{tmp_path / 'own.py'}:sometimes", "name": "sometimes"}], "gold": []}
    said: list[str] = []
    report: Any = carried_out(raw, tmp_path / "run", say=said.append).report
    assert any(alarm["kind"] == "invalid" for alarm in report["alarms"])
    assert any("alarm after step" in line for line in said)
    assert "Answers left out" in report["trained_on"]
    assert any("were not numbers" in note for note in report["notes"])
    json.loads((tmp_path / "run" / "report.json").read_text())


def test_best_of_n_trains_nothing_and_says_what_choosing_is_worth(tiny_base: Path, tmp_path: Path) -> None:
    done = carried_out(on_policy(tiny_base, tmp_path, "best-of-n"), tmp_path / "run")
    report: Any = done.report
    assert done.training is None
    assert not done.model.exists()
    assert [point["step"] for point in report["points"]] == [1, 2, 4, 8]
    assert report["points"][3]["kl"] == pytest.approx(math.log(8) - 7 / 8)
    assert report["unit"] == "n"
    assert f"n = {report['recommended']['step']}" in report["recommended"]["why"]
    assert "Nothing was trained" in " ".join(report["notes"])
    refused(
        {**on_policy(tiny_base, tmp_path, "best-of-n"), "evaluation": {"suites": ["pocket"]}},
        tmp_path,
        "evaluation.suites ask what training changed",
    )


# --- refused before anything is written ------------------------------------------------------------------------------


def refused(raw: dict[str, Any], tmp_path: Path, told: str, *assignments: str, **more: Any) -> None:
    out = tmp_path / "never"
    with pytest.raises(InstilError) as error:
        carried_out(raw, out, *assignments, **more)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert not out.exists()


@pytest.mark.parametrize("method", OFFLINE)
def test_rankings_are_needed_where_they_are_learned_from(tiny_base: Path, tmp_path: Path, method: str) -> None:
    raw = offline(tiny_base, tmp_path, method)
    del raw["rankings"]
    refused(raw, tmp_path, f"{method} learns from rankings, and there are none")


def test_rewards_are_needed_where_answers_are_sampled(tiny_base: Path, tmp_path: Path) -> None:
    raw = on_policy(tiny_base, tmp_path)
    refused({**raw, "rewards": []}, tmp_path, "ppo learns from rewards, and there are none")
    del raw["prompts"]
    refused(raw, tmp_path, "ppo samples answers, and there is nothing to answer")


def test_a_reward_that_is_learned_by_is_no_gold(tiny_base: Path, tmp_path: Path) -> None:
    raw = on_policy(tiny_base, tmp_path)
    raw["gold"] = [{**raw["rewards"][0], "name": "again"}]
    refused(raw, tmp_path, "gold 'again' is the reward 'long'")
    raw["gold"] = [{"metric": "task", "name": "long"}]
    refused(raw, tmp_path, "two rewards are named 'long'")


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        ({"python": "{own}:few"}, "gave no list of 2 numbers"),
        ({"python": "{own}:bad"}, "failed: KeyError: 'oh'"),
        ({"url": "http://127.0.0.1:9/score", "retries": 0}, "does not answer"),
    ],
)
@pytest.mark.parametrize("side", ["rewards", "gold"])
def test_a_reward_that_cannot_work_is_told_before_anything_is_written(
    tiny_base: Path, tmp_path: Path, side: str, reward: dict[str, Any], told: str
) -> None:
    own = tmp_path / "failing.py"
    own.write_text(
        "def few(prompts, completions):\n    return [1.0]\ndef bad(prompts, completions):\n    raise KeyError('oh')\n"
    )
    given = {key: str(value).replace("{own}", str(own)) for key, value in reward.items()}
    refused({**on_policy(tiny_base, tmp_path, "grpo"), side: [given]}, tmp_path, told)


def test_rankings_of_one_level_cannot_be_learned_from_in_pairs(tiny_base: Path, tmp_path: Path) -> None:
    raw = offline(tiny_base, tmp_path)
    rows = [{"prompt": f"Say {k}.", "completion": "yes", "label": k % 2 == 0} for k in range(60)]
    path = tmp_path / "rated.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw["rankings"]["sources"] = [{"collection": "jsonl", "path": str(path)}]
    with pytest.raises(InstilError):
        carried_out(raw, tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_too_few_held_out_prompts_are_one_line(tiny_base: Path, tmp_path: Path) -> None:
    raw = offline(tiny_base, tmp_path)
    raw["rankings"]["held_out"] = 0.1
    refused(raw, tmp_path, "prompts are held out, too few to watch and to test a policy by")


def test_a_masked_model_writes_no_answers_to_align(tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "bert", "bert")
    refused(offline(base, tmp_path), tmp_path, "a masked model writes no answers to align")


def test_a_reward_model_writes_no_answers_to_align(tmp_path: Path) -> None:
    judge = reward_model(tmp_path / "judge", "llama")
    refused(offline(Path(judge), tmp_path), tmp_path, "is a reward model, which judges answers")


def test_a_reference_with_another_tokenizer_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other", "llama")
    refused({**offline(tiny_base, tmp_path), "reference": str(other)}, tmp_path, "has another tokenizer than the model")


def test_a_task_that_is_asked_afterwards_is_not_answered_before(tiny_base: Path, tmp_path: Path) -> None:
    raw = on_policy(tiny_base, tmp_path)
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"name: same\nsources: [{{collection: jsonl, path: {tmp_path / 'prompts.jsonl'}}}]\n")
    refused({**raw, "evaluation": {"suites": [str(suite)]}}, tmp_path, "is in the mixture and in suite 'same'")


# --- parts -----------------------------------------------------------------------------------------------------------


def point(step: int, score: float | None, kl: float) -> dict[str, Any]:
    return {"step": step, "score": score, "kl": kl, "gold_reward": score if score is not None else 0.1}


def test_the_recommended_step_is_the_best_within_the_budget() -> None:
    points = [point(0, 0.2, 0), point(10, 0.8, 3.0), point(20, 0.7, 6.0), point(30, None, 14.0)]
    found = recommended(points, judged_by="gold", kl_budget=10)
    assert found is not None
    assert (found["step"], found["kl"]) == (10, 3.0)
    assert "within the budget of 10" in found["why"]
    assert "By step 30 it had fallen by 0.7, 14 nats away." in found["why"]


def test_where_nothing_learned_was_better_the_start_is_recommended() -> None:
    found = recommended([point(0, 0.5, 0), point(10, 0.4, 3.0)], judged_by="gold", kl_budget=None)
    assert found is not None
    assert found["step"] == 0
    assert "That is the start" in found["why"]
    assert recommended([], judged_by="gold", kl_budget=None) is None


def test_what_is_no_number_is_null_in_a_report() -> None:
    assert finite({"a": [math.nan, 1.0, {"b": math.inf}], "c": "x"}) == {"a": [None, 1.0, {"b": None}], "c": "x"}


class Short:
    """A reward that is handed over as an object."""

    name, weight, fingerprint = "short", 1.0, "short-1"

    def __call__(self, batch: Any) -> list[float]:
        return [-float(len(text)) for text in batch.completions]


def test_what_is_handed_over_stands_beside_the_recipe(tiny_base: Path, tmp_path: Path) -> None:
    raw = offline(tiny_base, tmp_path)
    watched: Sequence[Prompt] = [Prompt(f"Tell {k}.", "") for k in range(8)]
    report: Any = carried_out(
        raw, tmp_path / "run", gold=[Short()], monitor_prompts=watched, test_prompts=watched
    ).report
    assert report["win_rate"]["n"] == 8
    facts = json.loads((tmp_path / "run" / "fingerprint.json").read_text())
    assert "gold" in facts["inputs"]
    assert len(read_metrics(tmp_path / "run")) == 4 + 3
