"""Facts beside task files: matched by name, then by pattern; what is unsaid stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from instil.errors import RecipeError
from instil.records import Example
from instil.tasks.catalogue import Catalogue, Entry, load_catalogue, shipped
from instil.tasks.task import Task
from instil.tasks.template import Template

#: FLAN v1 has 17 clusters; two sets of Flan 2021 are in none of them.
FLAN_CLUSTERS = 17 + 2


def task(name: str) -> Task:
    template = Template("t", "{{ q }}", "{{ a }}")
    return Task(name, "as read", "hub", (template,), [Example("1", {"q": "?", "a": "!"})], licence="as read")


def test_a_name_goes_before_a_pattern_and_patterns_go_in_order() -> None:
    catalogue = Catalogue(
        "own", tasks={"b*": Entry(cluster="first"), "*": Entry(cluster="second"), "bc": Entry(cluster="exact")}
    )
    assert catalogue.describe(task("hub/bc")).cluster == "exact"
    assert catalogue.describe(task("hub/bd")).cluster == "first"
    assert catalogue.describe(task("hub/x")).cluster == "second"


def test_what_is_not_said_stays() -> None:
    catalogue = Catalogue("own", tasks={"b": Entry(cluster="said")})
    assert catalogue.describe(task("hub/b")).licence == "as read"
    unnamed = task("hub/other")
    assert catalogue.describe(unnamed) is unnamed


def test_flan_2021_knows_the_clusters_and_licences_of_its_sets() -> None:
    catalogue = load_catalogue("flan-2021")
    assert len({entry.cluster for entry in catalogue.tasks.values()}) == FLAN_CLUSTERS
    described = catalogue.describe(task("hub/glue/mnli:2.0.0"))
    assert (described.cluster, described.licence) == ("entailment", "OANC")
    assert "2301.13688" in described.citation


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_catalogue_says_cluster_and_licence_of_every_entry(name: str) -> None:
    assert all(entry.cluster and entry.licence for entry in load_catalogue(name).tasks.values())


def test_a_file_of_ones_own_is_found_from_the_data_root(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("tasks: {'support-*': {cluster: support, licence: CC BY 4.0}}")
    assert load_catalogue("mine.yaml", tmp_path).describe(task("jsonl/support-1")).licence == "CC BY 4.0"


def test_an_unknown_catalogue_names_those_there_are() -> None:
    with pytest.raises(RecipeError, match="flan-2021"):
        load_catalogue("flan")


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("tasks: {x: {license: MIT}}")
    with pytest.raises(RecipeError, match="licence"):
        load_catalogue("mine.yaml", tmp_path)
