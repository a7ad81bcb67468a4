"""Learning rates by step, and optimizers whose state goes by the names of the weights."""

from __future__ import annotations

import pytest
import torch
from tests.tiny_models import tiny_model

from instil.tuning.optimizers import Optimizers, OptimizerSpec, learning_rate


def rates(steps: int, **keys: object) -> list[float]:
    spec = OptimizerSpec(learning_rate=1.0, **keys)  # type: ignore[arg-type]
    return [round(learning_rate(spec, step, steps), 4) for step in range(steps)]


def test_schedules_are_the_worked_ones() -> None:
    assert rates(6, schedule="linear", warmup_steps=2) == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert rates(4, schedule="constant") == [1.0, 1.0, 1.0, 1.0]
    assert rates(4, schedule="cosine") == [1.0, 0.8536, 0.5, 0.1464]


def test_a_schedule_of_its_own_length_does_not_depend_on_the_steps() -> None:
    assert rates(4, schedule="linear", schedule_steps=8) == rates(8, schedule="linear", schedule_steps=8)[:4]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
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
