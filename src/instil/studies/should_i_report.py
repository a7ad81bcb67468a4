"""The page of `should-i`: the verdict, what it rests on, and what the papers said.

gain       tuned minus base on held-out targets, mean over all budgets (none at all included) and all models
verdict    by the rule of `verdict`: yes (and of which use: without fine-tuning, after it, or both), no, or not shown
beside it  the gain without fine-tuning, split into format and skill; after fine-tuning; tasks that gained or lost;
           the budget below which the tuned model as it is beats a fine-tuned base; what tuning cost
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from instil.errors import InstilError
from instil.studies import should_i_curves as curves
from instil.studies.arms import percents, told_gain
from instil.studies.arms import told as told_score
from instil.studies.best import ask_name, best, gains
from instil.studies.controls import CONTROLS, why_not
from instil.studies.intervals import Interval
from instil.studies.should_i_claims import claims_of
from instil.studies.should_i_figures import PARTS, Arms, figures_of, lacking, told
from instil.studies.should_i_scores import (
    NONE,
    FourArms,
    averaged,
    gain_of_models,
    interval,
    of_each_task,
    of_models,
    sides,
)
from instil.studies.study import choices
from instil.studies.verdict import decide, in_points, verdict_row

if TYPE_CHECKING:
    from instil.reports.study_report import Cell, StudyReport, Table, Verdict
    from instil.studies.should_i import Spec
    from instil.studies.table import Results

METHOD = (
    """Four arms: the base, the instruction-tuned model, and both fine-tuned on one target task at a time, on {budgets}
    of it. Both fine-tuned arms take the same steps with the same rates on the same rows; the rows of a budget lie
    within those of the next. Steps are as many at every budget{prompts}: few rows come up many times over, and of many
    only as many are read as the steps take. Another seed tunes anew and draws other rows.""",
    """Every arm answers the same {rows} test rows of a task, which none was trained on: instruction tuning and
    fine-tuning hold the same rows out. Test rows that say what a training row says are not asked.""",
    """Without fine-tuning the base stands at its best of zero-shot, few-shot, ranking by sum and per token, and lenient
    matching, chosen after the fact for each part of the targets. At a budget where fine-tuning leaves it below that, it
    stands there as if it were not fine-tuned. Both choices favour the base, and intervals do not know of them. Tuned
    models, fine-tuned or not, are asked zero-shot and judged strictly. Format gain is the base's best minus its
    zero-shot score, so it is never below zero; skill gain is the tuned model's zero-shot score minus the base's
    best.""",
    """The verdict is about held-out targets: tuned minus base, each budget and each model weighing alike, no
    fine-tuning being one of the budgets. Intervals are of 95%, over seeds and tasks at once; they say nothing about
    other models. A task gained or lost where its own interval, over seeds and rows, leaves out zero: of tasks without
    any effect one in twenty does so by chance. The others count as unchanged, which is to say that no difference can be
    told on so few rows.""",
    """What is compared is tuning and no tuning, not equal training: the tuned arm has taken its steps besides those of
    fine-tuning, and of tasks of the mixture it has read rows before. Controls are asked without fine-tuning alone, so
    after fine-tuning a gain may come from more training of any kind.""",
    """Nothing was chosen by an outcome: steps, rates, budgets and tasks stand in the study file, and no checkpoint is
    picked by the learning curves.""",
)


def report(spec: Spec, results: Results) -> StudyReport:
    """The whole report."""
    budgets = [NONE, *map(str, spec.budgets)]
    parts = ["held_in", "held_out"] if spec.targets.held_in else ["held_out"]
    arms: Arms = {
        model: {part: FourArms(results, model, part, spec.seeds, budgets) for part in parts} for model in spec.models
    }
    costs = _costs(spec, results)
    rows = [told(budget) for budget in spec.budgets]
    steps, each = (spec.fine_tuning.get(key) for key in ("max_steps", "prompts_per_step"))
    words = {
        "budgets": f"{', '.join(rows[:-1])} and {rows[-1]}" if rows[1:] else rows[0],
        "rows": spec.test_rows,
        "prompts": f", {steps * each:,} prompts together" if steps and each else "",
    }
    return {
        "question": "Should I instruction-tune before I fine-tune on my task?",
        "title": f"Should I instruction-tune? {spec.name}",
        "verdict": _verdict(spec, results, arms, costs),
        "findings": _findings(spec, results, arms, costs),
        "claims": claims_of(spec, results, arms, costs),
        "figures": figures_of(spec, results, arms),
        "tables": _tables(spec, results, arms),
        "method": [" ".join(text.split()).format(**words) for text in METHOD],
        "choices": choices(spec),
        "missing": _missing(spec),
    }


def _verdict(spec: Spec, results: Results, arms: Arms, costs: Mapping[str, float]) -> Verdict:
    every = {model: parts["held_out"] for model, parts in arms.items()}
    there = {model: one for model, one in every.items() if one.gaps()}  # a model whose runs failed is left out
    held_out = list(there.values())
    found = gain_of_models(held_out) if there else None
    if found is None:
        return {
            "verdict": "not shown",
            "sentence": "Not shown: too few runs were finished to compare the arms.",
            "gain": None, "ci95": None, "n": 0, "covers": "",
        }  # fmt: skip
    before, after = (gain_of_models(held_out, some) for some in ([NONE], held_out[0].budgets[1:]))
    row = verdict_row(found, spec.smallest_gain)
    tasks = sides(of_each_task(of_models(held_out)))
    asked = {task for one in held_out for task in one.asked}
    sentence = _sentence(row["verdict"], found, before, after, spec.smallest_gain)
    if left_out := [model for model in every if model not in there]:
        sentence += f" Nothing is known of {', '.join(left_out)}."
    more: dict[str, Any] = {
        "without_fine_tuning": _part_row(before, spec.smallest_gain),
        "after_fine_tuning": _part_row(after, spec.smallest_gain),
        "format_gain": _row(interval(averaged([one.format_gaps() for one in held_out]))),
        "skill_gain": _row(before),
        "gain_after_fine_tuning": _row(after),
        "tasks": {
            **tasks,
            **{f"share_{side}": count / sum(tasks.values()) for side, count in tasks.items()},
            "missing": len(asked) - sum(tasks.values()),
        },
        "tuned_alone_wins_up_to": {model: one.wins_alone() for model, one in there.items()},
        "tuned_alone_surely_wins_up_to": {model: one.wins_alone(surely=True) for model, one in there.items()},
        "share_of_pretraining_flops": dict(costs),
        "models": {model: _of_model(spec, parts) for model, parts in arms.items()},
    }
    return cast("Verdict", {**row, "sentence": sentence, **more})


def _of_model(spec: Spec, parts: Mapping[str, FourArms]) -> dict[str, Any]:
    """What one model says by itself: its verdict on held-out targets, and the figures of each part."""
    own = parts["held_out"].gain()
    verdict = {} if own is None else verdict_row(own, spec.smallest_gain)
    return {
        **verdict,
        **{
            part: {
                "gain": _row(one.gain()),
                "format_gain": _row(interval(one.format_gaps())),
                "skill_gain": _row(one.gain([NONE])),
                "gain_after_fine_tuning": _row(one.gain(one.budgets[1:])),
                "base_way": one.base.way,
                "tasks": sides(one.tasks()),
                "tuned_alone_wins_up_to": one.wins_alone(),
                "tuned_alone_surely_wins_up_to": one.wins_alone(surely=True),
                "fine_tuning_does_not_help_the_base": [b for b in one.budgets[1:] if one.is_not_helped(b)],
            }
            for part, one in parts.items()
        },
    }


def _sentence(verdict: str, found: Interval, before: Interval | None, after: Interval | None, smallest: float) -> str:
    """The headline; a yes begins with the use that it speaks of: the one whose own gain lies above zero."""
    whole = f"{in_points(found)} on tasks that the mixture does not hold, over all budgets"
    as_it_is, fine_tuned = _or_not(before), f"{_or_not(after)}{_after_in_words(after, smallest)}"
    both = f"Without fine-tuning it is {as_it_is}, after fine-tuning {fine_tuned}."
    if verdict != "yes":
        return f"{'No' if verdict == 'no' else 'Not shown'}: {whole}. {both}"
    shown = [one is not None and one.low > 0 for one in (before, after)]
    if shown == [True, False]:
        return (
            f"Yes, for use without fine-tuning, where it is {as_it_is}: {whole}. After fine-tuning it is {fine_tuned}."
        )
    if shown == [False, True]:
        return (
            f"Yes, for use after fine-tuning, where it is {fine_tuned}: {whole}. Without fine-tuning it is {as_it_is}."
        )
    return (
        f"Yes, {'without fine-tuning and after it' if all(shown) else 'for both uses taken together'}: {whole}. {both}"
    )


def _part_row(found: Interval | None, smallest: float) -> dict[str, Any] | None:
    """The verdict of one use by itself, by the same rule."""
    if found is None:
        return None
    return {"verdict": decide(found, smallest), "gain": found.score, "ci95": [found.low, found.high], "n": found.n}


def _after_in_words(after: Interval | None, smallest: float) -> str:
    if after is None or after.low > 0:
        return ""
    if after.high < 0:
        return ": fine-tuned models are worse for it"
    return ": no gain that would matter is left" if after.high < smallest else ": no difference is shown there"


def _or_not(found: Interval | None) -> str:
    return "not known" if found is None else in_points(found)


def _row(found: Interval | None) -> dict[str, Any] | None:
    return None if found is None else found.row()


def _costs(spec: Spec, results: Results) -> dict[str, float]:
    """Of each model: the operations of one tuning by those of its pre-training, where that is known."""
    from instil.experiments.recipe import resolve
    from instil.studies.costs import tuning_shape
    from instil.studies.pretraining import pretraining_flops
    from instil.studies.should_i import tuned_key, tuning_recipe

    found: dict[str, float] = {}
    for model in spec.models:
        facts = results.facts(tuned_key(model, spec.seeds[0]))
        if not facts:
            continue
        try:
            whole = pretraining_flops(model, tokens=spec.pretraining_tokens.get(model))
            if whole:
                # Padding and replayed text are in it, as they are in what pre-training took.
                shape = tuning_shape(resolve(tuning_recipe(spec, model, spec.seeds[0])), model)
                found[model] = shape.flops_per_token * facts["tokens"] / whole
        except (InstilError, KeyError):
            continue  # the base is no longer where it was: a page can be written without it
    return found


def _findings(spec: Spec, results: Results, arms: Arms, costs: Mapping[str, float]) -> list[str]:
    found: list[str] = []
    for model, parts in arms.items():
        found += [_of_part(spec, f"{model}, {PARTS[part]}", one) for part, one in reversed(list(parts.items()))]
    for model, parts in arms.items():
        found += [_of_control(model, name, parts["held_out"]) for name in spec.controls]
    if costs:
        each = ", ".join(f"{model} {100 * share:.2g}%" for model, share in costs.items())
        found.append(f"One tuning took so much of the operations of pre-training: {each}.")
    return [sentence for sentence in found if sentence]


def _of_control(model: str, name: str, arms: FourArms) -> str:
    """What the tuning does with one thing taken away; empty where it was not made."""
    over = arms.over_base(name)
    if over is None:
        return ""
    more = " A part of the gain needs no more than that." if over.low > 0 else ""
    return (
        f"{model}, {PARTS['held_out']}, {CONTROLS[name].title}: {told_gain(over)} over the base at its best, where "
        f"tuned as it should be has {told_gain(arms.gain([NONE]))}.{more}"
    )


def _of_part(spec: Spec, named: str, arms: FourArms) -> str:
    tasks = sides(arms.tasks())
    lost = len(arms.asked) - sum(tasks.values())
    missing = f"; {lost} of {len(arms.asked)} are missing" if lost else ""
    return (
        f"{named}: without fine-tuning {told_score(arms.mean('tuned', NONE))} against "
        f"{told_score(arms.mean('base', NONE))} of the base at its best ({arms.base.way.replace('_', ' ')}), "
        f"{told_gain(arms.gain([NONE]))}; after fine-tuning {told_gain(arms.gain(arms.budgets[1:]))}, mean over "
        f"budgets. Over all budgets {tasks['gained']} of {sum(tasks.values())} tasks gained, {tasks['lost']} lost, of "
        f"{tasks['unchanged']} no difference can be told{missing}. {_alone(arms)}"
    )


def _alone(arms: FourArms) -> str:
    """The budget below which the tuned model as it is wins: by the means, and whether the interval says so too."""
    last, budgets = arms.wins_alone(), arms.budgets[1:]
    if arms.alone(budgets[0]) is None:
        return f"How the tuned model as it is does beside a base with {told(budgets[0])} of the task is not known."
    if last is None:
        return (
            f"As it is, the tuned model scores no higher than the base with {told(budgets[0])} to fine-tune on "
            f"({told_gain(arms.alone(budgets[0]))})."
        )
    sure, beyond = arms.wins_alone(surely=True), budgets[budgets.index(last) + 1 :]
    then = arms.alone(beyond[0]) if beyond else None
    ends = f", and not of the one with {told(beyond[0])} ({told_gain(then)})" if then else ""
    shown = "" if sure == last else f"; the interval shows it up to {told(sure)}" if sure else "; that is not shown"
    return (
        f"As it is, the tuned model is ahead of the base with {told(last)} to fine-tune on "
        f"({told_gain(arms.alone(last))}{shown}){ends}."
    )


def _tables(spec: Spec, results: Results, arms: Arms) -> list[Table]:
    rows: list[list[Cell]] = []
    for model, parts in arms.items():
        for part, one in parts.items():
            for budget in one.budgets:
                means = [percents(one.mean(arm, budget))[0] for arm in ("base", "tuned")]
                rows.append([model, PARTS[part], budget, *means, *percents(one.gain([budget]))])
    lacks = "".join(
        f" {model}, {PARTS[part]}:{lacking(one)}" for model, parts in arms.items() for part, one in parts.items()
        if lacking(one)
    )  # fmt: skip
    columns = ["model", "targets", "rows", "base, %", "tuned, %", "gain, points", "from", "to"]
    found: list[Table] = [
        {
            "name": "arms", "title": "The four arms", "columns": columns, "rows": rows,
            "note": f"Without fine-tuning (0) the base stands in its best way, and at no budget below that.{lacks}",
        },
        _ways(arms),
        _speeds(results, arms),
    ]  # fmt: skip
    if spec.suites:
        found.append(_suites(spec, results))
    return found


def _ways(arms: Arms) -> Table:
    """The base in every way it was asked."""
    every = [(model, part, one.base) for model, parts in arms.items() for part, one in parts.items()]
    names = list(dict.fromkeys(way for _, _, base in every for way in base.ways))
    rows: list[Sequence[Cell]] = [
        [model, PARTS[part], *(None if way not in base.ways else round(100 * base.ways[way], 1) for way in names)]
        for model, part, base in every
    ]
    columns = ["model", "targets", *(f"{name.replace('_', ' ')}, %" for name in names)]
    return {"name": "ways", "title": "The base in every way it was asked", "columns": columns, "rows": rows}


def _speeds(results: Results, arms: Arms) -> Table:
    """Steps until the base arm's best, by both arms."""
    rows: list[Sequence[Cell]] = []
    for model, parts in arms.items():
        for part, one in parts.items():
            for budget in one.budgets[1:]:
                found = curves.speed(curves.pairs(results, model, part, budget))
                if found is not None:
                    reached = f"{found.reached} of {found.pairs}"
                    rows.append([model, PARTS[part], budget, found.base_steps, found.tuned_steps, reached])
    columns = ["model", "targets", "rows", "steps, base arm", "steps, tuned arm", "tuned arm gets there"]
    return {
        "name": "speeds", "title": "Steps until the best score of the base arm", "columns": columns, "rows": rows,
        "note": "Medians over tasks and seeds, of the steps at which scores were taken; no number where more than half "
        "of the tuned arms never score as much.",
    }  # fmt: skip


def _suites(spec: Spec, results: Results) -> Table:
    """What the study file's suites say of base and tuned model."""
    rows: list[Sequence[Cell]] = []
    for model in spec.models:
        for suite in map(ask_name, spec.suites):
            for groups in filter(None, (spec.held_in, spec.held_out)) if spec.held_in or spec.held_out else [None]:
                base = best(results, suite, model=model, arm="base", budget=NONE, groups=groups)
                tuned = {
                    seed: results.units(suite=suite, model=model, arm="tuned", budget=NONE, seed=seed, groups=groups)
                    for seed in spec.seeds
                }
                tuned = {seed: units for seed, units in tuned.items() if units}
                if not tuned or not base.units:
                    continue
                zero = results.units(suite=suite, model=model, arm="base", budget=NONE, groups=groups)
                both = gains(zero, base.units, tuned)
                named = ", ".join(groups) if groups else "all"
                rows.append([model, suite, named, base.way, *(in_points(one) for one in (both.format, both.skill))])
    columns = ["model", "suite", "groups", "the base's best way", "format gain", "skill gain"]
    return {"name": "suites", "title": "Other suites, without fine-tuning", "columns": columns, "rows": rows}


def _missing(spec: Spec) -> list[str]:
    """Controls that could not be made."""
    reasons = ((model, name, why_not(name, spec.recipe, model)) for model in spec.models for name in spec.controls)
    return [f"{model}, {CONTROLS[name].title}: not made, because {why}." for model, name, why in reasons if why]
