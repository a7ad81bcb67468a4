"""How far annotators agree: a hand-worked example, ties, what is no comparison, and an interval that covers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mixtures.made_rankings import ranked, scored

from instil.mixtures.agreement import agreement, interval, student_t
from instil.records import Ranking


def test_the_worked_example_two_of_three_pairs_in_the_same_order() -> None:
    found = agreement(
        [
            ranked("Name a fruit.", {"Apple": 1, "Pear": 2, "A chair": 3}, "ada"),
            ranked("Name a fruit.", {"Apple": 2, "Pear": 1, "A chair": 3}, "ben"),
        ]
    )
    assert found is not None
    assert (found.rate, found.n, found.prompts, found.tied, found.with_ties) == (2 / 3, 3, 1, 0, 2 / 3)
    assert {who: (one.rate, one.n) for who, one in found.by_annotator.items()} == {"ada": (2 / 3, 3), "ben": (2 / 3, 3)}


def test_ties_are_counted_apart() -> None:
    """x, y: both tied; x, z: both prefer x; y, z: one tie. So 1 of 1 ordered, and 2 of 3 with ties."""
    found = agreement([ranked("p", {"x": 1, "y": 1, "z": 2}, "ada"), ranked("p", {"z": 2, "y": 2, "x": 2}, "ben")])
    assert found is None
    found = agreement([ranked("p", {"x": 1, "y": 1, "z": 2}, "ada"), ranked("p", {"x": 1, "y": 1, "z": 3}, "ben")])
    assert found is not None
    assert (found.rate, found.n, found.tied, found.with_ties) == (1.0, 2, 1, 1.0)
    found = agreement([ranked("p", {"x": 1, "y": 1, "z": 2}, "ada"), ranked("p", {"x": 1, "y": 2, "z": 2}, "ben")])
    assert found is not None
    assert (found.rate, found.n, found.tied, found.with_ties) == (1.0, 1, 2, 1 / 3)


def test_every_two_of_three_annotators_are_a_comparison() -> None:
    given_by = {"ada": {"x": 1, "y": 2}, "ben": {"x": 1, "y": 2}, "cem": {"y": 1, "x": 2}}
    found = agreement([ranked("p", ranks, who) for who, ranks in given_by.items()])
    assert found is not None
    assert (found.rate, found.n) == (1 / 3, 3)
    assert {who: (one.rate, one.n) for who, one in found.by_annotator.items()} == {
        "ada": (0.5, 2),
        "ben": (0.5, 2),
        "cem": (0.0, 2),
    }


def test_what_is_no_comparison_of_two_annotators_does_not_count() -> None:
    one = ranked("p", {"x": 1, "y": 2}, "ada")
    assert agreement([]) is None
    assert agreement([one, one]) is None  # the same person
    assert agreement([one, ranked("p", {"x": 1, "y": 2})]) is None  # nobody is named
    assert agreement([one, ranked("q", {"x": 1, "y": 2}, "ben")]) is None  # another prompt
    assert agreement([one, ranked("p", {"x": 1, "z": 2}, "ben")]) is None  # other completions
    assert agreement([one, scored("p", "x", 1.0, "ben"), scored("p", "y", 0.0, "ben")]) is None  # not ranked
    found = agreement([one, one, ranked("p", {"y": 1, "x": 2}, "ada"), ranked("p", {"x": 1, "y": 2}, "ben")])
    assert found is not None
    assert (found.rate, found.n) == (1.0, 1)  # the first of several by one person


NAMES = ("ada", "ben", "cem", "")
RANKINGS = st.lists(
    st.builds(
        lambda prompt, who, ranks: ranked(prompt, ranks, who),
        st.sampled_from(("p", "q", "r")),
        st.sampled_from(NAMES),
        st.dictionaries(st.sampled_from("uvwxyz"), st.integers(1, 3), min_size=2),
    ),
    max_size=12,
)


def _slowly(rankings: list[Ranking]) -> tuple[int, int, int, int]:
    """Agreeing, ordered, tied, tied alike: by looking at every pair of rankings of a prompt."""
    agreeing = ordered = tied = alike = 0
    for prompt in "pqr":
        for one, other in combinations(NAMES[:3], 2):
            for first, second in combinations("uvwxyz", 2):
                said = []
                for who in (one, other):
                    for ranking in rankings:
                        ranks = dict(zip(ranking.completions, ranking.ranks, strict=True))
                        fits = ranking.messages[0].content == prompt and ranking.annotator == who
                        if fits and {first, second} <= set(ranks):
                            said.append(np.sign(ranks[first] - ranks[second]))
                            break
                if len(said) == 2 and 0 in said:
                    tied, alike = tied + 1, alike + (said[0] == said[1])
                elif len(said) == 2:
                    ordered, agreeing = ordered + 1, agreeing + (said[0] == said[1])
    return agreeing, ordered, tied, alike


@given(RANKINGS)
def test_counts_are_those_of_a_slow_look_at_every_pair(rankings: list[Ranking]) -> None:
    found = agreement(rankings)
    agreeing, ordered, tied, alike = _slowly(rankings)
    if not ordered:
        assert found is None
        return
    assert found is not None
    assert (found.n, found.tied, found.rate) == (ordered, tied, agreeing / ordered)
    assert found.with_ties == pytest.approx((agreeing + alike) / (ordered + tied))
    assert sum(one.n for one in found.by_annotator.values()) == 2 * ordered
    assert found.ci95[0] <= found.rate <= found.ci95[1]


def test_one_comparison_a_prompt_and_many_prompts_give_the_interval_of_wilson() -> None:
    hits = [1] * 726 + [0] * 274
    low, high = interval(hits, [1] * 1000)
    assert (low, high) == pytest.approx((0.6976, 0.7527), abs=2e-4)  # Wilson of 726 in 1,000


def test_comparisons_that_hang_together_make_the_interval_wider() -> None:
    loose = interval([1] * 300 + [0] * 100, [1] * 400)
    tight = interval([10] * 30 + [0] * 10, [10] * 40)  # the same comparisons, all of a prompt alike
    assert (tight[1] - tight[0]) > 2.5 * (loose[1] - loose[0])


def test_no_interval_is_a_point_or_leaves_the_unit() -> None:
    for hits, totals in (([0], [1]), ([5], [5]), ([3, 3, 3], [3, 3, 3]), ([1, 1], [2, 2]), ([0] * 9, [4] * 9)):
        low, high = interval(hits, totals)
        share = sum(hits) / sum(totals)
        assert 0 <= low <= share <= high <= 1
        assert high - low > 0.05


@pytest.mark.parametrize(("clusters", "size", "together"), [(8, 6, 0.3), (40, 10, 0.5), (40, 3, 0.0), (200, 15, 0.2)])
def test_the_interval_holds_the_truth_as_often_as_it_says(clusters: int, size: int, together: float) -> None:
    """Prompts whose comparisons agree with a probability of their own (beta-binomial), of sizes that differ."""
    generator, truth, held = np.random.default_rng([clusters, size]), 0.73, []
    for _ in range(1000):
        totals = generator.integers(1, size + 1, clusters)
        strength = (1 - together) / together if together else 1e9
        shares = generator.beta(truth * strength, (1 - truth) * strength, clusters)
        low, high = interval(generator.binomial(totals, shares).tolist(), totals.tolist())
        held.append(low <= truth <= high)
    assert 0.93 <= np.mean(held) <= 0.985


def test_students_t_is_that_of_the_tables() -> None:
    table = {1: 12.706, 2: 4.303, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {freedom: student_t(freedom) for freedom in table} == pytest.approx(table, abs=1e-3)
