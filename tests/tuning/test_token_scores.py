"""What models say of every token, against each answer behind its own prompt in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_models import tiny_loaded

from instil.errors import RunError
from instil.models.reward_head import attach_head, head_of
from instil.records import Group
from instil.tuning import token_scores
from instil.tuning.token_scores import TokenPlaces, TokenScorer


def _groups(seed: int, count: int = 3) -> list[Group]:
    generator = np.random.default_rng(seed)

    def ids() -> Any:
        return generator.integers(3, 60, generator.integers(1, 7)).astype(np.int32)

    return [Group(ids(), tuple(ids() for _ in range(generator.integers(1, 4)))) for _ in range(count)]


def _scorer(loaded: Any, layout: Any, **more: Any) -> TokenScorer:
    return TokenScorer.of(loaded, layout, **{"tokens_per_batch": 64, "dtype": torch.float32, **more})


@pytest.mark.parametrize(("kind", "layout"), [("llama", "shared"), ("llama", "bucketed"), ("bart", "bucketed")])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_and_entropies_are_those_of_answers_by_themselves(
    kind: str, layout: str, temperature: float
) -> None:
    loaded = tiny_loaded(kind)
    groups = _groups(1)
    scorer = _scorer(loaded, layout, temperature=temperature)
    logs, entropies = scorer.log_probs_and_entropy(loaded.model, groups)
    assert np.array_equal(scorer.log_probs(loaded.model, groups), logs)
    exact = loaded.model.double().requires_grad_(False)
    place = 0
    for group in groups:
        for answer in group.completions:
            if kind == "bart":
                fed = torch.tensor([[*loaded.specials.start, *answer[:-1].tolist()]])
                logits = exact(input_ids=torch.tensor([group.prompt.tolist()]), decoder_input_ids=fed).logits[0]
                logits = logits[len(loaded.specials.start) - 1 :]
            else:
                row = torch.tensor([[*group.prompt.tolist(), *answer.tolist()]])
                logits = exact(input_ids=row).logits[0, len(group.prompt) - 1 : -1]
            found = (logits / temperature).log_softmax(-1)
            for t, token in enumerate(answer.tolist()):
                assert logs[place + t] == pytest.approx(float(found[t, token]), abs=1e-4)
                assert entropies[place + t] == pytest.approx(float(-(found[t].exp() * found[t]).sum()), abs=1e-4)
            place += len(answer)


def test_values_are_read_in_front_of_each_token() -> None:
    loaded = tiny_loaded()
    attach_head(loaded, seed=1)
    groups = _groups(2)
    values = _scorer(loaded, "shared").values(loaded.model, groups)
    place = 0
    for group in groups:
        for answer in group.completions:
            row = torch.tensor([[*group.prompt.tolist(), *answer.tolist()]])
            with torch.no_grad():
                hidden = loaded.model(input_ids=row, output_hidden_states=True).hidden_states[-1][0]
                expected = head_of(loaded.model)(hidden[len(group.prompt) - 1 : -1])
            assert values[place : place + len(answer)] == pytest.approx(expected.numpy(), abs=1e-4)
            place += len(answer)


def test_places_of_tokens_are_those_of_answers_one_behind_the_other() -> None:
    groups = [Group(np.array([1], np.int32), (np.array([2, 3], np.int32), np.array([4], np.int32)))]
    places = TokenPlaces.of(groups)
    assert (places.starts.tolist(), places.total) == ([0, 2], 3)


def test_where_memory_runs_out_less_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, groups = tiny_loaded(), _groups(3)
    scorer = _scorer(loaded, "bucketed")
    expected = scorer.log_probs(loaded.model, groups)
    real = token_scores.completion_logits

    def narrow(model: Any, architecture: Any, pack: Any, layout: Any) -> Any:
        if pack.ids.numel() > 20:
            raise MemoryError
        return real(model, architecture, pack, layout)

    monkeypatch.setattr(token_scores, "completion_logits", narrow)
    assert scorer.log_probs(loaded.model, groups) == pytest.approx(expected, abs=1e-5)
    assert scorer.tokens_per_batch < 64
    monkeypatch.setattr(token_scores, "completion_logits", lambda *given: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(RunError, match="memory ran out"):
        scorer.log_probs(loaded.model, groups)
