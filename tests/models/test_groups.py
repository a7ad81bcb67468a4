"""A prompt that completions share gives what each gives behind its own; a model for which it does not is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.models.test_causal import gemma3
from tests.tiny_models import CONFIGS, MASKED, SEQ2SEQ, architecture_of, tiny_loaded, tiny_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from instil.mixtures.groups import lay_out_groups
from instil.models import causal, tree_attention
from instil.models import groups as module
from instil.models.groups import (
    completion_logits,
    hidden_at,
    log_probs,
    log_probs_and_entropy,
    sharing_fault,
)
from instil.models.loading import LoadedModel
from instil.models.tensors import PackTensors, to_tensors
from instil.records import Group

CPU = torch.device("cpu")


def gpt_neox(**more: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = GPTNeoXConfig(vocab_size=64, max_position_embeddings=256, pad_token_id=0, eos_token_id=1, **sizes, **more)
    return larger(GPTNeoXForCausalLM(config))


def larger(model: Any) -> Any:
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)
    return model.eval()


def exact(model: Any) -> Any:
    """The model in float64 throughout: transformers computes RMS norms in float32, whatever a model is."""
    model.double()
    for norm in model.modules():
        if "RMSNorm" in type(norm).__name__ or type(norm).__name__.endswith("T5LayerNorm"):
            eps = getattr(norm, "variance_epsilon", None) or norm.eps
            added = 1.0 if "Gemma" in type(norm).__name__ else 0.0

            def forward(hidden: torch.Tensor, norm: Any = norm, eps: float = eps, added: float = added) -> torch.Tensor:
                scaled = hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + eps)
                return scaled * (added + norm.weight)

            norm.forward = forward
    return model


def loaded_of(model: Any) -> LoadedModel:
    return replace(tiny_loaded("llama"), model=model)


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: tiny_model("llama"),
    "gpt2": lambda: tiny_model("gpt2", n_positions=256),
    "qwen3": lambda: tiny_model("qwen3"),
    "gpt_neox": gpt_neox,
    "gemma2, narrow": lambda: tiny_model("gemma2", sliding_window=5),
    "gemma3, narrow": lambda: gemma3(sliding_window=5),
    "gemma3": lambda: gemma3(sliding_window=512),
    "mistral": lambda: tiny_model("mistral", sliding_window=512),
    "mistral, narrow": lambda: tiny_model("mistral", sliding_window=5),
}


def some_groups(seed: int, *, longest: int = 30, end: int | None = None) -> list[Group]:
    generator = np.random.default_rng(seed)

    def ids(most: int) -> Any:
        made = generator.integers(3, 60, int(generator.integers(1, most))).astype(np.int32)
        return made if end is None else np.append(made, np.int32(end))

    return [Group(ids(longest), tuple(ids(longest) for _ in range(int(generator.integers(1, 6))))) for _ in range(4)]


def functional(loaded: LoadedModel, groups: list[Group], layout: Any, seed: int, **laid: Any) -> torch.Tensor:
    """A random linear combination of all log-probabilities, entropies and hidden states at ends, in a layout."""
    total = torch.zeros((), dtype=torch.float64)
    packs = lay_out_groups(groups, specials=loaded.specials, shared=layout == "shared", **laid)
    for made in packs:
        tensors = to_tensors(made.pack, CPU)
        logits = completion_logits(loaded.model, loaded.architecture, tensors, layout)
        weights = weights_of(seed, made.owners, made.places)
        chosen, entropy = log_probs_and_entropy(logits, tensors.target_ids)
        total = total + (weights * (chosen + 0.5 * entropy)).sum()
        hidden = hidden_at(loaded.model, loaded.architecture, tensors, torch.from_numpy(made.ends), layout)
        total = total + (weights_of(seed, made.numbers, made.numbers * 0 - 1)[:, None] * hidden).sum()
    return total


def weights_of(seed: int, owners: Any, places: Any) -> torch.Tensor:
    return torch.tensor(
        [np.random.default_rng([seed, owner, place + 1]).normal() for owner, place in zip(owners, places, strict=True)],
        dtype=torch.float64,
    )


def reference(loaded: LoadedModel, groups: list[Group], seed: int) -> torch.Tensor:
    """The same, one completion behind its own prompt at a time, as anybody would call the model."""
    total = torch.zeros((), dtype=loaded.model.dtype)
    number = 0
    for group in groups:
        for completion in group.completions:
            ids = torch.from_numpy(np.concatenate([group.prompt, completion]).astype(np.int64))[None]
            given = loaded.model(input_ids=ids, use_cache=False, output_hidden_states=True)
            logs = given.logits[0, len(group.prompt) - 1 : -1].log_softmax(-1)
            targets = torch.from_numpy(completion.astype(np.int64))
            weights = weights_of(seed, [number] * len(completion), range(len(completion)))
            total = total + (weights * logs.gather(1, targets[:, None]).squeeze(1)).sum()
            total = total - 0.5 * (weights * (logs.exp() * logs).sum(-1)).sum()
            total = total + (weights_of(seed, [number], [-1])[:, None] * given.hidden_states[-1][0, -1:]).sum()
            number += 1
    return total


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same_gradients(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], **near: float) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **near)


# ---------------------------------------------------------------------------------------------------------- the same


@pytest.mark.parametrize("tokens", [40, 1000])
@pytest.mark.parametrize("kind", MODELS)
def test_a_shared_prompt_gives_the_numbers_and_gradients_of_separate_rows(kind: str, tokens: int) -> None:
    """Rows up to 180 tokens, windows of 5: also where a completion begins far behind its prompt."""
    loaded = loaded_of(exact(MODELS[kind]()))
    groups = some_groups(tokens)
    expected = reference(loaded, groups, seed=7)
    loss = functional(loaded, groups, "shared", 7, tokens_per_batch=tokens)
    # Gemma 2, on eager attention, computes its softmax in float32
    near = {"rtol": 1e-4, "atol": 1e-4} if "gemma2" in kind else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(loss, expected, **near)
    assert_same_gradients(gradients(loaded.model, loss), gradients(loaded.model, expected), **near)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("whole", [True, False])
def test_however_rows_are_cut(attention: str, whole: bool) -> None:
    loaded = loaded_of(exact(tiny_model("llama")))
    loaded.model.set_attn_implementation(attention)
    groups = some_groups(3)
    expected = functional(loaded, groups, "bucketed", 1, tokens_per_batch=1)
    # on eager attention the softmax is computed in float32
    near = {"rtol": 1e-4, "atol": 1e-4} if attention == "eager" else {"rtol": 1e-9, "atol": 1e-9}
    for layout in ("shared", "bucketed"):
        for tokens in (1, 60, 200):
            laid = functional(loaded, groups, layout, 1, tokens_per_batch=tokens, whole_groups=whole)
            torch.testing.assert_close(laid, expected, **near)


def test_recomputed_layers_give_the_same_gradients() -> None:
    loaded = tiny_loaded("llama", dtype=torch.float64)
    groups = some_groups(5, longest=50)
    plain = gradients(loaded.model, functional(loaded, groups, "shared", 2, tokens_per_batch=200))
    loaded.model.gradient_checkpointing_enable({"use_reentrant": False})
    loaded.model.train()
    recomputed = gradients(loaded.model, functional(loaded, groups, "shared", 2, tokens_per_batch=200))
    assert_same_gradients(recomputed, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "bart"])
def test_two_backward_passes_are_bitwise_the_same(kind: str) -> None:
    """The prompt's last token predicts the first token of every completion: its places repeat."""
    loaded = tiny_loaded(kind)
    groups = some_groups(9, end=1)
    layout = "shared" if loaded.architecture == "causal" else "bucketed"
    runs = [gradients(loaded.model, functional(loaded, groups, layout, 4, tokens_per_batch=300)) for _ in range(2)]
    for name, gradient in runs[0].items():
        assert torch.equal(gradient, runs[1][name])


@pytest.mark.parametrize("long", [False, True])
def test_in_bfloat16_products(long: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny_loaded("llama")
    groups = some_groups(2, longest=50 if long else 8)
    calls: list[torch.dtype] = []
    plain = tree_attention.tree_attention

    def counted(query: torch.Tensor, *given: Any) -> torch.Tensor:
        calls.append(query.dtype)
        return plain(query, *given)

    monkeypatch.setattr(tree_attention, "tree_attention", counted)
    fine = functional(loaded, groups, "shared", 3, tokens_per_batch=400).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = functional(loaded, groups, "shared", 3, tokens_per_batch=400)
    assert set(calls) == ({torch.float32, torch.bfloat16} if long else set())
    assert rough.item() == pytest.approx(fine, rel=0.05, abs=1.0)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(loaded.model, rough).values())


@given(st.integers(0, 10_000), st.sampled_from(["llama", "gpt2"]), st.booleans())
def test_a_completion_never_moves_with_another(seed: int, kind: str, long: bool) -> None:
    loaded = tiny_loaded(kind)
    generator = np.random.default_rng(seed)
    prompt = generator.integers(3, 60, 40 if long else 6).astype(np.int32)
    done = [generator.integers(3, 60, int(generator.integers(1, 30 if long else 6))).astype(np.int32) for _ in range(4)]
    changed = int(generator.integers(4))
    other = [one if number != changed else (one + 1 - 3) % 57 + 3 for number, one in enumerate(done)]
    (before,), (after,) = (
        lay_out_groups([Group(prompt, tuple(one))], tokens_per_batch=9999, specials=loaded.specials, shared=True)
        for one in (done, other)
    )
    one, other = to_tensors(before.pack, CPU), to_tensors(after.pack, CPU)
    with torch.no_grad():
        logits = [completion_logits(loaded.model, "causal", pack, "shared") for pack in (one, other)]
        ends = torch.from_numpy(before.ends)
        hidden = [hidden_at(loaded.model, "causal", pack, ends, "shared") for pack in (one, other)]
    still = torch.from_numpy((before.owners != changed) | (before.places == 0))
    assert torch.equal(logits[0][still], logits[1][still])
    assert not torch.equal(hidden[0][changed], hidden[1][changed])
    hidden = [torch.cat([made[:changed], made[changed + 1 :]]) for made in hidden]
    assert torch.equal(*hidden)


@pytest.mark.parametrize("kind", SEQ2SEQ)
def test_an_input_that_is_encoded_once_gives_what_it_gives_alone(kind: str) -> None:
    loaded = tiny_loaded(kind)
    exact(loaded.model)
    groups = some_groups(1, longest=15, end=1)
    expected = torch.zeros((), dtype=torch.float64)
    number = 0
    for group in groups:
        for completion in group.completions:
            written = np.concatenate([loaded.specials.start, completion[:-1]]).astype(np.int64)
            given = loaded.model(
                input_ids=torch.from_numpy(group.prompt.astype(np.int64))[None],
                decoder_input_ids=torch.from_numpy(written)[None],
            )
            logs = given.logits[0, len(loaded.specials.start) - 1 :].log_softmax(-1)
            targets = torch.from_numpy(completion.astype(np.int64))
            weights = weights_of(5, [number] * len(completion), range(len(completion)))
            expected = expected + (weights * logs.gather(1, targets[:, None]).squeeze(1)).sum()
            number += 1
    theirs = gradients(loaded.model, expected)
    for tokens in (1, 80, 2000):
        total = torch.zeros((), dtype=torch.float64)
        for made in lay_out_groups(groups, tokens_per_batch=tokens, specials=loaded.specials, shared=True):
            tensors = to_tensors(made.pack, CPU)
            chosen = log_probs(completion_logits(loaded.model, "seq2seq", tensors, "bucketed"), tensors.target_ids)
            total = total + (weights_of(5, made.owners, made.places) * chosen).sum()
        torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-9)
        assert_same_gradients(gradients(loaded.model, total), theirs, rtol=1e-8, atol=1e-9)


def test_the_encoder_reads_each_prompt_once() -> None:
    loaded = tiny_loaded("t5")
    groups = some_groups(1, longest=15, end=1)
    (made,) = lay_out_groups(groups, tokens_per_batch=9999, specials=loaded.specials, shared=False)
    read: list[int] = []
    hook = loaded.model.get_encoder().register_forward_hook(lambda *given: read.append(len(given[2].last_hidden_state)))
    completion_logits(loaded.model, "seq2seq", to_tensors(made.pack, CPU), "bucketed")
    hook.remove()
    assert read == [len(groups)]


# ------------------------------------------------------------------------------------------------------ hidden states


def asked(loaded: LoadedModel) -> tuple[PackTensors, torch.Tensor, dict[str, Any]]:
    """A rectangle, places in it, and what anybody would call the model with."""
    end = None if loaded.architecture == "causal" else 1
    (made,) = lay_out_groups(some_groups(4, end=end), tokens_per_batch=9999, specials=loaded.specials, shared=False)
    pack = to_tensors(made.pack, CPU)
    inputs: dict[str, Any] = {"input_ids": pack.ids, "attention_mask": (pack.segments > 0).long()}
    if pack.encoder is not None:
        assert pack.encoder_rows is not None
        read = pack.encoder.ids.index_select(0, pack.encoder_rows)
        inputs = {"input_ids": read, "attention_mask": (read != 0).long(), "decoder_input_ids": pack.ids}
    return pack, torch.from_numpy(made.ends), inputs


@pytest.mark.parametrize("kind", [*CONFIGS, *SEQ2SEQ])
def test_hidden_states_are_what_the_output_layer_reads(kind: str) -> None:
    loaded = tiny_loaded(kind, dtype=torch.float64)
    pack, places, inputs = asked(loaded)
    read: list[torch.Tensor] = []
    hook = loaded.model.get_output_embeddings().register_forward_pre_hook(lambda _, given: read.append(given[0]))
    loaded.model(**inputs)
    hook.remove()
    expected = read[0].reshape(-1, read[0].shape[-1])[places]
    found = hidden_at(loaded.model, loaded.architecture, pack, places, "bucketed")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    made: list[int] = []
    hook = loaded.model.get_output_embeddings().register_forward_hook(lambda *given: made.append(given[2].numel()))
    hidden_at(loaded.model, loaded.architecture, pack, places, "bucketed")
    hook.remove()
    assert made == [len(loaded.model.get_output_embeddings().weight)]  # the logits of one row
    assert not loaded.model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize("kind", MASKED)
def test_hidden_states_of_masked_models_are_those_of_their_body(kind: str) -> None:
    loaded = tiny_loaded(kind, dtype=torch.float64)
    pack, places, inputs = asked(loaded)
    expected = loaded.model.base_model(**inputs).last_hidden_state.reshape(-1, 32)[places]
    found = hidden_at(loaded.model, "masked", pack, places, "bucketed")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert not loaded.model.base_model._forward_hooks


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_model_without_an_output_layer_gives_its_last_hidden_states(kind: str) -> None:
    loaded = tiny_loaded(kind, dtype=torch.float64)
    pack, places, _ = asked(loaded)
    expected = hidden_at(loaded.model, architecture_of(kind), pack, places, "bucketed")
    bare = hidden_at(loaded.model.base_model, architecture_of(kind), pack, places, "bucketed")
    torch.testing.assert_close(bare, expected)


# -------------------------------------------------------------------------------------------------- log-probabilities


@given(st.integers(1, 9), st.integers(2, 12), st.integers(0, 1000))
def test_log_probabilities_entropies_and_their_gradients_are_those_of_the_softmax(k: int, v: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(k, v, generator=generator, dtype=torch.float64)).requires_grad_()
    targets = torch.randint(v, (k,), generator=generator)
    one, two = torch.randn(2, k, generator=generator, dtype=torch.float64)
    logs = logits.log_softmax(-1)
    theirs = (one * logs.gather(1, targets[:, None]).squeeze(1) - two * (logs.exp() * logs).sum(1)).sum()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LOGITS", 3 * v)
        chosen, entropy = log_probs_and_entropy(logits, targets)
        ours = (one * chosen + two * entropy).sum()
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))
        alone = log_probs(logits, targets)
        torch.testing.assert_close(alone, chosen)
        expected = torch.autograd.grad((one * logits.log_softmax(-1)[torch.arange(k), targets]).sum(), logits)[0]
        torch.testing.assert_close(torch.autograd.grad((one * alone).sum(), logits)[0], expected)


def test_words_that_cannot_be_chosen_leave_entropy_and_gradient_finite() -> None:
    logits = torch.tensor([[1.0, -torch.inf, 2.0]], requires_grad=True)
    chosen, entropy = log_probs_and_entropy(logits, torch.tensor([2]))
    few = torch.tensor([[1.0, 2.0]], requires_grad=True)
    expected = -(few.log_softmax(-1).exp() * few.log_softmax(-1)).sum()
    torch.testing.assert_close(entropy.sum(), expected)
    (found,) = torch.autograd.grad(chosen.sum() + entropy.sum(), logits)
    (theirs,) = torch.autograd.grad(few.log_softmax(-1)[0, 1] + expected, few)
    torch.testing.assert_close(found[0, [0, 2]], theirs[0])
    assert float(found[0, 1]) == 0.0


def test_log_probabilities_are_float32_and_hold_nothing_else_of_the_size_of_the_logits() -> None:
    logits = torch.randn(50, 300).bfloat16().requires_grad_()
    targets = torch.randint(300, (50,))
    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: held.append(one) or one, lambda one: one):
        chosen, entropy = log_probs_and_entropy(logits, targets)
    assert chosen.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(chosen, logits.float().log_softmax(-1)[torch.arange(50), targets])
    large = [one for one in held if one.numel() >= logits.numel()]
    assert {one.data_ptr() for one in large} == {logits.data_ptr()}
    (grad,) = torch.autograd.grad(chosen.sum(), logits)
    assert grad.dtype == torch.bfloat16


def test_no_token_has_no_log_probability() -> None:
    chosen = log_probs(torch.zeros(0, 5, requires_grad=True), torch.zeros(0, dtype=torch.long))
    assert len(chosen) == 0
    chosen.sum().backward()


# --------------------------------------------------------------------------------------------------------- who may not


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", MODELS)
def test_families_that_attend_by_position_may_share(kind: str, attention: str) -> None:
    model = MODELS[kind]()
    if "gemma2" not in kind:  # it has no sdpa
        model.set_attn_implementation(attention)
    assert sharing_fault(loaded_of(model)) == ""


def test_also_in_bfloat16_and_while_training() -> None:
    loaded = loaded_of(tiny_model("llama", attention_dropout=0.1).bfloat16().train())
    assert sharing_fault(loaded) == ""
    assert loaded.model.training


@pytest.mark.parametrize("kind", [*SEQ2SEQ, *MASKED])
def test_other_architectures_are_never_shared(kind: str) -> None:
    assert architecture_of(kind) in sharing_fault(tiny_loaded(kind))


def test_a_recurrent_model_and_one_that_counts_distances_in_the_row_are_not_shared() -> None:
    mamba = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4)).eval()
    assert sharing_fault(loaded_of(mamba))
    bloom = larger(BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=2)))
    assert sharing_fault(loaded_of(bloom))


def test_layers_and_attention_codes_that_take_no_tree_are_named() -> None:
    model = tiny_model("qwen2")
    model.config.layer_types = ["chunked_attention", "full_attention"]
    assert "layers of the kind chunked_attention" in sharing_fault(loaded_of(model))
    model = tiny_model("llama")
    model.config._attn_implementation = "flash_attention_2"
    assert "flash_attention_2" in sharing_fault(loaded_of(model))


@pytest.mark.parametrize("kind", ["llama", "gemma3, narrow", "mistral, narrow"])
def test_blocks_for_flex_attention_allow_what_other_masks_allow(kind: str) -> None:
    model = MODELS[kind]()
    shapes = [Group(np.full(30, 5, np.int32), (np.full(50, 6, np.int32), np.full(48, 7, np.int32)))]
    (made,) = lay_out_groups(shapes, tokens_per_batch=128, specials=tiny_loaded("llama").specials, shared=True)
    pack = to_tensors(made.pack, CPU)
    model.set_attn_implementation("sdpa")
    expected = causal.tree_mask(model, pack)
    model.config._attn_implementation = "flex_attention"
    blocks = causal.tree_mask(model, pack)
    for name in expected if isinstance(expected, dict) else [None]:
        mask, block = (expected, blocks) if name is None else (expected[name], blocks[name])
        row, query, key = torch.meshgrid(*(torch.arange(size) for size in (1, 128, 128)), indexing="ij")
        assert torch.equal(block.mask_mod(row, torch.zeros_like(row), query, key), mask[:, 0])


def test_a_mask_under_which_completions_see_each_other_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def row_by_row(model: Any, pack: PackTensors) -> torch.Tensor:
        width = pack.ids.shape[1]
        return torch.ones(1, 1, width, width, dtype=torch.bool).tril()

    monkeypatch.setattr(causal, "tree_mask", row_by_row)
    assert "logits differ" in sharing_fault(tiny_loaded("llama"))


def test_a_mask_that_hides_the_prompt_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = causal.tree_mask
    monkeypatch.setattr(causal, "tree_mask", lambda model, pack: right(model, replace(pack, parents=pack.parents * 0)))
    assert "logits differ" in sharing_fault(tiny_loaded("llama"))


def test_a_faint_leak_is_found_out_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    right = causal.tree_mask

    def nearly(model: Any, pack: PackTensors) -> torch.Tensor:
        allowed = right(model, pack).clone()
        width = pack.ids.shape[1]
        past = torch.ones(width, width, dtype=torch.bool).tril()
        faint = torch.full(allowed.shape, -8.0, dtype=model.dtype).masked_fill(~past, torch.finfo(model.dtype).min)
        return faint.masked_fill(allowed, 0.0)

    monkeypatch.setattr(causal, "tree_mask", nearly)
    assert "moves with the others" in sharing_fault(loaded_of(tiny_model("llama").bfloat16()))


def test_attention_over_trees_that_leaks_in_long_rows_alone_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tree_attention.tree_of

    def merged(segments: Any, parents: Any) -> Any:
        tree = right(segments, parents)
        if tree is None or len(tree.completions) < 2:
            return tree
        (start, _), (_, stop), *others = tree.completions
        return replace(tree, completions=((start, stop), *others))

    monkeypatch.setattr(tree_attention, "tree_of", merged)
    assert "logits differ" in sharing_fault(tiny_loaded("llama"))


def test_gradients_of_attention_over_trees_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tree_attention._BACKWARD
    monkeypatch.setattr(
        tree_attention, "_BACKWARD", lambda *given, **more: tuple(0.9 * one for one in right(*given, **more))
    )
    assert "gradients differ" in sharing_fault(tiny_loaded("llama"))


def test_windows_that_are_counted_in_the_row_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = causal.tree_mask

    def in_the_row(model: Any, pack: PackTensors) -> Any:
        places = torch.arange(pack.ids.shape[1]).expand_as(pack.ids)
        return right(model, replace(pack, positions=places))

    monkeypatch.setattr(causal, "tree_mask", in_the_row)
    for kind in ("gemma2, narrow", "mistral, narrow", "gemma3"):
        assert "logits differ" in sharing_fault(loaded_of(MODELS[kind]()))


def test_positions_that_count_through_the_row_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = module._laid_out

    def counted_through(rows: Any) -> Any:
        made = right(rows)
        return replace(made, positions=np.broadcast_to(np.arange(made.ids.shape[1]), made.ids.shape))

    monkeypatch.setattr(module, "_laid_out", counted_through)
    for kind in ("gpt2", "llama"):
        assert "logits differ" in sharing_fault(tiny_loaded(kind))


def test_a_model_of_a_short_context_is_tried_within_it() -> None:
    loaded = replace(tiny_loaded("gpt2", n_positions=16), max_length=16)
    assert sharing_fault(loaded) == ""
