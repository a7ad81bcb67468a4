"""What both sides of `preferences.py` agree on: how much a step reads, and what is rewarded. Imports nothing heavy.

dpo          64 pairs a step
reward       8 prompts of 9 completions a step here, 288 comparisons; 64 comparisons a step there
grpo, rloo   8 prompts a step, 8 answers of 64 tokens to each
"""

from __future__ import annotations

from typing import NamedTuple

#: Answers that are sampled to a prompt, and the tokens of each.
ANSWERS, NEW_TOKENS = 8, 64
#: Completions of a ranking.
RANKED = 9


class PerStep(NamedTuple):
    """What one optimizer step takes."""

    rows: int
    """Rows of instil's side."""
    units: int
    """Units of the peer's side: pairs, comparisons, answers."""


PER_STEP = {"dpo": PerStep(64, 64), "reward": PerStep(8, 64), "grpo": PerStep(8, 64), "rloo": PerStep(8, 64)}
BETA = {"dpo": 0.1, "grpo": 0.04, "rloo": 0.05}


def pairs_of(part: str) -> int:
    """Units of a row: its comparisons, or the answers to it."""
    return {"dpo": 1, "reward": RANKED * (RANKED - 1) // 2}.get(part, ANSWERS)


def judged(text: str) -> float:
    """The reward of an answer: the share of its letters that are e."""
    return text.count("e") / max(1, len(text))
