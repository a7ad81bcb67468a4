"""A study's report with made-up, plausible numbers: every kind of figure, some values missing, hostile text."""

from __future__ import annotations

import math
from typing import Any

HOSTILE = "<script>alert(1)</script>&\"'\x00\u202e"
BUDGETS = [0, 16, 64, 256, 1024]


def series(name: str, style: str | int, values: list[float | None], spread: float = 0.035) -> dict[str, Any]:
    points = [
        {"x": x, "y": None}
        if y is None
        else {"x": x, "y": y, "low": max(0.0, y - spread), "high": min(1.0, y + spread), "n": 1200}
        for x, y in zip(BUDGETS, values, strict=True)
    ]
    return {"name": name, "style": style, "points": points}


def budget_figure() -> dict[str, Any]:
    return {
        "kind": "lines",
        "name": "budget-held-out",
        "title": "Score against budget, held-out tasks",
        "caption": "Accuracy on tasks that were never tuned on, by the examples given to single-task fine-tuning. Bars "
        "cover 95% over seeds, tasks and items.",
        "x": {"label": "examples of the task given to single-task fine-tuning", "scale": "symlog", "ticks": BUDGETS},
        "y": {"label": "accuracy", "percent": True},
        "series": [
            series("base", "base", [0.06, 0.08, 0.21, 0.44, 0.71]),
            series("instruction-tuned", "tuned", [0.47, 0.49, 0.58, None, 0.81]),
            series("from scratch, then single-task", 1, [0.01, 0.01, 0.04, 0.12, 0.43]),
            series("shuffled targets, then single-task", 2, [0.02, 0.03, 0.09, 0.21, 0.48]),
        ],
        "references": [{"y": 0.25, "label": "chance"}, {"x": 64, "label": "64 examples"}],
    }


def scaling_figure() -> dict[str, Any]:
    def curve(x: float, top: float) -> float:
        return top - 0.55 * x**-0.45

    counts = [2, 4, 8, 16, 32, 64]
    lines = []
    for name, top, style in (("pocket (3.1M)", 0.62, 1), ("pocket-0.3m", 0.44, 2)):
        points = [
            {"x": x, "y": curve(x, top) + 0.02 * math.sin(x), "low": curve(x, top) - 0.05, "high": curve(x, top) + 0.05}
            for x in counts
        ]
        fit = [[x, curve(x, top)] for x in range(2, 129, 2)]
        band = [[x, curve(x, top) - 0.03, curve(x, top) + 0.03] for x in range(2, 129, 2)]
        lines.append({"name": name, "style": style, "points": points, "fit": fit, "band": band})
    return {
        "kind": "lines",
        "name": "scaling",
        "title": "More tasks, held-out score",
        "caption": "Dashed: a saturating power law with its 95% band.",
        "x": {"label": "tuning tasks", "scale": "log"},
        "y": {"label": "accuracy, held-out", "percent": True},
        "series": lines,
        "references": [{"x": 16, "label": "knee"}],
    }


def learning_figure() -> dict[str, Any]:
    steps = range(0, 401, 10)
    lines = []
    for name, style, rate in (("from the base", "base", 220), ("from the tuned model", "tuned", 60)):
        points = [
            {"x": s, "y": 0.8 - 0.75 * math.exp(-s / rate), "low": 0.76 - 0.75 * math.exp(-s / rate)}
            | {"high": 0.84 - 0.75 * math.exp(-s / rate)}
            for s in steps
        ]
        lines.append({"name": name, "style": style, "points": points})
    return {
        "kind": "lines",
        "name": "learning-curves",
        "title": "Learning curves",
        "caption": "",
        "x": {"label": "step"},
        "y": {"label": "accuracy", "percent": True},
        "series": lines,
        "references": [{"y": 0.68, "label": "the base arm's best"}],
    }


def arrows_figure() -> dict[str, Any]:
    tasks = ["rotate left", "reverse", "count vowels", "weekday", "larger number", "capital of", "entails", HOSTILE]
    items = [
        {
            "label": task,
            "group": "held-in" if number % 2 else "held-out",
            "from": [0.02 + 0.02 * number, 0.3 + 0.06 * number],
            "to": [0.35 + 0.07 * number, 0.38 + 0.068 * number - (0.3 if number == 4 else 0)],
            "note": "3 seeds",
        }
        for number, task in enumerate(tasks)
    ]
    items.append({"label": "dates apart", "group": "held-in", "from": [0.1, 0.2], "to": [None, 0.3]})
    return {
        "kind": "arrows",
        "name": "pareto",
        "title": "The Pareto picture: one arrow a task",
        "caption": "From the base to the instruction-tuned model; up and to the right is better at both.",
        "x": {"label": "accuracy without fine-tuning", "percent": True},
        "y": {"label": "accuracy after single-task fine-tuning", "percent": True},
        "items": items,
    }


def rows_figure(full: bool) -> dict[str, Any]:
    def marks(base: float, tuned: float | None) -> list[dict[str, Any]]:
        second = {"series": "tuned", "value": tuned, "low": None, "high": None}
        if tuned is not None:
            second |= {"low": tuned - 0.03, "high": tuned + 0.03}
        return [{"series": "base", "value": base, "low": base - 0.02, "high": base + 0.02}, second]

    def gain(value: float, spread: float) -> list[dict[str, Any]]:
        return [{"series": "gain", "value": value, "low": value - spread, "high": value + spread}]

    if full:
        rows = [
            {"label": "Held-in", "note": "tasks that it was tuned on", "marks": marks(0.08, 0.96), "strong": True},
            {"label": "Held-out", "note": "never tuned on", "marks": marks(0.06, 0.61), "strong": True},
            {"label": "Unseen compositions of skills that were tuned", "marks": marks(0.04, None)},
        ]
        title, name = "Base against tuned", "arms"
    else:
        rows = [
            {"label": "Tuned", "note": "tuned − base at its best", "marks": gain(0.41, 0.05), "strong": True},
            {"label": "Control: shuffled targets", "marks": gain(0.004, 0.02)},
            {"label": "Control: from scratch", "marks": gain(-0.05, 0.03)},
        ]
        title, name = "Gain against its controls, in points", "controls"
    caption = "Diamonds are means, bars 95% intervals."
    return {"kind": "rows", "name": name, "title": title, "caption": caption, "rows": rows, "full_scale": full}


def matrix_figure(size: int = 6) -> dict[str, Any]:
    names = ["word lists", "strings", "numbers", "dates", "comparison", "table look-up", "ordering", "NLI", "facts"]
    names = [names[k % 9] + (f" {k // 9}" if k >= 9 else "") for k in range(size)]
    values: list[list[float | None]] = [
        [round(0.5 * math.exp(-((i - j) ** 2) / 2) - 0.05 * ((i * 7 + j) % 3), 3) for j in range(size)]
        for i in range(size)
    ]
    values[1][3] = None
    return {
        "kind": "matrix",
        "name": "transfer",
        "title": "Transfer between clusters, in points",
        "caption": "Tuned on the cluster of the row, asked the cluster of the column: the gain over the base.",
        "rows": names,
        "columns": names,
        "values": values,
        "low": [[None if v is None else v - 0.04 for v in row] for row in values],
        "high": [[None if v is None else v + 0.04 for v in row] for row in values],
        "diverging": True,
        "row_label": "tuned on",
        "column_label": "asked",
    }


def scatter_figure() -> dict[str, Any]:
    points = [
        {
            "x": 1.5 + 0.5 * number,
            "y": 0.1 + 0.06 * number + 0.03 * math.sin(5 * number),
            "low": 0.06 + 0.06 * number,
            "high": 0.14 + 0.06 * number,
            "label": f"draw {number}",
            "group": "4 tasks" if number < 5 else "16 tasks",
        }
        for number in range(9)
    ]
    points.append({"x": 6.5, "y": None, "label": "draw 9", "group": "16 tasks"})
    return {
        "kind": "scatter",
        "name": "diversity",
        "title": "Diversity against held-out gain",
        "caption": "Each mark is a set of tasks.",
        "x": {"label": "effective number of clusters (Vendi score)"},
        "y": {"label": "held-out gain", "percent": True},
        "points": points,
        "fit": [[1.5, 0.1], [5.5, 0.58]],
    }


def categories_figure() -> dict[str, Any]:
    def points(values: list[float]) -> list[dict[str, Any]]:
        names = ["CoT only", "direct only", "both, at equal tokens"]
        return [{"x": x, "y": y, "low": y - 0.04, "high": y + 0.04} for x, y in zip(names, values, strict=True)]

    return {
        "kind": "lines",
        "name": "cot",
        "title": "Chain of thought, direct, or both",
        "caption": "Equal tokens in each arm.",
        "x": {"label": "tuned on", "scale": "category"},
        "y": {"label": "accuracy", "percent": True},
        "series": [
            {"name": "asked directly", "points": points([0.12, 0.55, 0.53])},
            {"name": "asked for steps", "points": points([0.41, 0.07, 0.46])},
        ],
    }


def study_report() -> dict[str, Any]:
    return {
        "question": "should-i",
        "title": "Should I instruction-tune pocket (causal)?",
        "verdict": {
            "verdict": "yes",
            "sentence": "Yes: on tasks that it was never tuned on, instruction tuning lifts pocket from 6% to 47%, and "
            "single-task fine-tuning that starts from the tuned model ends higher.",
            "gain": 0.41,
            "ci95": [0.36, 0.46],
            "n": 1200,
            "covers": "seeds, tasks and items",
            "smallest_gain": 0.02,
            "format_gain": {"score": 0.05, "ci95": [0.03, 0.07], "n": 1200},
            "skill_gain": {"score": 0.36, "ci95": [0.31, 0.41], "n": 1200},
            "share_gained": 0.81,
            "share_lost": 0.04,
            "budget_below_which_tuned_alone_wins": 256,
            "flops_against_pretraining": 0.0213,
        },
        "findings": [
            "The gain is skill, not format: the base at its best reaches 11%, the tuned model 47%.",
            "Below 256 examples the tuned model without any fine-tuning wins.",
            "Targets that were shuffled bring nothing: +0.4 points (−1.6 to +2.4).",
        ],
        "claims": [
            {
                "claim": "Starting from the tuned model is a Pareto improvement over starting from the base.",
                "source": "Longpre et al. 2023",
                "shown": shown,
                "here": "+8.1 points (+4.2 to +12.0) after fine-tuning on all examples.",
                "why": why,
            }
            for shown, why in (
                ("yes", ""),
                ("no", "Models of this size forget in a few hundred steps."),
                ("not shown", "Two seeds are too few to tell."),
                ("not tested", HOSTILE),
            )
        ],
        "figures": [
            budget_figure(),
            arrows_figure(),
            learning_figure(),
            rows_figure(True),
            rows_figure(False),
            scaling_figure(),
            categories_figure(),
            matrix_figure(),
            scatter_figure(),
        ],
        "tables": [
            {
                "name": "tasks",
                "title": "Task by task",
                "columns": ["Task", "n", "Base", "Tuned"],
                "rows": [[f"pocket/lists/{k}", 120, 0.0625 * k, None if k == 2 else 0.5] for k in range(5)]
                + [[HOSTILE, 1, 0.0, 1.0]],
                "note": "Shares of right answers.",
            }
        ],
        "method": ["Four arms were trained on the same rows.", "Nothing was chosen by its outcome."],
        "choices": [["seeds", "0, 1, 2"], ["budgets", "0, 16, 64, 256, 1024"], ["note", HOSTILE]],
        "missing": ["tuned/256/seed-1 failed: out of memory", f"from it: {HOSTILE}"],
        "made": {
            "command": "instil study should-i --preset pocket --out studies/should-i",
            "recipe": "name: should-i\nseeds: [0, 1, 2]\n",
            "fingerprint": "3f9c1b2a77aa01cd",
            "versions": {"instil": "0.1.0", "torch": "2.13.0"},
            "machine": "2 cores",
            "phases": {"runs": 431.0, "analysis": 3.2},
            "seconds": 434.2,
        },
    }
