"""Blocks that are computed twice: the same bits, less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_models import tiny_loaded, window
from tests.tuning.processes import figures, life

from instil.errors import RecipeError, RunError
from instil.models.linear import OneDNNLinear
from instil.runs import RunFolder
from instil.tuning import gradient
from instil.tuning.memory import in_smaller_batches, recomputing
from instil.tuning.plan import plan
from instil.tuning.sft import TuningSpec, tune

DROPS = {"resid_pdrop": 0.2, "embd_pdrop": 0.1, "attn_pdrop": 0.1}


def recomputes(model: Any) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def tuned(path: Path, kind: str, recompute: bool, **keys: Any) -> tuple[dict[str, torch.Tensor], int]:
    """The weights after some steps, and how often a block's attention was computed in all."""
    loaded = tiny_loaded(kind, **(DROPS if kind == "gpt2" else {}))
    calls = [0]
    name = "transformer.h.1.attn" if kind == "gpt2" else "model.layers.1.self_attn"
    spec = TuningSpec.model_validate(
        {"max_steps": 3, "learning_rate": 1e-2, "gradient_checkpointing": recompute, "tokens_per_batch": 96, **keys}
    )
    with RunFolder.open(path, recipe={}, inputs={}, echo=lambda line: None) as run:

        def count(*_: Any) -> None:
            calls[0] += loaded.model.training

        loaded.model.get_submodule(name).register_forward_pre_hook(count)
        tune(loaded, window, spec, run, show_progress=False)
    assert not recomputes(loaded.model)
    return {key: weight.detach().clone() for key, weight in loaded.model.named_parameters()}, calls[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("lora", [None, {"dropout": 0.2}])
@pytest.mark.parametrize("layout", ["bucketed", "packed"])
def test_recomputed_blocks_give_the_same_bits(tmp_path: Path, kind: str, lora: Any, layout: str) -> None:
    one, once = tuned(tmp_path / "1", kind, False, lora=lora, layout=layout)
    two, twice = tuned(tmp_path / "2", kind, True, lora=lora, layout=layout)
    assert twice == 2 * once > 0
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def test_a_plan_counts_less_and_leaves_the_model_as_it_was() -> None:
    loaded = tiny_loaded("llama", num_hidden_layers=8)
    state = torch.get_rng_state()
    keys = {"max_steps": 2, "prompts_per_step": 8}
    needed = [
        plan(loaded, window, TuningSpec(**keys, gradient_checkpointing=wanted)).bytes_needed["activations"]
        for wanted in (False, True)
    ]
    assert 0 < needed[1] < needed[0] / 2
    assert not loaded.model.training
    assert not recomputes(loaded.model)
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_warned_of_and_no_hook_is_left(recwarn: pytest.WarningsRecorder) -> None:
    model = tiny_loaded().model
    with recomputing(model, wanted=True):
        assert recomputes(model)
        assert not model.model.embed_tokens._forward_hooks
    assert not recomputes(model)
    assert not recwarn.list


def test_a_model_without_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.LlamaPreTrainedModel.supports_gradient_checkpointing", False)
    with pytest.raises(RecipeError, match=r"of the type llama has no gradient checkpointing. Set tuning"):
        tuned(tmp_path, "llama", True)


def test_blocks_that_are_computed_twice_multiply_alike_both_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient, "has_bfloat16", lambda model: True)
    rows = []
    for name, recomputed in (("once", False), ("twice", True)):
        loaded = tiny_loaded()
        for layer in loaded.model.modules():
            if type(layer) is torch.nn.Linear:
                layer.__class__ = OneDNNLinear
        how: dict[str, Any] = {"dtype": "bfloat16", "max_steps": 3, "gradient_checkpointing": recomputed}
        life(tmp_path / name, loaded=loaded, **how)
        rows.append(figures(tmp_path / name))
    assert rows[0] == rows[1]


class _Asking:
    tokens_per_batch = 16


def test_batches_are_halved_until_they_fit_and_stay_so() -> None:
    asking, tried = _Asking(), []

    def work() -> int:
        tried.append(asking.tokens_per_batch)
        if asking.tokens_per_batch > 4:
            raise MemoryError
        return 7

    assert in_smaller_batches(asking, work, found="too large", remedy="less") == 7
    assert tried == [16, 8, 4]
    assert asking.tokens_per_batch == 4


def test_where_not_even_one_token_fits_that_is_told_and_other_errors_are_passed_on() -> None:
    def full() -> None:
        raise MemoryError

    def wrong() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RunError, match="too large"):
        in_smaller_batches(_Asking(), full, found="too large", remedy="less")
    with pytest.raises(RuntimeError, match="shapes differ"):
        in_smaller_batches(_Asking(), wrong, found="too large", remedy="less")
