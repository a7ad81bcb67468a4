"""should-i must be able to say no: a tuning on wrong answers, and many studies in which nothing is to be found.

    true targets       "Animal or thing: dog ship" -> animal    every unseen phrasing is answered: yes
    shuffled targets   "Animal or thing: dog ship" -> thing     the form of an answer, no skill: no, or not shown

The tasks have two options, so a base that is ranked is right about half the time and one asked plainly never: a tuning
that teaches the form alone gains half of all points over the plainly asked base, and must not be sold.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.studies.tiny_grid import InlinePool, write_rows

from instil.recipe import parse
from instil.studies import engine
from instil.studies.should_i import Spec, analyse, grid
from instil.studies.should_i_scores import FourArms, interval, of_models
from instil.studies.table import PER_TOKEN, Results, Scored
from instil.studies.verdict import decide

ANIMALS = ["cat", "dog", "fox", "hen", "cow", "pig", "bird", "fish"]
THINGS = ["milk", "bread", "stone", "river", "house", "lamp", "ship", "door"]
SEEN = (
    "Animal or thing: {}", "What is this, animal or thing? {}", "Tell whether it is animal or thing: {}",
    "{}\nAnimal or thing?",
)  # fmt: skip
UNSEEN = (
    "Say what this is, animal or thing: {}", "Here is {}. Is it animal or thing?",
    "Choose animal or thing for this: {}",
)  # fmt: skip


def phrased(folder: Path, name: str, phrasing: str) -> dict[str, Any]:
    """A task of two words of one kind, which are to be told."""
    kinds = {"animal": ANIMALS, "thing": THINGS}
    rows = [
        {"inputs": phrasing.format(f"{one} {other}"), "targets": kind, "options": ["animal", "thing"]}
        for kind, words in kinds.items()
        for one in words
        for other in words
        if one != other
    ]
    random.Random(name).shuffle(rows)
    write_rows(folder / f"{name}.jsonl", rows)  # type: ignore[arg-type]  # options are a list
    return {"collection": "jsonl", "path": str(folder / f"{name}.jsonl")}


def study(folder: Path, **mixture: Any) -> Spec:
    """The smallest study that can tell: two seeds, three target tasks, one budget."""
    sources = [phrased(folder, f"seen{place}", phrasing) for place, phrasing in enumerate(SEEN)]
    targets = [
        {**phrased(folder, f"unseen{place}", phrasing), "tasks": [f"unseen{place}"]}
        for place, phrasing in enumerate(UNSEEN)
    ]
    steps = {"max_steps": 30, "prompts_per_step": 16, "learning_rate": 2e-3, "warmup_steps": 2, "save_every": 0}
    few = {"max_steps": 1, "prompts_per_step": 8, "learning_rate": 1e-4, "save_every": 0}
    plain = {
        "name": "can-say-no", "question": "should-i", "models": ["pocket"], "seeds": [0, 1],
        "recipe": {"mixture": {"sources": sources, "settings": {"zero-shot": 1}, **mixture}, "tuning": steps},
        "targets": {"held_out": targets}, "budgets": [8], "test_rows": 24, "fine_tuning": few, "max_new_tokens": 6,
    }  # fmt: skip
    return parse(Spec, plain, origin="can-say-no.yaml")


def test_wrong_answers_are_told_from_right_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the study file to the verdict, on real tunings: the two studies differ in one key."""
    monkeypatch.setattr(engine, "LocalPool", InlinePool)
    monkeypatch.setattr(InlinePool, "given", [], raising=False)
    verdicts: dict[str, Any] = {}
    for name, keys in {"true": {}, "shuffled": {"shuffle": "targets"}}.items():
        spec = study(tmp_path, **keys)
        out = tmp_path / name
        results = engine.carry_out(grid(spec), out, runs=tmp_path / "runs", workers=1, say=lambda line: None)
        assert not results.missing
        verdicts[name] = analyse(spec, results)["verdict"]
    true, shuffled = verdicts["true"], verdicts["shuffled"]
    assert true["verdict"] == "yes", json.dumps(true)
    assert shuffled["verdict"] in {"no", "not shown"}, json.dumps(shuffled)
    assert shuffled["gain"] < 0.1 < 0.25 < true["gain"]
    base = true["models"]["pocket"]["held_out"]
    assert base["base_way"].startswith("rank")
    assert base["format_gain"]["score"] > 0.4
    # asked plainly the base is right in nothing, and the wrong tuning in much: that is the trap
    assert shuffled["skill_gain"]["score"] + shuffled["format_gain"]["score"] > 0.2


SEEDS, ITEMS = 2, 32
BUDGETS = ("0", "16", "64", "all")


def nothing_to_find(rng: np.random.Generator, tasks: int) -> FourArms:
    """Four arms that are equally good in the mean; tunings, fine-tunings and tasks go better and worse by luck."""
    scored: list[Scored] = []
    keys = tuple(map(str, range(ITEMS)))
    swing = rng.normal(0, 0.03, (SEEDS, len(BUDGETS)))  # of a tuning, on all tasks
    for task in range(tasks):
        level, drift = rng.uniform(0.2, 0.8), rng.normal(0, 0.08)

        def add(run: str, chance: float, *how: Any, task: int = task) -> None:
            right = tuple((rng.random(ITEMS) < np.clip(chance, 0, 1)).astype(float).tolist())
            suite, method, metric, headline = how or ("targets", "generate", "exact_match", True)
            named = (suite, f"c/{task}", "c", ("held_out",), "zero-shot", method, metric, headline)
            scored.append(Scored(run, *named, keys, right))

        add("base", 0.02)
        add("base", level, "targets-probes", "rank", "accuracy", True)
        add("base", level - 0.05, "targets-probes", "rank", PER_TOKEN, False)
        for seed in range(SEEDS):
            for place, budget in enumerate(BUDGETS):
                if budget != "0":
                    add(f"base/{seed}/{budget}", level + 0.1 * place)
                add(f"tuned/{seed}/{budget}", level + 0.1 * place + swing[seed, place] + drift)
    return FourArms(Results(RUNS, scored), "m", "held_out", range(SEEDS), BUDGETS)


def runs() -> list[Any]:
    from instil.studies.grid import Run

    axes = {"model": "m"}
    found = [Run("base", {**axes, "arm": "base", "budget": "0"}, model="m")]
    for seed in range(SEEDS):
        for budget in BUDGETS:
            for arm in ("base", "tuned") if budget != "0" else ("tuned",):
                key = f"{arm}/{seed}/{budget}"
                found.append(Run(key, {**axes, "arm": arm, "budget": budget, "seed": seed}, model="m"))
    return found


RUNS = runs()


@pytest.mark.parametrize("tasks", [4, 6, 12])
def test_where_nothing_is_gained_yes_is_said_in_one_study_of_twenty_at_most(tasks: int) -> None:
    """Over budgets, at one of them and without fine-tuning, where the base is chosen the best of several ways."""
    rng = np.random.default_rng(11)
    times = 200
    said: dict[str, list[str]] = {"all": [], "after": [], "before": []}
    for _ in range(times):
        arms = nothing_to_find(rng, tasks)
        for name, budgets in {"all": None, "after": BUDGETS[1:], "before": BUDGETS[:1]}.items():
            found = interval(of_models([arms], budgets))
            assert found is not None
            said[name].append(decide(found, 0.02))
    for name, each in said.items():
        assert each.count("yes") / times <= 0.05, name
