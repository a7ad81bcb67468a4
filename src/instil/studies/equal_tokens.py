"""Arms at equal tokens: as many steps for all, and as many tokens in a step, however long an arm's prompts are.

    arm         mean tokens of a prompt    prompts a step    tokens a step
    zero-shot                      29.3                64            1,875      the base recipe
    few-shot                       90.4                21            1,899

An arm with longer prompts gets fewer of them in a step, as a packed batch of fixed length would hold fewer: steps,
learning rates and computation stay those of the base recipe, and no arm reads more. Lengths are measured before the
first run, on the first prompts of each arm's mixture, prompt and answer together, as the model's tokenizer writes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.errors import RecipeError
from instil.records import Prompt

#: Prompts that are measured: the mean is then known to a percent or two.
_MEASURED = 1024


@dataclass(frozen=True, slots=True)
class Lengths:
    """What the first prompts of a mixture are like."""

    tokens: float
    """Prompt and answer, on average."""
    answer: float
    """The answer alone, on average: what is trained on."""
    settings: Mapping[str, float]
    """The share of each setting among them."""

    def prompts_for(self, tokens: float) -> int:
        """How many prompts take so many tokens together."""
        return max(1, round(tokens / self.tokens))


def lengths(recipe: Mapping[str, Any], data: Path | None = None) -> Lengths:
    """How long the prompts of a recipe are for its model.

    Args:
        recipe: as plain data.
        data: the root of the data; the recipe's own by default.

    Raises:
        RecipeError: if none of the first prompts can be written.
    """
    from instil.experiments.recipe import resolve  # imports torch
    from instil.mixtures.load import assemble
    from instil.mixtures.tokenizer import find_encoder

    asked = resolve(recipe, data=data)
    mixture = assemble(asked.mixture, data=None if asked.data is None else Path(asked.data))
    tuning, model = asked.tuning, asked.model
    encoder = find_encoder(
        model.path,
        max_length=tuning.max_length,
        chat=model.chat,
        max_answer=tuning.max_answer_length,
        answer_slots=model.answer_slots,
    )
    prompts = [place for place in mixture[:_MEASURED] if isinstance(place, Prompt)]
    written = encoder.encode_batch(prompts)
    if not written:
        raise RecipeError(
            f"none of the first {_MEASURED:,} prompts of {asked.name!r} can be written for {model.path}",
            remedy="See `instil mix gallery`",
        )
    counts = Counter(prompt.setting for prompt in prompts)
    return Lengths(
        tokens=sum(len(one.ids) for one in written) / len(written),
        answer=sum(len(one.ids) - one.answer_start for one in written) / len(written),
        settings={name: count / len(prompts) for name, count in counts.most_common()},
    )
