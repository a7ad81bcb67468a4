"""The model card of a tuned model: how to prompt it, what it was trained on under which licences, how it was tuned.

card(recipe, mixture, loaded, result)  ->  the README.md of runs/first/model/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from instil.experiments.recipe import Recipe
from instil.mixtures.encode import Encoder
from instil.mixtures.mixture import Mixture, Part
from instil.recipe import dump_yaml
from instil.records import Prompt

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel
    from instil.tuning.loop import TrainResult

#: A card names so many licences of a collection; the rest are counted.
_MOST_NAMED = 6


def card(recipe: Recipe, mixture: Mixture, loaded: LoadedModel, result: TrainResult, verdict: str = "") -> str:
    """The card as Markdown with the hub's front matter."""
    told = f"\n**Result.** {verdict}\n" if verdict else ""
    loss = "" if result.loss is None else f" The last logged loss was {result.loss:.3f}."
    return f"""{_front_matter(recipe)}
# {recipe.name}

`{recipe.model.path}` ({loaded.parameters:,} parameters, {loaded.architecture}), instruction-tuned with instil.
{told}
## How to prompt it

{_how_to_prompt(loaded)}

## What it was trained on

{_table(source_rows(mixture))}

A licence that reads *not stated* means that the file did not say: ask its publishers before you rely on it.

## How it was tuned

{result.steps:,} steps; {result.tokens:,} tokens read, {result.answer_tokens:,} of them answers.{loss}
The loss is the mean cross entropy over all answer tokens of a step, however the step is cut into pieces; what the model
reads is not trained on.{_what_was_trained(recipe)}

## Recipe

```yaml
{dump_yaml(recipe).rstrip()}
```
"""


def adapter_card(recipe: Recipe) -> str:
    """The card of the adapter beside a merged model."""
    base = hub_name(recipe)
    facts = {"library_name": "peft", **({"base_model": base} if base else {}), "tags": ["instil", "lora"]}
    return f"""---
{yaml.safe_dump(facts, sort_keys=False)}---
# {recipe.name}: adapter

What was trained beside `{recipe.model.path}`; the model's folder beside this one has it merged, and its card says how
it was made. `instil merge BASE ADAPTER --out DIR` merges it again; peft loads it as it is.
"""


def hub_name(recipe: Recipe) -> str | None:
    """The base's name on the hub; None for a folder and for an installed name."""
    path = recipe.model.path
    return path if "/" in path and not path.startswith((".", "/", "~")) and not Path(path).exists() else None


def source_rows(mixture: Mixture) -> list[dict[str, str]]:
    """One row a source of the mixture: tasks, examples, exact share, licences."""
    groups: dict[int, list[Part]] = {}
    for part in mixture.parts:
        groups.setdefault(part.source, []).append(part)
    return [
        {
            "collection": mixture.spec.sources[number].name,
            "tasks": f"{len(parts):,}",
            "examples": f"{sum(part.examples for part in parts):,}",
            "share": f"{float(sum((part.share for part in parts), Fraction(0))):.1%}",
            "licences": _named(part.task.licence or "not stated" for part in parts),
        }
        for number, parts in sorted(groups.items())
    ]


def _what_was_trained(recipe: Recipe) -> str:
    lora = recipe.tuning.lora
    if recipe.tuning.trained == "head":
        return " The output layer alone was trained."
    if lora is None:
        return ""
    return f" An adapter (LoRA) of rank {lora.rank} was trained and then merged into the weights."


def _named(licences: Iterable[str]) -> str:
    """Licences by how many tasks have them: `Apache-2.0 (120), MIT (3)`."""
    counts: dict[str, int] = {}
    for licence in licences:
        counts[licence] = counts.get(licence, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{name} ({count})" for name, count in ordered[:_MOST_NAMED])
    more = len(ordered) - _MOST_NAMED
    return named + (f" and {more} more" if more > 0 else "")


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _how_to_prompt(loaded: LoadedModel) -> str:
    encoder = Encoder(
        loaded.backend, form=loaded.form, max_length=loaded.max_length, eos_id=loaded.eos_id, chat=loaded.chat
    )
    prompt = Prompt("Name a colour of the rainbow.", "red")
    told = (
        "Write your request through the model's chat template, as in tuning"
        if encoder.chat
        else "Put the cue between your request and the answer, as in tuning"
    )
    example = encoder.text(prompt) + encoder.continuation(prompt)
    return f"{told}; `instil chat` does so by itself.\n\n```text\n{example}\n```"


def _front_matter(recipe: Recipe) -> str:
    facts: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["instil", "instruction-tuning"],
        "license": "other",
        "license_name": "see-sources",
    }
    if base := hub_name(recipe):
        facts["base_model"] = base
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---"
