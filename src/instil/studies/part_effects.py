"""What each part of a mixture does: left out, added, and alone.

    left out    all - without it      on its own tasks, on the other held-in tasks, on the held-out tasks
    added       start and it - start  on the same three
    alone       the transfer matrix   trained on a row, asked about a column

A difference is taken item by item, and its interval covers other seeds (where there are several), tasks and items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from instil.reports.study_report import Claim, Figure, FigureRow, RowMark, Table, Verdict
from instil.studies.arm_scores import Kept, by_seed, reference
from instil.studies.best import gain
from instil.studies.intervals import Interval, crossed
from instil.studies.table import Results
from instil.studies.transfer import transfer
from instil.studies.verdict import because, decide, in_points, verdict_row

if TYPE_CHECKING:
    from instil.studies.sources import Spec
    from instil.studies.task_pool import TaskPool

#: The three kinds of tasks that a part can matter for, and their colours.
_OWN, _OTHERS, _HELD_OUT = "its own tasks", "other held-in tasks", "held-out tasks"
_COLOURS = {_OWN: "1", _OTHERS: "2", _HELD_OUT: "3"}


@dataclass(frozen=True, slots=True)
class Effects:
    """A piece of a study's report."""

    verdict: Verdict
    findings: Sequence[str] = ()
    claims: Sequence[Claim] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()


@dataclass
class Effect:
    """What a part does to one kind of tasks."""

    part: str
    tasks: int
    by_kind: dict[str, Interval] = field(default_factory=dict)


def effects(spec: Spec, results: Results, pool: TaskPool, parts: Mapping[str, Sequence[str]]) -> Effects:
    """Everything about the parts."""
    left = _each(spec, results, pool, parts, whole="all", other="without", sign=-1)
    added = _each(spec, results, pool, parts, whole="start", other="added", sign=1)
    figures, findings = [], []
    if left:
        figures.append(_rows_figure("left-out", "What each part is worth to the whole", left, _LEFT_CAPTION))
        findings += _told(left, "Leaving out", "costs")
    if added:
        start = " and ".join(spec.add_to)
        caption = f"The score of {start} with the part, less that of {start} alone. {_AXIS}"
        figures.append(_rows_figure("added", f"What each part adds to {start}", added, caption))
        findings += _told(added, "Adding", "brings")
    if spec.transfer != "none" and (found := transfer(spec, results, parts)):
        matrix, sentence = found
        figures.append(matrix)
        findings += [sentence] if sentence else []
    tables = [_arms(spec, results), *([_table("left-out", "Parts left out", left)] if left else [])]
    tables += [_table("added", "Parts added", added)] if added else []
    verdict = _verdict(spec, results, parts)
    return Effects(verdict, findings, [_claim(spec, left)] if spec.leave_out else [], figures, tables)


_AXIS = (
    "Its own tasks are those of the part, and held-out ones of clusters that are wholly in it; held-out tasks are "
    "those of other clusters. Bars are 95% intervals over seeds, tasks and items, as far as there are several."
)
_LEFT_CAPTION = f"The score of the whole mixture, less that of the mixture without the part. {_AXIS}"


def _each(
    spec: Spec,
    results: Results,
    pool: TaskPool,
    parts: Mapping[str, Sequence[str]],
    *,
    whole: str,
    other: str,
    sign: Literal[1, -1],
) -> list[Effect]:
    """What each part does, as far as its runs are there."""
    found = []
    for part in results.values("part", arm=other):
        names = parts[str(part)]
        effect = Effect(str(part), len(names))
        own = _own(pool, names)
        for kind, groups, kept in (
            (_OWN, [*spec.held_in, *spec.held_out], own),
            (_OTHERS, spec.held_in, lambda one, own=own: not own(one)),
            (_HELD_OUT, spec.held_out, lambda one, own=own: not own(one)),
        ):
            one = by_seed(spec, results, groups, kept, arm=whole)
            two = by_seed(spec, results, groups, kept, arm=other, part=part)
            before, after = (one, two) if sign == 1 else (two, one)
            if before.keys() & after.keys():
                effect.by_kind[kind] = gain(before, after)
        found.append(effect)
    return found


def _own(pool: TaskPool, names: Sequence[str]) -> Kept:
    """Whether a row is about a part: one of its tasks, or of a cluster that is in no other part."""
    mine = set(names)
    clusters = {
        cluster for cluster, members in pool.clusters.items() if mine.issuperset(members)
    }  # a cluster that parts share is nobody's
    return lambda one: one.task in mine or one.cluster in clusters


def _rows_figure(name: str, title: str, found: Sequence[Effect], caption: str) -> Figure:
    rows: list[FigureRow] = []
    for effect in found:
        marks: list[RowMark] = [
            {"series": _COLOURS[kind], "name": kind, "value": one.score, "low": one.low, "high": one.high}
            for kind, one in effect.by_kind.items()
        ]
        note = "" if marks else "its runs are missing"
        rows.append({"label": f"{effect.part} ({effect.tasks})", "marks": marks, "note": note})
    return {"kind": "rows", "name": name, "title": title, "caption": caption, "rows": rows, "full_scale": False}


def _told(found: Sequence[Effect], does: str, brings: str) -> list[str]:
    """The strongest effect on held-out tasks, and what happens to a part's own tasks."""
    held = {effect.part: effect.by_kind[_HELD_OUT] for effect in found if _HELD_OUT in effect.by_kind}
    own = {effect.part: effect.by_kind[_OWN] for effect in found if _OWN in effect.by_kind}
    told = []
    if held:
        most = max(held, key=lambda part: held[part].score)
        clear = sum(one.low > 0 for one in held.values())
        told.append(
            f"{does} {most} {brings} most on held-out tasks: {in_points(held[most])}. For {clear} of {len(held)} parts "
            "the interval of that lies above zero (intervals are not widened for looking at several)."
        )
    if own:
        clear = sum(one.low > 0 for one in own.values())
        mean = sum(one.score for one in own.values()) / len(own)
        told.append(
            f"On a part's own tasks it {brings} {100 * mean:+.1f} points on average; clearly so for {clear} of "
            f"{len(own)} parts."
        )
    return told


def _table(name: str, title: str, found: Sequence[Effect]) -> Table:
    rows = []
    for effect in found:
        told = [
            in_points(effect.by_kind[kind]) if kind in effect.by_kind else None for kind in (_OWN, _OTHERS, _HELD_OUT)
        ]
        rows.append([effect.part, effect.tasks, *told])
    return {
        "name": name,
        "title": title,
        "columns": ["part", "tasks", _OWN, _OTHERS, _HELD_OUT],
        "rows": rows,
        "note": "Points of 100, with 95% intervals.",
    }


def _arms(spec: Spec, results: Results) -> Table:
    """The base, the whole mixture and the start, on held-in and held-out tasks."""
    rows: list[list[Any]] = []
    for label, groups in (("held-in", spec.held_in), ("held-out", spec.held_out)):
        if not groups:
            continue
        way, at_best = reference(spec, results, groups)
        zero = by_seed(spec, results, groups, arm="base")
        arms: list[tuple[str, Mapping[int, Mapping[str, Sequence[float]]]]]
        arms = [("base, zero-shot", zero), (f"base at its best ({way})", {0: at_best} if at_best else {})]
        arms += [(arm, by_seed(spec, results, groups, arm=arm)) for arm in ("all", "start")]
        for arm, scores in arms:
            if scores:
                one = crossed(scores)
                beyond = in_points(gain(dict.fromkeys(scores, at_best), scores)) if at_best and arm in _TUNED else None
                rows.append([label, arm, f"{100 * one.score:.1f}% [{100 * one.low:.1f}, {100 * one.high:.1f}]", beyond])
    return {
        "name": "arms",
        "title": "Base and tuned models",
        "columns": ["tasks", "model", "score", "beyond the base's best"],
        "rows": rows,
        "note": "Means over tasks with 95% intervals. The base's way is chosen after the fact, in its favour.",
    }


_TUNED = ("all", "start")


def _verdict(spec: Spec, results: Results, parts: Mapping[str, Sequence[str]]) -> Verdict:
    """Whether a part is worth something to held-out tasks, on average over the parts that were left out."""
    whole = by_seed(spec, results, spec.held_out, arm="all")
    before: dict[int, dict[str, list[float]]] = {}
    after: dict[int, dict[str, list[float]]] = {}
    for part in results.values("part", arm="without"):
        for seed, units in by_seed(spec, results, spec.held_out, arm="without", part=part).items():
            for task, items in units.items():
                if task in whole.get(seed, {}):
                    before.setdefault(seed, {}).setdefault(task, []).extend(items)
                    after.setdefault(seed, {}).setdefault(task, []).extend(whole[seed][task])
    if not before:
        return {
            "verdict": "not shown",
            "sentence": "Not shown: no part was left out, so there is nothing to compare.",
            "gain": None,
            "ci95": None,
            "n": 0,
            "covers": "",
        }
    found = gain(before, after)
    found = replace(found, n=found.n // max(1, len(results.values("part", arm="without"))))
    row = verdict_row(found, spec.smallest_gain)
    word = {"yes": "Yes", "no": "No", "not shown": "Not shown"}[row["verdict"]]
    row["sentence"] = (
        f"{word}: one of {len(parts)} parts is worth on average, to held-out tasks, "
        f"{because(found, spec.smallest_gain)}."
    )
    verdict: Any = row
    return verdict  # type: ignore[no-any-return]


def _claim(spec: Spec, left: Sequence[Effect]) -> Claim:
    held = [effect.by_kind[_HELD_OUT] for effect in left if _HELD_OUT in effect.by_kind]
    said = [decide(one, spec.smallest_gain) for one in held]
    shown: Literal["yes", "no", "not shown", "not tested"] = (
        "not tested"
        if not said
        else "yes"
        if all(one == "yes" for one in said)
        else "no"
        if all(one == "no" for one in said)
        else "not shown"
    )
    here = (
        f"Of {len(said)} parts left out in turn, held-out scores fall clearly without {said.count('yes')}; for "
        f"{said.count('no')} the loss is less than {100 * spec.smallest_gain:g} points, for {said.count('not shown')} "
        "the interval tells neither."
    )
    return {
        "claim": "Each source of a mixture adds to what held-out tasks gain",
        "source": "Longpre et al. 2023, Table 2",
        "shown": shown,
        "here": here if said else "No part was left out.",
        "why": ""
        if shown in ("yes", "not tested")
        else "Where many parts teach the same thing, to follow an instruction, the others make up for one that is "
        "gone; a few seeds see only large losses.",
    }
