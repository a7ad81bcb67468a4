"""The loss of a step is the mean over all answer tokens of its window, however the window is cut and laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.test_causal import reference
from tests.tiny_models import documents, tiny_loaded, window

from instil.errors import ModelError, RunError
from instil.models import causal
from instil.models.causal import answer_logits
from instil.models.loading import LoadedModel
from instil.runs import RunFolder
from instil.tuning.losses import answer_loss_sum
from instil.tuning.sft import TuningSpec, choose_layout, step_pieces, tune


def gradient(loaded: LoadedModel, pieces: Any, layout: Any) -> tuple[float, torch.Tensor]:
    loaded.model.zero_grad(set_to_none=True)
    total = 0.0
    for piece in pieces:
        logits = answer_logits(loaded.model, piece.item, layout)
        loss = answer_loss_sum(logits, piece.item.target_ids) * piece.scale
        loss.backward()
        total += float(loss.detach())
    return total, torch.cat([weight.grad.reshape(-1) for weight in loaded.model.parameters()])


@pytest.mark.parametrize("layout", ["bucketed", "packed"])
def test_the_gradient_does_not_depend_on_how_a_window_is_cut(layout: Any) -> None:
    loaded = tiny_loaded(dtype=torch.float64)
    prompts = window(5, prompts=8)
    expected = reference(loaded.model, prompts) / sum(len(prompt.ids) - prompt.answer_start for prompt in prompts)
    loaded.model.zero_grad()
    expected.backward()
    expected = expected.detach()
    theirs = torch.cat([weight.grad.reshape(-1) for weight in loaded.model.parameters()]).clone()
    counts = set()
    for tokens_per_batch in (10_000, 70, 36, 1):
        pieces = step_pieces(loaded, prompts, TuningSpec(), layout, tokens_per_batch)
        counts.add(len(pieces))
        loss, ours = gradient(loaded, pieces, layout)
        assert loss == pytest.approx(float(expected), rel=1e-10)
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)
    assert len(counts) >= 3


def test_one_of_eight_two_of_four_and_four_of_two_give_the_same_gradient() -> None:
    loaded = tiny_loaded("gpt2", dtype=torch.float64)
    prompts = [prompt for step in range(30) for prompt in window(step) if len(prompt.ids) == 12][:8]
    assert len(prompts) == 8
    found = {}
    for together in (8, 4, 2, 1):
        pieces = step_pieces(loaded, prompts, TuningSpec(), "bucketed", 12 * together)
        assert [piece.size for piece in pieces] == [12 * together] * (8 // together)
        found[together] = gradient(loaded, pieces, "bucketed")[1]
    for ours in found.values():
        torch.testing.assert_close(ours, found[1], rtol=1e-9, atol=1e-13)


def test_replayed_text_adds_its_own_mean_times_its_weight() -> None:
    loaded = tiny_loaded(dtype=torch.float64)
    prompts = window(2)
    plain, _ = gradient(loaded, step_pieces(loaded, prompts, TuningSpec(), "bucketed", 64), "bucketed")
    means = []
    for weight in (1.0, 2.0):
        spec = TuningSpec(replay_share=0.5, replay_weight=weight, replay_row_tokens=32)
        pieces = step_pieces(loaded, prompts, spec, "bucketed", 64, replay=documents)
        prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
        text = [piece for piece in pieces if piece.kind == "replay_loss"]
        assert prompt_tokens <= sum(piece.tokens for piece in text) <= prompt_tokens + 26
        assert sum(piece.scale * piece.targets for piece in text) == pytest.approx(weight)
        means.append(gradient(loaded, pieces, "bucketed")[0] - plain)
    assert means[1] == pytest.approx(2 * means[0])


def test_a_share_of_one_reads_text_alone_as_many_tokens_as_the_prompts_have() -> None:
    loaded, prompts = tiny_loaded(), window(2)
    spec = TuningSpec(replay_share=1, replay_row_tokens=32)
    pieces = step_pieces(loaded, prompts, spec, "bucketed", 64, replay=documents)
    assert {piece.kind for piece in pieces} == {"replay_loss"}
    prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
    assert prompt_tokens <= sum(piece.tokens for piece in pieces) <= prompt_tokens + 26
    assert sum(piece.scale * piece.targets for piece in pieces) == pytest.approx(1)


def test_too_little_text_to_replay_is_refused() -> None:
    spec = TuningSpec(replay_share=0.5)
    with pytest.raises(RunError, match="replay_share needs"):
        step_pieces(tiny_loaded(), window(0), spec, "bucketed", 64, replay=lambda step, tokens: documents(0, 12))
    with pytest.raises(RunError, match="the model has none"):
        step_pieces(tiny_loaded(), window(0), spec, "bucketed", 64)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("layout", ["bucketed", "packed"])
def test_it_learns_to_answer(tmp_path: Path, kind: str, layout: str) -> None:
    loaded = tiny_loaded(kind)
    keys = {"learning_rate": 1e-2, "max_steps": 40, "tokens_per_batch": 128, "layout": layout, "save_every": 0}
    spec = TuningSpec.model_validate({**keys, "replay_share": 0.3, "replay_row_tokens": 32})
    with RunFolder.open(tmp_path, recipe={}, inputs={}) as run:
        result = tune(loaded, window, spec, run, replay=documents, show_progress=False)
        rows = run.metrics()
    assert result.answer_tokens == 40 * 8 * 3
    assert rows[-1]["loss"] < 0.85 * rows[0]["loss"]
    assert rows[-1]["replay_loss"] < 0.8 * rows[0]["replay_loss"]
    assert not loaded.model.training


def test_both_layouts_walk_the_same_way(tmp_path: Path) -> None:
    losses = []
    for layout in ("bucketed", "packed"):
        spec = TuningSpec.model_validate({"learning_rate": 1e-3, "max_steps": 5, "layout": layout, "log_every": 1})
        with RunFolder.open(tmp_path / layout, recipe={}, inputs={}) as run:
            tune(tiny_loaded(), window, spec, run, show_progress=False)
            losses.append([row["loss"] for row in run.metrics()])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_the_cpu_buckets_and_packs_when_asked() -> None:
    said: list[str] = []
    assert choose_layout(tiny_loaded(), TuningSpec(), said.append) == "bucketed"
    assert choose_layout(tiny_loaded(), TuningSpec(layout="packed"), said.append) == "packed"
    assert not said


def test_layouts_are_tried_in_the_format_that_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bfloat16 model learns in float32 weights; tried in bfloat16, much would pass for rounding."""
    seen: list[torch.dtype] = []

    def tried(loaded: LoadedModel, *_: Any) -> str:
        seen.append(loaded.model.dtype)
        return "bucketed"

    monkeypatch.setattr("instil.tuning.sft.choose_layout", tried)
    spec = TuningSpec(max_steps=1, save_every=0)
    with RunFolder.open(tmp_path / "run", recipe={}, inputs={}, echo=lambda message: None) as run:
        tune(tiny_loaded(dtype=torch.bfloat16), window, spec, run, show_progress=False)
    assert seen == [torch.float32]


def test_a_model_that_may_not_be_packed_is_bucketed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    fault = lambda model, layout, **more: "it looks ahead" if layout == "packed" else ""  # noqa: E731
    monkeypatch.setattr(causal, "layout_fault", fault)
    assert choose_layout(tiny_loaded(), TuningSpec(layout="packed"), said.append) == "bucketed"
    assert said == ["prompts are bucketed, not packed: it looks ahead"]
    monkeypatch.setattr(causal, "layout_fault", lambda *given, **more: "it looks ahead")
    with pytest.raises(ModelError, match="it looks ahead"):
        choose_layout(tiny_loaded(), TuningSpec(), said.append)


@pytest.mark.parametrize("layout", ["bucketed", "packed"])
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_runs_out_while_a_layout_is_tried_is_no_fault_of_the_layout(
    layout: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(causal, "answer_logits", full)
    said: list[str] = []
    with pytest.raises(RunError, match="memory ran out before the first step") as caught:
        choose_layout(tiny_loaded(), TuningSpec(layout=layout), said.append)
    assert "lora" in str(caught.value.remedy)
    assert not said
