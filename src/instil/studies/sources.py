"""Which sources matter, and does diversity? Parts left out, added and alone; sets of many clusters against few.

    all                                          every task of the mixture
    without/ordering                             all but one part      what does it cost?
    start, added/ordering                        a few parts; and one more   what does it bring?
    alone/ordering                               one cluster alone, asked about every other: the transfer matrix
    set/4x2/draw-0                               2 tasks of each of 4 clusters, of a draw that nests them
    set/8x1/draw-0                               as many tasks, of twice as many clusters

Every arm is tuned for the same steps of the same number of prompts; nothing but the tasks differs. A set's diversity is
measured from its prompts before anything is trained (`diversity`), and whether it tells the held-out score is tested on
draws that the fit has not seen (`prediction`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from instil.errors import RecipeError
from instil.recipe import Section
from instil.reports.study_report import Figure, StudyReport, Table
from instil.studies import part_effects, set_effects
from instil.studies.best import ask_name, base_asks
from instil.studies.grid import Ask, Grid, Run
from instil.studies.prediction import SHUFFLES
from instil.studies.spec import StudySpec
from instil.studies.suite_groups import check_groups
from instil.studies.table import Results
from instil.studies.task_pool import TaskPool, open_pool

Feature = Literal["hidden", "ngrams"]


class DiversitySpec(Section):
    """Sets of tasks that differ in number and in clusters."""

    tasks: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    """Which tasks sets are drawn from: names, clusters, collections or patterns."""
    sets: list[tuple[int, int]] = Field(min_length=2)
    """[clusters, tasks of each]: [4, 2] and [8, 1] are eight tasks of few and of many clusters."""
    draws: int = Field(default=3, ge=1)
    """How often the sets are drawn, each time with a training seed of its own; two or more for intervals over draws,
    three for prediction."""
    features: list[Feature] = Field(default=["hidden", "ngrams"], min_length=1)
    """What tells how alike two tasks are: the base's mean hidden states over their prompts, or hashed n-grams of
    them."""
    prompts: int = Field(default=16, ge=1)
    """Prompts of each task that are looked at."""

    @field_validator("sets")
    @classmethod
    def _real_and_once(cls, sets: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if small := next((one for one in sets if min(one) < 1), None):
            raise ValueError(f"{list(small)} is no set: write [clusters, tasks of each], each at least 1")
        if twice := next((one for one in sets if sets.count(one) > 1), None):
            raise ValueError(f"{list(twice)} stands there twice")
        return sets


class Spec(StudySpec):
    """A study of sources and diversity. It is of one model: `models` (or `--model`) names one, and another model is
    another study.
    """

    parts: dict[str, list[str]] = Field(default_factory=dict)
    """The parts of the mixture by name: names of tasks, clusters or collections, or patterns; each cluster is a part
    where nothing is said."""
    leave_out: bool = True
    """Whether each part is left out in turn."""
    add_to: list[str] = Field(default_factory=list)
    """Parts to begin from; each of the others is added to them in turn. None: nothing is added to anything."""
    transfer: Literal["clusters", "parts", "none"] = "clusters"
    """What is trained on alone and asked about all others: every cluster, every part, or nothing."""
    transfer_seeds: list[int] = Field(default_factory=lambda: [0], min_length=1)
    """The seeds of that: it takes the most runs."""
    diversity: DiversitySpec | None = None
    """Sets of few and of many clusters; none by default."""


def grid(spec: Spec) -> Grid:
    """The runs.

    Raises:
        RecipeError: if a part fits no task, two parts share one, the tasks do not suffice for the sets, or nothing is
            asked that is held out.
    """
    check_groups(spec)
    pool = open_pool(spec)
    parts = parts_of(spec, pool)
    model = spec.models[0]
    base = tuple(ask for suite in spec.suites for ask in base_asks(suite, limit=spec.limit))
    runs = [Run(f"base/{model}", _axes(spec, "base"), model=model, asks=base)]
    everything = tuple(name for names in parts.values() for name in names)

    def tuned(key: str, arm: str, names: Sequence[str], seeds: Sequence[int], **axes: Any) -> None:
        runs.extend(
            Run(
                f"{key}/{'draw' if arm == 'set' else 'seed'}-{seed}",
                {**_axes(spec, arm), **axes, "seed": seed, "count": len(names)},
                recipe=pool.recipe(spec, names, seed=seed),
                asks=tuple(Ask(ask_name(suite), suite=suite, limit=spec.limit) for suite in spec.suites),
            )
            for seed in seeds
        )

    if spec.leave_out or spec.add_to or spec.transfer != "none":
        tuned("all", "all", everything, spec.seeds)
    if spec.leave_out:
        for part, names in parts.items():
            rest = [name for name in everything if name not in set(names)]
            tuned(f"without/{part}", "without", rest, spec.seeds, part=part)
    if spec.add_to:
        start = [name for part in spec.add_to for name in parts[part]]
        tuned("start", "start", start, spec.seeds)
        for part in (part for part in parts if part not in spec.add_to):
            tuned(f"added/{part}", "added", [*start, *parts[part]], spec.seeds, part=part)
    for part, names in transfers_of(spec, pool, parts).items():
        tuned(f"alone/{part}", "alone", names, spec.transfer_seeds, part=part)
    for (clusters, each, draw), names in sets_of(spec, pool).items():
        design = f"{clusters}x{each}"
        tuned(f"set/{design}", "set", names, [draw], design=design, of_clusters=clusters, each=each, draw=draw)
    return Grid(tuple(runs))


def _axes(spec: Spec, arm: str) -> dict[str, Any]:
    return {"arm": arm, "model": spec.models[0]}


def parts_of(spec: Spec, pool: TaskPool) -> dict[str, tuple[str, ...]]:
    """The tasks of each part.

    Raises:
        RecipeError: if two parts share a task, a part holds all of them, or `add_to` names none of the parts.
    """
    if spec.parts:
        parts = {part: pool.fitting(patterns, what=f"parts.{part}") for part, patterns in spec.parts.items()}
    else:
        parts = dict(pool.clusters)
    owner: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name in owner:
                raise RecipeError(
                    f"task {name!r} is in two parts: {owner[name]!r} and {part!r}", remedy="Leave it out of one"
                )
            owner[name] = part
    if len(parts) < 2:
        raise RecipeError(
            f"all {len(pool.parts):,} tasks are one part ({next(iter(parts), 'none')}): nothing is left without it",
            remedy="Name smaller parts under `parts`, by clusters, collections or patterns of task names",
        )
    if unknown := [part for part in spec.add_to if part not in parts]:
        raise RecipeError(f"add_to: {unknown[0]!r} is no part", remedy=f"There are {', '.join(parts)}")
    if spec.add_to and len(spec.add_to) >= len(parts):
        raise RecipeError("add_to begins from every part: nothing is left to add", remedy="Take some out of it")
    return parts


def transfers_of(spec: Spec, pool: TaskPool, parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What is trained on alone: rows of the transfer matrix."""
    if spec.transfer == "none":
        return {}
    if spec.transfer == "parts":
        return dict(parts)
    used = {name for names in parts.values() for name in names}
    found = {cluster: tuple(name for name in names if name in used) for cluster, names in pool.clusters.items()}
    return {cluster: names for cluster, names in found.items() if names}


def sets_of(spec: Spec, pool: TaskPool) -> dict[tuple[int, int, int], tuple[str, ...]]:
    """(clusters, tasks of each, draw) -> the tasks of that set."""
    if spec.diversity is None:
        return {}
    design = spec.diversity
    names = pool.fitting(design.tasks, what="diversity.tasks")
    least = max(each for _, each in design.sets)
    return {
        (clusters, each, draw): pool.spread(names, clusters=clusters, each=each, draw=draw, least=least)
        for clusters, each in design.sets
        for draw in range(design.draws)
    }


def analyse(spec: Spec, results: Results) -> StudyReport:
    """What was found: the sets first, where there are some, then the parts."""
    pool = open_pool(spec)
    parts = parts_of(spec, pool)
    figures: list[Figure] = []
    tables: list[Table] = []
    effects = part_effects.effects(spec, results, pool, parts)
    verdict, findings, claims = effects.verdict, list(effects.findings), list(effects.claims)
    if spec.diversity is not None:
        sets = set_effects.effects(spec, spec.diversity, results, pool, sets_of(spec, pool))
        verdict, findings, claims = sets.verdict, [*sets.findings, *findings], [*sets.claims, *claims]
        figures, tables = list(sets.figures), list(sets.tables)
    return {
        "question": "Which collections and clusters matter, and does diversity?",
        "title": f"sources: {spec.models[0]}",
        "verdict": verdict,
        "findings": findings,
        "claims": claims,
        "figures": [*figures, *effects.figures],
        "tables": [*tables, *effects.tables],
        "method": _method(spec, results, parts),
        "choices": _choices(spec, parts),
        "missing": [f"{one.run}: {one.state}, {one.reason}" for one in results.missing],
    }


def _method(spec: Spec, results: Results, parts: Mapping[str, Sequence[str]]) -> list[str]:
    tokens = [
        int(facts["tokens"]) for run in results.runs() if (facts := results.facts(run.key)) and facts.get("tokens")
    ]
    spent = f" They read {min(tokens):,} to {max(tokens):,} tokens, as prompts differ in length." if tokens else ""
    same = (
        "Every arm is the same recipe from the same base, for the same number of steps and of prompts a step; only "
        f"the tasks that prompts are drawn from differ, so more tasks never mean more training.{spent}"
    )
    asked = (
        f"The mixture has {len(parts)} parts with {sum(map(len, parts.values()))} tasks. All arms are asked the same "
        "questions zero-shot and must match exactly. The base is asked in every way that could bring it to answer, and "
        "stands at its best."
    )
    paragraphs = [same, asked]
    if spec.diversity is not None:
        paragraphs.append(
            "Sets take so many tasks of each of so many clusters, both by keyed order. Within a draw they nest: the "
            "set of fewer tasks lies within that of more, and the same clusters come first. Each draw has a training "
            "seed of its own, so an interval over draws covers both. Diversity is the Vendi score (Friedman and Dieng "
            f"2023) of {spec.diversity.prompts} prompts a task, without their answers: of the base's mean last hidden "
            "states, less their mean over tasks, or of hashed words and pairs of words, weighed by how few tasks have "
            "them."
        )
        paragraphs.append(
            "Prediction: least squares of the held-out score on the logarithms of count and diversity, fitted on all "
            "draws but one and asked about that one. The random baseline deals the diversities out anew among the sets "
            f"of one draw and count, {SHUFFLES} times; p is how often that predicts as well."
        )
    return paragraphs


def _choices(spec: Spec, parts: Mapping[str, Sequence[str]]) -> list[list[Any]]:
    tuning = spec.recipe_for(spec.models[0], spec.seeds[0]).get("tuning", {})
    rows: list[list[Any]] = [
        ["model", spec.models[0]],
        ["seeds", ", ".join(map(str, spec.seeds))],
        *([f"tuning.{key}", value] for key, value in tuning.items()),
        ["suites", ", ".join(spec.suites)],
        ["held in", ", ".join(spec.held_in)],
        ["held out", ", ".join(spec.held_out)],
        ["smallest gain that matters", spec.smallest_gain],
        ["parts", "; ".join(f"{part} ({len(names)})" for part, names in parts.items())],
        ["each part left out", spec.leave_out],
        ["added to", ", ".join(spec.add_to) or "nothing"],
        ["alone", f"{spec.transfer}, seeds {', '.join(map(str, spec.transfer_seeds))}"],
    ]
    if spec.diversity is not None:
        listed = ", ".join(f"{clusters} x {each}" for clusters, each in spec.diversity.sets)
        rows += [
            ["sets (clusters x tasks of each)", listed],
            ["sets are drawn from", ", ".join(spec.diversity.tasks)],
            ["draws", spec.diversity.draws],
            ["measures of diversity", ", ".join(spec.diversity.features)],
            ["prompts a task looked at", spec.diversity.prompts],
        ]
    return rows
