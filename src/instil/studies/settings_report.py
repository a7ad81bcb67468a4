"""The page of the study of prompt settings: every level against the recipe as written, and what the papers say.

figure  few-shot     scores against the share of few-shot prompts, asked zero-shot and few-shot
figure  levels       every level minus the reference, on held-out and on held-in tasks
figure  templates    scores against templates a task
figure  options      tuned with and without listed options, asked with and without
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from instil.studies.arms import mark, mean, point, told, told_gain
from instil.studies.settings import BASE, REFERENCE, Level, levels
from instil.studies.settings_claims import claims_of, middle
from instil.studies.settings_scores import Asked, Part, Scores, held_in, held_out, others
from instil.studies.study import choices
from instil.studies.verdict import because, decide, verdict_row

if TYPE_CHECKING:
    from instil.reports.study_report import Cell, Figure, FigureRow, Series, StudyReport, Table, Verdict
    from instil.studies.settings import Spec
    from instil.studies.table import Results

_ASKED: dict[Asked, str] = {
    "zero-shot": "asked zero-shot",
    "few-shot": "asked few-shot",
    "options": "asked with options listed",
}
_BOTH: tuple[Asked, Asked] = ("zero-shot", "few-shot")
_LISTED: tuple[Asked, Asked] = ("zero-shot", "options")

METHOD = (
    """One thing is varied at a time around the recipe as written, the reference, which is run once and belongs to every
    factor. Effects of two changes together are not measured.""",
    """Every level takes the same number of steps with the same learning rates, and as many tokens in a step (prompts
    and answers, measured on the first prompts before any run): few-shot prompts are longer, so a step holds fewer.""",
    """Every model is asked for the answer alone: zero-shot, after {shots} worked examples, and zero-shot with its
    options listed in one of many styles, the same items each time; what is written must match exactly.""",
    """Intervals are 95% each. Of {count} comparisons with the reference and for one way of asking, one in forty would
    lie above zero by chance alone where nothing has any effect: look at the pattern, not at one row.""",
)


def report_of(spec: Spec, results: Results) -> StudyReport:
    """The whole report; the first model's numbers carry the verdict."""
    models = [Scores.read(spec, results, model) for model in spec.models]
    there = levels(spec)
    varied = [level for level in there if level.changes]
    several = bool(models[1:])
    words = [" ".join(text.split()) for text in METHOD]
    return {
        "question": "Which prompt settings should the mixture have?",
        "title": f"Prompt settings: {spec.name}",
        "verdict": _verdict(spec, models[0]),
        "findings": [line for scores in models for line in _findings(spec, scores, there, named=several)],
        "claims": claims_of(spec, models[0]),
        "figures": [figure for scores in models for figure in _figures(spec, scores, there, several=several)],
        "tables": [_scores_table(spec, models, varied), _runs_table(results, models)],
        "method": [text.format(shots=spec.shots, count=len(varied)) for text in words],
        "choices": choices(spec),
    }


def _verdict(spec: Spec, scores: Scores) -> Verdict:
    """The middle share of few-shot prompts against none, asked zero-shot and few-shot alike, on held-out tasks."""
    level, part = middle(spec), held_out(spec)
    found = None if level is None else scores.gain(level.arm, part, "both")
    if level is None or found is None:
        lacking = "Not known: there is no run that mixes zero-shot and few-shot prompts beside one that does not."
        return {"verdict": "not shown", "sentence": lacking, "gain": None, "ci95": None, "n": 0, "covers": "nothing"}
    answer = decide(found, spec.smallest_gain)
    head = {"yes": "Yes", "no": "No", "not shown": "Not shown"}[answer]
    by_way = {way: scores.gain(level.arm, part, way) for way in _BOTH}
    sentence = (
        f"{head}: on unseen tasks, zero-shot and few-shot questions together, worked examples in {level.name} of the "
        f"prompts are worth, against none, {because(found, spec.smallest_gain)}."
    )
    row: dict[str, Any] = {
        **verdict_row(found, spec.smallest_gain),
        "sentence": sentence,
        "model": scores.model,
        "few_shot_share": level.place,
        "by_way": {way: gained.row() for way, gained in by_way.items() if gained is not None},
    }
    return cast("Verdict", row)


def _findings(spec: Spec, scores: Scores, there: Sequence[Level], *, named: bool) -> list[str]:
    lead = f"{scores.model}: " if named else ""
    part = held_out(spec)
    reference = mean(scores.of(REFERENCE, part, "zero-shot"))
    lines = [f"{lead}The recipe as written reaches {told(reference)} on unseen tasks, asked zero-shot."]
    for level in there:
        gains = {way: scores.gain(level.arm, part, way) for way in _ASKED} if level.changes else {}
        words = [f"{_ASKED[way]} {told_gain(found)}" for way, found in gains.items() if found is not None]
        if words:
            lines.append(f"{lead}{_name(level)}, less the recipe as written, on unseen tasks: {'; '.join(words)}.")
    return lines


def _name(level: Level) -> str:
    """`few-shot 10%`, `templates 4`."""
    return f"{level.factor} {level.name}"


def _figures(spec: Spec, scores: Scores, there: Sequence[Level], *, several: bool) -> Iterator[Figure]:
    of, suffix = (f" ({scores.model})", f"-{scores.model.replace('/', '-')}") if several else ("", "")
    by_factor = {name: [level for level in there if level.factor == name] for name in dict.fromkeys(_factors(there))}
    if len(by_factor.get("few-shot", ())) > 1:
        yield _few_shot_figure(spec, scores, by_factor["few-shot"], of, suffix)
    for part in (held_out(spec), held_in(spec)):
        if part.groups:
            yield {
                "kind": "rows",
                "name": f"levels-{part.name}{suffix}",
                "title": f"Every level minus the recipe as written, {part.name} tasks{of}",
                "caption": "Points of exact match with 95% intervals over seeds, tasks and items, at equal tokens.",
                "rows": [_level_row(scores, level, part) for level in there if level.changes],
            }
    if len(by_factor.get("templates", ())) > 1:
        yield _templates_figure(spec, scores, by_factor["templates"], of, suffix)
    if len(by_factor.get("options", ())) > 1:
        yield _options_figure(spec, scores, by_factor["options"], of, suffix)


def _factors(there: Sequence[Level]) -> list[str]:
    return [level.factor for level in there]


def _few_shot_figure(spec: Spec, scores: Scores, there: Sequence[Level], of: str, suffix: str) -> Figure:
    series: list[Series] = []
    style = 0
    for part in (held_out(spec), held_in(spec)):
        for way in _BOTH:
            style += 1
            series.append(
                {
                    "name": f"{part.name}, {_ASKED[way]}",
                    "style": style,
                    "points": [point(level.place, mean(scores.of(level.arm, part, way))) for level in there],
                }
            )
    best_way, units = scores.best_of_base(held_out(spec))
    at_best = mean({spec.seeds[0]: units}) if units else None
    return {
        "kind": "lines",
        "name": f"few-shot{suffix}",
        "title": f"Zero-shot, few-shot, or mixed{of}",
        "caption": f"Share of the prompts that show {spec.shots} worked examples, at equal tokens. 95% intervals over "
        "seeds and tasks.",
        "x": {"label": "few-shot prompts", "percent": True, "ticks": [level.place for level in there]},
        "y": {"label": "exact match", "percent": True},
        "series": series,
        "references": []
        if at_best is None
        else [{"y": at_best.score, "label": f"base at its best, held-out ({best_way.replace('_', ' ')})"}],
    }


def _templates_figure(spec: Spec, scores: Scores, there: Sequence[Level], of: str, suffix: str) -> Figure:
    parts = [held_out(spec), held_in(spec), *others(spec)]
    return {
        "kind": "lines",
        "name": f"templates{suffix}",
        "title": f"How many phrasings a task needs{of}",
        "caption": "Templates a task and kind (for the answer, for the steps), at equal tokens; asked zero-shot.",
        "x": {"label": "templates a task", "scale": "category", "ticks": [level.name for level in there]},
        "y": {"label": "exact match", "percent": True},
        "series": [
            {
                "name": part.name,
                "style": number,
                "points": [point(level.name, mean(scores.of(level.arm, part, "zero-shot"))) for level in there],
            }
            for number, part in enumerate(parts, 1)
            if part.groups
        ],
    }


def _options_figure(spec: Spec, scores: Scores, there: Sequence[Level], of: str, suffix: str) -> Figure:
    rows: list[FigureRow] = []
    for part in (held_out(spec), held_in(spec)):
        for way in _LISTED:
            arms = [(BASE, "base", "base"), *((level.arm, str(n), level.name) for n, level in enumerate(there, 1))]
            marks = [mark(style, mean(scores.of(arm, part, way)), name) for arm, style, name in arms]
            rows.append({"label": f"{part.name}, {_ASKED[way]}", "marks": marks})
    return {
        "kind": "rows",
        "name": f"options{suffix}",
        "title": f"Options listed in training, or not{of}",
        "caption": "Share of the prompts for an answer that list their options; answers are written either way, and "
        "the base is asked zero-shot in the same words.",
        "rows": rows,
        "full_scale": True,
    }


def _level_row(scores: Scores, level: Level, part: Part) -> FigureRow:
    gains = {way: scores.gain(level.arm, part, way) for way in _ASKED}
    marks = [
        mark(str(number), found, _ASKED[way])
        for number, (way, found) in enumerate(gains.items(), 1)
        if found is not None or way != "options"
    ]
    return {"label": _name(level), "marks": marks}


def _scores_table(spec: Spec, models: Sequence[Scores], varied: Sequence[Level]) -> Table:
    """Every mean of the study: a row for each level, a column for what was asked how."""
    parts = [part for part in (held_in(spec), held_out(spec), *others(spec)) if part.groups]
    names = {BASE: "base", REFERENCE: "as written", **{level.arm: level.arm for level in varied}}
    rows: list[list[Cell]] = []
    asked = [(part, way) for part in parts for way in _ASKED if _was_asked(models, part, way)]
    for scores in models:
        for arm, name in names.items():
            cells: list[Cell] = []
            for part, way in asked:
                found = scores.of(arm, part, way)
                if arm == BASE and found:
                    found = {seed: found[seed] for seed in scores.seeds[:1]}
                cells.append(told(mean(found)))
            rows.append([scores.model, name, *cells])
    return {
        "name": "scores",
        "title": "Every mean",
        "columns": ["model", "level", *(f"{part.name}, {_ASKED[way]}" for part, way in asked)],
        "rows": rows,
        "note": "95% intervals over seeds, tasks and items where there are several seeds; of the base over tasks.",
    }


def _was_asked(models: Sequence[Scores], part: Part, way: Asked) -> bool:
    return any(scores.of(arm, part, way) for scores in models for arm in (BASE, REFERENCE))


def _runs_table(results: Results, models: Sequence[Scores]) -> Table:
    """What each run read, so that equal tokens can be checked."""
    rows = []
    for scores in models:
        for run in results.runs(model=scores.model):
            if run.axes.get("arm") == BASE:
                continue
            facts, tuning = results.facts(run.key), (run.recipe or {}).get("tuning", {})
            told_facts = [facts.get(key) for key in ("steps", "tokens", "answer_tokens", "seconds")]
            rows.append([run.key, tuning.get("prompts_per_step"), *told_facts])
    return {
        "name": "runs",
        "title": "What each run was tuned on",
        "columns": ["run", "prompts a step", "steps", "tokens", "answer tokens", "seconds"],
        "rows": rows,
        "note": "Tokens hold replayed text too, where the recipe replays some.",
    }
