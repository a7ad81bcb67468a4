"""Answers of the start, ranked by programmed people: what a reward model learns from.

Give the reverse of this: cat dog fox
    sampled   fox dog cat | I think fox dog cat. | fox dog cat | cat dog. | ...    8 answers at temperature 1
    kept      the first 4 to 6 different ones
    ranked    (1, 2, 3, 3) by ann; every few prompts a second time, by somebody else, to see how far two agree

rankings.jsonl   {"prompt": "Give the ...", "completions": [...], "ranks": [1, 2, 3, 3], "annotator": "ann", ...}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from instil.evaluation.scoring import encoder_of
from instil.fingerprint import keyed_int, keyed_order
from instil.models.architecture import engine_of
from instil.models.loading import LoadedModel
from instil.models.sampling import Sampling
from instil.pocket.labeller import PEOPLE
from instil.recipe import Section
from instil.records import Prompt, Ranking
from instil.runs import write_text


class RankedSpec(Section):
    """How many answers are ranked, and how often."""

    prompts: int = Field(default=1000, ge=50)
    """Prompts whose answers are ranked."""
    samples: int = Field(default=8, ge=2)
    """Answers that the start writes to each; those that are alike count once."""
    fewest: int = Field(default=4, ge=2)
    """Prompts with fewer different answers are passed over."""
    most: int = Field(default=6, ge=2)
    """So many answers are ranked at most; each prompt has a number of its own from `fewest` to this."""
    twice_every: int = Field(default=5, ge=2)
    """Of so many prompts one is ranked by a second person as well."""
    max_new_tokens: int = Field(default=48, ge=1)
    """The longest answer, in tokens."""


def ranked(loaded: LoadedModel, prompts: Sequence[Prompt], spec: RankedSpec, *, seed: int) -> list[Ranking]:
    """What people say of the model's answers.

    Args:
        loaded: writes the answers.
        prompts: of `demonstrations.prompts`.
        spec: how many of each.
        seed: decides what is drawn, who ranks and what they see.
    """
    found: list[Ranking] = []
    for number, (prompt, texts) in enumerate(zip(prompts, _sampled(loaded, prompts, spec, seed=seed), strict=True)):
        kept = texts[: spec.fewest + keyed_int(seed, "how many", number, n=spec.most - spec.fewest + 1)]
        if len(kept) < spec.fewest:
            continue
        order = keyed_order(len(PEOPLE), seed, "who", number)
        who = order[: 1 + (number % spec.twice_every == 0)]
        found += [PEOPLE[place].rank(prompt, kept, seed=seed) for place in who]
    return found


def _sampled(loaded: LoadedModel, prompts: Sequence[Prompt], spec: RankedSpec, *, seed: int) -> list[list[str]]:
    """The different answers to each prompt, in the order in which they were drawn."""
    read = [reading.ids for reading in encoder_of(loaded).read(prompts, spec.max_new_tokens)]
    seeds = [keyed_int(seed, "ranked", number, n=1 << 62) for number in range(len(read) * spec.samples)]
    written = engine_of(loaded).generate(
        [ids for ids in read for _ in range(spec.samples)], spec.max_new_tokens, sampling=Sampling(), seeds=seeds
    )
    texts = [one.text.strip() for one in written]
    starts = range(0, len(texts), spec.samples)
    return [list(filter(None, dict.fromkeys(texts[start : start + spec.samples]))) for start in starts]


def write_rankings(path: Path, rankings: Sequence[Ranking]) -> None:
    """As a file of comparisons, which `instil reward` reads."""
    rows = (
        {
            "prompt": ranking.messages[0].content,
            "completions": ranking.completions,
            "ranks": ranking.ranks,
            "annotator": ranking.annotator,
            "id": f"{ranking.task}/{ranking.example}/{ranking.annotator}",
        }
        for ranking in rankings
    )
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
