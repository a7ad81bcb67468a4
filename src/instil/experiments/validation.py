"""What a run asks its model while it learns, and what the best weights may be chosen by.

    mixture: {hold_out: {examples: 50}}     50 rows of each trained task        -> suite `validation`
    validation: {suites: [mine.yaml]}       suites of one's own                 -> suite `mine`
    step 200   {"score": 0.61, "loss": 0.84, "validation": 0.58, "validation/held_in": 0.58, "mine": 0.64}

`score` is the mean of the suites, `loss` that over the tokens of all their answers. Rows that the run's evaluation asks
are refused: whoever chooses on the test cannot report it. `watched` suites are asked as well and decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedModel

from instil.errors import DataError, RecipeError
from instil.evaluation.evaluate import evaluate_suite
from instil.evaluation.source import SuiteSource
from instil.evaluation.spec import SuiteSpec, cells_of, load_suite
from instil.evaluation.suite import Suite
from instil.experiments.measure import refuse_leaks
from instil.experiments.recipe import Recipe, ValidationSpec
from instil.fingerprint import fingerprint
from instil.mixtures.encode import Encoder
from instil.mixtures.mixture import Mixture
from instil.models.loading import LoadedModel
from instil.records import Encoded
from instil.tuning.held_out import answer_loss
from instil.tuning.sft import TuningSpec

#: The suite of the examples that the mixture holds out.
HELD_OUT = "validation"
LOSS, SCORE = "loss", "score"


@dataclass(frozen=True)
class Validation:
    """Suites to be asked again and again; `watched` ones decide nothing."""

    suites: tuple[Suite, ...]
    watched: tuple[Suite, ...] = ()
    limit: int | None = None

    @property
    def fingerprint(self) -> str:
        """Names all that can decide which weights are the best."""
        return fingerprint([[suite.fingerprint for suite in self.suites], self.limit])

    def names(self) -> list[str]:
        """The figures that weights may be chosen by."""
        return [LOSS, SCORE, *(name for suite in self.suites for name in _names(suite))]

    def on(self, loaded: LoadedModel, encoder: Encoder, spec: TuningSpec) -> Validating:
        """What asks this model."""
        return Validating(self, loaded, encoder, spec)


@dataclass
class Validating:
    """Asks one model: an `Evaluate` of the loop."""

    validation: Validation
    loaded: LoadedModel
    encoder: Encoder
    spec: TuningSpec
    _encoded: list[Encoded] = field(default_factory=list)

    def __call__(self, step: int, model: PreTrainedModel) -> Mapping[str, float]:
        """The figures after a step."""
        loaded = replace(self.loaded, model=model)  # where several devices hold it in parts, this is it as a whole
        figures: dict[str, float] = {}
        scores = []
        for suite in self.validation.suites:
            found = self._asked(loaded, suite)
            scores.append(found[suite.name])
            figures |= found
        figures = {SCORE: sum(scores) / len(scores), LOSS: self._loss(loaded)} | figures if scores else {}
        for suite in self.validation.watched:
            figures |= {f"watched/{name}": score for name, score in self._asked(loaded, suite).items()}
        return figures

    def _asked(self, loaded: LoadedModel, suite: Suite) -> dict[str, float]:
        results = evaluate_suite(loaded, suite, limit=self.validation.limit).results
        if results["overall"] is None:
            raise DataError(f"suite {suite.name!r} asked nothing that could be answered", remedy="Look at its tasks")
        found = {suite.name: float(results["overall"]["score"])}
        for row in results["groups"]:  # the first row of a group is its first setting by its first metric
            found.setdefault(f"{suite.name}/{row['group']}", float(row["score"]))
        return found

    def _loss(self, loaded: LoadedModel) -> float:
        if not self._encoded:
            items = [
                item
                for suite in self.validation.suites
                for cell in suite.cells
                for item in cell.asked(seed=suite.seed, limit=self.validation.limit)
            ]
            self._encoded = self.encoder.encode_batch([item.prompt for item in items if item.prompt is not None])
        return answer_loss(loaded, self._encoded, self.spec)


def open_validation(recipe: Recipe, mixture: Mixture, suites: Sequence[Suite], data: Path | None) -> Validation | None:
    """What the recipe asks while tuning; None where that is nothing.

    Args:
        recipe: its `validation`, `mixture.hold_out.examples`, and the keys of `tuning` that use them.
        mixture: with the examples that it holds out.
        suites: what the evaluation asks.
        data: the root of the data sets.

    Raises:
        RecipeError: if something is asked that nobody looks at, or weights would be chosen by what is not asked.
        DataError: if a suite asks what is trained on or what the evaluation asks.
    """
    spec, tuning = recipe.validation, recipe.tuning
    own = (_of_held_out(mixture, spec),) if mixture.held_out and spec.held_out else ()
    chosen = (*own, *(load_suite(name, data) for name in spec.suites))
    watched = tuple(load_suite(name, data) for name in spec.watched)
    if not chosen and not watched:
        if tuning.evaluate_every:
            raise RecipeError(
                "tuning.evaluate_every is given, and nothing to ask",
                remedy="Give validation.suites, or mixture.hold_out.examples to keep examples for it",
            )
        return None
    if not tuning.evaluate_every:
        raise RecipeError("validation needs tuning.evaluate_every", remedy="Give the steps between two evaluations")
    names = [suite.name for suite in (*chosen, *watched)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RecipeError(f"validation asks two suites named {twice!r}", remedy="Rename one of them")
    refuse_leaks(chosen[len(own) :], (task.name for task in mixture.tasks))
    refuse_tests(chosen, suites)
    validation = Validation(chosen, watched, spec.limit)
    _refuse_unknown(tuning.keep_best, validation, [suite.name for suite in (*watched, *suites)])
    return validation


def _of_held_out(mixture: Mixture, spec: ValidationSpec) -> Suite:
    """The held-out examples of trained tasks, asked as they would be trained on: in their mixture's first setting."""
    settings = {part.task.name: part.settings[0].name for part in mixture.parts}
    cells = []
    for task in mixture.held_out:
        if task.name not in settings:
            continue  # left out as a whole: its rows repeat those of other tasks
        source = SuiteSource(
            collection=task.collection,
            settings=[settings[task.name]],
            group="held_in",
            limit=spec.limit,
            methods=None if spec.methods is None else list(spec.methods),
        )
        cells += cells_of(task, source, SuiteSpec(name=HELD_OUT, sources=[source]))
    return Suite(HELD_OUT, tuple(cells), description="examples of trained tasks that are not trained on")


def refuse_tests(validation: Sequence[Suite], tests: Sequence[Suite]) -> None:
    """No row may be chosen by and reported.

    Raises:
        DataError: if a row of a validation suite is one of the evaluation's, whatever the tasks are called.
    """
    asked = {mark: (suite.name, task) for suite in tests for mark, task in _rows(suite).items()}
    for suite in validation:
        for mark, task in _rows(suite).items():
            if mark in asked:
                test, other = asked[mark]
                raise DataError(
                    f"an example of {task!r} is asked by the validation ({suite.name}) and by the evaluation ({test}, "
                    f"{other!r}): a checkpoint must not be chosen on the test",
                    remedy="Give validation other examples, or put the suite under validation.watched",
                )


def _rows(suite: Suite) -> dict[str, str]:
    """What the examples of a suite hold -> the task that it was found in."""
    found: dict[str, str] = {}
    for task, cells in {cell.task.name: cell for cell in suite.cells}.items():
        for place in range(cells.count()):
            fields = cells.example(place, seed=suite.seed).fields
            found[fingerprint({name: str(value) for name, value in fields.items()})] = task
    return found


def _refuse_unknown(metric: str | None, validation: Validation, others: Sequence[str]) -> None:
    if metric is None or metric in validation.names():
        return
    known = ", ".join(validation.names()) if validation.suites else "none: give validation.suites"
    name = metric.removeprefix("watched/").partition("/")[0]
    if any(name == other.partition("/")[0] for other in others):
        raise RecipeError(
            f"tuning.keep_best is {metric!r}, which is no validation: a checkpoint must not be chosen on the test",
            remedy=f"Choose one of these: {known}",
        )
    raise RecipeError(
        f"tuning.keep_best is {metric!r}, and validation gives no such figure", remedy=f"Choose one of these: {known}"
    )


def _names(suite: Suite) -> list[str]:
    groups = dict.fromkeys(group for cell in suite.cells for group in cell.groups)
    return [suite.name, *(f"{suite.name}/{group}" for group in groups)]
