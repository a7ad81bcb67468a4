"""Time of one render, per collection: `python benchmarks/rendering.py --data ../shared/data`.

    collection       us a render      templates drawn over rows drawn, the best of five passes, processor time
    cot                      8.2
    promptsource: aqua_rat  14.6      P3's own templates on real rows

The rows of promptsource's data sets are read here, so that the same file measures any version of the renderer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

from instil.errors import TemplateError
from instil.records import Example
from instil.tasks.readers.promptsource import Promptsource
from instil.tasks.registry import load_collection
from instil.tasks.template import Template

Pair = tuple[Template, Example]
RENDERS = 2_000
COLLECTIONS = {"cot": ["gsm8k", "creak", "ecqa"], "ni": ["task12*"], "p3": ["adversarial*"]}


def seconds(pairs: list[Pair]) -> float:
    """Processor time of one pass over the pairs, each of which has been rendered once before."""
    started = time.process_time()
    for seed, (template, example) in enumerate(pairs):
        template.render(example, seed=seed)
    return time.process_time() - started


def renderable(pairs: list[Pair]) -> Iterator[Pair]:
    """Those that give a text, and a first render of each: compiling is not measured."""
    for template, example in pairs:
        try:
            template.render(example, seed=0)
        except TemplateError:
            continue
        yield template, example


def drawn(templates: list[Template], examples: list[Example]) -> list[Pair]:
    """Templates and examples, drawn together."""
    draw = random.Random(0)
    return [(draw.choice(templates), draw.choice(examples)) for _ in range(RENDERS)]


def work(data: Path) -> Iterator[tuple[str, list[Pair]]]:
    """What is measured."""
    for name, tasks in COLLECTIONS.items():
        found = load_collection(name, data, tasks=tasks)
        draw = random.Random(0)
        chosen = [draw.choice(found) for _ in range(RENDERS)]
        yield (
            name,
            [(draw.choice(task.templates), task.examples[draw.randrange(task.size)]) for task in chosen],  # type: ignore[misc]
        )
    with gzip.open(data / "aqua" / "dev.json.gz", "rt", encoding="utf-8") as file:
        rows = [Example(str(number), json.loads(line)) for number, line in enumerate(file)]
    templates = Promptsource().open(data / "promptsource/templates/aqua_rat/raw/templates.yaml")[0].templates
    yield "promptsource: aqua_rat", drawn(list(templates), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    for name, pairs in work(data):
        usable = list(renderable(pairs))
        best = min(seconds(usable) for _ in range(5))
        print(f"{name:24} {best / len(usable) * 1e6:6.1f} us a render ({len(usable):,} renders)")


if __name__ == "__main__":
    main()
