"""instil's side of `preferences.py`, on the same rows, in a process of its own.

    python preference_ours.py dpo WORK ROWS THREADS          {"name": "instil", "units": 320, "step_seconds": 9.1, ...}
    python preference_ours.py dpo WORK ROWS THREADS bucketed ... each completion behind its own copy of the prompt

One epoch over ROWS rows (grpo, rloo: each a prompt). What is done before the first step (dpo: the reference is asked)
and the steps are timed apart; the first step is not timed, as on the other side.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from preference_shapes import ANSWERS, BETA, NEW_TOKENS, PER_STEP, judged, pairs_of

#: Ours is this one; the other side's shapes are searched.
TOKENS_PER_BATCH = 1024


def common(part: str, rows: int, threads: int, layout: str) -> dict[str, Any]:
    """What all specs say."""
    return {
        "max_steps": rows // PER_STEP[part].rows,
        "tokens_per_batch": TOKENS_PER_BATCH,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup_steps": 0,
        "dtype": "float32",
        "threads": threads,
        "log_every": 1,
        "save_every": 0,
        "layout": layout,
    }


def dpo(given: dict[str, Any], read: Sequence[Any], loaded: Any, encoder: Any, run: Any) -> None:
    """DPO, its reference asked before the first step."""
    from instil.tuning.dpo import DpoSpec, align_offline

    spec = DpoSpec.model_validate({**given, "prompts_per_step": PER_STEP["dpo"].rows, "beta": BETA["dpo"]})
    align_offline(loaded, read, spec, run, encoder=encoder, show_progress=False)


def reward(given: dict[str, Any], read: Sequence[Any], loaded: Any, encoder: Any, run: Any) -> None:
    """A reward model from rankings."""
    from instil.tuning.reward import RewardSpec, train_reward
    from instil.tuning.reward_rows import reward_rows

    spec = RewardSpec.model_validate({**given, "prompts_per_step": PER_STEP["reward"].rows})
    train_reward(loaded, reward_rows(read, encoder), spec, run, show_progress=False)


def group(method: str) -> Callable[..., None]:
    """GRPO or RLOO, a rollout a step."""

    def work(given: dict[str, Any], read: Sequence[Any], loaded: Any, encoder: Any, run: Any) -> None:
        from instil.mixtures.groups import prompt_of
        from instil.tuning.group_policy import GroupPolicySpec
        from instil.tuning.policy import align_policy

        class Letters:
            name, weight = "letters", 1.0

            def __call__(self, batch: Any) -> list[float]:
                return [judged(text) for text in batch.completions]

        size = PER_STEP[method].rows
        spec = GroupPolicySpec.model_validate(
            {
                **given,
                "method": method,
                "beta": BETA[method],
                "prompts_per_rollout": size,
                "completions_per_prompt": ANSWERS,
                "max_new_tokens": NEW_TOKENS,
            }
        )
        prompts = [prompt_of(ranking) for ranking in read]

        def asked(number: int, count: int) -> Sequence[Any]:
            return prompts[number * count : (number + 1) * count]

        align_policy(loaded, asked, spec, run, encoder=encoder, rewards=[Letters()], show_progress=False)

    return work


PARTS: dict[str, Callable[..., None]] = {"dpo": dpo, "reward": reward, "grpo": group("grpo"), "rloo": group("rloo")}


def measure(part: str, work: Path, rows: int, threads: int, layout: str = "auto") -> dict[str, Any]:
    """Run a part once."""
    from instil.mixtures.tokenizer import find_encoder
    from instil.models.loading import load
    from instil.records import Message, Ranking
    from instil.runs import RunFolder
    from instil.tuning.reference_log_probs import HeldTo

    lines = (work / "rows.jsonl").read_text("utf-8").splitlines()[:rows]
    read = [
        Ranking(
            tuple(Message(*turn) for turn in row["messages"]),
            tuple(row["completions"]),
            tuple(range(1, len(row["completions"]) + 1)),
        )
        for row in map(json.loads, lines)
    ]
    ends: list[float] = []
    asked: list[float] = []
    plain_row, plain_ask = RunFolder.add_metrics, HeldTo.log_probs

    def timed_row(self: RunFolder, row: Mapping[str, object]) -> None:
        if "loss" in row or "reason" in row:  # the row of a step, one that was not taken included
            ends.append(time.perf_counter())
        plain_row(self, row)

    def timed_ask(self: HeldTo, groups: Sequence[Any], *, name: str) -> Any:
        began = time.perf_counter()
        found = plain_ask(self, groups, name=name)
        asked.append(time.perf_counter() - began)
        return found

    RunFolder.add_metrics, HeldTo.log_probs = timed_row, timed_ask  # type: ignore[assignment, method-assign]
    out = work / "ours"
    shutil.rmtree(out, ignore_errors=True)
    loaded = load(str(work / "model"), device="cpu", dtype="float32")
    with RunFolder.open(out, recipe={}, inputs={}) as run:
        PARTS[part](common(part, rows, threads, layout), read, loaded, find_encoder(work / "model"), run)
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    steps = [row for row in metrics if row.get("loss") is not None]
    if len(steps) != len(ends):
        raise SystemExit(f"{len(ends) - len(steps)} of {len(ends)} steps were not taken")
    each = pairs_of(part)
    return {
        "name": "instil" if layout == "auto" else f"instil, {layout}",
        "units": (len(ends) - 1) * PER_STEP[part].rows * each,
        "step_seconds": ends[-1] - ends[0],
        "before_units": rows * each if asked else 0,
        "before_seconds": sum(asked),
        "tokens": metrics[-1]["tokens"],
        "loss": sum(row["loss"] for row in steps) / len(steps),
        "first_loss": steps[0]["loss"],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Measure, and print one JSON line."""
    part, work, rows, threads, *more = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the run says goes to standard error
    import torch

    torch.set_num_threads(int(threads))  # for what comes before the loop, which sets its own
    print(json.dumps(measure(part, Path(work), int(rows), int(threads), *more)), file=out, flush=True)


if __name__ == "__main__":
    main()
