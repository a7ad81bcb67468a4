"""Reports of aligned models with made-up, plausible numbers: one that over-optimised, one with a proxy alone."""

from __future__ import annotations

import math
from typing import Any


def point(step: int, *, gold: bool = True) -> dict[str, Any]:
    """The figures of an evaluation of a run whose gold reward peaks at step 60."""
    distance = step / 30
    proxy, true = 1.1 * distance - 0.05 * distance**2, 0.9 * distance - 0.22 * distance**2
    kl, wins = distance**2 * 1.4, 0.5 + 0.22 * math.sin(min(step, 160) / 50)
    figures = {
        "score": true if kl <= 15 else None,
        "proxy_reward": proxy,
        "proxy_low": proxy - 0.15,
        "proxy_high": proxy + 0.15,
        "kl": kl,
        "kl_low": 0.9 * kl,
        "kl_high": 1.1 * kl,
        "length": 20 + step / 8,
        "entropy": 1.2 * math.exp(-step / 90),
        "distinct_1": 0.3 - step / 900,
        "distinct_2": 0.62 - step / 500,
        "repeated": 0.01 + step / 1500,
        "unique": 0.95,
        "ended": 0.97,
        "invalid": 0.0,
        "win_rate": wins,
        "win_low": wins - 0.11,
        "win_high": wins + 0.1,
    }
    if gold:
        figures |= {"gold_reward": true, "gold_low": true - 0.2, "gold_high": true + 0.2}
    return {"step": step, **figures}


def align_report(*, gold: bool = True) -> dict[str, Any]:
    """A whole report."""

    def rewarded(value: float, start: float) -> dict[str, Any]:
        gain = {"score": value - start, "n": 200, "ci95": [value - start - 0.1, value - start + 0.1]}
        return {"score": value, "n": 200, "ci95": [value - 0.12, value + 0.12], "start": start, "gain": gain}

    base, tuned = ({"score": s, "n": 400, "ci95": [s - 0.04, s + 0.04]} for s in (0.61, 0.58))
    group = {
        "group": "all", "setting": "zero-shot, generate", "metric": "exact_match", "tasks": 12, "base": base,
        "tuned": tuned, "gain": {"score": -0.03, "n": 400, "ci95": [-0.05, -0.01]},
    }  # fmt: skip
    samples = [
        {
            "prompt": f"Name a fruit that begins with the letter {letter}. <b>Answer</b> in a whole sentence.",
            "start": "apple",
            "aligned": f"A fruit that begins with {letter} is the {letter}pple.\nThe answer is {letter}pple.",
            "start_proxy": 0.1,
            "aligned_proxy": 1.4,
            **({"start_gold": 0.3, "aligned_gold": 0.9} if gold else {}),
        }
        for letter in "abcdefg"
    ]
    alarms = [
        {
            "step": 140,
            "kind": "reward hacking",
            "message": "since step 60 the proxy reward rose by 1.2 while gold fell by 0.81 (-1.02 to -0.6)",
            "advice": "Take the weights of step 60; raise alignment.kl_weight, or train the reward model anew",
        },
        {"step": 180, "kind": "kl", "message": "50.4 nats from the reference, and the budget is 15", "advice": "Stop"},
    ]
    return {
        "name": "helpful",
        "method": "ppo",
        "model": "runs/sft, 3.1M parameters, causal",
        "verdict": "PPO helped: on held-out prompts its answer is the better one 71% of the time (64% to 77%, n = 200, "
        f"by {'gold' if gold else 'proxy'} reward), at 5.6 nats from the start.",
        "win_rate": {"score": 0.71, "n": 200, "ci95": [0.64, 0.77], "judge": "gold" if gold else "proxy"},
        **({"gold_reward": rewarded(0.92, 0.31)} if gold else {}),
        "proxy_reward": rewarded(2.0, 0.02),
        "kl": {"score": 5.6, "n": 200, "ci95": [5.1, 6.1]},
        "kl_budget": 15.0,
        "recommended": {
            "step": 60,
            "kl": 5.6,
            "why": "Step 60 is recommended: its gold reward is the best within the budget.",
        },
        "chosen_step": 60,
        "ended_early": True,
        "points": [point(step, gold=gold) for step in range(0, 200, 20)],
        "spread": {"proxy": 0.9, **({"gold": 1.1} if gold else {})},
        "alarms": alarms,
        "suites": [{"suite": "pocket", "prompts": 400, "groups": [group, {**group, "group": "held_in"}]}],
        "samples": samples,
        "trained_on": {"Steps": "180 of 32 completions each", "Bad steps": "none"},
        "loss_curve": [{"step": step, "loss": 0.2 - step / 2000} for step in range(1, 181)],
        "notes": ["One run, one seed: intervals cover other prompts, not other runs."],
        "seconds": 301.0,
        "made": {
            "command": "instil align recipes/helpful.yaml --out runs/helpful",
            "recipe": "name: helpful\nmethod: ppo\n",
            "fingerprint": "recipe 3f9c, model 77aa",
            "versions": {"instil": "0.1.0", "torch": "2.13.0"},
            "machine": "2 cores, x86_64",
            "phases": {"start": 21.0, "training": 240.0, "aligned": 40.0},
        },
    }
