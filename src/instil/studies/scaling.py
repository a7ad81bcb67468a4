"""How many tasks, and how large a model: the same tuning on nested random parts of the tasks, for each model.

    counts: [1, 4, 16, 64]    draws: [0, 1]    models: [small, large]          2 x 4 x 2 runs, and each base once

    draw 0    { sort } in { sort, spell, first, ... } in 16 tasks in 64      within a draw a part lies in the next
    draw 1    { ends } in { ends, odd one, ... }      in 16 tasks in 64      several draws: count is not "which tasks"

The same steps for every run, and as many tokens in a step (`equal_tokens`): more tasks means fewer rows of each, never
more training. Two more axes keep all tasks and take a part of each: `instances` rows, or `templates`; they are drawn by
key and nested in the same way. Every draw is trained with a seed of its own, so what varies between draws is both.

What is read: scores of tasks that no run was trained on, scores of the tasks that a run was trained on, and curves
through them (`fits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator, model_validator

from instil.errors import RecipeError
from instil.studies.best import ask_name, base_asks
from instil.studies.equal_tokens import lengths
from instil.studies.grid import Ask, Grid, Run
from instil.studies.spec import StudySpec
from instil.studies.suite_groups import check_groups

if TYPE_CHECKING:
    from instil.reports.study_report import StudyReport
    from instil.studies.table import Results

#: Axis -> the key of the study file that lists its amounts.
AXES: Mapping[str, str] = {"tasks": "counts", "instances": "instances", "templates": "templates"}
BASE = "base"


class Spec(StudySpec):
    """What a study of scaling says."""

    counts: list[int] = Field(default_factory=list)
    """Numbers of tasks, ascending."""
    draws: list[int] = Field(default=[0, 1], min_length=1)
    """Which random draws, of tasks and of rows and templates. The k-th is trained with the k-th of `seeds`, which go
    round."""
    stratified: bool = True
    """Whether every cluster gives its share of the tasks, as far as whole tasks allow."""
    instances: list[int] = Field(default_factory=list)
    """Numbers of rows of each task, with all tasks."""
    templates: list[int] = Field(default_factory=list)
    """Numbers of templates of each task, with all tasks and rows."""
    also: list[str] = Field(default_factory=list)
    """Further groups of the suites, each reported by itself, such as a negative control."""

    @field_validator("counts", "instances", "templates")
    @classmethod
    def _ascending(cls, amounts: list[int]) -> list[int]:
        if amounts and (len(amounts) < 2 or amounts[0] < 1 or amounts != sorted(set(amounts))):
            raise ValueError(f"needs two different amounts or more, ascending from 1, got {amounts}")
        return amounts

    @field_validator("draws")
    @classmethod
    def _different(cls, draws: list[int]) -> list[int]:
        if len(set(draws)) < len(draws):
            raise ValueError(f"a draw stands there twice in {draws}")
        return draws

    @model_validator(mode="after")
    def _an_axis(self) -> Spec:
        if not self.axes:
            raise ValueError("no axis to scale along; give `counts`, such as [4, 16, 64]")
        return self

    @property
    def axes(self) -> dict[str, list[int]]:
        """The axes asked for, with their amounts."""
        return {axis: amounts for axis, key in AXES.items() if (amounts := getattr(self, key))}

    def seed_of(self, draw: int) -> int:
        """The seed that a draw is trained with."""
        return self.seeds[self.draws.index(draw) % len(self.seeds)]


def grid(spec: Spec) -> Grid:
    """Each base once, and each amount of each axis in each draw for each model.

    Raises:
        RecipeError: if the recipe decides an axis itself, there are fewer tasks, rows or templates than asked for, or a
            group is in no suite.
    """
    _check_recipe(spec)
    check_groups(spec, spec.also)
    _check_amounts(spec)
    runs = [
        Run(
            f"base/{model}",
            {"model": model, "axis": BASE},
            model=model,
            asks=tuple(ask for suite in spec.suites for ask in base_asks(suite, limit=spec.limit)),
        )
        for model in spec.models
    ]
    asks = tuple(Ask(ask_name(suite), suite=suite, limit=spec.limit) for suite in spec.suites)
    for model in spec.models:
        for axis, amount, draw, changes in _equal(spec, model):
            runs.append(
                Run(
                    f"{axis}-{amount}/{model}/draw-{draw}",
                    {"model": model, "axis": axis, "amount": amount, "draw": draw, "seed": spec.seed_of(draw)},
                    recipe=spec.recipe_for(model, spec.seed_of(draw), changes),
                    asks=asks,
                )
            )
    return Grid(tuple(runs))


def changes_of(spec: Spec, axis: str, amount: int, draw: int) -> dict[str, Any]:
    """What differs from the base recipe."""
    if axis == "tasks":
        return {"mixture.subset": {"tasks": amount, "draw": draw, "stratified": spec.stratified}}
    if axis == "instances":
        return {"mixture.limit": amount, "mixture.limit_draw": draw}
    return {"mixture.templates_per_task": amount, "mixture.templates_draw": draw}


def _equal(spec: Spec, model: str) -> list[tuple[str, int, int, dict[str, Any]]]:
    """Axis, amount, draw and what differs from the base recipe, so that every step has as many tokens.

    Raises:
        RecipeError: if there are too few tasks.
    """
    data = None if spec.data is None else Path(spec.data)
    per_step = int((spec.recipe.get("tuning") or {}).get("prompts_per_step", 64))
    tokens = lengths(spec.recipe_for(model, spec.seeds[0]), data).tokens * per_step
    found = []
    for axis, amounts in spec.axes.items():
        for amount in amounts:
            for draw in spec.draws:
                changes = changes_of(spec, axis, amount, draw)
                size = lengths(spec.recipe_for(model, spec.seed_of(draw), changes), data)
                found.append((axis, amount, draw, changes | {"tuning.prompts_per_step": size.prompts_for(tokens)}))
    return found


def _check_recipe(spec: Spec) -> None:
    """Refuse a base recipe whose mixture decides what the study is to vary."""
    mixture = spec.recipe.get("mixture") or {}
    own = {"tasks": ("subset",), "instances": ("limit", "limit_draw"), "templates": ("templates_per_task",)}
    for axis in spec.axes:
        if taken := next((key for key in own[axis] if mixture.get(key) is not None), None):
            raise RecipeError(
                f"the recipe's mixture has a {taken} of its own, and the study varies {axis}",
                remedy=f"Take {taken} out of the recipe, or {AXES[axis]} out of the study",
            )
    limited = [source for source in mixture.get("sources", ()) if source.get("limit") is not None]
    if "instances" in spec.axes and limited:
        raise RecipeError(
            f"source {limited[0].get('collection')!r} of the recipe has its own limit, so instances would not vary",
            remedy="Take its limit out, or instances out of the study",
        )


def _check_amounts(spec: Spec) -> None:
    """Refuse amounts that no task or not enough tasks can give, with the numbers."""
    from instil.experiments.recipe import resolve  # imports torch
    from instil.mixtures.load import assemble

    recipe = resolve(spec.recipe_for(spec.models[0], spec.seeds[0]))
    tasks = assemble(recipe.mixture, data=None if recipe.data is None else Path(recipe.data)).tasks
    rows, templates = max(task.size for task in tasks), max(len(task.templates) for task in tasks)
    _refuse_beyond("counts", spec.counts, len(tasks), f"the mixture has {len(tasks):,} tasks")
    _refuse_beyond("instances", spec.instances, rows, f"the largest of {len(tasks):,} tasks has {rows:,} rows")
    told = f"no task has more than {templates:,} templates"
    _refuse_beyond("templates", spec.templates, templates, told)


def _refuse_beyond(key: str, amounts: Sequence[int], most: int, there: str) -> None:
    if amounts and amounts[-1] > most:
        raise RecipeError(
            f"{key}: {amounts[-1]:,} are asked for, and {there}", remedy=f"Ask for at most {most:,}, or add data"
        )


def analyse(spec: Spec, results: Results) -> StudyReport:
    """Scores and curves by model and axis."""
    from instil.studies.scaling_report import report_of

    return report_of(spec, results)
