"""Should I instruction-tune before I fine-tune on my task? Four arms, on tasks that tuning saw and on others.

                      as it is            fine-tuned on 16, 64, 256, all rows of one task
    base              at its best         base + fine-tuning
    instruction-tuned zero-shot           tuned + fine-tuning

    base/pocket                                             asked every target task in six ways, once
    tuned/pocket/seed-0                                     the base recipe; asked every target task zero-shot
    fine/tuned/pocket/seed-0/skills/first/16                tuned/pocket/seed-0 + 16 rows of one task; asked that task
    fine/base/pocket/seed-0/skills/first/16                 the same steps on the same rows, from the base
    control/shuffled-targets/pocket/seed-0                  the same tuning with one thing taken away (`controls`)

All arms answer the same test rows of a target task, which no arm was trained on: `test_rows` of each, drawn by key. The
rows of a budget lie within those of the next, and are the same in both arms; another seed draws others, and tunes anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from instil.mixtures.spec import SourceSpec
from instil.recipe import Section
from instil.studies.best import PROBES, ask_name, base_asks
from instil.studies.controls import changes_of, why_not
from instil.studies.grid import Ask, Grid, Run
from instil.studies.spec import StudySpec

if TYPE_CHECKING:
    from instil.evaluation.suite import Suite
    from instil.reports.study_report import StudyReport
    from instil.studies.table import Results

#: What the ask of the target tasks is called.
TARGETS = "targets"
HELD_IN, HELD_OUT = "held_in", "held_out"
Budget = int | Literal["all"]


class Targets(Section):
    """The tasks of a user: each is fine-tuned on by itself."""

    held_in: list[SourceSpec] = Field(default_factory=list)
    """Tasks that the instruction mixture holds, by name."""
    held_out: list[SourceSpec] = Field(min_length=1)
    """Tasks that it does not hold, by name: the verdict is about these."""

    @model_validator(mode="after")
    def _named_once(self) -> Targets:
        seen: set[str] = set()
        for source in (*self.held_in, *self.held_out):
            if not source.tasks:
                raise ValueError(f"target tasks are named one by one: give `tasks` to the source {source.name}")
            for name in source.tasks:
                if name in seen:
                    raise ValueError(f"target task {name!r} stands there twice")
                seen.add(name)
        return self


class Spec(StudySpec):
    """The keys of the study file."""

    targets: Targets
    """The tasks that are asked and fine-tuned on."""
    budgets: list[Budget] = Field(default=[16, 64, 256, "all"], min_length=1)
    """Rows of a target task that are fine-tuned on, besides none at all; `all` is every row that is not tested on."""
    test_rows: int = Field(default=40, ge=8)
    """Rows of each target task that are held out of every arm, and asked."""
    fine_tuning: dict[str, Any]
    """The `tuning` section of every fine-tuning, the same from the base and from the tuned model."""
    max_new_tokens: int = Field(default=64, ge=1)
    """The longest answer, in tokens."""
    shots: int = Field(default=3, ge=1)
    """Worked examples, where the base is asked few-shot."""
    controls: list[str] = Field(default_factory=list)
    """The same tuning with one thing taken away, for the first seed: from-scratch, shuffled-targets, shuffled-tasks,
    plain-text."""

    @field_validator("budgets")
    @classmethod
    def _ascending(cls, budgets: list[Budget]) -> list[Budget]:
        rows = [budget for budget in budgets if isinstance(budget, int)]
        if rows != sorted(set(rows)) or (rows and rows[0] < 1) or "all" in budgets[:-1]:
            raise ValueError("budgets are numbers of rows from few to many, `all` last, such as [16, 64, all]")
        return budgets

    @field_validator("controls")
    @classmethod
    def _known(cls, controls: list[str]) -> list[str]:
        from instil.studies.controls import CONTROLS

        if unknown := next((name for name in controls if name not in CONTROLS), None):
            raise ValueError(f"no control is called {unknown!r}; there are {', '.join(CONTROLS)}")
        return controls

    def sources(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Of each target task: its part, its name, and a source that holds it alone."""
        for part, sources in ((HELD_IN, self.targets.held_in), (HELD_OUT, self.targets.held_out)):
            for source in sources:
                plain = source.model_dump(mode="json", exclude_unset=True)
                for name in source.tasks or ():
                    yield part, name, {**plain, "tasks": [name]}


def grid(spec: Spec) -> Grid:
    """The runs of all arms."""
    return Grid(tuple(run for model in spec.models for run in _of_model(spec, model)))


def _of_model(spec: Spec, model: str) -> Iterator[Run]:
    asked = _ask(spec, list(spec.sources()), trained_on=tuning_recipe(spec, model, spec.seeds[0])["mixture"])
    probes = Ask(TARGETS + PROBES, held_out={**(asked.held_out or {}), "asked": "probes", "shots": spec.shots})
    more = [base_asks(suite, limit=spec.limit, shots=spec.shots) for suite in spec.suites]
    axes = {"model": model, "budget": "0"}
    yield Run(
        f"base/{model}",
        {**axes, "arm": "base"},
        model=model,
        asks=(asked, probes, *(ask for pair in more for ask in pair)),
    )
    suites = tuple(Ask(ask_name(suite), suite=suite, limit=spec.limit) for suite in spec.suites)
    for seed in spec.seeds:
        yield Run(
            tuned_key(model, seed),
            {**axes, "arm": "tuned", "seed": seed},
            recipe=tuning_recipe(spec, model, seed),
            asks=(asked, *suites),
            keep="model",
        )
    for name in spec.controls:
        if why_not(name, spec.recipe, model):
            continue  # the page says why
        seed = spec.seeds[0]
        yield Run(
            f"control/{name}/{model}/seed-{seed}",
            {**axes, "arm": name, "seed": seed},
            recipe=tuning_recipe(spec, model, seed, changes_of(name, spec.recipe)),
            asks=(asked,),
        )
    yield from _fine_tunings(spec, model)


def tuned_key(model: str, seed: int) -> str:
    """The run that instruction-tunes a model."""
    return f"tuned/{model}/seed-{seed}"


def _fine_tunings(spec: Spec, model: str) -> Iterator[Run]:
    """Both arms of fine-tuning, on every target task and budget."""
    for part, name, source in spec.sources():
        for budget in spec.budgets:
            asked = _ask(spec, [(part, name, source)], rows_needed=0 if budget == "all" else budget)
            for seed in spec.seeds:
                recipe = _fine_tuning(spec, model, seed, source, budget)
                for arm in ("base", "tuned"):
                    key = f"fine/{arm}/{model}/seed-{seed}/{name}/{budget}"
                    axes = {"model": model, "budget": str(budget), "arm": arm, "seed": seed, "target": name}
                    yield Run(key, axes, recipe, start=tuned_key(model, seed) if arm == "tuned" else "", asks=(asked,))


def tuning_recipe(spec: Spec, model: str, seed: int, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The instruction tuning, which keeps the test rows of every task out."""
    kept = {"mixture.hold_out.examples": spec.test_rows, "validation.held_out": False}
    return spec.recipe_for(model, seed, {**kept, **(changes or {})})


def _fine_tuning(spec: Spec, model: str, seed: int, source: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """One fine-tuning: rows of one task, and its test rows asked on the way for the learning curve alone."""
    mixture: dict[str, Any] = {"sources": [dict(source)], "hold_out": {"examples": spec.test_rows}}
    if budget != "all":
        mixture |= {"limit": budget, "limit_draw": seed}
    curve = (
        {"limit": spec.test_rows, "methods": ["generate"]}
        if spec.fine_tuning.get("evaluate_every")
        else {"held_out": False}
    )
    whole = spec.recipe_for(model, seed)
    kept: dict[str, Any] = {key: value for key, value in whole.items() if key in {"name", "model", "seed", "data"}}
    return {**kept, "mixture": mixture, "tuning": dict(spec.fine_tuning), "validation": curve}


def _ask(spec: Spec, targets: list[tuple[str, str, dict[str, Any]]], **more: Any) -> Ask:
    """The test rows of target tasks."""
    sources = [source for _, _, source in targets]
    groups: dict[str, list[str]] = {}
    for part, name, _ in targets:
        groups.setdefault(part, []).append(name)
    mixture = {"sources": sources, "hold_out": {"examples": spec.test_rows}}
    return Ask(TARGETS, held_out={"mixture": mixture, "groups": groups, "max_new_tokens": spec.max_new_tokens, **more})


def held_out_rows(spec: Spec) -> Suite:
    """The test rows of the tasks that the mixture does not hold, to be looked for in what it does (`check`)."""
    from instil.studies.target_suite import target_suite

    asked = _ask(spec, [one for one in spec.sources() if one[0] == HELD_OUT])
    return target_suite(asked.held_out or {}, None if spec.data is None else Path(spec.data))


def analyse(spec: Spec, results: Results) -> StudyReport:
    """What the four arms answered."""
    from instil.studies.should_i_report import report

    return report(spec, results)
