"""Shuffled mixtures: wrong answers that are of the right kind, the same on every machine, and known by their names."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from instil.errors import RecipeError
from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Mixture
from instil.records import Prompt
from instil.tasks.template import RenderRefused

ROWS = {f"q{k}": f"answer {k}" for k in range(30)}


def written(path: Path, rows: dict[str, str], **more: Any) -> str:
    lines = [{"inputs": question, "targets": answer, **more} for question, answer in rows.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> list[dict[str, Any]]:
    first = written(tmp_path / "first.jsonl", ROWS)
    second = written(tmp_path / "second.jsonl", {f"s{k}": f"other {k}" for k in range(30)})
    return [{"collection": "jsonl", "path": path} for path in (first, second)]


def pairs(mixture: Mixture, count: int = 120) -> dict[str, str]:
    prompts = [prompt for prompt in mixture[:count] if isinstance(prompt, Prompt)]
    assert len(prompts) == count
    found = {prompt.input: prompt.target for prompt in prompts}
    assert all(found[prompt.input] == prompt.target for prompt in prompts)  # the same in every epoch
    return found


def test_every_prompt_has_the_target_of_another_row_of_its_task(sources: list[dict[str, Any]]) -> None:
    found = pairs(load_mixture({"sources": sources, "shuffle": "targets"}))
    assert len(found) == 60
    for question, target in found.items():
        assert target.startswith("answer" if question.startswith("q") else "other")
        assert target.rpartition(" ")[2] != question[1:]
    # a row gives to none, one or several: who gives is drawn for each row
    assert len(set(found.values())) > 30


def test_or_of_a_row_of_another_task(sources: list[dict[str, Any]]) -> None:
    found = pairs(load_mixture({"sources": sources, "shuffle": "tasks"}))
    for question, target in found.items():
        assert target.startswith("other" if question.startswith("q") else "answer")


def test_the_prompts_themselves_stay_as_they_are(sources: list[dict[str, Any]]) -> None:
    plain, shuffled = (load_mixture({"sources": sources, **more}) for more in ({}, {"shuffle": "targets"}))
    assert [place.input for place in plain[:50]] == [place.input for place in shuffled[:50]]  # type: ignore[union-attr]
    assert "shuffle: targets: every target is that of another row, which is a control" in shuffled.remarks


def test_exemplars_are_as_wrong_as_their_rows_are_as_queries(sources: list[dict[str, Any]]) -> None:
    mixture = load_mixture({"sources": sources, "shuffle": "targets", "settings": {"few-shot-3": 1}})
    found = pairs(load_mixture({"sources": sources, "shuffle": "targets"}))
    for place in mixture[:40]:
        assert isinstance(place, Prompt)
        assert [shown.target for shown in place.exemplars] == [found[shown.input] for shown in place.exemplars]
        assert len(place.exemplars) == 3


def test_what_is_drawn_is_in_the_fingerprint_and_depends_on_the_seed(sources: list[dict[str, Any]]) -> None:
    specs = [{}, {"shuffle": "targets"}, {"shuffle": "tasks"}, {"shuffle": "targets", "seed": 1}]
    mixtures = [load_mixture({"sources": sources, **spec}) for spec in specs]
    assert len({mixture.fingerprint for mixture in mixtures}) == 4
    assert pairs(mixtures[1]) != pairs(mixtures[3])
    again = load_mixture({"sources": sources, "shuffle": "targets"})
    assert again.fingerprint == mixtures[1].fingerprint
    assert again[77] == mixtures[1][77]


def test_targets_of_another_task_are_in_the_fingerprint(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    before = load_mixture({"sources": sources, "shuffle": "tasks"}).tasks[0]
    written(tmp_path / "second.jsonl", {f"s{k}": f"changed {k}" for k in range(30)})
    after = load_mixture({"sources": sources, "shuffle": "tasks"}).tasks[0]
    assert [row.fields for row in before.examples] == [row.fields for row in after.examples]
    assert before.fingerprint != after.fingerprint


def test_options_stay_the_prompts_own_and_labels_keep_their_share(tmp_path: Path) -> None:
    rows = {f"q{k}": "yes" if k % 4 else "no" for k in range(200)}
    path = written(tmp_path / "labels.jsonl", rows, options=["yes", "no"])
    mixture = load_mixture({"sources": [{"collection": "jsonl", "path": path}], "shuffle": "targets"})
    prompts = [place for place in mixture[:200] if isinstance(place, Prompt)]
    assert all(prompt.options == ("yes", "no") and prompt.references == (prompt.target,) for prompt in prompts)
    shares = Counter(prompt.target for prompt in prompts)
    assert 0.65 < shares["yes"] / 200 < 0.85
    right = sum(prompt.target == rows[prompt.input] for prompt in prompts) / 200
    assert 0.5 < right < 0.75, "as often right as chance has it (0.625): neither the truth nor its opposite"


def test_an_answer_among_options_of_its_own_row_becomes_the_option_in_the_same_place(tmp_path: Path) -> None:
    lines = [
        {"inputs": f"q{k}", "targets": f"{k}-b" if k % 2 else f"{k}-a", "options": [f"{k}-a", f"{k}-b"]}
        for k in range(40)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for settings in ({"zero-shot": 1}, {"zero-shot-options": 1}):
        spec = {"sources": [{"collection": "jsonl", "path": str(path)}], "settings": settings, "shuffle": "targets"}
        mixture = load_mixture(spec)
        targets = Counter()
        for place in mixture[:40]:
            assert isinstance(place, Prompt)
            assert place.target in place.options
            targets[place.options.index(place.target)] += 1
        assert min(targets.values()) > 5


def test_chains_of_thought_take_reasoning_and_answer_from_one_row() -> None:
    spec = {"sources": [{"collection": "pocket", "tasks": ["pocket/compositions/*"]}], "limit": 40}
    mixture = load_mixture(spec | {"settings": {"zero-shot-cot": 1}, "shuffle": "targets"})
    for place in mixture[:40]:
        assert isinstance(place, Prompt)
        assert place.target.endswith(f"So the answer is {place.answer}.")


def test_one_row_or_one_task_cannot_be_shuffled(tmp_path: Path) -> None:
    path = written(tmp_path / "one.jsonl", {"q": "a"})
    with pytest.raises(RecipeError, match="takes targets from other rows, and"):
        load_mixture({"sources": [{"collection": "jsonl", "path": path}], "shuffle": "targets"})
    with pytest.raises(RecipeError, match="takes targets from other tasks, and there is one"):
        load_mixture({"sources": [{"collection": "jsonl", "path": path}], "shuffle": "tasks"})


def test_a_row_without_another_that_renders_is_a_hole(sources: list[dict[str, Any]]) -> None:
    mixture = load_mixture({"sources": sources[:1], "shuffle": "targets", "limit": 2})
    (task,) = mixture.tasks
    inner = task.templates[0].inner  # type: ignore[attr-defined]
    query = task.examples[0]

    class Refusing:
        name, cot, inverted, shows_options, fingerprint = "refusing", False, False, None, "x"

        def render(self, example: Any, *, seed: int) -> Any:
            if example.key != query.key:
                raise RenderRefused("bad", reason="bad")
            return inner.render(example, seed=seed)

    template = type(task.templates[0])(Refusing(), task, task.templates[0].donors, 3)  # type: ignore[attr-defined,call-arg]
    with pytest.raises(RenderRefused, match="finds no other row"):
        template.render(query, seed=0)
