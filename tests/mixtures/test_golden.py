"""Prompts that may never change: the same on every machine, whatever is built around them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Hole, Mixture
from instil.mixtures.spec import MixtureSpec
from instil.mixtures.weights import Branch
from instil.records import Example, Prompt, PromptFormat
from instil.tasks.task import Task
from instil.tasks.template import Template


def digest(places: Iterable[Prompt | Hole]) -> str:
    """Names what is read, what is answered, and where both came from."""
    hasher = hashlib.sha256()
    for place in places:
        if isinstance(place, Hole):
            row = ["hole", place.task, place.setting, *place.reasons]
        else:
            row = [place.text(PromptFormat()), place.target, place.answer, *place.options, "", *place.references]
            row += ["", place.task, place.template, place.setting, place.example]
        hasher.update(json.dumps(row).encode())
    return hasher.hexdigest()[:32]


def test_the_prompts_of_the_pocket_recipe_stay(repository: Path) -> None:
    mixture = load_mixture(repository / "recipes" / "pocket.yaml")
    assert digest(mixture[:200]) == "e933284b8daa2a91bad0ceac839e234a"
    assert digest(mixture[10**9 : 10**9 + 50]) == "372d3c79980bfedb85ca014f9328ce61"


def test_the_prompts_of_the_real_mix_stay(repository: Path, data_root: Path) -> None:
    """Without the chain-of-thought sets, whose templates have become more since the first release."""
    mixture = load_mixture(repository / "recipes" / "real-mix.yaml", data_root)
    near = [place for place in mixture[:200] if not place.task.startswith("cot/")]
    far = [place for place in mixture[10**9 : 10**9 + 50] if not place.task.startswith("cot/")]
    assert digest(near) == "525ac1cba4fefc86a1b53d9afd038e1a"
    assert digest(far) == "67dd76ff0d5ca64dba045e8ea2389ffc"


QUESTION = Template("question", "What is {{ a }} plus {{ b }}?", "{{ c }}", answer_choices="{{ c }} ||| {{ a }}")
ASKED = Template("asked", "{{ a }} + {{ b }} = {{ ['?', '...'] | choice }}", "{{ c }}")
STEPS = Template(
    "steps", "Add {{ a }} to {{ b }}.", "{{ b }}, then {{ c }}. So it is {{ c }}.", cot=True, answer="{{ c }}"
)


@dataclass(frozen=True)
class Sums(Sequence[Example]):
    """Rows that are made when asked for."""

    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        return Example(str(index), {"a": index, "b": index % 7, "c": index + index % 7})


def made_up() -> Mixture:
    """Five tasks in three clusters, one source of them nested, every rule of weights at work."""

    def task(number: int, size: int, *templates: Template, cluster: str = "sums") -> Task:
        return Task(f"made/{number}", cluster, "made", templates, Sums(size), content=str(size))

    inner = MixtureSpec.model_validate(
        {
            "sources": [{"collection": "a", "weights": {"*3": 0.7, "*": 0.3}}],
            "settings": {"few-shot-2-mixed": 0.5, "zero-shot": 0.5},
        }
    )
    outer = {
        "sources": [
            {"collection": "b", "share": 0.6, "settings": {"zero-shot": 0.4, "few-shot-2": 0.3, "zero-shot-cot": 0.3}},
            {"mixture": "inner.yaml", "share": 0.3},
            {"collection": "c", "share": 0.1},
        ],
        "seed": 5,
        "temperature": 2.5,
        "cap": 900,
        "balance": "clusters",
        "minimum": 0.02,
    }
    nested = Branch(inner, ((task(3, 50, QUESTION, ASKED), task(4, 5, ASKED, cluster="few")),))
    sources = (task(1, 10**6, QUESTION, ASKED, STEPS), task(2, 10, QUESTION, cluster="other")), nested
    return Mixture(MixtureSpec.model_validate(outer), [*sources, (task(5, 200, QUESTION, cluster="other"),)])


def test_made_up_prompts_are_the_same_on_every_platform() -> None:
    """Golden values: a change here changes what every recipe trains on, so it needs a line in the changelog."""
    mixture = made_up()
    assert digest(mixture[:20]) == "2542c82a790fa855d3657654262badc1"
    far = (10**6, 10**9, 2**32 - 1, 2**32, 10**12 + 7)
    assert digest(mixture[place] for place in far) == "3c750b93539dd0ecc8606e0971ff2d36"
    assert [part.bounds[-1] for part in mixture.parts] == [1288490189, 1288490189, 901943132, 386547057, 429496729]


def read_by(rank: int, workers: int, count: int) -> list[tuple[int, str]]:
    """What one of several workers reads: every `workers`-th place."""
    mixture = made_up()
    return [(index, digest([mixture[index]])) for index in range(rank, count, workers)]


def read_from(start: int, stop: int) -> list[tuple[int, str]]:
    """What a worker reads that has one stretch of the mixture, from a cursor."""
    return [
        (start + number, digest([place])) for number, place in enumerate(islice(made_up().seek(start), stop - start))
    ]


def test_any_number_of_processes_reads_what_one_reads() -> None:
    mixture, count = made_up(), 240
    alone = [(index, digest([mixture[index]])) for index in range(count)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for workers in (1, 2, 3, 5):
            striped = pool.starmap(read_by, [(rank, workers, count) for rank in range(workers)])
            assert sorted(chain(*striped)) == alone
        stretches = [(start, min(start + 77, count)) for start in range(0, count, 77)]
        assert list(chain(*pool.starmap(read_from, stretches))) == alone


def test_a_cursor_starts_anywhere_and_is_what_indexing_gives() -> None:
    mixture = made_up()
    for start in (0, 1, 63, 10**9):
        assert list(islice(mixture.seek(start), 40)) == mixture[start : start + 40]


def test_windows_are_random_access() -> None:
    mixture = made_up()
    assert mixture.window(10**7, 32) == [p for p in mixture[32 * 10**7 : 32 * (10**7 + 1)] if isinstance(p, Prompt)]


@given(k=st.integers(0, 12), block=st.integers(0, 2**40))
def test_every_aligned_block_is_within_one_prompt_of_the_shares_of_tasks_and_settings(k: int, block: int) -> None:
    mixture = made_up()
    counts = Counter(mixture._schedule.at(index)[0] for index in range(block << k, (block + 1) << k))
    for number, part in enumerate(mixture.parts):
        assert abs(counts[number] - part.share * (1 << k)) < 1
    assert sum(part.share for part in mixture.parts) == 1
