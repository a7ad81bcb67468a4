"""The sampled KL beside the exact one, over every completion that a toy policy can write."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import tiny_loaded, tiny_model

from instil.experiments.divergence import compared, divergences
from instil.fingerprint import keyed_int
from instil.models.architecture import engine_of
from instil.models.loading import LoadedModel
from instil.models.sampling import Sampling
from instil.records import Encoded

END = 1


def encoded(prompt: list[int], completion: list[int]) -> Encoded:
    return Encoded(np.array([*prompt, *completion], dtype=np.int32), len(prompt))


def pair(kind: str) -> tuple[LoadedModel, LoadedModel]:
    """A policy and its reference, some steps apart."""
    policy = tiny_loaded(kind)
    other = tiny_model(kind)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        for weight in other.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return policy, replace(policy, model=other)


def log_probs(loaded: LoadedModel, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """(T, V) in float64: one forward pass of the plain model on one row."""
    model: Any = loaded.model
    with torch.no_grad():
        if loaded.architecture == "seq2seq":
            start = list(loaded.specials.start)
            logits = model(
                input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[*start, *completion[:-1]]])
            ).logits[0, len(start) - 1 :]
        else:
            logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "bart"])
def test_each_completion_has_the_divergence_of_a_slow_count(kind: str) -> None:
    policy, reference = pair(kind)
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(12):
        prompt = generator.integers(3, 60, generator.integers(2, 9)).tolist()
        if policy.architecture == "seq2seq":
            prompt.append(END)
        rows.append((prompt, [*generator.integers(3, 60, generator.integers(0, 7)).tolist(), END]))
    found = divergences(policy, reference, [encoded(*row) for row in rows], tokens_per_batch=40)
    for (prompt, completion), one in zip(rows, found, strict=True):
        p, q = log_probs(policy, prompt, completion), log_probs(reference, prompt, completion)
        assert one.kl == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-4, abs=1e-6)
        assert one.entropy == pytest.approx(float(-(p.exp() * p).sum()), rel=1e-4, abs=1e-6)
        assert one.tokens == len(completion)
        assert one.kl > 0


def test_a_model_is_no_way_from_itself() -> None:
    policy, _ = pair("llama")
    (found,) = divergences(policy, policy, [encoded([5, 6, 7], [8, 9, END])], tokens_per_batch=64)
    assert found.kl == 0
    assert found.entropy > 0


def test_the_sampled_mean_is_the_exact_divergence_of_whole_completions() -> None:
    """A policy of 5 words and at most 3 tokens: every completion it can write is gone through."""
    words, most, prompt = 5, 3, [2, 4, 3]
    sizes = {"vocab_size": words}
    policy = replace(tiny_loaded("llama", **sizes), eos_id=END)
    other = tiny_model("llama", seed=1, **sizes)
    for model in (policy.model, other):
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(0.6 if weight.ndim > 1 else 1.0)
    reference = replace(policy, model=other)

    exact = 0.0
    for size in range(1, most + 1):
        for written in itertools.product(range(words), repeat=size):
            whole = written[-1] == END and END not in written[:-1]
            cut = size == most and END not in written
            if whole or cut:
                p, q = log_probs(policy, prompt, list(written)), log_probs(reference, prompt, list(written))
                at = (torch.arange(size), torch.tensor(written))
                exact += math.exp(float(p[at].sum())) * float((p[at] - q[at]).sum())

    draws = 3000
    engine = engine_of(policy)
    seeds = [keyed_int("divergence test", k, n=1 << 62) for k in range(draws)]
    drawn = engine.generate([prompt] * draws, most, sampling=Sampling(), seeds=seeds)
    rows = [encoded(prompt, [*one.ids, *([END] if one.reason == "end" else [])]) for one in drawn]
    found = np.array([one.kl for one in divergences(policy, reference, rows, tokens_per_batch=4096)])
    error = found.std(ddof=1) / math.sqrt(draws)
    assert exact > 0.05
    assert abs(found.mean() - exact) < 4 * error
    assert error < 0.03 * exact

    plain = []  # the usual estimator: the drawn tokens' own log ratios
    for row in rows[:500]:
        completion = row.ids[len(prompt) :].tolist()
        p, q = log_probs(policy, prompt, completion), log_probs(reference, prompt, completion)
        at = (torch.arange(len(completion)), torch.tensor(completion))
        plain.append(float((p[at] - q[at]).sum()))
    assert np.std(plain) > 2 * found.std()


def test_a_forbidden_word_is_no_not_a_number() -> None:
    first = torch.tensor([[0.0, -math.inf, 1.0]])
    second = torch.tensor([[0.5, -math.inf, 0.5]])
    kl, entropy = compared(first, second)
    assert torch.isfinite(kl).all()
    assert torch.isfinite(entropy).all()


def test_rows_are_compared_in_parts_as_they_are_at_once() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(700, 11, generator=generator) for _ in range(2))
    kl, entropy = compared(first, second)
    p, q = first.double().log_softmax(-1), second.double().log_softmax(-1)
    assert torch.allclose(kl.double(), (p.exp() * (p - q)).sum(-1), atol=1e-5)
    assert torch.allclose(entropy.double(), -(p.exp() * p).sum(-1), atol=1e-5)
