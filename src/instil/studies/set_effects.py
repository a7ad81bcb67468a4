"""Count and diversity apart: sets of as many tasks from few or many clusters, and of more tasks from the same ones.

    more clusters, as many tasks     2 x 4 -> 4 x 2 -> 8 x 1       what diversity brings beyond count
    more of the same                 4 x 1 -> 4 x 2 -> 4 x 4       where it stops helping: the plateau
    measured diversity               does it tell the held-out score better than the count, on unseen draws?

The verdict is about the first: held-out score of the sets from the most clusters less that of the sets from the fewest,
at the same number of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from instil.reports.study_report import Claim, Figure, FigureRow, Lines, Point, Series, Verdict
from instil.studies import set_prediction as told_by
from instil.studies.arm_scores import by_seed, reference
from instil.studies.best import gain
from instil.studies.intervals import Interval, counted, crossed
from instil.studies.part_effects import Effects
from instil.studies.prediction import SHUFFLES as SHUFFLES
from instil.studies.prediction import Forecast
from instil.studies.table import Results
from instil.studies.verdict import because, decide, in_points, verdict_row

if TYPE_CHECKING:
    from instil.studies.sources import DiversitySpec, Spec
    from instil.studies.task_pool import TaskPool

Scores = Mapping[int, Mapping[str, Sequence[float]]]
"""Of each draw, of each held-out task: the scores of its items."""
Design = tuple[int, int]
"""(clusters, tasks of each)."""
Shown = Literal["yes", "no", "not shown", "not tested"]


def effects(
    spec: Spec,
    design: DiversitySpec,
    results: Results,
    pool: TaskPool,
    sets: Mapping[tuple[int, int, int], Sequence[str]],
) -> Effects:
    """Everything about the sets."""
    scores = {one: found for one in design.sets if (found := _scores(spec, results, one))}
    pairs = at_same_count(design.sets)
    steps = more_of_the_same(design.sets)
    verdict = _verdict(spec, scores, pairs)
    made = told_by.task_sets(spec, design, pool, sets, scores)
    predicted = told_by.predictions(design, made)
    figures = [_count_figure(spec, results, scores, design), _steps_figure(scores, pairs, steps)]
    figures += [told_by.scatter_figure(one, made) for one in design.features]
    figures += [told_by.prediction_figure(predicted)] if predicted else []
    findings = [*_told_steps(spec, scores, steps), *told_by.told(predicted, design)]
    claims = [_diversity_claim(verdict, predicted), _plateau_claim(spec, scores, steps)]
    tables = [told_by.sets_table(design, made), *([told_by.prediction_table(predicted)] if predicted else [])]
    return Effects(verdict, findings, claims, figures, tables)


def _scores(spec: Spec, results: Results, one: Design) -> Scores:
    return by_seed(spec, results, spec.held_out, arm="set", design=f"{one[0]}x{one[1]}")


def at_same_count(sets: Sequence[Design]) -> list[tuple[Design, Design]]:
    """For every number of tasks, the set of the fewest clusters and that of the most, where they differ."""
    by_count: dict[int, list[Design]] = {}
    for one in sorted(sets):
        by_count.setdefault(one[0] * one[1], []).append(one)
    return [(found[0], found[-1]) for _, found in sorted(by_count.items()) if len(found) > 1]


def more_of_the_same(sets: Sequence[Design]) -> list[tuple[Design, Design]]:
    """Sets of the same clusters, each with the next larger one."""
    ordered = sorted(sets)
    return [(one, two) for one, two in pairwise(ordered) if one[0] == two[0]]


def _gain(scores: Mapping[Design, Scores], pair: tuple[Design, Design]) -> Interval | None:
    before, after = (scores.get(one, {}) for one in pair)
    return gain(before, after) if before.keys() & after.keys() else None


def _verdict(spec: Spec, scores: Mapping[Design, Scores], pairs: Sequence[tuple[Design, Design]]) -> Verdict:
    """Many clusters less few at the same count, all counts together: a draw's counts are one, as its sets nest."""
    before: dict[int, dict[str, list[float]]] = {}
    after: dict[int, dict[str, list[float]]] = {}
    for few, many in pairs:
        for draw in scores.get(few, {}).keys() & scores.get(many, {}).keys():
            for task, items in scores[few][draw].items():
                before.setdefault(draw, {}).setdefault(task, []).extend(items)
                after.setdefault(draw, {}).setdefault(task, []).extend(scores[many][draw][task])
    if not before:
        return {
            "verdict": "not shown",
            "sentence": "Not shown: no two sets of the same number of tasks were both trained on.",
            "gain": None,
            "ci95": None,
            "n": 0,
            "covers": "",
        }
    found = gain(before, after)
    # an item stands there once for each pair, and counts once
    asked = {task: len(items) for units in scores.values() for tasks in units.values() for task, items in tasks.items()}
    found = replace(found, n=sum(asked[task] for task in {task for tasks in after.values() for task in tasks}))
    row: dict[str, Any] = verdict_row(found, spec.smallest_gain)
    row["covers"] = str(row["covers"]).replace("seed", "draw")
    word = {"yes": "Yes", "no": "No", "not shown": "Not shown"}[row["verdict"]]
    row["sentence"] = (
        f"{word}: with as many tasks, training on many clusters instead of few changes the held-out score by "
        f"{because(found, spec.smallest_gain)}."
    )
    row |= {"draws": found.seeds, "held_out_tasks": found.tasks, "pairs": len(pairs)}
    verdict: Any = row
    return verdict  # type: ignore[no-any-return]


def _count_figure(spec: Spec, results: Results, scores: Mapping[Design, Scores], design: DiversitySpec) -> Figure:
    series: list[Series] = []
    for number, clusters in enumerate(sorted({one for one, _ in design.sets}), start=1):
        points: list[Point] = []
        for each in sorted(each for one, each in design.sets if one == clusters):
            point: Point = {"x": clusters * each, "y": None, "note": "its runs are missing"}
            if found := scores.get((clusters, each)):
                mean = crossed(found)
                point = {"x": clusters * each, "y": mean.score, "low": mean.low, "high": mean.high, "n": mean.n}
                point["note"] = f"{counted(len(found), 'draw')}, {each} of each cluster"
            points.append(point)
        series.append({"name": counted(clusters, "cluster"), "style": number, "points": points})
    way, at_best = reference(spec, results, spec.held_out)
    means = [sum(items) / len(items) for items in at_best.values()]
    figure: Lines = {
        "kind": "lines",
        "name": "count-and-clusters",
        "title": "Held-out score by the number of tasks, and of clusters",
        "caption": "Points above one another have as many tasks, from more or fewer clusters; along a line there are "
        "more tasks of the same clusters. 95% intervals over draws, tasks and items.",
        "x": {"label": "tasks trained on", "scale": "log", "ticks": sorted({a * b for a, b in design.sets})},
        "y": {"label": "held-out score", "percent": True},
        "series": series,
    }
    if means:
        figure["references"] = [{"y": sum(means) / len(means), "label": f"base at its best ({way})"}]
    return figure


def _steps_figure(
    scores: Mapping[Design, Scores], pairs: Sequence[tuple[Design, Design]], steps: Sequence[tuple[Design, Design]]
) -> Figure:
    rows: list[FigureRow] = []
    for kind, colour, listed in (("more clusters, as many tasks", "1", pairs), ("more of the same", "2", steps)):
        for one, two in listed:
            found = _gain(scores, (one, two))
            sides = (found.score, found.low, found.high) if found else (None, None, None)
            count = one[0] * one[1]
            label = (
                f"{counted(count, 'task')}: {one[0]} → {counted(two[0], 'cluster')}"
                if kind.startswith("more clusters")
                else f"{counted(one[0], 'cluster')}: {count} → {counted(two[0] * two[1], 'task')}"
            )
            mark = {"series": colour, "name": kind, "value": sides[0], "low": sides[1], "high": sides[2]}
            row: Any = {"label": label, "marks": [mark], "note": "" if found else "its runs are missing"}
            rows.append(row)
    return {
        "kind": "rows",
        "name": "more-of-what",
        "title": "What more clusters bring, and what more of the same brings",
        "caption": "Change of the held-out score, set by set of the same draw; 95% intervals over draws, tasks and "
        "items.",
        "rows": rows,
        "full_scale": False,
    }


def _told_steps(spec: Spec, scores: Mapping[Design, Scores], steps: Sequence[tuple[Design, Design]]) -> list[str]:
    """Where more of the same stops helping."""
    told = []
    for clusters in dict.fromkeys(one[0] for one, _ in steps):
        mine = [(one, two, found) for one, two in steps if one[0] == clusters and (found := _gain(scores, (one, two)))]
        if not mine:
            continue
        listed = "; ".join(
            f"{one[0] * one[1]} to {two[0] * two[1]} tasks {in_points(found)}" for one, two, found in mine
        )
        said = [decide(found, spec.smallest_gain) for _, _, found in mine]
        rest = len(said) - next((turn for turn, one in enumerate(reversed(said)) if one == "yes"), len(said))
        if rest == len(said):
            end = "no plateau within what was tried."
        else:
            count = mine[rest][0][0] * mine[rest][0][1]
            small = all(one == "no" for one in said[rest:])
            end = f"from {counted(count, 'task')} on " + (
                "more of them gain less than would matter."
                if small
                else "no gain is shown, which is not yet a plateau."
            )
        told.append(f"More of the same, {counted(clusters, 'cluster')}: {listed}: {end}")
    return told


def _diversity_claim(verdict: Verdict, predicted: Sequence[Forecast]) -> Claim:
    told = [f"{one.name}: {100 * one.removed:.0f}%, p {one.p:.3f}" for one in predicted if one.p is not None]
    here = verdict["sentence"]
    here += f" Squared error of the count's prediction removed out of sample: {'; '.join(told)}." if told else ""
    return {
        "claim": "With as many tasks, more diverse ones raise held-out scores more",
        "source": "Chung et al. 2022, section 3 (diversity, as the likely reason of their plateau)",
        "shown": verdict["verdict"] if verdict["gain"] is not None else "not tested",
        "here": here,
        "why": ""
        if verdict["verdict"] == "yes"
        else "Few draws of small sets see only large differences, and where every task teaches to follow instructions, "
        "clusters may matter little.",
    }


def _plateau_claim(spec: Spec, scores: Mapping[Design, Scores], steps: Sequence[tuple[Design, Design]]) -> Claim:
    last = {one[0]: (one, two) for one, two in steps}  # the largest step of each number of clusters
    said: dict[int, Shown] = {}
    for clusters, pair in last.items():
        if found := _gain(scores, pair):
            helps = decide(found, spec.smallest_gain)
            said[clusters] = "no" if helps == "yes" else "yes" if helps == "no" else "not shown"
    most = max((two[0] * two[1] for _, two in steps), default=0)
    values = set(said.values())
    shown: Shown = "not tested" if not said else values.pop() if len(values) == 1 else "not shown"
    here = "; ".join(
        f"{counted(clusters, 'cluster')}, {pair[0][0] * pair[0][1]} to {pair[1][0] * pair[1][1]} tasks: "
        f"{in_points(found)}"
        for clusters, pair in last.items()
        if (found := _gain(scores, pair))
    )
    return {
        "claim": "More tasks of the same kind soon stop helping",
        "source": "Chung et al. 2022, section 3",
        "shown": shown,
        "here": f"The largest step within the same clusters: {here}." if here else "No such sets were trained on.",
        "why": ""
        if shown in ("yes", "not tested")
        else f"The largest set here has {most:,} tasks; the paper sees its plateau after 282.",
    }
