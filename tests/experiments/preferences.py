"""Recipes of alignments over files that a test writes: tiny random models, rankings, prompts, and small rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: A proxy that is fooled by length, and a gold reward that is not.
REWARDS = """\
def long(prompts, completions):
    return [min(len(text), 40) / 10 for text in completions]

def vowels(prompts, completions):
    return [sum(letter in "aeiou" for letter in text) / 10 for text in completions]
"""


def rankings_file(path: Path, count: int = 60) -> Path:
    """Comparisons of three answers: longer is better."""
    lines = [
        {
            "prompt": f"Say {k} in words, number {k % 7}.",
            "completions": ["yes yes yes", "no no", "hm"],
            "ranking": [1, 2, 3],
            "annotator": f"a{k % 3}",
        }
        for k in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rewards_file(path: Path) -> Path:
    path.write_text(REWARDS)
    return path


def offline(base: Path, folder: Path, method: str = "dpo", **keys: Any) -> dict[str, Any]:
    """A recipe that learns from rankings, as plain data."""
    rankings = rankings_file(folder / "ranked.jsonl")
    return {
        "name": "ordered",
        "method": method,
        "model": str(base),
        "rankings": {"sources": [{"collection": "comparisons", "path": str(rankings)}], "held_out": 0.5},
        "alignment": {
            "max_steps": 4, "prompts_per_step": 4, "evaluate_every": 2, "save_every": 2, "log_every": 1,
            "learning_rate": 1e-3,
        },
        "monitor": {"prompts": 8, "test_prompts": 10, "max_new_tokens": 8},
        **keys,
    }  # fmt: skip


def on_policy(base: Path, folder: Path, method: str = "ppo", **keys: Any) -> dict[str, Any]:
    """A recipe that samples answers, as plain data."""
    rows = folder / "prompts.jsonl"
    rows.write_text("".join(json.dumps({"inputs": f"Say {k}.", "targets": "aa"}) + "\n" for k in range(60)))
    rewards = rewards_file(folder / "own.py")
    alignment: dict[str, Any] = {
        "max_steps": 4, "prompts_per_rollout": 4, "max_new_tokens": 8, "evaluate_every": 2, "save_every": 2,
        "log_every": 1, "learning_rate": 1e-3, **({"minibatches": 2} if method == "ppo" else {}),
    }  # fmt: skip
    if method == "best-of-n":
        alignment = {"completions_per_prompt": 8, "max_new_tokens": 8}
    return {
        "name": "rewarded",
        "method": method,
        "model": str(base),
        "prompts": {"sources": [{"collection": "jsonl", "path": str(rows)}]},
        "rewards": [{"python": f"{rewards}:long", "name": "long"}],
        "gold": [{"python": f"{rewards}:vowels", "name": "vowels"}],
        "alignment": alignment,
        "monitor": {"prompts": 8, "test_prompts": 10, "examples_per_task": 20},
        **keys,
    }  # fmt: skip
