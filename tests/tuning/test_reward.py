"""Training reward models: the loss of a step is that of a slow reference, however it is laid out; and it teaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.tiny_models import tiny_loaded
from tests.tuning.made_up_rankings import rankings
from tests.tuning.processes import in_processes

from instil.errors import RecipeError
from instil.models.loading import LoadedModel
from instil.models.reward_head import attach_head, head_of
from instil.models.tensors import Layout
from instil.runs import read_metrics
from instil.tuning.checkpoint import checkpoints
from instil.tuning.distributed import World, open_run
from instil.tuning.loop import CHANGEABLE, TrainResult
from instil.tuning.lora import merge_lora
from instil.tuning.reward import RewardLoss, RewardSpec, learning, train_reward
from instil.tuning.reward_model import RewardModel, encoder_for
from instil.tuning.reward_packs import reward_pieces
from instil.tuning.reward_rows import RewardRow, reward_rows

SPECS: dict[str, dict[str, Any]] = {
    "paper": {},
    "margin": {"margin": 0.7},
    "ties as halves": {"ties": "half"},
    "ties as squares": {"ties": "squared"},
}


def rows_of(loaded: LoadedModel, count: int, seed: int = 0, ties: Any = "drop", **more: Any) -> list[RewardRow]:
    made = [
        one if seed % 2 else type(one)(one.messages, one.completions, one.ranks, tuple(-2.0 * r for r in one.ranks))
        for one in rankings(count, seed=seed, **more)
    ]
    return reward_rows(made, encoder_for(loaded), ties=ties)


def slow_rewards(loaded: LoadedModel, row: RewardRow) -> list[torch.Tensor]:
    """The reward of each completion, by itself: the hidden state behind its last token, times the head."""
    found, head = [], head_of(loaded.model)
    for completion in row.group.completions:
        ids = torch.tensor([[*row.group.prompt.tolist(), *completion.tolist(), *loaded.specials.end]])
        hidden = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        found.append(hidden[0, -1] @ head.weight[0].to(hidden.dtype) + head.bias[0].to(hidden.dtype))
    return found


def slow_loss(loaded: LoadedModel, rows: list[RewardRow], spec: RewardSpec) -> torch.Tensor:
    """The loss of a step as the paper writes it, with loops."""
    elements = []
    for row in rows:
        rewards = slow_rewards(loaded, row)
        losses = []
        for pair in row.pairs:
            ahead = rewards[pair.better] - rewards[pair.worse]
            if pair.levels:
                losses.append(torch.log(1 + torch.exp(-(ahead - spec.margin * pair.margin))))
            elif spec.ties == "squared":
                losses.append(ahead**2)
            else:
                losses.append(0.5 * torch.log(1 + torch.exp(-ahead)) + 0.5 * torch.log(1 + torch.exp(ahead)))
        elements.append(sum(losses) / len(losses))
    return sum(elements) / len(elements)  # type: ignore[return-value]


def gradient(loaded: LoadedModel) -> torch.Tensor:
    return torch.cat([w.grad.reshape(-1) for w in loaded.model.parameters() if w.grad is not None]).clone()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert", "modernbert"])
def test_loss_and_gradient_are_those_of_a_slow_reference_however_a_step_is_laid_out(kind: str, name: str) -> None:
    loaded = tiny_loaded(kind, dtype=torch.float64)  # but for the norms of llama and modernbert, float32 inside
    attach_head(loaded, seed=0)
    head_of(loaded.model).double()
    spec = RewardSpec.model_validate(SPECS[name])
    rows = rows_of(loaded, 5, seed=2 * int(np.random.default_rng().integers(2**20)), ties=spec.ties)
    with learning(loaded.model, "all"):
        expected = slow_loss(loaded, rows, spec)
        expected.backward()  # type: ignore[no-untyped-call]
        theirs, counts = gradient(loaded), set()
        layouts: tuple[Layout, ...] = ("shared", "bucketed") if loaded.architecture == "causal" else ("bucketed",)
        for layout in layouts:
            for tokens in (10_000, 60, 1):
                loaded.model.zero_grad(set_to_none=True)
                loss_sum, total = RewardLoss(loaded.architecture, spec, layout), 0.0
                pieces = reward_pieces(loaded, rows, layout, tokens, margin=spec.margin)
                assert sum(piece.targets for piece in pieces) == len(rows)
                for piece in pieces:
                    values = loss_sum(loaded.model, piece.item)
                    assert len(values) == 1 + len(loss_sum.figures["loss"])
                    (values[0] * piece.scale).backward()
                    total += float(values[0].detach()) * piece.scale
                assert total == pytest.approx(float(expected.detach()), rel=1e-6)
                assert float((gradient(loaded) - theirs).norm() / theirs.norm()) < 1e-6
                counts.add(len(pieces))
        assert len(counts) >= 2


def test_no_completion_is_read_twice_and_no_prompt_where_it_is_shared() -> None:
    loaded = tiny_loaded()
    rows = rows_of(loaded, 6, completions=(4, 5))
    read = {
        layout: sum(piece.tokens for piece in reward_pieces(loaded, rows, layout, 10_000))
        for layout in ("shared", "bucketed")
    }
    prompts = [len(row.group.prompt) for row in rows]
    written = sum(len(ids) for row in rows for ids in row.group.completions)
    assert read["shared"] == sum(prompts) + written
    assert read["bucketed"] == written + sum(
        size * len(row.group.completions) for size, row in zip(prompts, rows, strict=True)
    )


def trained(path: Path, loaded: LoadedModel, rows: list[RewardRow], **keys: Any) -> TrainResult:
    """A run, begun or continued."""
    more = {key: keys.pop(key) for key in ("evaluate",) if key in keys}
    spec = RewardSpec.model_validate({"tokens_per_batch": 256, "log_every": 1, "save_every": 0, **keys})
    recipe = {"tuning": spec.model_dump(mode="json")}
    changeable = [f"tuning.{key}" for key in CHANGEABLE]
    quiet: Any = lambda message: None  # noqa: E731
    with open_run(World.current(), path, recipe=recipe, inputs={}, changeable=changeable, resume=True, echo=quiet) as r:
        return train_reward(loaded, rows, spec, r, show_progress=False, **more)


def accuracy(loaded: LoadedModel, seed: int = 77) -> float:
    """On prompts that nobody trained on."""
    rows = rows_of(loaded, 150, seed=seed)
    found = RewardModel(loaded).rewards([row.group for row in rows])
    ahead = [said[pair.better] > said[pair.worse] for said, row in zip(found, rows, strict=True) for pair in row.pairs]
    return float(np.mean(ahead))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}),
        ("bert", {}),
        ("gpt2", {"ties": "half"}),
        ("llama", {"lora": {"rank": 8}, "learning_rate": 2e-2}),
    ],
)
def test_it_learns_an_order_that_holds_for_prompts_it_never_saw(tmp_path: Path, kind: str, more: Any) -> None:
    loaded = tiny_loaded(kind)
    rows = rows_of(loaded, 400, ties=more.get("ties", "drop"))
    keys = {"max_steps": 36, "prompts_per_step": 32, "learning_rate": 3e-3, **more}
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    trained(tmp_path, loaded, rows, **keys)
    losses = read_metrics(tmp_path)
    assert losses[-1]["loss"] < 0.6 * losses[0]["loss"]
    assert losses[-1]["accuracy"] > 0.85
    assert losses[-1]["difference"] > losses[0]["difference"]
    right = accuracy(loaded)
    assert right > (0.65 if "lora" in more else 0.8)  # with its embeddings as they were, it overfits sooner
    if "lora" in more:
        merge_lora(loaded.model)
        assert accuracy(loaded) == pytest.approx(right, abs=0.01)
    head = loaded.model.get_output_embeddings()
    if head.weight is not loaded.model.get_input_embeddings().weight:  # what no reward depends on stays as it was
        assert torch.equal(head.weight, before["lm_head.weight"])
    assert head_of(loaded.model).bias.tolist() == [0.0]


def test_of_flipped_labels_it_learns_the_opposite_and_of_labels_without_sense_nothing(tmp_path: Path) -> None:
    keys = {"max_steps": 30, "prompts_per_step": 32, "learning_rate": 3e-3}
    found = {}
    for name in ("flipped", "shuffled"):
        loaded, generator = tiny_loaded(), np.random.default_rng(0)
        made = rankings(400, flipped=name == "flipped")
        if name == "shuffled":
            made = [
                type(one)(one.messages, one.completions, tuple(int(r) for r in generator.permutation(one.ranks)))
                for one in made
            ]
        trained(tmp_path / name, loaded, reward_rows(made, encoder_for(loaded)), **keys)
        found[name] = accuracy(loaded)
    assert found["flipped"] < 0.2
    assert 0.35 < found["shuffled"] < 0.65


def test_head_only_changes_nothing_but_the_head(tmp_path: Path) -> None:
    loaded = tiny_loaded()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    trained(tmp_path, loaded, rows_of(loaded, 64), max_steps=8, trained="head", learning_rate=1e-1, save_every=8)
    after = loaded.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert float(head_of(loaded.model).weight.detach().norm()) > 1.5
    assert read_metrics(tmp_path)[-1]["loss"] < read_metrics(tmp_path)[0]["loss"]
    from safetensors.torch import load_file

    saved = load_file(checkpoints(tmp_path / "checkpoints")[-1] / "model.safetensors")
    assert list(saved) == ["reward_head.weight"]
    assert all(weight.requires_grad for weight in loaded.model.parameters())


def test_an_epoch_is_as_many_steps_as_it_takes_to_read_every_prompt() -> None:
    spec = RewardSpec(prompts_per_step=32)
    assert [spec.steps(count) for count in (1, 32, 33, 320)] == [1, 1, 2, 10]
    assert RewardSpec(prompts_per_step=32, epochs=2.5).steps(64) == 5


def test_an_encoder_decoder_is_refused_with_what_to_take(tmp_path: Path) -> None:
    loaded = tiny_loaded("t5")
    with pytest.raises(RecipeError, match=r"is an encoder-decoder.*Give a causal or a masked model"):
        trained(tmp_path, loaded, [], max_steps=1)


def test_lora_and_head_alone_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="lora and `trained: head` exclude each other"):
        RewardSpec.model_validate({"trained": "head", "lora": {}})


@pytest.mark.parametrize(("kind", "more"), [("llama", {}), ("bert", {}), ("llama", {"lora": {"rank": 4}})])
def test_two_processes_learn_as_one_does(tmp_path: Path, kind: str, more: Any) -> None:
    keys = {"max_steps": 8, "prompts_per_step": 16, "learning_rate": 3e-3, "tokens_per_batch": 128, "save_every": 8}

    def life(name: str, **how: Any) -> None:
        loaded = tiny_loaded(kind)
        trained(tmp_path / name, loaded, rows_of(loaded, 100), **keys, **more, **how)

    def work(world: World) -> None:
        for parallel in ("ddp", "fsdp"):
            life(parallel, parallel=parallel)

    life("alone")
    assert in_processes(2, work) == [0, 0]
    alone = read_metrics(tmp_path / "alone")
    for parallel in ("ddp", "fsdp"):
        for one, other in zip(read_metrics(tmp_path / parallel), alone, strict=True):
            for name in ("loss", "accuracy", "difference"):
                assert one[name] == pytest.approx(other[name], rel=1e-4)
