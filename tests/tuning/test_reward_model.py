"""Reward models as folders: what is read is what was written; texts and ids give the same; ensembles."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_models import tiny_folder, tiny_loaded
from tests.tuning.made_up_rankings import rankings
from transformers import AutoModelForCausalLM

from instil.errors import ModelError
from instil.mixtures.groups import encode_groups
from instil.models.loading import LoadedModel, load
from instil.models.reward_head import attach_head, has_head, head_of
from instil.records import ChatSource, Message, Ranking
from instil.tuning import reward_model
from instil.tuning.reward_model import RewardEnsemble, RewardModel, load_ensemble, load_reward, save_reward

KINDS = ["llama", "gpt2", "bert", "modernbert"]


def judge(kind: str, *, seed: int = 0, bias: float = 0.3) -> LoadedModel:
    """A tiny model with a random head."""
    loaded = tiny_loaded(kind)
    head = attach_head(loaded, seed=seed)
    with torch.no_grad():
        head.bias.fill_(bias)
    return loaded


def texts(made: list[Ranking]) -> tuple[list[tuple[Message, ...]], list[tuple[str, ...]]]:
    return [one.messages for one in made], [one.completions for one in made]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_from_a_folder_judges_as_what_was_written(tmp_path: Path, kind: str) -> None:
    loaded = judge(kind)
    made = rankings(6, completions=(2, 5))
    expected = RewardModel(loaded).rewards_of(*texts(made))
    save_reward(loaded, tmp_path / "model", card="A card.", details={"max_length": 100})
    assert has_head(loaded.model)  # it is put back
    read = load_reward(tmp_path)  # a run's folder, or the model's
    assert read.rewards_of(*texts(made)) == [pytest.approx(row, abs=1e-4) for row in expected]
    assert read.encoder.max_length == 100
    assert head_of(read.loaded.model).bias.tolist() == pytest.approx([0.3])
    assert json.loads((tmp_path / "model/instil.json").read_text())["reward"] == {"max_length": 100}


def test_the_folder_holds_a_plain_model_that_transformers_reads(tmp_path: Path) -> None:
    loaded = judge("gpt2")
    save_reward(loaded, tmp_path / "model", card="A card.", details={})
    assert sorted(load_file(tmp_path / "model/reward.safetensors")) == ["bias", "weight"]
    plain, info = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.equal(plain.transformer.wte.weight, loaded.model.transformer.wte.weight)
    assert not has_head(load(tmp_path / "model").model)


def test_the_head_is_a_part_of_the_fingerprint(tmp_path: Path) -> None:
    for name, bias in (("one", 0.0), ("two", 0.5)):
        save_reward(judge("llama", bias=bias), tmp_path / name, card="", details={})
    assert load_reward(tmp_path / "one").fingerprint != load_reward(tmp_path / "two").fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_texts_and_ids_give_the_same_and_a_completion_does_not_depend_on_its_neighbours(kind: str) -> None:
    model = RewardModel(judge(kind), tokens_per_batch=100)
    made = rankings(7, seed=int(np.random.default_rng().integers(2**30)), completions=(2, 5))
    found = model.rewards_of(*texts(made))
    groups = [group for group in encode_groups(model.encoder, made) if group is not None]
    assert found == model.rewards(groups)
    for group, together in zip(groups, found, strict=True):
        alone = [model.rewards([replace(group, completions=(one,))])[0][0] for one in group.completions]
        assert alone == pytest.approx(together, abs=1e-4)


def test_causal_models_share_the_prompt_where_it_is_safe_and_masked_ones_do_not() -> None:
    assert [RewardModel(judge(kind)).layout for kind in KINDS] == ["shared", "shared", "bucketed", "bucketed"]


def test_shared_and_unshared_rewards_are_the_same() -> None:
    made = rankings(9, completions=(3, 5))
    ours, theirs = (RewardModel(judge("llama"), layout=layout).rewards_of(*texts(made)) for layout in LAYOUTS)
    assert ours == [pytest.approx(row, abs=1e-4) for row in theirs]


LAYOUTS: Any = ("shared", "bucketed")


def test_a_text_is_cut_at_the_length_that_the_model_was_trained_with() -> None:
    model = RewardModel(judge("llama"), max_length=16)
    long = " ".join(f"w{number % 60}" for number in range(40))
    (group,) = encode_groups(model.encoder, [Ranking((Message("user", long),), (long, "w1"))])
    assert group is not None
    assert max(len(group.prompt) + len(one) for one in group.completions) <= 16


def test_an_empty_completion_has_a_reward_and_no_completions_none() -> None:
    model = RewardModel(judge("llama"))
    (first, second) = model.rewards_of([(Message("user", "w1"),)] * 2, [["", "w2"], []])
    assert len(first) == 2
    assert all(map(math.isfinite, first))
    assert second == []


def test_a_prompt_that_the_chat_template_refuses_has_no_reward_and_the_others_keep_theirs() -> None:
    loaded = judge("llama")
    template = (
        "{% if messages[0].content == 'w9' %}{{ raise_exception('no') }}{% endif %}"
        "{% for one in messages %}{{ one.role }} {{ one.content }} </s> {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    chat = replace(loaded, chat=ChatSource(template, eos="</s>"), form=replace(loaded.form, chat=True))
    found = RewardModel(chat).rewards_of([(Message("user", "w9"),), (Message("user", "w3"),)], [["w1", "w2"], ["w1"]])
    assert all(map(math.isnan, found[0]))
    assert math.isfinite(found[1][0])


def test_an_ensemble_is_the_mean_or_the_worst_of_its_members(tmp_path: Path) -> None:
    members = [RewardModel(judge("llama", seed=seed)) for seed in range(3)]
    made = rankings(4, completions=(2, 4))
    said = [model.rewards_of(*texts(made)) for model in members]
    mean, worst = RewardEnsemble(members), RewardEnsemble(members, "worst")
    for number in range(4):
        each = np.array([one[number] for one in said])
        assert mean.rewards_of(*texts(made))[number] == pytest.approx(each.mean(0))
        assert worst.rewards_of(*texts(made))[number] == pytest.approx(each.min(0))
    groups = [group for group in encode_groups(members[0].encoder, made) if group is not None]
    assert mean.rewards(groups) == mean.rewards_of(*texts(made))
    assert mean.fingerprint != worst.fingerprint
    with pytest.raises(ModelError, match="no reward model"):
        RewardEnsemble([])


def test_members_with_other_tokenizers_are_asked_by_text_alone() -> None:
    both = RewardEnsemble([RewardModel(judge("llama")), RewardModel(judge("bert"))])
    made = rankings(3)
    assert [len(row) for row in both.rewards_of(*texts(made))] == [len(one.completions) for one in made]
    with pytest.raises(ModelError, match=r"different tokenizers.*Ask them by text"):
        both.rewards([])


def test_the_run_folder_of_an_ensemble_names_its_members(tmp_path: Path) -> None:
    for number in (0, 1, 10):
        save_reward(judge("llama", seed=number), tmp_path / f"reward-{number}/model", card="", details={})
    with pytest.raises(ModelError, match=r"ensemble of 3 reward models.*reward-0.*`models`"):
        load_reward(tmp_path)
    ensemble = load_ensemble(tmp_path, combine="worst")
    assert [model.loaded.path.rpartition("/")[2] for model in ensemble.models] == ["reward-0", "reward-1", "reward-10"]
    assert len(load_ensemble(tmp_path / "reward-1").models) == 1


def test_a_plain_model_and_a_damaged_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no reward model.*instil reward"):
        load_reward(tiny_folder(tmp_path / "plain"))
    save_reward(judge("llama"), tmp_path / "model", card="", details={})
    head = tmp_path / "model/reward.safetensors"
    head.write_bytes(head.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"reward\.safetensors is not a reward head"):
        load_reward(tmp_path)


def test_where_memory_runs_out_less_is_judged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = RewardModel(judge("llama")), rankings(8)
    expected = model.rewards_of(*texts(made))
    real, sizes = reward_model.rewards_at, []

    def small(*given: Any) -> Any:
        sizes.append(given[2].ids.numel())
        if sizes[-1] > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given)

    monkeypatch.setattr(reward_model, "rewards_at", small)
    assert model.rewards_of(*texts(made)) == [pytest.approx(row, abs=1e-4) for row in expected]
    assert max(sizes) > 60
