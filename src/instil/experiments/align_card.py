"""The model card of an aligned model: from what, by which method and rewards, with which result.

align_card(prepared, training, verdict)  ->  the README.md of runs/helpful/model/
"""

from __future__ import annotations

from pathlib import Path

import yaml

from instil.experiments.align_prepare import AlignPrepared
from instil.recipe import dump_yaml
from instil.records import Prompt
from instil.reports.align_verdict import NAMES
from instil.tuning.loop import TrainResult


def align_card(prepared: AlignPrepared, training: TrainResult, verdict: str = "") -> str:
    """The card as Markdown with the hub's front matter."""
    recipe, loaded = prepared.recipe, prepared.start
    told = f"\n**Result.** {verdict}\n" if verdict else ""
    learned = "from rankings" if prepared.asked is None else "from rewards of its own answers"
    lines = [f"- proxy: {name}" for name in (prepared.proxy.names if prepared.proxy else ())]
    lines += [f"- gold, watched alone: {name}" for name in (prepared.gold.names if prepared.gold else ())]
    rewards = "\n".join(["", "## Rewards", "", *lines, ""]) if lines else ""
    shown = prepared.encoder.text(Prompt("Name a colour of the rainbow.", "red"))
    return f"""{_front_matter(recipe.model.path, recipe.method)}
# {recipe.name}

`{recipe.model.path}` ({loaded.parameters:,} parameters, {loaded.architecture}), aligned by {NAMES[recipe.method]} with
instil: it learned {learned}, in {training.steps:,} steps.
{told}{rewards}
## How to prompt it

As the model that it was made from; `instil chat` does so by itself.

```text
{shown}
```

## Recipe

```yaml
{dump_yaml(recipe).rstrip()}
```
"""


def _front_matter(base: str, method: str) -> str:
    facts: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["instil", "alignment", method],
        "license": "other",
        "license_name": "see-sources",
    }
    if "/" in base and not base.startswith((".", "/", "~")) and not Path(base).exists():
        facts["base_model"] = base
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---"
