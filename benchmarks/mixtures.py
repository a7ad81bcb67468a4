"""Mixtures: the whole path beside the tokenizer alone and beside TRL's preparation, builds by workers, many tasks.

    python benchmarks/mixtures.py --peer .venv-peer/bin/python --write      (about 25 minutes, quiet machine)

Three parts, each in processes of its own, one after the other:

    path    render, tokenise, mask, pack, write | raw `encode_batch` on the same text | SFTTrainer on the same rows
    build   two workers against one, beside two processes of plain Python against one
    scale   1,836 and 10,000 tasks opened from their cache; prompts read at random places
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

import mixture_build
import mixture_scale
from corpus import prepare
from results import machine, table, write_section

from instil.mixtures.build import Opening
from instil.mixtures.tokenizer import find_encoder
from instil.recipe import load_yaml
from instil.records import Prompt

HERE = Path(__file__).resolve().parent
WORK = HERE / "work"
RECIPE = HERE.parent / "recipes" / "real-mix.yaml"
CONTEXT = 1024


def written(opening: Opening, prompts: int, path: Path) -> int:
    """The rows that the peer is given: the text of every prompt, and its answer."""
    mixture, encoder = opening.open()
    with path.open("w", encoding="utf-8") as file:
        count = 0
        for index in range(prompts):
            prompt = mixture[index]
            if isinstance(prompt, Prompt):
                row = {"prompt": encoder.text(prompt), "completion": encoder.continuation(prompt)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    return count


def peer_rates(python: str, rows: Path, model: Path, repeat: int) -> dict[str, list[float]]:
    """Rows a second of every setting of the peer."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    found: dict[str, list[float]] = {}
    for _ in range(repeat):
        command = [python, str(HERE / "peer_prepare.py"), str(rows), str(model), str(CONTEXT)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the peer ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
        for line in done.stdout.splitlines():
            result = json.loads(line)
            found.setdefault(result["name"], []).append(result["rows"] / result["seconds"])
    return found


def main() -> None:
    """Measure, print, and write the section if asked to."""
    options = arguments()
    data = Path(os.environ.get("INSTIL_DATA") or HERE.parent.parent / "shared" / "data")
    if not (data / "flan_cot").is_dir():
        raise SystemExit(f"no task files at {data}: set INSTIL_DATA to their folder")
    prepare(WORK, data, rows=384)
    model = WORK / "model"
    find_encoder(model)  # fails early where the tokenizer is not usable
    opening = Opening({**load_yaml(RECIPE), "model": str(model)}, str(model), str(data), CONTEXT)

    rows = WORK / "prepared.jsonl"
    count = written(opening, options.peer_rows, rows)
    path = mixture_build.measure(opening, model / "tokenizer.json", options.prompts, options.repeats)
    peer = peer_rates(options.peer, rows, model, options.repeats)
    opened, read = mixture_scale.measure(data)
    text = report(options, path, peer, count, *mixture_scale.report(opened, read))
    print(text)
    if options.write:
        write_section("mixtures", text)


def report(
    options: argparse.Namespace, path: dict[str, Any], peer: dict[str, list[float]], rows: int, scale: str, kept: bool
) -> str:
    """The section of RESULTS.md."""
    raw, ours = path["raw"], path["build"]
    rates = {name: statistics.median(values) for name, values in peer.items()}
    best = max(rates, key=lambda name: rates[name])
    fast = ours["2 workers"]["rate"]
    lines = [
        *([f"raw `{name}`", f"{found['rate']:,.0f}", f"{found['cpu_us']:.0f}"] for name, found in raw.items()),
        *(
            [f"instil, the whole path, {name}", f"{found['rate']:,.0f}", f"{found['cpu_us']:.0f}"]
            for name, found in ours.items()
        ),
        *([f"TRL, {name}", f"{rate:,.0f}", ""] for name, rate in rates.items()),
    ]
    ratios = [
        ["whole path / raw `encode_batch`, 2 cores", f"{path['ratio_to_raw_2_cores']:.2f}", "0.80"],
        [
            "whole path / raw `encode_batch_fast`, which keeps no offsets, 2 cores",
            f"{fast / raw['encode_batch_fast, 2 threads']['rate']:.2f}",
            "",
        ],
        ["whole path / raw `encode_batch`, 1 core", f"{path['ratio_to_raw_1_core']:.2f}", "0.80"],
        [f"whole path / TRL at its best ({best})", f"{fast / rates[best]:.1f}", "3.0"],
        ["gain of two workers", f"{path['gain_of_2_workers']:.2f}", ""],
        ["gain of two processes of plain Python", f"{path['control_gain']:.2f}", ""],
        ["gain / gain of plain Python", f"{path['ratio_to_control']:.2f}", "0.85"],
    ]
    return f"""## Mixtures

`python benchmarks/mixtures.py --peer .venv-peer/bin/python --write` on
{machine("tokenizers", "pyarrow")}; TRL 1.16.0.

The first {options.prompts:,} prompts of `recipes/real-mix.yaml` ({path["characters_a_prompt"]:,.0f} characters a
prompt), a byte-level BPE of 16,000 pieces, {CONTEXT:,} tokens of context; rates are the best of {options.repeats}
turns. A gain stands beside its control of the same turn; the median of the turns counts
({", ".join(f"{gain:.2f} / {control:.2f}" for gain, control in zip(path["gains"], path["controls"], strict=True))}).
`raw` tokenises texts that were rendered before. The whole path renders, tokenises, masks, packs and writes shards;
what a worker takes to start is not counted in its rate. TRL prepares the first {rows:,} of the same rows, rendered
before: tokenise, label, pack; the median of {options.repeats} turns.

{table(["", "prompts/s", "processor µs a prompt"], lines)}

{table(["ratio", "reached", "asked"], ratios)}

Opening and reading at random; the bounds (2 s and 5 s to open, 20 KB a task, 2 ms a prompt) are
{"kept" if kept else "NOT all kept"}:

{scale}
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="Python of the peer's environment")
    parser.add_argument("--prompts", type=int, default=98_304, help="about an epoch of the recipe")
    parser.add_argument("--peer-rows", type=int, default=8_192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
