"""The figures of `should-i`.

figure  budget-held-out-MODEL     score against rows fine-tuned on, base and tuned; each starts without fine-tuning
figure  budget-held-in-MODEL      the same of tasks that the mixture holds
figure  pareto-MODEL              an arrow a task, from base to tuned: right is better as it is, up is better fine-tuned
figure  tasks                     the gain of each task over all budgets, a mark a model
figure  curves-MODEL              steps of fine-tuning against the score on held-out targets
figure  controls                  the tuned model beside the same tuning with one thing taken away
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from instil.studies import should_i_curves as curves
from instil.studies.arms import by_seed, mark, mean, point
from instil.studies.controls import CONTROLS
from instil.studies.intervals import counted, crossed
from instil.studies.should_i_scores import NONE, TARGETS, FourArms

if TYPE_CHECKING:
    from instil.reports.study_report import ArrowItem, Axis, Figure, FigureRow, Point, RowMark
    from instil.studies.intervals import Interval
    from instil.studies.should_i import Spec
    from instil.studies.table import Results

Arms = Mapping[str, Mapping[str, FourArms]]
"""Model -> part -> its four arms."""

#: The parts as a person reads them.
PARTS = {"held_in": "tasks of the mixture", "held_out": "tasks that the mixture does not hold"}
_SCORE: Axis = {"label": "score on test rows", "scale": "linear", "percent": True}


def figures_of(spec: Spec, results: Results, arms: Arms) -> list[Figure]:
    """All of them; those of one model carry its name."""
    found: list[Figure] = []
    for model, parts in arms.items():
        found += [_budgets(one) for one in reversed(list(parts.values()))]
        found.append(_pareto(model, parts))
    found.append(_tasks(arms))
    for model, parts in arms.items():
        found += _curves(spec, results, model, parts["held_out"])
    if spec.controls:
        found.append(_controls(spec, results, arms))
    return found


def _budgets(arms: FourArms) -> Figure:
    names = {"base": "base, fine-tuned", "tuned": "instruction-tuned, fine-tuned"}
    as_it_is = arms.mean("tuned", NONE)
    return {
        "kind": "lines",
        "name": f"budget-{arms.part.replace('_', '-')}-{_plain(arms.model)}",
        "title": f"{arms.model}: {PARTS[arms.part]}",
        "caption": "Without fine-tuning (0) the base stands at its best of six ways of asking, and the tuned model is "
        "asked zero-shot. With it, both took the same steps on the same rows; where that leaves the base below its "
        f"best, it stands at its best. Bars are 95% intervals.{lacking(arms)}",
        "x": {"label": "rows of the task fine-tuned on", "scale": "category", "ticks": list(arms.budgets)},
        "y": _SCORE,
        "series": [
            {"name": name, "style": arm, "points": [_point(budget, arms.mean(arm, budget)) for budget in arms.budgets]}
            for arm, name in names.items()
        ],
        "references": [] if as_it_is is None else [{"y": as_it_is.score, "label": "tuned, no fine-tuning"}],
    }


def _point(budget: str, score: Interval | None) -> Point:
    found = point(budget, score)
    return {**found, "note": score.lacks} if score and score.lacks else found


def lacking(arms: FourArms) -> str:
    """What the means of both arms lack, budget by budget, as a caption ends; empty where they lack nothing."""
    means = {budget: arms.mean("tuned", budget) or arms.mean("base", budget) for budget in arms.budgets}
    said = [f"at {budget}, {found.lacks}" for budget, found in means.items() if found is not None and found.lacks]
    return f" Both arms are averaged over what both have: {'; '.join(said)}." if said else ""


def _pareto(model: str, parts: Mapping[str, FourArms]) -> Figure:
    items: list[ArrowItem] = []
    for part, arms in parts.items():
        ends = {arm: (_by_task(arms, arm, [NONE]), _by_task(arms, arm, arms.budgets[1:])) for arm in ("base", "tuned")}
        for task in arms.asked:
            begin, end = ([one.get(task) for one in ends[arm]] for arm in ("base", "tuned"))
            items.append({"label": short(task), "group": PARTS[part], "from": begin, "to": end})
    return {
        "kind": "arrows",
        "name": f"pareto-{_plain(model)}",
        "title": f"{model}: each task from base to tuned",
        "caption": "One arrow a task, from the base's scores to the tuned model's: across without fine-tuning, up "
        "after fine-tuning on the task (mean over budgets). An arrow to the right and up is better in both. Both ends "
        "are of the same seeds; a task that lacks a run at a budget has no arrow.",
        "x": {**_SCORE, "label": "without fine-tuning"},
        "y": {**_SCORE, "label": "fine-tuned on the task"},
        "items": items,
    }


def _by_task(arms: FourArms, arm: str, budgets: Sequence[str]) -> dict[str, float]:
    """The mean of each task over seeds, items and budgets, each budget weighing alike."""
    each: list[dict[str, float]] = []
    for budget in budgets:
        scores = arms.compared(arm, budget)
        tasks = dict.fromkeys(task for units in scores.values() for task in units)
        each.append(
            {task: crossed({seed: {task: units[task]} for seed, units in scores.items() if task in units}).score
             for task in tasks}
        )  # fmt: skip
    shared = [task for task in each[0] if all(task in one for one in each)]
    return {task: sum(one[task] for one in each) / len(each) for task in shared}


def _tasks(arms: Arms) -> Figure:
    rows: dict[tuple[str, str], list[RowMark]] = {}
    for place, (model, parts) in enumerate(arms.items(), start=1):
        for part, one in parts.items():
            gains = one.tasks()
            for task in one.asked:
                of_model = mark("gain" if len(arms) == 1 else str(place), gains.get(task), model)
                rows.setdefault((part, task), []).append(of_model)
    made: list[FigureRow] = [
        {"label": short(task), "note": PARTS[part], "marks": marks} for (part, task), marks in sorted(rows.items())
    ]
    return {
        "kind": "rows",
        "name": "tasks",
        "title": "What each task gains",
        "caption": "Tuned minus base, mean over all budgets, none at all (the base at its best) included. Intervals "
        "cover other seeds and other rows of the same task. A task that lacks a run at a budget has no gain.",
        "rows": made,
    }


def _curves(spec: Spec, results: Results, model: str, arms: FourArms) -> list[Figure]:
    found = curves.pairs(results, model, arms.part, str(spec.budgets[-1]))
    if not found:
        return []
    names = {"base": "from the base", "tuned": "from the tuned model"}
    asked = len(arms.asked) * len(arms.seeds)
    lost = f" {asked - len(found)} of {asked} pairs of both arms are missing." if len(found) < asked else ""
    return [
        {
            "kind": "lines",
            "name": f"curves-{_plain(model)}",
            "title": f"{model}: learning curves",
            "caption": f"The test rows of {PARTS[arms.part]}, asked on the way, fine-tuned on "
            f"{told(spec.budgets[-1])}, rows that a training row repeats included. At step 0 both are asked zero-shot. "
            f"Nothing was chosen by these curves. Bars cover other tasks and seeds.{lost}",
            "x": {"label": "steps of fine-tuning", "scale": "linear"},
            "y": _SCORE,
            "series": [
                {"name": name, "style": arm, "points": cast("list[Point]", curves.points(found, arm))}
                for arm, name in names.items()
            ],
        }
    ]


def _controls(spec: Spec, results: Results, arms: Arms) -> Figure:
    rows: list[FigureRow] = []
    for model, parts in arms.items():
        for name, title in {"base": "base at its best", "tuned": "tuned", **_titles(spec)}.items():
            marks = [
                mark(str(place), control(results, one, name), PARTS[part])
                for place, (part, one) in enumerate(parts.items(), start=1)
            ]
            rows.append({"label": f"{model}: {title}" if len(arms) > 1 else title, "marks": marks})
    return {
        "kind": "rows",
        "name": "controls",
        "title": "The same tuning with one thing taken away",
        "caption": "Asked zero-shot, without fine-tuning; the base in its best way. Controls are made for the first "
        "seed, so their intervals do not cover other seeds.",
        "full_scale": True,
        "rows": rows,
    }


def control(results: Results, arms: FourArms, name: str) -> Interval | None:
    """The mean of a control without fine-tuning, or of an arm; None where it was not made."""
    if name in ("base", "tuned"):
        return arms.mean(name, NONE)
    return mean(by_seed(results, suite=TARGETS, model=arms.model, groups=arms.part, arm=name, budget=NONE))


def told(budget: int | str) -> str:
    """A budget in words."""
    return "all rows" if budget == "all" else counted(int(budget), "row")


def short(task: str) -> str:
    """A task's name without its collection."""
    return task.partition("/")[2] or task


def _titles(spec: Spec) -> dict[str, str]:
    return {name: CONTROLS[name].title for name in spec.controls}


def _plain(model: str) -> str:
    """A model's name in a file's."""
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in model).strip("-.")
