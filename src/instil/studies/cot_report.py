"""The page of the study of chains of thought: who answers what, what step-by-step words do, and the papers' claims.

figure  arms            base at its best, direct, CoT, both: asked for the answer, asked for the steps
figure  step-by-step    told to reason minus not told, of the base and of every arm
figure  steps-or-not    the arm `both`: asked for the steps minus asked for the answer, part by part
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from instil.studies.arms import BySeed, for_each, mark, mean, told, told_gain, versus
from instil.studies.cot_claims import claims_of
from instil.studies.cot_scores import BASE, Asked, Part, Scores, parts_of
from instil.studies.study import choices
from instil.studies.verdict import because, decide, verdict_row

if TYPE_CHECKING:
    from instil.reports.study_report import Cell, Figure, FigureRow, StudyReport, Table, Verdict
    from instil.studies.cot import Spec
    from instil.studies.intervals import Interval
    from instil.studies.table import Results

#: The arms as figures name them, each with its colour.
TITLES = {BASE: "base at its best", "direct": "answers alone", "cot": "chains of thought alone", "both": "both"}
_SERIES = {BASE: "base", "direct": "1", "cot": "2", "both": "tuned"}
_ASKED: dict[Asked, str] = {
    "answer": "reasoning tasks, asked for the answer",
    "steps": "reasoning tasks, asked for the steps",
    "others": "other tasks",
}

METHOD = (
    """Three mixtures from one recipe: `both` is the recipe as written, the other two keep only the settings with, or
    without, chains of thought; sources that are left without a setting fall away. So the arm of chains of thought alone
    also trains on fewer kinds of tasks, as in the papers.""",
    """Every arm takes the same number of steps with the same learning rates, and as many tokens in a step (prompts and
    answers, measured on the first prompts before any run): an arm with longer prompts has fewer of them in a step.""",
    """Reasoning tasks are those that a suite asks for with steps too. Chains of thought are judged by their final
    answer. Asked for the answer alone, what is written must be the answer and nothing else.""",
    """Told to reason: the reasoning tasks are asked for the answer twice, as they are and with "{words}" after the
    question. Both times the final answer is looked for anywhere in the text, so that neither form is at a loss.""",
    """The base stands at its best of zero-shot, few-shot, ranking and lenient matching, asked for the answer or for the
    steps, chosen for it after the fact; tuned models are asked zero-shot.""",
)


def report_of(spec: Spec, results: Results) -> StudyReport:
    """The whole report; the first model's numbers carry the verdict."""
    parts = parts_of(spec)
    models = [Scores.read(spec, results, model) for model in spec.models]
    figures: list[Figure] = []
    for scores in models:
        figures += _figures(scores, parts, f" ({scores.model})" if models[1:] else "")
    words = [" ".join(text.split()).replace("{words}", spec.words) for text in METHOD]
    return {
        "question": "What does training on chains of thought buy, and what does it cost?",
        "title": f"Chains of thought: {spec.name}",
        "verdict": _verdict(spec, models[0]),
        "findings": [line for scores in models for line in _findings(spec, scores, parts, named=bool(models[1:]))],
        "claims": claims_of(spec, models[0]),
        "figures": figures,
        "tables": [_scores_table(models, parts), _arms_table(results, models)],
        "method": words,
        "choices": choices(spec),
    }


def _verdict(spec: Spec, scores: Scores) -> Verdict:
    """Both, asked for the steps, against answers alone, asked for the answer: unseen reasoning tasks."""
    part = Part("held-out", spec.held_out)
    without, both = scores.of("direct", part, "answer"), scores.of("both", part, "steps")
    found = versus(without, both)
    cost = versus(scores.of("direct", part, "others"), scores.of("both", part, "others"))
    if found is None:
        lacking = "Not known: the runs that it needs are missing."
        return {"verdict": "not shown", "sentence": lacking, "gain": None, "ci95": None, "n": 0, "covers": "nothing"}
    answer = decide(found, spec.smallest_gain)
    head = {"yes": "Yes", "no": "No", "not shown": "Not shown"}[answer]
    sentence = (
        f"{head}: on unseen reasoning tasks, chains of thought in the mixture are worth "
        f"{because(found, spec.smallest_gain)}. Tuned on both and asked for the steps: {told(mean(both))}; tuned on "
        f"answers alone and asked for the answer: {told(mean(without))}."
    )
    at_best = mean(for_each(spec.seeds[:1], scores.best_of_base(part, "steps").units))
    row: dict[str, Any] = {
        **verdict_row(found, spec.smallest_gain),
        "sentence": sentence,
        "model": scores.model,
        "score_with_steps": _score(mean(both)),
        "score_answers_alone": _score(mean(without)),
        "base_at_its_best": _score(at_best),
        "gain_on_other_tasks": None if cost is None else cost.row(),
    }
    return cast("Verdict", row)


def _score(found: Interval | None) -> float | None:
    return None if found is None else found.score


def _findings(spec: Spec, scores: Scores, parts: Sequence[Part], *, named: bool) -> list[str]:
    lead = f"{scores.model}: " if named else ""
    lines = []
    for part in parts:
        for asked, title in _ASKED.items():
            before, after = scores.of("direct", part, asked), scores.of("both", part, asked)
            if (found := versus(before, after)) is not None:
                lines.append(
                    f"{lead}{part.name}, {title}: {told(mean(before))} tuned on answers alone, {told(mean(after))} on "
                    f"both ({told_gain(found)})."
                )
    return lines


def _figures(scores: Scores, parts: Sequence[Part], of: str) -> list[Figure]:
    suffix = "" if not of else f"-{scores.model.replace('/', '-')}"
    return [
        {
            "kind": "rows",
            "name": f"arms{suffix}",
            "title": f"What each mixture teaches, at equal tokens{of}",
            "caption": "Exact match with 95% intervals over seeds and tasks. Reasoning tasks are asked for the answer "
            "alone and for the steps; the base stands at its best way of being asked.",
            "rows": [row for part in parts for row in _arm_rows(scores, part)],
            "full_scale": True,
        },
        {
            "kind": "rows",
            "name": f"step-by-step{suffix}",
            "title": f"Told to think step by step, minus not told{of}",
            "caption": "Reasoning tasks, zero-shot; the final answer is found anywhere in the text, both times. Words "
            "that no arm was tuned on.",
            "rows": [row for part in parts if (row := _told_row(scores, part))["marks"]],
        },
        {
            "kind": "rows",
            "name": f"steps-or-not{suffix}",
            "title": f"Tuned on both: asked for the steps, minus asked for the answer{of}",
            "caption": "The same model, the same tasks, the same rows: what writing the steps is worth to it.",
            "rows": [
                {"label": part.name, "marks": [mark("gain", found, "steps - answer")], "note": found.words}
                for part in parts
                if (found := versus(scores.of("both", part, "answer"), scores.of("both", part, "steps"))) is not None
            ],
        },
    ]


def _arm_rows(scores: Scores, part: Part) -> list[FigureRow]:
    rows: list[FigureRow] = []
    for asked, title in _ASKED.items():
        by_arm = {arm: _of(scores, arm, part, asked) for arm in TITLES}
        if any(by_arm.values()):
            marks = [mark(_SERIES[arm], mean(found), TITLES[arm]) for arm, found in by_arm.items()]
            rows.append({"label": f"{part.name}: {title}", "marks": marks})
    return rows


def _of(scores: Scores, arm: str, part: Part, asked: Asked) -> BySeed:
    """An arm's scores; the base's in the way that suits it best."""
    if arm != BASE:
        return scores.of(arm, part, asked)
    return for_each(scores.seeds[:1], scores.best_of_base(part, asked).units)


def _told_row(scores: Scores, part: Part) -> FigureRow:
    gains = {arm: versus(scores.of(arm, part, "free"), scores.of(arm, part, "told")) for arm in TITLES}
    marks = [mark(_SERIES[arm], found, _plain(arm)) for arm, found in gains.items() if found is not None]
    return {"label": part.name, "marks": marks}


def _plain(arm: str) -> str:
    return "base" if arm == BASE else TITLES[arm]


def _scores_table(models: Sequence[Scores], parts: Sequence[Part]) -> Table:
    """Every mean of the study: a row for what was asked how, a column for each arm."""
    asked: dict[Asked, str] = {
        **_ASKED,
        "free": "reasoning tasks, answer found anywhere",
        "told": "the same, told to think step by step",
    }
    rows: list[list[Cell]] = []
    for scores in models:
        for part in parts:
            for way, title in asked.items():
                found = {arm: mean(scores.of(arm, part, way)) for arm in TITLES if arm != BASE}
                if any(found.values()):
                    rows.append(
                        [scores.model, part.name, title, *_of_base(scores, part, way), *map(told, found.values())]
                    )
    return {
        "name": "scores",
        "title": "Every mean",
        "columns": ["model", "part", "asked", "base, zero-shot", "base at its best", *list(TITLES.values())[1:]],
        "rows": rows,
        "note": "95% intervals over seeds, tasks and items where there are several seeds; of the base over tasks.",
    }


def _of_base(scores: Scores, part: Part, way: Asked) -> tuple[Cell, Cell]:
    """The base as it is asked like the arms, and in its best way, which is named."""
    zero = scores.of(BASE, part, way)
    plain = told(mean({seed: zero[seed] for seed in scores.seeds[:1] if seed in zero}))
    if way not in _ASKED:
        return plain, None
    best = scores.best_of_base(part, way)
    score = mean(for_each(scores.seeds[:1], best.units))
    return plain, f"{told(score)}, {best.way.replace('_', ' ')}"


def _arms_table(results: Results, models: Sequence[Scores]) -> Table:
    """What each run read, so that equal tokens can be checked."""
    rows = []
    for scores in models:
        for run in results.runs(model=scores.model, arm=[arm for arm in TITLES if arm != BASE]):
            facts = results.facts(run.key)
            tuning = (run.recipe or {}).get("tuning", {})
            told_facts = [facts.get(key) for key in ("steps", "tokens", "answer_tokens", "seconds")]
            rows.append([run.key, tuning.get("prompts_per_step"), *told_facts])
    return {
        "name": "runs",
        "title": "What each run was tuned on",
        "columns": ["run", "prompts a step", "steps", "tokens", "answer tokens", "seconds"],
        "rows": rows,
        "note": "Tokens hold replayed text too, where the recipe replays some.",
    }
