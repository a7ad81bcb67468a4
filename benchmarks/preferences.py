"""Learning from preferences beside TRL: the same rows, weights and threads, one run, one machine.

    dpo      TRL's DPOTrainer, pairs of hh-rlhf
    reward   TRL's RewardTrainer: rankings of 9 here, their 36 pairs there; prompts 4 times as long as completions
    group    TRL's GRPOTrainer, then its RLOOTrainer (grpo, rloo: one of them): 8 answers of 64 tokens to a prompt

    screen    every setting of the peer, once, on a part of the rows                    -> its best settings
    measure   instil, instil without sharing, peer's best, ... in turn, REPEATS times   -> medians, ratio

    python benchmarks/preferences.py dpo --peer .venv-peer/bin/python --write

The time of a unit (a pair, a comparison, an answer) is that of the steps and, where the reference is asked beforehand,
of that: a setting that moves work from the one into the other gains nothing by it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preference_corpus import prepare
from preference_ours import TOKENS_PER_BATCH
from preference_shapes import ANSWERS, NEW_TOKENS, PER_STEP, pairs_of
from results import machine, table, write_section
from tuning import WORK, spread, start

HERE = Path(__file__).resolve().parent
_REPEATS = 3
Measured = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One comparison."""

    title: str
    trainer: str
    unit: str
    """What the ratio is of, in the plural."""
    work: str
    """What a step does on either side, in words."""
    rows: int
    """Rows of a measured epoch on our side."""
    peer_units: int
    """Rows of a measured epoch on the peer's: pairs, or prompts."""
    screen: int
    """The same of a screened one."""
    aimed_at: dict[str, float]
    """The ratio that is asked for, over the peer (``), or over our own other way."""
    peer: str = ""
    """What was not tried of the peer, and why."""


_SAMPLED = f"8 prompts of hh-rlhf a step, {ANSWERS} answers of {NEW_TOKENS} tokens to each, one update a rollout"
PARTS: dict[str, Part] = {
    "dpo": Part(
        title="DPO beside TRL",
        trainer="DPOTrainer",
        unit="pairs",
        work="64 pairs of hh-rlhf a step",
        rows=384,
        peer_units=384,
        screen=192,
        aimed_at={"": 2.5},
        peer="`padding_free` does nothing for DPO in TRL 1.16, and its sampler does not group preferences by length: "
        "rows were given to it sorted by length as well.",
    ),
    "reward": Part(
        title="Reward models beside TRL",
        trainer="RewardTrainer",
        unit="comparisons",
        work="prompts of 256 tokens with 9 completions of 64 tokens, 8 a step (288 comparisons; 64 for the peer)",
        rows=48,
        peer_units=192,
        screen=128,
        aimed_at={"": 15.0, "bucketed": 2.5},
    ),
    "grpo": Part("GRPO beside TRL", "GRPOTrainer", "answers", _SAMPLED, 32, 32, 16, {"": 2.5}),
    "rloo": Part("RLOO beside TRL", "RLOOTrainer", "answers", _SAMPLED, 32, 32, 16, {"": 2.5}),
}


def seconds_each(result: Measured) -> float:
    """Seconds that one unit costs: its part of a step, and of what is done before the first."""
    before = result["before_seconds"] / result["before_units"] if result["before_units"] else 0.0
    return float(result["step_seconds"] / result["units"] + before)


def rate(result: Measured) -> float:
    """Units a second."""
    return 1.0 / seconds_each(result)


def main() -> None:
    """Screen, measure, print, and write the section if asked to."""
    options = arguments()
    for name in ("grpo", "rloo") if options.part == "group" else (options.part,):
        text = compared(name, options)
        print(text, flush=True)
        if options.write:
            write_section(f"preferences {name}", text)


def compared(name: str, options: argparse.Namespace) -> str:
    """One part, measured; its section of RESULTS.md."""
    part, threads, work = PARTS[name], options.threads, WORK / f"preferences-{name}"
    scale = options.scale
    rows, peer_units, screen = (
        max(2, round(count * scale / unit)) * unit  # two steps or more, as the first is not timed
        for count, unit in (
            (part.rows, PER_STEP[name].rows),
            (part.peer_units, _rows_a_step(name)),
            (part.screen, _rows_a_step(name)),
        )
    )
    data = Path(os.environ.get("INSTIL_DATA") or HERE.parent.parent / "shared" / "data")
    pairs = -(-max(peer_units, screen) // pairs_of(name)) if name == "reward" else max(peer_units, screen)
    parameters = prepare(work, data, part=name, rows=max(rows, pairs))

    def ours(*more: object) -> Measured:
        (result,) = start(sys.executable, "preference_ours.py", name, work, rows, threads, *more, threads=threads)
        return result

    def peers(count: int, *names: str) -> list[Measured]:
        return start(options.peer, "preference_peer.py", name, work, count, threads, *names, threads=threads)

    screened = sorted(peers(screen, *options.settings), key=rate, reverse=True)
    for result in screened:
        print(f"screen  {result['name']:48} {rate(result):8.2f} {part.unit}/s", flush=True)
    # Those within a tenth of the best are measured at length, two at most: the screening is short.
    best = [result["name"] for result in screened if rate(result) > 0.9 * rate(screened[0])][:2]
    found: dict[str, list[Measured]] = {}
    for repeat in range(options.repeats):
        turn = [ours(), ours("bucketed"), *(peers(peer_units, setting)[0] for setting in best)]
        for result in turn:
            found.setdefault(result["name"], []).append(result)
        said = ", ".join(f"{result['name']} {rate(result):.2f}" for result in turn)
        print(f"repeat {repeat + 1}  {said} {part.unit}/s", flush=True)
    return report(name, options, parameters, screened, found, best)


def _rows_a_step(name: str) -> int:
    """What the peer reads in a step: pairs, or prompts."""
    return PER_STEP[name].rows if name in ("grpo", "rloo") else PER_STEP[name].units


def report(
    name: str,
    options: argparse.Namespace,
    parameters: int,
    screened: Sequence[Measured],
    found: dict[str, list[Measured]],
    best: Sequence[str],
) -> str:
    """The section of RESULTS.md."""
    part = PARTS[name]
    top = max(best, key=lambda setting: statistics.median(map(rate, found[setting])))
    apart = "instil, bucketed"

    def over(other: str) -> str:
        return spread([rate(a) / rate(b) for a, b in zip(found["instil"], found[other], strict=True)], 2)

    asked = f" (asked for: {part.aimed_at['bucketed']:g})" if "bucketed" in part.aimed_at else ""
    rows = [
        [f"instil, {part.unit}/s", spread([rate(one) for one in found["instil"]], 1)],
        [f"instil, each completion behind its own prompt, {part.unit}/s", spread(list(map(rate, found[apart])), 1)],
        [f"{part.trainer} at its best ({top}), {part.unit}/s", spread([rate(one) for one in found[top]], 1)],
        [f"**ratio**, repeat by repeat (asked for: {part.aimed_at['']:g})", f"**{over(top)}**"],
        [f"instil over instil without sharing{asked}", over(apart)],
        ["instil, memory at its peak", spread([one["peak"] / 2**20 for one in found["instil"]]) + " MiB"],
        ["instil without sharing, the same", spread([one["peak"] / 2**20 for one in found[apart]]) + " MiB"],
    ]
    tried = table(
        [f"{part.trainer}'s settings, {'these alone' if options.settings else 'all'} tried", f"{part.unit}/s"],
        [[one["name"], f"{rate(one):.1f}"] for one in screened],
    )
    losses = ", ".join(
        f"{side} {statistics.median(one['first_loss'] for one in ones):.4f} at the first step, "
        f"{statistics.median(one['loss'] for one in ones):.4f} over the epoch"
        for side, ones in found.items()
    )
    return f"""## {part.title}

`{_command(name, options)}` on
{machine("torch", "transformers")}; TRL 1.16.0.
A Llama of {parameters / 1e6:.1f} million parameters in float32 on {options.threads} threads; {part.work}.
{options.repeats} repeats in turn, each side in a fresh process, the first optimizer step not timed. Median (least to
most):

{table(["", "median (range)"], rows)}

Mean loss: {losses}.

{tried}

Screened once on a part of the rows; settings within a tenth of the best (two at most) were measured at length.
{part.peer}
Everything else is `{part.trainer}`'s default, but for gradient checkpointing and bfloat16 (off) and the optimizer,
fused AdamW as on our side. instil: rectangles of at most {TOKENS_PER_BATCH:,} tokens.
"""


def _command(name: str, options: argparse.Namespace) -> str:
    """What was called, so that a shortened run shows."""
    shortened = [f"--scale {options.scale:g}"] if options.scale != 1 else []
    shortened += [f"--repeats {options.repeats}"] if options.repeats != _REPEATS else []
    shortened += ["--settings", *(f'"{setting}"' for setting in options.settings)] if options.settings else []
    return " ".join(["python benchmarks/preferences.py", name, "--peer .venv-peer/bin/python", *shortened, "--write"])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "group"], help="what is compared")
    parser.add_argument("--peer", required=True, help="Python of the peer's environment")
    parser.add_argument("--scale", type=float, default=1.0, help="epochs so many times as long")
    parser.add_argument("--settings", nargs="*", default=[], help="of the peer; all by default")
    parser.add_argument("--repeats", type=int, default=_REPEATS)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
