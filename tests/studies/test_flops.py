"""The formula for FLOPs against what torch counts, for every kind of model."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from tests.tiny_models import tiny_loaded
from torch.utils.flop_counter import FlopCounterMode

from instil.studies.flops import Matrices, asking_flops, tuning_flops

BATCH, TOKENS, READ = 3, 11, 17


def counted(loaded: Any, *, backward: bool = False) -> int:
    """What torch counts of a pass in which every position gets logits."""
    ids = torch.full((BATCH, TOKENS), 5)
    inputs = {"input_ids": ids}
    if loaded.architecture == "seq2seq":
        inputs = {"input_ids": torch.full((BATCH, READ), 5), "decoder_input_ids": ids}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with FlopCounterMode(display=False) as counter:
            logits = (
                loaded.model(**inputs, use_cache=False).logits
                if loaded.architecture != "masked"
                else (loaded.model(**inputs).logits)
            )
            if backward:
                logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "kind", ["llama", "qwen3", "gemma2", "gpt2", "t5", "mt5", "bart", "bert", "roberta", "modernbert"]
)
def test_the_formula_counts_what_torch_counts(kind: str) -> None:
    loaded = tiny_loaded(kind, attn_implementation="eager")
    matrices = Matrices.of(loaded.model)
    encoder = READ if loaded.architecture == "seq2seq" else 0
    formula = matrices.forward(rows=BATCH, tokens=TOKENS, targets=BATCH * TOKENS, encoder_tokens=encoder)
    assert formula == pytest.approx(counted(loaded), rel=0.002)


@pytest.mark.parametrize("kind", ["llama", "t5", "bert"])
def test_a_backward_pass_takes_twice_the_forward_pass(kind: str) -> None:
    loaded = tiny_loaded(kind, attn_implementation="eager")
    assert counted(loaded, backward=True) == pytest.approx(3 * counted(loaded), rel=0.02)


def test_a_tuning_is_counted_by_its_mean_row() -> None:
    matrices = Matrices.of(tiny_loaded("llama").model)
    once = matrices.forward(rows=10, tokens=20, targets=50)
    assert tuning_flops(matrices, tokens=200, answer_tokens=50, rows=10) == 3 * once


def test_padding_is_computed_too() -> None:
    matrices = Matrices.of(tiny_loaded("llama").model)
    bare, padded = (tuning_flops(matrices, tokens=200, answer_tokens=50, rows=10, padded_share=p) for p in (0.0, 0.5))
    assert padded == 3 * matrices.forward(rows=10, tokens=40, targets=50)
    assert padded > bare


def test_an_encoder_reads_the_prompt_once_however_long_the_answer() -> None:
    matrices = Matrices.of(tiny_loaded("t5").model)
    assert matrices.has_encoder
    short, long = (asking_flops(matrices, prompts=1, tokens=30, answer_tokens=n) for n in (1, 2))
    assert long - short < asking_flops(matrices, prompts=1, tokens=30, answer_tokens=1)


def test_a_model_is_counted_without_reading_its_weights() -> None:
    matrices = Matrices.named("pocket")
    assert matrices == Matrices(read=4 * (4 * 160 * 160 + 3 * 160 * 448), head=1408 * 160, attention=4 * 160)
