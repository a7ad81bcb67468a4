"""How diverse a set of tasks is: on similarities that are known, and on prompts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_models import tiny_loaded

from instil.studies import diversity
from instil.studies.diversity import hidden_features, ngram_features, similarity, vendi, widest


def test_vendi_counts_what_differs() -> None:
    assert vendi(np.eye(5)) == pytest.approx(5)
    assert vendi(np.ones((4, 4))) == pytest.approx(1)
    pairs = np.kron(np.eye(3), np.ones((2, 2)))  # three tasks, each there twice
    assert vendi(pairs) == pytest.approx(3)


@given(st.integers(1, 12), st.integers(0, 1000))
def test_vendi_lies_between_one_and_the_number_of_tasks_whatever_their_order(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, 4))
    alike = similarity(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    order = generator.permutation(count)
    assert 1 - 1e-9 <= vendi(alike) <= count + 1e-9
    assert vendi(alike[np.ix_(order, order)]) == pytest.approx(vendi(alike))


def test_no_tasks_have_no_diversity() -> None:
    with pytest.raises(ValueError, match="no tasks"):
        vendi(np.empty((0, 0)))


def test_the_widest_set_takes_one_of_each_kind_before_a_second() -> None:
    alike = np.kron(np.eye(3), np.full((3, 3), 0.9)) + 0.1 * np.eye(9)
    found = widest(alike, [0, 1], [1, 2, 3, 4, 5, 6, 7, 8], add=3)
    assert [one.task // 3 for one in found[:2]] == [1, 2]
    assert not {one.task for one in found} & {0, 1}
    assert found[2].gained < min(found[0].gained, found[1].gained) / 2
    assert found[-1].diversity == pytest.approx(
        vendi(alike[np.ix_(rows := [0, 1, *(one.task for one in found)], rows)])
    )


def test_more_than_there_is_cannot_be_added() -> None:
    with pytest.raises(ValueError, match="3 tasks to add, and 2 at hand"):
        widest(np.eye(4), [0, 1], [1, 2, 3], add=3)


def test_words_of_shared_templates_make_no_two_tasks_alike() -> None:
    inputs = ["cat dog", "sun moon", "red blue"]
    asked = ["reverse", "sort", "count", "reverse"]
    prompts = [[f"Please give the {skill} of this: {text}" for text in inputs] for skill in asked]
    alike = similarity(ngram_features(prompts))
    assert alike[0, 3] == pytest.approx(1)
    assert abs(alike[0, 1]) < 0.01


def test_a_task_without_words_is_like_itself_alone() -> None:
    alike = similarity(ngram_features([["", "  "], ["sort these"], ["count these"]]))
    assert alike[0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("kind", ["llama", "t5", "modernbert"])
def test_hidden_features_do_not_depend_on_what_is_read_beside_a_prompt(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_loaded(kind)
    prompts = [["w3", "w3 w4 w5 w6 w7 w8 w9"], ["w10 w11", "w12 w13 w14 w15"], ["w20 w3 w21"]]
    together = hidden_features(loaded, prompts)
    monkeypatch.setattr(diversity, "_BATCH", 1)
    assert np.allclose(together, hidden_features(loaded, prompts), atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1)
