"""Weights: by size, cap, temperature, T0's rule, clusters, shares, patterns, a least share; nested mixtures."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.errors import DataError, RecipeError
from instil.mixtures.mixture import Mixture
from instil.mixtures.spec import MixtureSpec
from instil.mixtures.weights import Branch, weigh


def spec(*sources: dict[str, Any], **keys: Any) -> MixtureSpec:
    named = [source if "mixture" in source else {"collection": "x", **source} for source in sources]
    return MixtureSpec.model_validate({"sources": named, **keys})


@pytest.fixture(scope="session")
def shares(made: Any) -> Any:
    """The share of every task of sources that are given by the sizes of their tasks."""

    def shares_of(asked: MixtureSpec, *sizes: Any, clusters: str = "", sets: str = "", templates: int = 1) -> list[Any]:
        number = 0
        sources: list[Any] = []
        for inner in sizes:
            if isinstance(inner, Branch):
                sources.append(inner)
                continue
            tasks = []
            for size in inner:
                task = made.task(f"x/t{number}", range(size), made.templates(templates))
                task = replace(task, cluster=clusters[number]) if clusters else task
                tasks.append(replace(task, source=sets[number] if sets else ""))
                number += 1
            sources.append(tuple(tasks))
        leaves = weigh(Branch(asked, tuple(sources)))
        whole = sum(leaf.weight for leaf in leaves)
        return [leaf.weight / whole for leaf in leaves]

    return shares_of


def near(*numbers: float) -> Any:
    return pytest.approx(list(numbers), abs=1e-6)


def test_tasks_weigh_as_many_examples_as_they_have(shares: Any) -> None:
    assert shares(spec({}, {}), [10, 30], [60]) == [Fraction(1, 10), Fraction(3, 10), Fraction(6, 10)]


def test_a_cap_limits_the_weight_and_a_source_may_have_its_own(shares: Any) -> None:
    assert shares(spec({}, {"cap": 50}, cap=10), [10, 30], [60]) == near(1 / 7, 1 / 7, 5 / 7)


def test_temperature_two_takes_square_roots(shares: Any) -> None:
    assert shares(spec({}, temperature=2), [100, 400]) == near(1 / 3, 2 / 3)


def test_shares_of_all_sources_are_a_ratio(shares: Any) -> None:
    assert shares(spec({"share": 3}, {"share": 1}), [1, 9], [5]) == near(0.075, 0.675, 0.25)


def test_what_shares_leave_over_goes_to_the_other_sources_by_size(shares: Any) -> None:
    assert shares(spec({"share": 0.4}, {}, {}), [7], [1], [2]) == near(0.4, 0.2, 0.4)


def test_the_part_of_a_source_without_tasks_goes_to_the_others(shares: Any) -> None:
    assert shares(spec({"share": 2}, {"share": 1}, {"share": 1}), [], [1], [1]) == near(0.5, 0.5)
    assert shares(spec({"share": 0.4}, {"share": 0.4}, {}), [], [1], [1]) == near(2 / 3, 1 / 3)
    assert shares(spec({"share": 0.4}, {}), [3], []) == near(1)


def test_balanced_clusters_weigh_the_same_whatever_they_hold(shares: Any) -> None:
    asked = spec({}, {}, balance="clusters")
    assert shares(asked, [10, 30], [1, 500], clusters="aabc") == near(1 / 12, 3 / 12, 1 / 3, 1 / 3)
    assert shares(asked, [10, 30], [40, 500], clusters="abab") == near(0.1, 1.5 / 53, 0.4, 25 / 53)


def test_balanced_clusters_keep_the_shares_of_sources(shares: Any) -> None:
    asked = spec({"share": 0.8}, {}, balance="clusters")
    assert shares(asked, [10, 30, 5], [7], clusters="aabb") == near(0.1, 0.3, 0.4, 0.2)


def test_explicit_weights_split_what_the_source_has_anyhow(shares: Any) -> None:
    asked = spec({"weights": {"x/t0": 3, "t[12]": 1}}, {})
    assert shares(asked, [10, 10, 30], [50]) == near(0.3, 0.1, 0.1, 0.5)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"t0": 1}, "no pattern fits task 'x/t1'"),
        ({"t*": 1, "t0": 2}, "'t0' is the first pattern that fits of no task"),
    ],
)
def test_explicit_weights_that_do_not_fit_are_named(shares: Any, weights: dict[str, float], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        shares(spec({"weights": weights}), [5, 5])
    assert said in str(caught.value)
    assert "mixture.sources.0.weights" in str(caught.value)


def test_tasks_below_the_minimum_are_raised_to_it_and_the_others_pay_in_proportion(shares: Any) -> None:
    assert shares(spec({}, minimum=0.1), [1, 300, 600, 99]) == near(0.1, 0.8 / 3, 1.6 / 3, 0.1)
    assert shares(spec({}, minimum=0.25), [1, 2, 3, 4]) == near(0.25, 0.25, 0.25, 0.25)
    with pytest.raises(RecipeError, match=r"4 tasks of at least .* are more than the whole"):
        shares(spec({}, minimum=0.3), [1, 2, 3, 4])


@given(sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=30), part=st.integers(1, 40))
def test_the_minimum_is_kept_exactly_and_order_is_kept(shares: Any, sizes: list[int], part: int) -> None:
    minimum = 1 / max(part, len(sizes)) / 2
    found = shares(spec({}, minimum=minimum), sizes)
    assert sum(found) == 1
    assert min(found) >= Fraction(Decimal(repr(minimum)))
    ordered = [share for _, share in sorted(zip(sizes, found, strict=True))]
    assert ordered == sorted(ordered)


def test_the_rule_of_t0_counts_every_template_and_bounds_large_data_sets(shares: Any) -> None:
    # A data set of 40 rows and 4 templates: 160. One of 600 with 4: more than 500, so 500 in all.
    assert shares(spec({}, large_set=500), [40, 600], templates=4) == near(160 / 660, 500 / 660)
    # P3 keeps a template a file: three files of one data set share its 500, two small ones count in full.
    assert shares(spec({}, large_set=500), [600, 600, 600, 40, 40], sets="aaabb") == [
        *[Fraction(500, 3) / 580] * 3,
        *[Fraction(40, 580)] * 2,
    ]


def test_an_epoch_counts_capped_and_large_tasks_as_what_they_weigh(made: Any) -> None:
    tasks = made.task("a", made.rows(30), made.templates(2)), made.task("b", made.rows(5), source="another")
    assert len(made.mixed(*tasks, cap=10)) == 15
    assert len(made.mixed(*tasks, large_set=20)) == 20 + 5


def test_a_nested_mixture_keeps_its_own_rules_inside_and_takes_its_share_outside(made: Any) -> None:
    inner = spec({"share": 0.75}, {"share": 0.25, "settings": {"few-shot-1": 1}}, cap=2, temperature=3, seed=9)
    nested = Branch(inner, ((made.task("a", made.rows(9)),), (made.task("b", made.rows(9)),)))
    outer = spec({"mixture": "inner.yaml", "share": 0.2}, {}, seed=1)
    mixture = Mixture(outer, [nested, [made.task("c", made.rows(5))]])
    assert {name: round(float(share), 6) for name, share in mixture.shares.items()} == {"a": 0.15, "b": 0.05, "c": 0.8}
    assert [setting.name for part in mixture.parts for setting in part.settings] == [
        "zero-shot",
        "few-shot-1",
        "zero-shot",
    ]
    assert len(mixture) == 2 + 2 + 5
    assert [part.source for part in mixture.parts] == [0, 0, 1]


def test_clusters_are_not_balanced_inside_a_nested_mixture(made: Any) -> None:
    inner = Branch(spec({}), ((made.task("a", made.rows(9)), made.task("b", made.rows(1), cluster="other")),))
    mixture = Mixture(spec({"mixture": "inner.yaml", "share": 1}, balance="clusters"), [inner])
    assert {name: round(float(share), 6) for name, share in mixture.shares.items()} == {"a": 0.9, "b": 0.1}


def test_a_nested_mixture_without_a_share_counts_as_its_epoch(made: Any) -> None:
    nested = Branch(
        spec({"share": 3}, {"share": 1}, cap=10),
        ((made.task("a", made.rows(50)),),) * 1 + ((made.task("b", made.rows(10)),),),
    )
    mixture = Mixture(spec({"mixture": "inner.yaml"}, {}), [nested, [made.task("c", made.rows(60))]])
    assert {name: float(share) for name, share in mixture.shares.items()} == pytest.approx(
        {"a": 0.1875, "b": 0.0625, "c": 0.75}, abs=1e-6
    )


def test_temperature_acts_on_a_nested_mixture_as_on_a_task(made: Any) -> None:
    nested = Branch(spec({}), ((made.task("a", made.rows(300)), made.task("b", made.rows(100))),))
    mixture = Mixture(spec({"mixture": "inner.yaml"}, {}, temperature=2), [nested, [made.task("c", made.rows(100))]])
    assert {name: float(share) for name, share in mixture.shares.items()} == pytest.approx(
        {"a": 0.5, "b": 1 / 6, "c": 1 / 3}, abs=1e-6
    )


def test_a_task_that_is_in_two_sources_is_named_even_where_one_is_nested(made: Any) -> None:
    nested = Branch(spec({}), ((made.task("a", made.rows(9)),),))
    with pytest.raises(DataError, match=r"task 'a' is in mixture.sources.0 and .1"):
        Mixture(spec({"mixture": "inner.yaml"}, {}), [nested, [made.task("a", made.rows(5))]])


@given(
    sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=12),
    data=st.data(),
    temperature=st.sampled_from([1, 1.5, 4]),
)
def test_weights_are_exact_and_whole_whatever_the_rules(
    shares: Any, sizes: list[int], data: st.DataObject, temperature: float
) -> None:
    clusters = "".join(data.draw(st.sampled_from("abc")) for _ in sizes)
    asked = spec({}, temperature=temperature, balance=data.draw(st.sampled_from(["tasks", "clusters"])))
    found = shares(asked, sizes, clusters=clusters)
    assert sum(found) == 1
    assert min(found) > 0
    if asked.balance == "clusters":
        for cluster in set(clusters):
            part = sum(share for share, name in zip(found, clusters, strict=True) if name == cluster)
            assert abs(part - Fraction(1, len(set(clusters)))) < Fraction(1, 2**50)
