"""Learning rates by step, and optimizers whose state goes by the names of the weights."""

from __future__ import annotations

import pytest
import torch
from tests.tiny_models import tiny_model
from transformers import Adafactor

from instil.tuning.optimizers import Optimizers, OptimizerSpec, learning_rate, state_bytes


def rates(steps: int, **keys: object) -> list[float]:
    spec = OptimizerSpec(learning_rate=1.0, **keys)  # type: ignore[arg-type]
    return [round(learning_rate(spec, step, steps), 4) for step in range(steps)]


def test_schedules_are_the_worked_ones() -> None:
    assert rates(6, schedule="linear", warmup_steps=2) == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert rates(4, schedule="constant") == [1.0, 1.0, 1.0, 1.0]
    assert rates(4, schedule="cosine") == [1.0, 0.8536, 0.5, 0.1464]


def test_a_schedule_of_its_own_length_does_not_depend_on_the_steps() -> None:
    assert rates(4, schedule="linear", schedule_steps=8) == rates(8, schedule="linear", schedule_steps=8)[:4]


@pytest.mark.parametrize("kind", ["adamw", "muon", "adafactor"])
def test_a_restored_state_takes_the_same_next_step(kind: str) -> None:
    spec = OptimizerSpec(optimizer=kind, weight_decay=0.1)  # type: ignore[arg-type]
    models = [tiny_model("gpt2"), tiny_model("gpt2")]
    made = [Optimizers(model, spec) for model in models]

    def step(number: int) -> None:
        for name, weight in models[number].named_parameters():
            weight.grad = torch.full_like(weight, float(len(name)))
        made[number].step(0.01)

    step(0)
    models[1].load_state_dict(models[0].state_dict())
    made[1].restore({name: value.clone() for name, value in made[0].tensors().items()})
    step(0)
    step(1)
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_muon_moves_the_hidden_matrices_and_adamw_the_rest() -> None:
    model = tiny_model("llama")
    optimizers = Optimizers(model, OptimizerSpec(optimizer="muon"))
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    optimizers.step(0.01)
    muon = {name.split("|")[0] for name in optimizers.tensors() if name.endswith("momentum_buffer")}
    adamw = {name.split("|")[0] for name in optimizers.tensors() if name.endswith("exp_avg")}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= adamw
    assert "model.layers.0.self_attn.q_proj.weight" in muon
    assert muon | adamw == {name for name, _ in model.named_parameters()}
    assert not muon & adamw


def test_adafactor_is_that_of_the_flan_and_t0_settings() -> None:
    """Constant rate, no relative step, no warm-up, steps relative to the weights: beside transformers' own."""
    models = [tiny_model("llama"), tiny_model("llama")]
    ours = Optimizers(models[0], OptimizerSpec(optimizer="adafactor", learning_rate=1e-3, schedule="constant"))
    theirs = Adafactor(models[1].parameters(), lr=1e-3, scale_parameter=True, relative_step=False, warmup_init=False)
    generator = torch.Generator().manual_seed(0)
    for scale in (1.0, 1e-4, 1e2, 1e-6):
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            one.grad = scale * torch.randn(one.shape, generator=generator)
            one.grad[:1] = 0.0  # as the embedding of a word that no prompt has
            other.grad = one.grad.clone()
        ours.step(1e-3)
        theirs.step()
    before = tiny_model("llama")
    for start, one, other in zip(before.parameters(), models[0].parameters(), models[1].parameters(), strict=True):
        assert not torch.equal(one, start)
        torch.testing.assert_close(one - start, other - start, rtol=2e-3, atol=1e-6)


def test_adafactor_keeps_a_row_and_a_column_of_each_matrix() -> None:
    model = tiny_model("llama")
    spec = OptimizerSpec(optimizer="adafactor")
    optimizers = Optimizers(model, spec)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizers.step(1e-3)
    kept = {key: value for key, value in optimizers.tensors().items() if not key.endswith("|step")}
    assert {key.rpartition("|")[2] for key in kept} == {"row_var", "col_var", "variance"}
    assert 4 * sum(value.numel() for value in kept.values()) == state_bytes(model, spec)
    assert state_bytes(model, spec) < state_bytes(model, OptimizerSpec()) / 10


def test_norms_are_never_decayed() -> None:
    model = tiny_model("llama")
    before = model.model.norm.weight.clone()
    optimizers = Optimizers(model, OptimizerSpec(weight_decay=0.5))
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    matrix = model.model.layers[0].mlp.up_proj.weight.clone()
    optimizers.step(0.1)
    assert torch.equal(model.model.norm.weight, before)
    torch.testing.assert_close(model.model.layers[0].mlp.up_proj.weight, matrix * 0.95)
