"""Should chains of thought be in the mixture? Tuning on them alone, on none, and on both, at equal tokens.

    recipe   {zero-shot: 0.4, zero-shot-cot: 0.6}     both        as written
                                                      cot         {zero-shot-cot: 0.6}     what has no steps falls away
                                                      direct      {zero-shot: 0.4}

    asked    for the answer alone     "Give the reverse then first of this: cat dog fox"
             for the steps            "... Show the steps."
             and told to reason       "... Let's think step by step."      words that no arm was tuned on

    claims of Chung et al. 2022 that are tested
             non-CoT alone degrades CoT, both together are best on it and cost nothing elsewhere  (figure 5)
             step-by-step words help zero-shot after tuning on CoT alone                         (figure 6)

The same steps and tokens for every arm (`equal_tokens`). Tasks that the suites ask for with steps as well are the
reasoning tasks; all others are asked for the answer alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from instil.errors import RecipeError
from instil.mixtures.settings import Setting
from instil.studies.best import ask_name, base_asks
from instil.studies.cot_scores import BASE, FREE, TOLD
from instil.studies.equal_tokens import lengths
from instil.studies.grid import Ask, Grid, Run
from instil.studies.spec import StudySpec
from instil.studies.variants import Variant

if TYPE_CHECKING:
    from instil.reports.study_report import StudyReport
    from instil.studies.table import Results

#: Arm -> whether it keeps settings with chains of thought, and those without.
ARMS: Mapping[str, tuple[bool, bool]] = {"direct": (False, True), "cot": (True, False), "both": (True, True)}


class Spec(StudySpec):
    """What a study of chains of thought says."""

    words: str = Field(default="Let's think step by step.", min_length=1)
    """What is said after a question, to see whether that alone makes a model reason."""
    also: list[str] = Field(default_factory=list)
    """Further groups of the suites, each reported by itself: longer chains, other templates."""


def grid(spec: Spec) -> Grid:
    """The base once, and each arm with each seed.

    Raises:
        RecipeError: if the recipe has no chains of thought, or nothing else; or if no suite asks for them.
    """
    sources = {arm: sources_of(spec.recipe, arm) for arm in ARMS}
    told = _told_asks(spec)
    runs: list[Run] = []
    for model in spec.models:
        of_base = [ask for suite in spec.suites for ask in base_asks(suite, limit=spec.limit)]
        runs.append(Run(f"base/{model}", {"model": model, "arm": BASE}, model=model, asks=(*of_base, *told)))
        asks = [Ask(ask_name(suite), suite=suite, limit=spec.limit) for suite in spec.suites]
        for arm, changes in _equal(spec, model, sources).items():
            runs += [
                Run(
                    f"{arm}/{model}/seed-{seed}",
                    {"model": model, "arm": arm, "seed": seed},
                    recipe=spec.recipe_for(model, seed, changes),
                    asks=(*asks, *told),
                )
                for seed in spec.seeds
            ]
    return Grid(tuple(runs))


def sources_of(recipe: Mapping[str, Any], arm: str) -> list[dict[str, Any]]:
    """The mixture's sources of an arm: settings that it does not keep fall away, and sources left without one.

    Raises:
        RecipeError: if none is left, or a source is a nested mixture.
    """
    keeps_cot, keeps_direct = ARMS[arm]
    mixture = recipe["mixture"]
    found: list[dict[str, Any]] = []
    for source in mixture["sources"]:
        if source.get("mixture"):
            raise RecipeError(
                f"study cot cannot take chains of thought out of the nested mixture {source['mixture']}",
                remedy="List its sources in the study's recipe",
            )
        settings = source.get("settings") or mixture.get("settings") or {"zero-shot": 1.0}
        kept = {name: share for name, share in settings.items() if (keeps_cot if _reasons(name) else keeps_direct)}
        if kept:
            found.append({**source, "settings": kept})
    if not found:
        lacking = "a setting with -cot" if keeps_cot else "a setting without -cot"
        raise RecipeError(
            f"none of the {len(mixture['sources'])} sources of the recipe has {lacking}, so there is no arm {arm!r}",
            remedy="Give a source settings such as {zero-shot: 0.4, zero-shot-cot: 0.6}",
        )
    return found


def _reasons(setting: str) -> bool:
    return Setting.parse(setting).cot


def _equal(spec: Spec, model: str, sources: Mapping[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What differs from the base recipe in each arm, so that a step of each has as many tokens."""
    data = None if spec.data is None else Path(spec.data)
    first = spec.seeds[0]
    sizes = {
        arm: lengths(spec.recipe_for(model, first, {"mixture.sources": mine}), data) for arm, mine in sources.items()
    }
    tuning = spec.recipe.get("tuning") or {}
    tokens = sizes["both"].tokens * int(tuning.get("prompts_per_step", 64))
    return {
        arm: {"mixture.sources": sources[arm], "tuning.prompts_per_step": size.prompts_for(tokens)}
        for arm, size in sizes.items()
    }


def _told_asks(spec: Spec) -> list[Ask]:
    """The reasoning tasks of every suite once more: answers looked for in free text, with the words and without.

    Raises:
        RecipeError: if a group is in no suite, or none of them asks for steps.
    """
    from instil.evaluation.spec import load_suite

    data = None if spec.data is None else Path(spec.data)
    groups = tuple(dict.fromkeys([*spec.held_in, *spec.held_out, *spec.also]))
    there: set[str] = set()
    asks: list[Ask] = []
    for suite in spec.suites:
        cells = load_suite(suite, data).cells
        there |= {group for cell in cells for group in cell.groups}
        reasoning = {cell.task.name for cell in cells if cell.setting.cot and set(cell.groups) & set(groups)}
        if any(cell.setting == Setting() and cell.task.name in reasoning for cell in cells):
            name = ask_name(suite)
            asks += [
                Variant(suite, words=words, groups=groups, reasoned=True).ask(name + added, limit=spec.limit)
                for added, words in ((FREE, ""), (TOLD, spec.words))
            ]
    if missing := [group for group in groups if group not in there]:
        raise RecipeError(
            f"no suite of the study has a group {missing[0]!r}",
            remedy=f"Their groups are {', '.join(sorted(there)) or '(none)'}",
        )
    if not asks:
        raise RecipeError(
            f"none of the {len(spec.suites)} suites asks tasks of these groups both for the answer and for its steps",
            remedy="Give a suite with settings [zero-shot, zero-shot-cot], and name its groups in held_in and held_out",
        )
    return asks


def analyse(spec: Spec, results: Results) -> StudyReport:
    """What the arms scored."""
    from instil.studies.cot_report import report_of

    return report_of(spec, results)
