"""A quickstart report and a run report with made-up, plausible numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest


def score(value: float, n: int = 400) -> dict[str, Any]:
    spread = 1.96 * math.sqrt(max(value * (1 - value), 0.002) / n)
    return {"score": value, "n": n, "ci95": [max(0.0, value - spread), min(1.0, value + spread)]}


def difference(value: float, spread: float = 0.03, n: int = 400) -> dict[str, Any]:
    return {"score": value, "n": n, "ci95": [value - spread, value + spread]}


def loss_curve(steps: int = 900) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "loss": 0.35 + 4.2 * math.exp(-step / 120) + 0.12 * math.sin(step * 12.9898) * math.cos(step / 7),
        }
        for step in range(1, steps + 1)
    ]


RECIPE = "name: pocket\nseed: 0\nmodel:\n  path: pocket\ntuning:\n  max_steps: 900\n  learning_rate: 0.001\n"


@pytest.fixture
def quickstart_report() -> dict[str, Any]:
    clusters = ["word lists", "strings", "numbers", "dates", "comparison", "classification", "NLI", "table look-up"]
    return {
        "verdict": "Instruction tuning paid off: on tasks that it was never tuned on, the model went from 6% to 61%, "
        "while skills that nobody taught it stayed at chance.",
        "model": "pocket, 3.1M parameters, causal",
        "base": {"held_in": score(0.08), "held_out": score(0.06, 800)},
        "tuned": {"held_in": score(0.96), "held_out": score(0.61, 800)},
        "held_out_kinds": {
            "unseen_templates": {"base": score(0.07), "tuned": score(0.88)},
            "unseen_skills": {"base": score(0.08), "tuned": score(0.84)},
            "unseen_cluster": {"base": score(0.11, 200), "tuned": score(0.42, 200)},
            "unseen_compositions": {"base": score(0.04), "tuned": score(0.27)},
            "negative_control": {"base": score(0.05), "tuned": score(0.06), "chance": 0.05},
        },
        "base_probes": {
            "held_in": {
                "zero_shot": score(0.0),
                "few_shot": score(0.04),
                "rank": score(0.08),
                "lenient": score(0.03),
                "own_form": score(0.91),
            },
            "held_out": {
                "zero_shot": score(0.0),
                "few_shot": score(0.05),
                "rank": score(0.06),
                "lenient": score(0.02),
                "own_form": score(0.88),
            },
        },
        "gains": {
            "held_in": {"total": difference(0.96), "format": difference(0.08), "skill": difference(0.88)},
            "held_out": {"total": difference(0.61), "format": difference(0.06), "skill": difference(0.55, 0.04)},
        },
        "forgetting": {
            "tuned_skills": {"base": score(0.91), "tuned": score(0.74)},
            "unseen_skills": {"base": score(0.88), "tuned": score(0.69)},
        },
        "compositions": {
            "answer_alone": {"base": score(0.03), "tuned": score(0.16)},
            "with_steps": {"base": score(0.02), "tuned": score(0.38)},
        },
        "clusters": [
            {
                "cluster": name,
                "split": "held-in",
                "tasks": 14 + number,
                "base": score(0.05 + 0.01 * number, 120),
                "tuned": score(0.99 - 0.02 * number, 120),
            }
            for number, name in enumerate(clusters)
        ]
        + [
            {
                "cluster": name,
                "split": "unseen skills",
                "tasks": 4,
                "base": score(0.06, 60),
                "tuned": score(0.9 - 0.1 * number, 60),
            }
            for number, name in enumerate(clusters[:4])
        ],
        "samples": [
            {
                "kind": "unseen skills",
                "task": "pocket/lists/rotate-left",
                "prompt": "Rotate the words below one place to the left.\n\nriver apple stone kite\n\nAnswer:",
                "expected": "apple stone kite river",
                "base": "river apple stone kite . she had river apple",
                "tuned": "apple stone kite river",
                "base_right": False,
                "tuned_right": True,
            },
            {
                "kind": "unseen compositions",
                "task": "pocket/compositions/reverse-then-first",
                "prompt": "Reverse the list, then name its first word: <script>alert(1)</script> lamp moss",
                "expected": "moss",
                "base": "",
                "tuned": "lamp",
                "base_right": False,
                "tuned_right": False,
            },
        ]
        * 3,
        "loss_curve": loss_curve(),
        "seconds": 204.3,
        "notes": [
            "One seed: another seed moves the held-out score by a few points.",
            "The suite is generated; it shows the effect, not the size that it has on real tasks.",
        ],
        "made": {
            "command": "instil quickstart --out runs/quickstart",
            "recipe": RECIPE,
            "fingerprint": "3f9c1b2a77aa01cd3f9c1b2a77aa01cd",
            "versions": {"instil": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
            "machine": "2 cores, x86_64",
            "phases": {"base": 31.0, "tuning": 128.2, "tuned": 45.1},
        },
    }


@pytest.fixture
def run_report() -> dict[str, Any]:
    groups = [
        {
            "group": name,
            "setting": setting,
            "metric": metric,
            "tasks": tasks,
            "base": score(base, n),
            "tuned": score(tuned, n),
            "gain": difference(tuned - base, 0.03, n),
            **({"chance": chance} if chance else {}),
        }
        for name, setting, metric, tasks, base, tuned, chance, n in [
            ("all", "zero-shot", "rouge_l", 12, 0.09, 0.17, None, 600),
            ("all", "few-shot-2", "rouge_l", 12, 0.10, 0.16, None, 600),
            ("sentiment", "zero-shot", "accuracy", 3, 0.48, 0.55, 0.5, 150),
            ("paraphrase", "zero-shot", "rouge_l", 2, 0.12, 0.11, None, 100),
        ]
    ]
    return {
        "name": "real-mix",
        "model": "pocket",
        "verdict": "On ni-dev (zero-shot) tuning helped: from 9.0% to 17.0%.",
        "suites": [
            {"suite": "ni-dev", "prompts": 1200, "groups": groups},
            {"suite": "bbh", "prompts": 250, "groups": groups[2:]},
        ],
        "trained_on": {"Prompts": "38,400", "Answer tokens": "512,000", "Steps": "600"},
        "sources": [
            {"collection": "ni", "tasks": "216", "share": "50%", "licence": "Apache-2.0"},
            {"collection": "cot", "tasks": "9", "share": "25%", "licence": "various"},
        ],
        "samples": [],
        "loss_curve": loss_curve(600),
        "seconds": 744.0,
        "notes": [],
        "made": {"recipe": RECIPE, "fingerprint": "3f9c1b2a77aa01cd"},
    }
