"""All that the recipe of a reward model names, opened and checked before anything long begins or is written.

prepare_reward(recipe)  ->  rankings by side, as rows of token ids; the base; reference answers; or one line that says
                            what is wrong

    train                  what is learned from
    watched                held-out prompts that are judged while it learns
    held_out               held-out prompts that are judged at the end; the same, unless `keep_best` chooses by the
                           former: then each is half of them
    strangers              held-out annotators on held-out prompts
    seen                   some of the prompts that it learned from
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from instil.errors import DataError, RecipeError
from instil.experiments.prepare import in_form
from instil.experiments.reward_recipe import RewardRecipe
from instil.experiments.scratch import refuse_adapters, with_fresh_weights
from instil.fingerprint import keyed_order
from instil.mixtures.encode import Encoder
from instil.mixtures.encoding_report import EncodingReport
from instil.mixtures.groups import encode_groups
from instil.mixtures.load import assemble
from instil.mixtures.rankings import Rankings, open_rankings
from instil.models.loading import LoadedModel, load, resolve
from instil.models.reward_head import put_head
from instil.records import Group, Prompt, PromptFormat, Ranking
from instil.tuning.lora import target_names
from instil.tuning.memory import recomputing
from instil.tuning.reward import refuse_base
from instil.tuning.reward_model import FILE, encoder_for, read_head
from instil.tuning.reward_rows import RewardRow, reward_rows
from instil.tuning.trackers import check_trackers

#: Fewer prompts than this teach nothing that could be told from chance.
_FEWEST = 8
#: Prompts that say what reference answers have on average, and at least so many that training accuracy is taken on.
_REFERENCES, _SEEN = 512, 200


@dataclass(frozen=True, slots=True)
class References:
    """Answers that should have a reward of 0 on average."""

    of: str
    """What they are: `demonstrations` or `best-ranked completions`."""
    groups: Sequence[Group]
    fingerprint: str = ""
    """Of the mixture of demonstrations."""


@dataclass(frozen=True, slots=True)
class PreparedReward:
    """All that a recipe names, opened and checked. See the module."""

    recipe: RewardRecipe
    """With its steps."""
    rankings: Rankings
    loaded: LoadedModel
    train: Sequence[RewardRow]
    watched: Sequence[RewardRow]
    held_out: Sequence[RewardRow]
    strangers: Sequence[RewardRow]
    seen: Sequence[RewardRow]
    references: References
    looked: EncodingReport = field(default_factory=EncodingReport)
    """What encoding did to the prompts that are trained on."""

    @property
    def sides(self) -> dict[str, Sequence[RewardRow]]:
        """What is judged at the end, by its name in the report; those that are empty left out."""
        named = {"held_out": self.held_out, "held_out_annotators": self.strangers, "train": self.seen}
        return {name: rows for name, rows in named.items() if rows}


def prepare_reward(recipe: RewardRecipe, *, rankings: Rankings | None = None, strict: bool = False) -> PreparedReward:
    """Open the rankings and the base; nothing is written.

    Args:
        recipe: what to open.
        rankings: instead of those of the recipe.
        strict: refuse the first row that cannot be used, instead of counting it.

    Raises:
        InstilError: whatever is wrong with any of them, before anything long begins.
    """
    data = None if recipe.data is None else Path(recipe.data)
    check_trackers(recipe.trackers)
    found = open_rankings(recipe.rankings, data, strict=strict) if rankings is None else rankings
    loaded = base_of(recipe)
    spec = recipe.tuning
    encoder, looked = encoder_for(loaded, spec.max_length), EncodingReport()
    most = spec.max_completion_length
    train = reward_rows(found.train, encoder, ties=spec.ties, most_tokens=most, report=looked)
    if len(train) < _FEWEST:
        raise DataError(
            f"{len(train)} prompts are left to train on, and fewer than {_FEWEST} teach nothing that could be told "
            "from chance",
            remedy="Give more rankings, or hold out fewer (rankings.held_out)",
        )
    if spec.margin and not any(pair.margin for row in train for pair in row.pairs):
        raise RecipeError(
            f"tuning.margin is {spec.margin:g}, and no ranking says scores whose differences it could multiply",
            remedy="Leave it out, or give `scores` beside the ranks",
        )
    held_out, strangers = (
        reward_rows(side, encoder, most_tokens=most) if side else []
        for side in (found.held_out, found.held_out_annotators)
    )
    watched, judged = _halves(held_out, recipe)
    full = recipe.filled(len(train))
    count = max(_SEEN, len(held_out))
    order = keyed_order(len(train), spec.seed, "seen")[:count]
    plain = [_untied(train[place]) for place in order]
    return PreparedReward(
        recipe=full,
        rankings=found,
        loaded=loaded,
        train=train,
        watched=watched,
        held_out=judged,
        strangers=strangers,
        seen=[row for row in plain if row.pairs],
        references=_references(recipe, train, encoder, data),
        looked=looked,
    )


def base_of(recipe: RewardRecipe) -> LoadedModel:
    """The model to start from, checked to bear what the recipe asks for; with its head, where it is a reward model.

    Raises:
        RecipeError: if it is an encoder-decoder, or cannot be trained so.
        ModelError: if it cannot be read.
    """
    asked, spec = recipe.model, recipe.tuning
    loaded = load(asked.path, device=asked.device, dtype=asked.dtype)
    refuse_base(loaded)
    if asked.from_scratch:
        refuse_adapters(lora=spec.lora is not None, trained=spec.trained)
        loaded = with_fresh_weights(loaded, seed=spec.seed)
    loaded = in_form(loaded, chat=asked.chat)
    if spec.lora is not None:
        target_names(loaded.model, spec.lora)
    with recomputing(loaded.model, spec.gradient_checkpointing):
        pass  # a model that cannot is refused here, before anything is written
    folder = resolve(asked.path)
    if (folder / FILE).is_file() and not asked.from_scratch:
        put_head(loaded.model, read_head(folder))
    return loaded


def _halves(held_out: Sequence[RewardRow], recipe: RewardRecipe) -> tuple[Sequence[RewardRow], Sequence[RewardRow]]:
    """What is judged while it learns, and at the end; whoever chooses by the one reports the other."""
    if recipe.tuning.keep_best is None:
        return held_out, held_out
    if len(held_out) < 2:
        raise RecipeError(
            f"tuning.keep_best chooses weights by held-out prompts, and there are {len(held_out)}",
            remedy="Raise rankings.held_out, or leave keep_best out",
        )
    order = keyed_order(len(held_out), recipe.tuning.seed, "chosen by")
    half = len(held_out) // 2
    return [held_out[place] for place in sorted(order[:half])], [held_out[place] for place in sorted(order[half:])]


def _untied(row: RewardRow) -> RewardRow:
    """Without the pairs that are tied, where those are learned from."""
    pairs = tuple(pair for pair in row.pairs if pair.levels)
    return (
        row
        if len(pairs) == len(row.pairs)
        else RewardRow(row.group, pairs, row.best, row.prompt, row.ranking, row.rankings)
    )


def _references(recipe: RewardRecipe, train: Sequence[RewardRow], encoder: Encoder, data: Path | None) -> References:
    if recipe.demonstrations is None:
        order = keyed_order(len(train), recipe.tuning.seed, "references")[:_REFERENCES]
        groups = [
            Group(row.group.prompt, tuple(row.group.completions[place] for place in row.best))
            for row in (train[place] for place in sorted(order))
        ]
        return References("best-ranked completions", groups)
    mixture = assemble(recipe.demonstrations, data=data)
    places = (mixture[place] for place in range(4 * _REFERENCES))
    prompts = islice((place for place in places if isinstance(place, Prompt) and place.target.strip()), _REFERENCES)
    shown = [Ranking(prompt.conversation(PromptFormat()), (prompt.target,)) for prompt in prompts]
    groups = [group for group in encode_groups(encoder, shown) if group is not None]
    if not groups:
        raise DataError("no demonstration has an answer", remedy="Check `demonstrations` with `instil mix show`")
    return References("demonstrations", groups, mixture.fingerprint)
