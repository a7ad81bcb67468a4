"""A report of a reward model with made-up, plausible numbers."""

from __future__ import annotations

import math
from typing import Any


def pair_share(value: float, n: int = 331, prompts: int = 112) -> dict[str, Any]:
    half = 1.96 * math.sqrt(value * (1 - value) / prompts)
    return {"score": value, "n": n, "prompts": prompts, "ci95": [max(0, value - half), min(1, value + half)]}


def reward_report(**more: Any) -> dict[str, Any]:
    bins = [
        {"low": low, "high": low + 0.1, "sure": low + 0.05, **pair_share(low + 0.03, 60, 40)}
        for low in (0.5, 0.6, 0.7, 0.8, 0.9)
    ]
    side = {"rankings": 900, "prompts": 870, "completions": 4000, "pairs": 8000, "tied": 300, "sizes": {"4": 500}}
    return {
        "name": "helpful",
        "verdict": "Accuracy 64.1% [55.2, 73.0] on 331 pairs of 112 held-out prompts.",
        "model": "pocket, 1.5M parameters, causal",
        "accuracy": {
            "held_out": pair_share(0.641),
            "held_out_annotators": pair_share(0.61, 120, 50),
            "train": pair_share(0.702, 600, 200),
        },
        "agreement": pair_share(0.726, 400, 150),
        "longer_is_better": pair_share(0.55),
        "length_rule": {
            "prefers": "longer",
            **pair_share(0.55),
            "lead": {"score": 0.091, "n": 331, "ci95": [0.02, 0.16]},
        },
        "calibration": {"bins": bins, "ece": 0.034, "sure": 0.68},
        "length": {"within": {"score": 0.31, "n": 500, "ci95": [0.22, 0.4]}, "overall": None},
        "rewards": {
            "best": {"mean": 0.41, "sd": 0.9, "n": 112},
            "worst": {"mean": -0.5, "sd": 1.1, "n": 112},
            "bins": [
                {
                    "low": k / 6 - 2,
                    "high": (k + 1) / 6 - 2,
                    "best": math.exp(-(((k - 14) / 5) ** 2)) / 9,
                    "worst": math.exp(-(((k - 9) / 5) ** 2)) / 9,
                }
                for k in range(24)
            ],
        },
        "by_levels": [{"name": "1 rank apart", **pair_share(0.58)}, {"name": "2 ranks apart", **pair_share(0.72)}],
        "by_annotator": [{"name": f"person {k}", **pair_share(0.5 + 0.005 * k)} for k in range(25)],
        "by_task": [{"name": "ranked", **pair_share(0.641)}],
        "reference": {"of": "best-ranked completions", "n": 512, "bias": -0.7},
        "points": [
            {
                "step": step,
                "accuracy": 0.64 - 0.14 * math.exp(-step / 12),
                "accuracy_low": 0.58 - 0.14 * math.exp(-step / 12),
                "accuracy_high": 0.70 - 0.14 * math.exp(-step / 12),
                "held_out_loss": 0.63 + 0.07 * math.exp(-step / 12),
            }
            for step in range(5, 55, 5)
        ],
        "loss_curve": [{"step": k, "loss": 0.62 + 0.1 * math.exp(-k / 9)} for k in range(1, 50)],
        "samples": [
            {
                "prompt": "User: Name a <fruit>.\nAssistant:",
                "completions": [
                    {"text": "An apple.", "rank": 1, "reward": 0.8},
                    {"text": "<b>A chair</b>", "rank": 2, "reward": -1.2},
                    {"text": "A pear.", "rank": 0, "reward": 0.1},
                ],
            }
        ]
        * 6,
        "data": {
            "rows": {"read": 1000, "kept": 990, "dropped": {"fewer than two levels": 10}},
            "completions_dropped": {"empty completion": 3},
            "sources": [{"task": "ranked", "collection": "comparisons", "rows": 1000, "licence": "not stated"}],
            "sides": {
                "train": side,
                "held_out": side,
                "held_out_annotators": {**side, "rankings": 0},
            },
            "annotators": {"ada": 500, "ben": 490},
            "remarks": ["12 rankings were cut to 9 completions (max_completions)"],
        },
        "trained_on": {"Prompts": "870, each with all its completions", "Steps": "54 of 16 prompts"},
        "notes": ["One run, one seed."],
        "seconds": 204.0,
        "made": {"command": "instil reward", "fingerprint": "3f9c1b2a"},
        **more,
    }
