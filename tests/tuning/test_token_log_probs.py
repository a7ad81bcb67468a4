"""Log-probabilities behind a wide output layer are those of all its logits, with their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny_models import tiny_loaded
from tests.tuning.test_output_loss import KINDS, piece

from instil.models.groups import log_probs_and_entropy
from instil.models.tensors import PackTensors
from instil.tuning import output_loss, token_log_probs
from instil.tuning.token_log_probs import TokenLogProbs


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer counts as wide, and few rows are held at once."""
    monkeypatch.setattr(token_log_probs, "_MANY", 0)
    monkeypatch.setattr(output_loss, "_LOGITS", 3 * 66)
    monkeypatch.setattr(output_loss, "_ROWS", 1)
    monkeypatch.setattr(output_loss, "_WORDS", 20)


def loss(chosen: torch.Tensor, entropy: torch.Tensor | None = None) -> torch.Tensor:
    weights = torch.linspace(-1, 2, len(chosen), dtype=torch.float64)
    total = (weights * chosen).sum() + (chosen.exp() * weights.flip(0)).sum()
    return total if entropy is None else total + (weights.square() * entropy).sum()


def gradients(model: Any, total: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    total.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("entropy", [True, False])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_values_and_gradients_are_those_of_all_logits(kind: str, entropy: bool, temperature: float) -> None:
    model, item, answer_logits = piece(kind)
    model.double()
    whole = log_probs_and_entropy(answer_logits(model, item) / temperature, item.target_ids)
    say = TokenLogProbs(answer_logits, temperature=temperature)
    parts = say.with_entropy(model, item) if entropy else (say(model, item), None)
    assert say._faults[model] == ""
    near = {"rtol": 1e-5, "atol": 1e-5} if kind == "gemma2" else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(parts[0], whole[0], **near)
    if parts[1] is not None:
        torch.testing.assert_close(parts[1], whole[1], **near)
    expected = gradients(model, loss(whole[0], whole[1] if entropy else None))
    found = gradients(model, loss(*parts))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **near)


def test_few_logits_are_held_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_log_probs, "_MANY", 2**25)
    model, item, answer_logits = piece("llama")
    say = TokenLogProbs(answer_logits, temperature=0.5)
    chosen, entropy = say.with_entropy(model, item)
    expected = log_probs_and_entropy(answer_logits(model, item) / 0.5, item.target_ids)
    assert torch.equal(chosen, expected[0])
    assert torch.equal(entropy, expected[1])
    assert torch.equal(say(model, item), expected[0])
    assert model not in say._faults


def test_a_head_of_another_make_computes_its_logits_itself() -> None:
    model, item, answer_logits = piece("llama")
    plain = model.lm_head.forward
    model.lm_head.forward = lambda hidden: plain(hidden) * 1.5
    say = TokenLogProbs(answer_logits)
    expected = log_probs_and_entropy(answer_logits(model, item), item.target_ids)
    torch.testing.assert_close(say(model, item), expected[0])
    assert say._faults[model]


def test_without_gradients_and_for_several_models_of_one_kind() -> None:
    one, item, answer_logits = piece("llama")
    other = tiny_loaded("llama", seed=5).model
    say = TokenLogProbs(answer_logits)
    with torch.no_grad():
        for model in (one, other):
            expected = log_probs_and_entropy(answer_logits(model, item), item.target_ids)[0]
            torch.testing.assert_close(say(model, item), expected)
    assert not one.lm_head._forward_pre_hooks


def test_logits_are_not_held_until_the_backward_pass() -> None:
    model, item, answer_logits = piece("llama")

    def shapes_held(say: Any) -> set[tuple[int, ...]]:
        held: set[tuple[int, ...]] = set()

        def keep(one: torch.Tensor) -> torch.Tensor:
            held.add(tuple(one.shape))
            return one

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            say()
        return held

    logits = (len(item.target_ids), 64)
    assert logits in shapes_held(lambda: log_probs_and_entropy(answer_logits(model, item), item.target_ids))
    assert logits not in shapes_held(lambda: TokenLogProbs(answer_logits).with_entropy(model, item))


def test_in_bfloat16_products() -> None:
    model, item, answer_logits = piece("llama")
    fine = TokenLogProbs(answer_logits)(model, item)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = TokenLogProbs(answer_logits)(model, item)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, fine, rtol=0.05, atol=0.2)
    assert all(bool(one.isfinite().all()) for one in gradients(model, loss(rough)).values())


def test_the_fault_may_be_looked_for_beforehand() -> None:
    model, item, answer_logits = piece("llama")
    calls: list[int] = []

    def counted(given: Any, pack: PackTensors) -> torch.Tensor:
        calls.append(len(pack.target_ids))
        return answer_logits(given, pack)

    say = TokenLogProbs(counted)
    say.look(model, item)
    say(model, item)
    assert calls == [8, len(item.target_ids)]
