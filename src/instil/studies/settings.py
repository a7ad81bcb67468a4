"""Which prompt settings should the mixture have? One thing varied at a time around one recipe, at equal tokens.

    reference       the recipe as written: zero-shot, no options listed, nothing inverted, its shares, every template
    few-shot        0%   10%   50%   90%   100%     of the prompts show worked examples
    options         0%   50%                        of the prompts for an answer list their options
    inversion       off  0.3                        asks for questions, given answers: weight beside 1 of all others
    balancing       as given   by size   equal   clusters
    templates       1    4    all                   a task and kind

    asked           zero-shot      few-shot      with options listed

A level that is the recipe as written is the reference: it is run once, and belongs to every factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from instil.errors import RecipeError
from instil.mixtures.settings import Setting
from instil.studies.best import ask_name, base_asks
from instil.studies.equal_tokens import Lengths, lengths
from instil.studies.grid import Ask, Grid, Run
from instil.studies.spec import StudySpec
from instil.studies.variants import Variant

if TYPE_CHECKING:
    from instil.reports.study_report import StudyReport
    from instil.studies.table import Results

Share = Annotated[float, Field(ge=0, le=1)]
Balancing = Literal["as given", "by size", "equal", "clusters"]

BASE, REFERENCE = "base", "reference"
#: What is added to a suite's name where it is asked few-shot, and with options listed.
FEW_SHOT, OPTIONS = "-few-shot", "-options"
ALL = "all"
#: Measured shares of settings differ from the asked ones by less than this, by chance alone.
_NONE = 1e-3


class Spec(StudySpec):
    """What a study of settings says: the levels of each factor; a factor without levels is left out."""

    few_shot: list[Share] = Field(default=[0.0, 0.1, 0.5, 0.9, 1.0])
    """Shares of prompts with worked examples; 0 is the recipe as written."""
    shots: int = Field(default=2, ge=1, le=20)
    """How many worked examples those show, and how many the few-shot questions."""
    options: list[Share] = Field(default=[0.0, 0.5])
    """Shares, of the prompts that ask for an answer, that list their options; 0 is the recipe as written."""
    inversion: list[Annotated[float, Field(ge=0)]] = Field(default=[0.0, 0.3])
    """Weights of inverted prompts beside 1 of all others; 0 is the recipe as written."""
    balancing: list[Balancing] = Field(default=["as given", "by size", "equal", "clusters"])
    """How tasks share the mixture: by its sources' shares, by their sizes, each alike, or each cluster alike."""
    templates: list[int | Literal["all"]] = Field(default=[1, 4, "all"])
    """Templates a task and kind; `all` is the recipe as written."""
    also: list[str] = Field(default_factory=list)
    """Further groups of the suites, each reported by itself: other templates, longer chains."""


@dataclass(frozen=True, slots=True)
class Level:
    """One value of one factor, and what it changes in the base recipe."""

    factor: str
    name: str
    """As figures write it."""
    place: float
    """Where it stands on a factor's axis."""
    changes: Mapping[str, Any]
    """Keys of the recipe, written with dots; none where it is the recipe as written."""

    @property
    def arm(self) -> str:
        """What its runs have on the axis `arm`."""
        return f"{self.factor} {self.name}" if self.changes else REFERENCE


def levels(spec: Spec) -> list[Level]:
    """Every level of every factor, in order.

    Raises:
        RecipeError: if the recipe already varies what the study is to vary.
    """
    sources = _sources(spec.recipe)
    found: list[Level] = []
    for share in spec.few_shot:
        mixed = _with_sources(sources, lambda settings, share=share: _few_shot(settings, share, spec.shots))
        found.append(Level("few-shot", f"{100 * share:g}%", share, mixed if share else {}))
    for share in spec.options:
        listed = _with_sources(sources, lambda settings, share=share: _options(settings, share))
        found.append(Level("options", f"{100 * share:g}%", share, listed if share else {}))
    for weight in spec.inversion:
        turned = _with_sources(sources, lambda settings, weight=weight: _inverted(settings, weight))
        found.append(Level("inversion", f"{weight:g}" if weight else "off", weight, turned if weight else {}))
    for place, rule in enumerate(spec.balancing):
        found.append(Level("balancing", rule, place, _balanced(sources, rule)))
    for place, count in enumerate(spec.templates):
        changes = {} if count == ALL else {"mixture.templates_per_task": count}
        found.append(Level("templates", str(count), place, changes))
    return found


def grid(spec: Spec) -> Grid:
    """The base once, the reference and every other level with each seed.

    Raises:
        RecipeError: if the recipe cannot be varied so: it has no options, or nothing that can be inverted.
    """
    arms = {REFERENCE: {}, **{level.arm: dict(level.changes) for level in levels(spec)}}
    if len(arms) == 1:
        raise RecipeError("every level of the study is the recipe as written", remedy="Give a factor another level")
    otherwise = [*_asks(spec)]
    runs: list[Run] = []
    for model in spec.models:
        of_base = [ask for suite in spec.suites for ask in base_asks(suite, limit=spec.limit)]
        runs.append(Run(f"base/{model}", {"model": model, "arm": BASE}, model=model, asks=(*of_base, *otherwise)))
        asks = [Ask(ask_name(suite), suite=suite, limit=spec.limit) for suite in spec.suites]
        for arm, changes in _equal(spec, model, arms).items():
            runs += [
                Run(
                    f"{arm.replace(' ', '-')}/{model}/seed-{seed}",
                    {"model": model, "arm": arm, "seed": seed},
                    recipe=spec.recipe_for(model, seed, changes),
                    asks=(*asks, *otherwise),
                )
                for seed in spec.seeds
            ]
    return Grid(tuple(runs))


def _asks(spec: Spec) -> list[Ask]:
    """Every suite few-shot, and with options where the study lists any in training.

    Raises:
        RecipeError: if a group is in no suite.
    """
    from instil.evaluation.spec import load_suite

    groups = tuple(dict.fromkeys([*spec.held_in, *spec.held_out]))
    there = {
        group
        for suite in spec.suites
        for cell in load_suite(suite, None if spec.data is None else Path(spec.data)).cells
        for group in cell.groups
    }
    if missing := [group for group in [*groups, *spec.also] if group not in there]:
        raise RecipeError(
            f"no suite of the study has a group {missing[0]!r}",
            remedy=f"Their groups are {', '.join(sorted(there)) or '(none)'}",
        )
    ways = {FEW_SHOT: f"few-shot-{spec.shots}"} | ({OPTIONS: "zero-shot-options"} if any(spec.options) else {})
    return [
        Variant(suite, setting=setting, groups=groups).ask(ask_name(suite) + added, limit=spec.limit)
        for suite in spec.suites
        for added, setting in ways.items()
    ]


def _equal(spec: Spec, model: str, arms: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What differs from the base recipe in each arm, so that a step of each has as many tokens.

    Raises:
        RecipeError: if an arm's mixture shows nothing of what the arm is about.
    """
    data = None if spec.data is None else Path(spec.data)
    sizes = {arm: lengths(spec.recipe_for(model, spec.seeds[0], changes), data) for arm, changes in arms.items()}
    for arm, size in sizes.items():
        _refuse_empty(arm, size)
    tuning = spec.recipe.get("tuning") or {}
    tokens = sizes[REFERENCE].tokens * int(tuning.get("prompts_per_step", 64))
    return {
        arm: {**changes, "tuning.prompts_per_step": sizes[arm].prompts_for(tokens)} for arm, changes in arms.items()
    }


def _refuse_empty(arm: str, size: Lengths) -> None:
    shown = [Setting.parse(name) for name, share in size.settings.items() if share > _NONE]
    if arm.startswith("options ") and not any(setting.options for setting in shown):
        raise RecipeError(
            "no task of the recipe can list its options, so the factor `options` has nothing to vary",
            remedy="Train on tasks with answer choices (pocket-options has them), or write options: []",
        )
    if arm.startswith("inversion ") and not any(setting.inverted for setting in shown):
        raise RecipeError(
            "no task of the recipe can be inverted, so the factor `inversion` has nothing to vary",
            remedy="Write inversion: []",
        )


# --- what a level changes ---------------------------------------------------------------------------------------------


def _sources(recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The recipe's sources, each with its settings written out.

    Raises:
        RecipeError: if one is a nested mixture, or has a setting that the study is to vary.
    """
    mixture = recipe["mixture"]
    found = []
    for source in mixture["sources"]:
        if source.get("mixture"):
            raise RecipeError(
                f"study settings cannot vary those of the nested mixture {source['mixture']}",
                remedy="List its sources in the study's recipe",
            )
        settings = source.get("settings") or mixture.get("settings") or {"zero-shot": 1.0}
        for name in settings:
            setting = Setting.parse(name)
            if setting.shots or setting.options is not None or setting.inverted:
                raise RecipeError(
                    f"the recipe has the setting {name}, which the study is to vary",
                    remedy="Give the study's recipe zero-shot and zero-shot-cot alone",
                )
        found.append({**source, "settings": dict(settings)})
    return found


def _with_sources(sources: list[dict[str, Any]], change: Any) -> dict[str, Any]:
    return {"mixture.sources": [{**source, "settings": change(source["settings"])} for source in sources]}


def _few_shot(settings: Mapping[str, float], share: float, shots: int) -> dict[str, float]:
    """{zero-shot: 1}, 0.1  ->  {zero-shot: 0.9, few-shot-2: 0.1}"""
    return _split(settings, share, lambda setting: replace(setting, shots=shots))


def _options(settings: Mapping[str, float], share: float) -> dict[str, float]:
    """{zero-shot: 1}, 0.5  ->  {zero-shot: 0.5, zero-shot-options: 0.5}; chains of thought stay as they are."""
    return _split(settings, share, lambda setting: setting if setting.cot else replace(setting, options=True))


def _inverted(settings: Mapping[str, float], weight: float) -> dict[str, float]:
    """{zero-shot: 1}, 0.3  ->  {zero-shot: 1, zero-shot-inverted: 0.3}"""
    turned = {replace(Setting.parse(name), inverted=True).name: value * weight for name, value in settings.items()}
    return {**settings, **turned}


def _split(settings: Mapping[str, float], share: float, other: Any) -> dict[str, float]:
    """Every setting's weight in two: what stays as it is, and the share that becomes the other."""
    found: dict[str, float] = {}
    for name, weight in settings.items():
        for kind, part in ((name, 1 - share), (other(Setting.parse(name)).name, share)):
            found[kind] = found.get(kind, 0.0) + weight * part
    # Binary fractions of decimal shares: weights are taken as they are written.
    return {name: round(weight, 12) for name, weight in found.items() if round(weight, 12)}


def _balanced(sources: list[dict[str, Any]], rule: Balancing) -> dict[str, Any]:
    """No shares of sources but a rule for tasks; nothing where the recipe's own shares hold."""
    if rule == "as given":
        return {}
    bare = [{key: value for key, value in one.items() if key not in ("share", "cap", "weights")} for one in sources]
    caps = {"mixture.cap": 1} if rule == "equal" else {}
    return {
        "mixture.sources": bare,
        "mixture.proportions": None,
        "mixture.balance": "clusters" if rule == "clusters" else "tasks",
        **caps,
    }


def analyse(spec: Spec, results: Results) -> StudyReport:
    """What the levels scored."""
    from instil.studies.settings_report import report_of

    return report_of(spec, results)
