"""Which tasks should I add next? Those that widen what is trained on most; and a check whether that is good advice.

    have                      8 tasks, of few clusters
    + 8 that widen it most    chosen by diversity alone, before anything is trained
    + 8 at random             several times
    + 8 more of the same      other tasks of the clusters that are there

Each is tuned for the same steps and asked about tasks that none of them trains on. The verdict says whether widening
beat chance on those; the table names the tasks, in the order in which to add them. No evaluation chooses a task.

`have` is given by patterns, or drawn several times from few clusters, so that the advice is tested on more than one
beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from instil.recipe import Section
from instil.reports.study_report import Claim, Figure, FigureRow, RowMark, StudyReport, Table, Verdict
from instil.studies.advice import advised, beginning, chosen
from instil.studies.arm_scores import by_seed, reference
from instil.studies.best import ask_name, base_asks, gain
from instil.studies.diversity import Added
from instil.studies.grid import Ask, Axis, Grid, Run
from instil.studies.intervals import Interval, counted, crossed
from instil.studies.set_prediction import NAMES
from instil.studies.sources import Feature
from instil.studies.spec import StudySpec
from instil.studies.suite_groups import check_groups
from instil.studies.table import Results
from instil.studies.task_pool import TaskPool, open_pool
from instil.studies.verdict import because, in_points, verdict_row

#: Ways of choosing what to add -> what a page calls them.
WAYS = {
    "widest": "what widens it most",
    "random": "at random",
    "same": "more of the same clusters",
}


class DrawnHave(Section):
    """Tasks to begin from, drawn anew each time."""

    clusters: int = Field(ge=1)
    """Of so many clusters."""
    each: int = Field(ge=1)
    """So many tasks of each."""


class Spec(StudySpec):
    """A study of what to add. It is of one model: `models` (or `--model`) names one, and another model is another
    study.
    """

    have: list[str] = Field(default_factory=list)
    """What is trained on already: names of tasks, clusters or collections, or patterns."""
    drawn: DrawnHave | None = None
    """In place of `have`: beginnings drawn by key, to test the advice on several."""
    at_hand: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    """What may be added: names of tasks, clusters or collections, or patterns."""
    add: int = Field(ge=1)
    """How many tasks are added."""
    draws: int = Field(default=3, ge=1)
    """How often the comparison is made, each time with other random tasks and another training seed, and from another
    beginning where that is drawn. `seeds` says nothing here."""
    ways: list[Literal["widest", "random", "same"]] = Field(default=["widest", "random", "same"])
    """What is compared; `random` always is."""
    feature: Feature = "hidden"
    """What tells how alike two tasks are: the base's mean hidden states over their prompts, or hashed n-grams of
    them."""
    prompts: int = Field(default=16, ge=1)
    """Prompts of each task that are looked at."""

    @field_validator("ways")
    @classmethod
    def _with_baseline(cls, ways: list[str]) -> list[str]:
        if "widest" not in ways or "random" not in ways:
            raise ValueError("the comparison needs `widest` and `random`")
        return list(dict.fromkeys(ways))

    @model_validator(mode="after")
    def _one_beginning(self) -> Spec:
        if bool(self.have) == (self.drawn is not None):
            raise ValueError("give `have` (the tasks that are trained on already) or `drawn`, and not both")
        return self


def grid(spec: Spec) -> Grid:
    """The runs.

    Raises:
        RecipeError: if the tasks at hand do not suffice, with the numbers, or nothing is asked that is held out.
    """
    check_groups(spec)
    pool = open_pool(spec)
    model = spec.models[0]
    base = tuple(ask for suite in spec.suites for ask in base_asks(suite, limit=spec.limit))
    runs = [Run(f"base/{model}", {"arm": "base", "model": model}, model=model, asks=base)]
    asks = tuple(Ask(ask_name(suite), suite=suite, limit=spec.limit) for suite in spec.suites)
    for draw in range(spec.draws):
        have = beginning(spec, pool, draw)
        sets: dict[str, tuple[str, ...]] = {"have": (), **{way: chosen(spec, pool, draw, way) for way in spec.ways}}
        for arm, more in sets.items():
            names = [*have, *more]
            axes: dict[str, Axis] = {"arm": arm, "model": model, "seed": draw, "count": len(names)}
            recipe = pool.recipe(spec, names, seed=draw)
            runs.append(Run(f"{arm}/draw-{draw}", axes, recipe=recipe, asks=asks))
    return Grid(tuple(runs))


def analyse(spec: Spec, results: Results) -> StudyReport:
    """What to add, and whether such advice held."""
    pool = open_pool(spec)
    scores = {arm: by_seed(spec, results, spec.held_out, arm=arm) for arm in ("have", *spec.ways)}
    against: dict[str, Interval] = {
        other: found
        for other in ("random", "same", "have")
        if other in scores and (found := _gain(scores[other], scores["widest"]))
    }
    verdict = _verdict(spec, against.get("random"))
    plans = [advised(spec, pool, draw) for draw in range(spec.draws if spec.drawn else 1)]
    return {
        "question": "Which tasks should I add next?",
        "title": f"next: {spec.models[0]}",
        "verdict": verdict,
        "findings": _findings(spec, pool, plans[0], against),
        "claims": [_claim(verdict, against)],
        "figures": [_scores_figure(spec, results, scores), _against_figure(against), _plan_figure(spec, plans)],
        "tables": [_plan_table(spec, pool, draw, plan) for draw, plan in enumerate(plans)],
        "method": _method(spec),
        "choices": _choices(spec),
        "missing": [f"{one.run}: {one.state}, {one.reason}" for one in results.missing],
    }


def _gain(before: Mapping[int, Any], after: Mapping[int, Any]) -> Interval | None:
    return gain(before, after) if before.keys() & after.keys() else None


def _verdict(spec: Spec, found: Interval | None) -> Verdict:
    if found is None:
        return {
            "verdict": "not shown",
            "sentence": "Not shown: the runs to compare are missing.",
            "gain": None,
            "ci95": None,
            "n": 0,
            "covers": "",
        }
    row: dict[str, Any] = verdict_row(found, spec.smallest_gain)
    row["covers"] = str(row["covers"]).replace("seed", "draw")
    word = {"yes": "Yes", "no": "No", "not shown": "Not shown"}[row["verdict"]]
    row["sentence"] = (
        f"{word}: adding the {spec.add} tasks that widen the set most instead of {spec.add} random ones changes the "
        f"held-out score by {because(found, spec.smallest_gain)}."
    )
    verdict: Any = row
    return verdict  # type: ignore[no-any-return]


def _findings(
    spec: Spec, pool: TaskPool, plan: Sequence[tuple[str, Added]], against: Mapping[str, Interval]
) -> list[str]:
    first = ", ".join(f"{name} ({pool.parts[name].task.cluster})" for name, _ in plan[:5])
    whose = "the first beginning" if spec.drawn else "what is trained on already"
    told = [f"To widen {whose}, add first: {first}."]
    named = {"random": "random tasks", "same": "more of the same clusters", "have": "adding nothing"}
    told += [
        f"Against {named[other]}, widening changes the held-out score by {in_points(found)} "
        f"({counted(found.seeds, 'draw')})."
        for other, found in against.items()
    ]
    return told


def _claim(verdict: Verdict, against: Mapping[str, Interval]) -> Claim:
    same = against.get("same")
    here = verdict["sentence"] + (f" Against more of the same: {in_points(same)}." if same else "")
    return {
        "claim": "Tasks that are unlike those at hand help more than others",
        "source": "what Chung et al. 2022, section 3, suggest by their plateau",
        "shown": verdict["verdict"] if verdict["gain"] is not None else "not tested",
        "here": here,
        "why": ""
        if verdict["verdict"] == "yes"
        else "Random tasks of a broad collection are diverse already; a few draws see only large differences.",
    }


def _scores_figure(spec: Spec, results: Results, scores: Mapping[str, Mapping[int, Any]]) -> Figure:
    way, at_best = reference(spec, results, spec.held_out)
    named = {"have": "nothing added", **{key: f"added {name}" for key, name in WAYS.items()}}
    rows: list[FigureRow] = []
    if at_best:
        one = crossed({0: at_best})
        mark: RowMark = {"series": "base", "value": one.score, "low": one.low, "high": one.high}
        rows.append({"label": f"base at its best ({way})", "marks": [mark]})
    for arm, found in scores.items():
        marks: list[RowMark] = []
        if found:
            mean = crossed(found)
            marks = [{"series": "tuned", "value": mean.score, "low": mean.low, "high": mean.high}]
        rows.append({"label": named[arm], "marks": marks, "note": "" if marks else "its runs are missing"})
    return {
        "kind": "rows",
        "name": "scores",
        "title": "Held-out score by what was added",
        "caption": "95% intervals over draws, tasks and items; all arms are trained for the same steps.",
        "rows": rows,
        "full_scale": True,
    }


def _against_figure(against: Mapping[str, Interval]) -> Figure:
    named = {"random": "against random tasks", "same": "against more of the same", "have": "against adding nothing"}
    return {
        "kind": "rows",
        "name": "against",
        "title": "What widening is worth",
        "caption": "Held-out score with the tasks that widen most, less that of the other way, draw by draw; 95% "
        "intervals over draws, tasks and items.",
        "rows": [
            {
                "label": named[other],
                "marks": [{"series": "gain", "value": one.score, "low": one.low, "high": one.high}],
                "note": counted(one.seeds, "draw"),
            }
            for other, one in against.items()
        ],
        "full_scale": False,
    }


def _plan_figure(spec: Spec, plans: Sequence[Sequence[tuple[str, Added]]]) -> Figure:
    return {
        "kind": "lines",
        "name": "diversity",
        "title": "How much wider each added task makes the set",
        "caption": f"By {NAMES[spec.feature]}; where the line flattens, what is at hand has nothing new to add.",
        "x": {"label": "tasks added", "scale": "linear"},
        "y": {"label": "effective number of different tasks", "percent": False},
        "series": [
            {
                "name": f"draw {draw}" if spec.drawn else "this set",
                "style": draw % 8 + 1,
                "points": [
                    {"x": number, "y": one.diversity, "note": name} for number, (name, one) in enumerate(plan, start=1)
                ],
            }
            for draw, plan in enumerate(plans[:8])
        ],
    }


def _plan_table(spec: Spec, pool: TaskPool, draw: int, plan: Sequence[tuple[str, Added]]) -> Table:
    have = beginning(spec, pool, draw)
    clusters = ", ".join(dict.fromkeys(pool.parts[name].task.cluster for name in have))
    rows: list[list[str | int | float]] = [
        [number, name, pool.parts[name].task.cluster, round(one.diversity, 2), round(one.gained, 2)]
        for number, (name, one) in enumerate(plan, start=1)
    ]
    return {
        "name": f"add-{draw}" if spec.drawn else "add",
        "title": f"What to add, beginning {draw}" if spec.drawn else "What to add",
        "columns": ["turn", "task", "cluster", "effective number of tasks", "of that new"],
        "rows": rows,
        "note": f"Begins from {counted(len(have), 'task')} ({clusters}).",
    }


def _method(spec: Spec) -> list[str]:
    adds = (
        f"Tasks are added one after another, each the one that raises the Vendi score of the set most (Friedman and "
        f"Dieng 2023): its effective number of different tasks, by {NAMES[spec.feature]} over {spec.prompts} prompts a "
        "task, without their answers. No score of any model is looked at."
    )
    check = (
        f"The check: {spec.draws} draws, each with other random tasks and a training seed of its own"
        + (", from a beginning of its own" if spec.drawn else "")
        + ". Every arm is tuned for the same steps of the same number of prompts, and asked the same questions."
    )
    return [adds, check]


def _choices(spec: Spec) -> list[list[Any]]:
    tuning = spec.recipe_for(spec.models[0], 0).get("tuning", {})
    start = (
        f"{spec.drawn.clusters} clusters, {spec.drawn.each} tasks of each, drawn"
        if spec.drawn
        else ", ".join(spec.have)
    )
    return [
        ["model", spec.models[0]],
        ["begins from", start],
        ["at hand", ", ".join(spec.at_hand)],
        ["added", spec.add],
        ["ways", ", ".join(spec.ways)],
        ["draws", spec.draws],
        ["measure of diversity", spec.feature],
        ["suites", ", ".join(spec.suites)],
        ["held out", ", ".join(spec.held_out)],
        ["smallest gain that matters", spec.smallest_gain],
        *([f"tuning.{key}", value] for key, value in tuning.items()),
    ]
