"""Attention over a tree is that under its dense mask, forward and backward; what it cannot do the mask does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_models import tiny_model

from instil.models import tree_attention as module
from instil.models.causal import tree_mask
from instil.models.tensors import PackTensors
from instil.models.tree_attention import Tree, planned, tree_attention, tree_of

some_trees = st.lists(st.tuples(st.integers(1, 20), st.lists(st.integers(1, 9), max_size=5)), min_size=1, max_size=3)


def laid(shapes: list[tuple[int, list[int]]], least: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Segments, parents and positions of rows of a prompt and completions."""
    width = max(least, max(prompt + sum(sizes) for prompt, sizes in shapes))
    segments, parents, positions = (torch.zeros(len(shapes), width, dtype=torch.long) for _ in range(3))
    for row, (prompt, sizes) in enumerate(shapes):
        segments[row, :prompt], positions[row, :prompt] = 1, torch.arange(prompt)
        start = prompt
        for number, size in enumerate(sizes, start=2):
            place = slice(start, start + size)
            segments[row, place], parents[row, place] = number, 1
            positions[row, place] = torch.arange(prompt, prompt + size)
            start += size
    return segments, parents, positions


def dense(segments: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    """Who sees whom, token by token."""
    rows, width = segments.shape
    mask = torch.zeros(rows, 1, width, width, dtype=torch.bool)
    for row in range(rows):
        for query in range(width):
            for key in range(query + 1):
                own = segments[row, query] == segments[row, key]
                above = parents[row, query] == segments[row, key] and parents[row, query] > 0
                mask[row, 0, query, key] = bool(own or above)
    return mask


def trees_of(segments: torch.Tensor, parents: torch.Tensor) -> tuple[Tree, ...]:
    made = [tree_of(*row) for row in zip(segments.numpy(), parents.numpy(), strict=True)]
    assert None not in made
    return tuple(made)  # type: ignore[arg-type]


def values(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(4)]


@given(some_trees, st.integers(0, 1000), st.sampled_from([None, 0.3]))
def test_outputs_and_gradients_are_those_under_the_dense_mask(
    shapes: list[tuple[int, list[int]]], seed: int, scale: float | None
) -> None:
    segments, parents, _ = laid(shapes)
    query, key, value, weight = values((len(shapes), 2, segments.shape[1], 4), seed)
    real = (segments > 0)[:, None, :, None]
    theirs = F.scaled_dot_product_attention(query, key, value, attn_mask=dense(segments, parents), scale=scale)
    ours = tree_attention(query, key, value, trees_of(segments, parents), scale)
    torch.testing.assert_close(ours, theirs * real, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad((theirs * weight * real).sum(), (query, key, value))
    found = torch.autograd.grad((ours * weight * real).sum(), (query, key, value))
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_the_number_formats_that_models_are_used_in(dtype: torch.dtype) -> None:
    segments, parents, _ = laid([(20, [7, 30, 4]), (9, [11])])
    query, key, value, weight = values((2, 2, segments.shape[1], 8), 0, dtype)
    ours = tree_attention(query, key, value, trees_of(segments, parents), None)
    exact = [one.detach().double().requires_grad_() for one in (query, key, value)]
    theirs = F.scaled_dot_product_attention(*exact, attn_mask=dense(segments, parents))
    real = (segments > 0)[:, None, :, None]
    assert ours.dtype == dtype
    loose = {"rtol": 1e-5, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 3e-2, "atol": 3e-2}
    torch.testing.assert_close(ours.double(), theirs * real, **loose)
    expected = torch.autograd.grad((theirs * weight.double() * real).sum(), exact)
    for mine, other in zip(
        torch.autograd.grad((ours * weight * real).sum(), (query, key, value)), expected, strict=True
    ):
        torch.testing.assert_close(mine.double(), other, **loose)


@pytest.mark.parametrize(
    ("segments", "parents"),
    [
        ([1, 1, 2, 3, 0], [0, 0, 1, 2, 0]),  # a tree of three storeys
        ([1, 1, 2, 1, 0], [0, 0, 1, 0, 0]),  # a segment in two parts
        ([2, 2, 3, 3, 0], [0, 0, 2, 2, 0]),  # numbered otherwise
        ([1, 1, 0, 2, 2], [0, 0, 0, 1, 1]),  # padding in the middle
        ([1, 1, 2, 2, 0], [0, 0, 0, 0, 0]),  # packed: nothing is shared
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
    ],
)
def test_rows_of_another_make_have_no_plan(segments: list[int], parents: list[int]) -> None:
    assert tree_of(np.array(segments), np.array(parents)) is None


def test_a_row_is_a_prompt_and_its_completions() -> None:
    assert tree_of(np.array([1, 1, 2, 2, 3, 0]), np.array([0, 0, 1, 1, 1, 0])) == Tree(2, ((2, 4), (4, 5)))
    assert tree_of(np.array([1, 1]), np.array([0, 0])) == Tree(2, ())


def pack_of(shapes: list[tuple[int, list[int]]]) -> PackTensors:
    segments, parents, positions = laid(shapes)
    ids = torch.randint(3, 60, segments.shape, generator=torch.Generator().manual_seed(0)) * (segments > 0)
    nothing = torch.zeros(0, dtype=torch.long)
    return PackTensors(ids, segments, positions, nothing, nothing, parents=parents)


def called(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often attention over trees is used from now on."""
    calls: list[int] = []
    plain = module.tree_attention

    def counted(*given: Any) -> torch.Tensor:
        calls.append(1)
        return plain(*given)

    monkeypatch.setattr(module, "tree_attention", counted)
    return calls


LONG = [(60, [30, 40]), (20, [5, 50])]


@pytest.mark.parametrize(
    ("kind", "more", "layers"),
    [
        ("llama", {}, 2),
        ("gpt2", {}, 2),
        ("mistral", {"sliding_window": 1000}, 2),  # wider than any row: it hides nothing
        ("mistral", {"sliding_window": 64}, 0),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}, 1),
        ("gemma2", {}, 0),  # on eager attention
    ],
)
def test_models_use_it_where_the_mask_is_handed_on(
    kind: str, more: dict[str, Any], layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pack, calls = tiny_model(kind, **more), pack_of(LONG), called(monkeypatch)
    mask = tree_mask(model, pack)
    with torch.no_grad():
        ours = model(input_ids=pack.ids, attention_mask=mask, position_ids=pack.positions, use_cache=False).logits
    assert len(calls) == layers
    copied = {name: one.clone() for name, one in mask.items()} if isinstance(mask, dict) else mask.clone()
    with torch.no_grad():  # a copy has no plan
        theirs = model(input_ids=pack.ids, attention_mask=copied, position_ids=pack.positions, use_cache=False).logits
    assert len(calls) == layers
    real = pack.segments > 0
    torch.testing.assert_close(ours[real], theirs[real], rtol=1e-4, atol=1e-4)


def test_dropout_is_left_to_the_dense_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pack, calls = tiny_model("llama", attention_dropout=0.5).train(), pack_of(LONG), called(monkeypatch)
    mask = tree_mask(model, pack)
    model(input_ids=pack.ids, attention_mask=mask, position_ids=pack.positions, use_cache=False)
    assert not calls


def test_short_rows_are_left_to_the_dense_mask() -> None:
    pack = pack_of([(9, [3, 4])])
    assert not hasattr(tree_mask(tiny_model("llama"), pack), "instil_plan")


def test_a_torch_without_the_kernels_uses_the_dense_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FORWARD", None)
    segments, parents, _ = laid(LONG)
    mask = dense(segments, parents)
    assert planned(mask, segments, parents) is mask
    assert not hasattr(mask, "instil_plan")


def test_other_calls_of_sdpa_are_what_they_were() -> None:
    model, ids = tiny_model("llama"), torch.arange(3, 40)[None]
    module._stand_before_sdpa()
    with torch.no_grad():
        found = model(input_ids=ids).logits
        registered = module.ALL_ATTENTION_FUNCTIONS["sdpa"]
        module.ALL_ATTENTION_FUNCTIONS.register("sdpa", module._plain)
        expected = model(input_ids=ids).logits
        module.ALL_ATTENTION_FUNCTIONS.register("sdpa", registered)
    assert torch.equal(found, expected)
