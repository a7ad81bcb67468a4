"""Best of n: what is chosen, the bound of its KL, and the expected gold reward of fewer samples."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_models import tiny_loaded
from tests.tuning.bandit import PROMPTS, SmallWords
from tests.tuning.made_up_rankings import encoder_of

from instil.errors import RecipeError
from instil.tuning import best_of_n as module
from instil.tuning.best_of_n import BestOfNSpec, best_of_n, best_of_n_kl, expected_best
from instil.tuning.rewards import RewardBatch

SPEC = BestOfNSpec(completions_per_prompt=6, max_new_tokens=5, missing_end_penalty=0)


@pytest.mark.parametrize("kind", ["llama", "bart"])
def test_the_answer_with_the_highest_reward_is_chosen(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 3)
    loaded = tiny_loaded(kind)
    done: list[int] = []
    more: dict[str, Any] = {"encoder": encoder_of(loaded), "rewards": [SmallWords()]}
    found = best_of_n(loaded, PROMPTS, SPEC, on_done=done.append, **more)
    assert done == [3, 3, 2]
    for one in found:
        assert len(one.answers) == 6
        assert one.chosen == one.rewards.index(max(one.rewards))
        assert one.text == one.answers[one.chosen].text
        assert one.parts == {"small words": one.rewards}
    assert len({one.text for one in found}) > 1
    again = best_of_n(loaded, PROMPTS, SPEC, **more)
    assert [one.text for one in again] == [one.text for one in found]
    monkeypatch.setattr(module, "_TOGETHER", 99)  # what is asked together decides nothing
    assert [one.text for one in best_of_n(loaded, PROMPTS, SPEC, **more)] == [one.text for one in found]


def test_answers_without_a_reward_are_passed_over_and_those_that_were_cut_cost() -> None:
    @dataclass
    class Odd:
        name: str = "odd"
        weight: float = 1.0

        def __call__(self, batch: RewardBatch) -> list[float]:
            return [math.nan if k % 6 == 0 or k < 6 else 1.0 for k in range(len(batch.completions))]

    loaded = tiny_loaded()
    spec = SPEC.model_copy(update={"missing_end_penalty": 1.0})
    found = best_of_n(loaded, PROMPTS, spec, encoder=encoder_of(loaded), rewards=[Odd()])
    assert found[0].chosen is None
    assert found[0].text is None
    for one in found[1:]:
        ended = [k for k, answer in enumerate(one.answers) if answer.finished and k]
        assert one.chosen == (ended or [1])[0]


def test_a_masked_model_is_refused() -> None:
    loaded = tiny_loaded("bert")
    with pytest.raises(RecipeError, match="masked"):
        best_of_n(loaded, PROMPTS, SPEC, encoder=encoder_of(tiny_loaded()), rewards=[SmallWords()])


def test_the_kl_of_the_best_of_n_where_all_answers_differ() -> None:
    """Of m equally likely answers of different rewards the best of n has the KL of the bound, as m grows."""
    assert best_of_n_kl(1) == 0.0
    for n in (2, 4, 16):
        m = 20_000
        chances = [((k + 1) / m) ** n - (k / m) ** n for k in range(m)]
        exact = sum(chance * math.log(chance * m) for chance in chances if chance)
        assert exact <= best_of_n_kl(n)
        assert exact == pytest.approx(best_of_n_kl(n), abs=2e-3)


@given(rewards=st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=1, max_size=7), data=st.data())
def test_the_expected_best_is_the_mean_over_all_choices(rewards: list[tuple[int, int]], data: Any) -> None:
    proxy, gold = [float(one) for one, _ in rewards], [float(one) for _, one in rewards]
    k = data.draw(st.integers(1, len(rewards)))
    choices = list(itertools.combinations(range(len(rewards)), k))
    expected = sum(gold[max(chosen, key=lambda one: (proxy[one], -one))] for chosen in choices) / len(choices)
    assert expected_best(proxy, gold, best_of=k) == pytest.approx(expected)


def test_the_worked_example_and_what_cannot_be_asked() -> None:
    assert expected_best([0.1, 0.7, 0.3], [1.0, 0.0, 2.0], best_of=2) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="needs that many samples"):
        expected_best([0.1], [0.1], best_of=2)
