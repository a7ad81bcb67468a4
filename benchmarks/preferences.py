"""Learning from preferences beside TRL: the same rows, weights and threads, one run, one machine.

    dpo    TRL's DPOTrainer, pairs of hh-rlhf

    screen    every setting of the peer, once, on a part of the rows          -> its best settings
    measure   instil, instil without sharing, peer's best, ... in turn, REPEATS times  -> medians, ratio

    python benchmarks/preferences.py dpo --peer .venv-peer/bin/python --write

A part is one line of `PARTS`: its two scripts answer to its name (`preference_ours.py`, `preference_peer.py`), and its
words say what is counted. The time of a pair is that of the steps and, where it is asked beforehand, of the reference:
a setting that moves work from the one into the other gains nothing by it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preference_corpus import prepare as prepare_pairs
from preference_ours import PAIRS_PER_STEP, TOKENS_PER_BATCH
from results import machine, table, write_section
from tuning import WORK, spread, start

HERE = Path(__file__).resolve().parent
Measured = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One comparison."""

    title: str
    trainer: str
    unit: str
    """What the ratio is of, in the plural."""
    rows: str
    """The rows, in words."""
    prepare: Callable[..., int]
    variants: tuple[str, ...]
    """instil's own other ways, measured beside its default."""
    peer: str
    """What was tried of the peer, and what was not, in a sentence."""
    aimed_at: float
    """The ratio that is asked for."""


PARTS: dict[str, Part] = {
    "dpo": Part(
        title="DPO beside TRL",
        trainer="DPOTrainer",
        unit="pairs",
        rows="pairs of Anthropic's hh-rlhf (harmless, half of its test split)",
        prepare=prepare_pairs,
        variants=("bucketed",),
        peer="`padding_free` does nothing for DPO in TRL 1.16, and its sampler does not group preferences by length: "
        "rows were given to it sorted by length as well.",
        aimed_at=2.5,
    ),
}


def seconds_each(result: Measured) -> float:
    """Seconds that one unit costs: its part of a step, and of the pass that comes before the first."""
    before = result["reference_seconds"] / result["reference_pairs"] if result["reference_pairs"] else 0.0
    return float(result["step_seconds"] / result["pairs"] + before)


def rate(result: Measured) -> float:
    """Units a second."""
    return 1.0 / seconds_each(result)


def main() -> None:
    """Screen, measure, print, and write the section if asked to."""
    options = arguments()
    part, threads = PARTS[options.part], options.threads
    work = WORK / f"preferences-{options.part}"
    data = Path(os.environ.get("INSTIL_DATA") or HERE.parent.parent / "shared" / "data")
    parameters = part.prepare(work, data, rows=max(options.rows, options.screen_rows))

    def ours(*more: object) -> Measured:
        (result,) = start(
            sys.executable, "preference_ours.py", options.part, work, options.rows, threads, *more, threads=threads
        )
        return result

    def peers(rows: int, *names: str) -> list[Measured]:
        return start(options.peer, "preference_peer.py", options.part, work, rows, threads, *names, threads=threads)

    screened = sorted(peers(options.screen_rows, *options.settings), key=rate, reverse=True)
    for result in screened:
        print(f"screen  {result['name']:48} {rate(result):8.2f} {part.unit}/s", flush=True)
    # Those within a tenth of the best are measured at length, two at most: the screening is short.
    best = [result["name"] for result in screened if rate(result) > 0.9 * rate(screened[0])][:2]
    found: dict[str, list[Measured]] = {}
    for repeat in range(options.repeats):
        turn = [ours(), *(ours(variant) for variant in part.variants), *(peers(options.rows, name)[0] for name in best)]
        for result in turn:
            found.setdefault(result["name"], []).append(result)
        said = ", ".join(f"{result['name']} {rate(result):.2f}" for result in turn)
        print(f"repeat {repeat + 1}  {said} {part.unit}/s", flush=True)
    text = report(options, part, parameters, screened, found, best)
    print(text)
    if options.write:
        write_section(f"preferences {options.part}", text)


def report(
    options: argparse.Namespace,
    part: Part,
    parameters: int,
    screened: Sequence[Measured],
    found: dict[str, list[Measured]],
    best: Sequence[str],
) -> str:
    """The section of RESULTS.md."""
    top = max(best, key=lambda name: statistics.median(map(rate, found[name])))
    mine = found["instil"]
    own = [name for name in found if name.startswith("instil")]

    def over(name: str, other: str) -> str:
        return spread([rate(a) / rate(b) for a, b in zip(found[name], found[other], strict=True)], 2)

    rows = [
        *([f"{name}, {part.unit}/s", spread([rate(one) for one in found[name]], 1)] for name in own),
        [f"{part.trainer} at its best ({top}), {part.unit}/s", spread([rate(one) for one in found[top]], 1)],
        [f"**ratio**, repeat by repeat (asked for: {part.aimed_at:g})", f"**{over('instil', top)}**"],
        *([f"instil over {name}", over("instil", name)] for name in own if name != "instil"),
        ["instil, memory at its peak", spread([one["peak"] / 2**20 for one in mine]) + " MiB"],
    ]
    tried = table(
        [f"{part.trainer}'s settings, all tried", f"{part.unit}/s"],
        [[one["name"], f"{rate(one):.1f}"] for one in screened],
    )
    losses = ", ".join(
        f"{name} {statistics.median(one['first_loss'] for one in ones):.4f} at the first step, "
        f"{statistics.median(one['loss'] for one in ones):.3f} over the epoch"
        for name, ones in found.items()
    )
    return f"""## {part.title}

`python benchmarks/preferences.py {options.part} --peer .venv-peer/bin/python --write` (`make bench`) on
{machine("torch", "transformers")}; TRL 1.16.0.
A Llama of {parameters / 1e6:.1f} million parameters in float32 on {options.threads} threads, one epoch over
{options.rows} {part.rows}; steps of {PAIRS_PER_STEP} on both sides;
{options.repeats} repeats in turn, each side in a fresh process, the first optimizer step not timed, the reference's
pass timed on both sides. Median (least to most):

{table(["", "median (range)"], rows)}

Both sides read the same rows: {mine[0]["tokens"]:,} tokens with each prompt once (instil),
{found[top][0]["tokens"]:,} with a prompt for each completion ({part.trainer}). Mean loss: {losses}.

{tried}

Screened once on {options.screen_rows} rows; settings within a tenth of the best (two at most) were measured at length.
{part.peer}
Everything else is `{part.trainer}`'s default, but for gradient checkpointing and bfloat16 (off) and the optimizer,
fused AdamW as on our side. instil: rectangles of at most {TOKENS_PER_BATCH:,} tokens.
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS), help="what is compared")
    parser.add_argument("--peer", required=True, help="Python of the peer's environment")
    parser.add_argument("--rows", type=int, default=384, help="rows of a measured epoch")
    parser.add_argument("--screen-rows", type=int, default=192, help="rows of a screened epoch")
    parser.add_argument("--settings", nargs="*", default=[], help="of the peer; all by default")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
