"""Which answers of a rollout a step learns from, in rectangles.

    rollout     A B C D E (each with its answers)        C has a reward that is no number: it is left out
    epoch 0     B E | A D        two minibatches, in a keyed order of their own in every epoch
    epoch 1     A B | D E
    pieces      [B b0 b1] [E e0 e1]        scale 1 / tokens of the step, so that cuts change nothing

Shape legend: N answers, K tokens of all answers, or of those in a rectangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from instil.fingerprint import keyed_order
from instil.mixtures.groups import lay_out_groups
from instil.models.loading import LoadedModel
from instil.models.tensors import Layout, to_tensors
from instil.records import Group, GroupPack
from instil.tuning.gradient import Piece
from instil.tuning.policy_losses import Normalise, answer_weights
from instil.tuning.policy_method import Learned, PolicyItem
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.rollouts import Rollout
from instil.tuning.token_scores import TokenPlaces


@dataclass(frozen=True, slots=True)
class Minibatch:
    """The answers that one step learns from."""

    groups: tuple[Group, ...]
    """Their prompts, each with those of its answers that are taken."""
    tokens: NDArray[np.int64]
    """(k,): where their tokens stand in the rollout."""

    @property
    def answers(self) -> int:
        """How many there are."""
        return sum(len(group.completions) for group in self.groups)


def minibatch(rollout: Rollout, taken: NDArray[np.bool_], spec: PolicySpec, step: int) -> Minibatch:
    """The answers of a step: a function of the rollout and the step's number.

    Args:
        rollout: that the step learns from.
        taken: (N,) which answers are learned from.
        spec: how many minibatches and epochs.
        step: its number in the whole run.
    """
    samples, within = rollout.samples, step % spec.steps_per_rollout
    epoch, part = divmod(within, spec.minibatches)
    kept = [number for number in range(len(rollout.groups)) if taken[number * samples : (number + 1) * samples].any()]
    order = keyed_order(len(kept), spec.seed, "minibatches", spec.rollout_of(step), epoch)
    first, stop = (len(kept) * place // spec.minibatches for place in (part, part + 1))
    sizes, starts = rollout.sizes, TokenPlaces.of(rollout.groups).starts
    groups, tokens = [], [np.zeros(0, dtype=np.int64)]
    for number in sorted(kept[place] for place in order[first:stop]):
        chosen = [k for k in range(samples) if taken[number * samples + k]]
        group = rollout.groups[number]
        groups.append(Group(group.prompt, tuple(group.completions[k] for k in chosen)))
        tokens += [starts[number * samples + k] + np.arange(sizes[number * samples + k]) for k in chosen]
    return Minibatch(tuple(groups), np.concatenate(tokens))


def policy_pieces(
    loaded: LoadedModel,
    rollout: Rollout,
    learned: Learned,
    chosen: Minibatch,
    layout: Layout,
    tokens_per_batch: int,
    *,
    normalise: Normalise,
    most: int,
) -> list[Piece[PolicyItem]]:
    """The answers of a step in rectangles; the mean over them has weight 1.

    Args:
        loaded: the policy.
        rollout: that they are from.
        learned: what it teaches.
        chosen: which of its answers.
        layout: of the rectangles.
        tokens_per_batch: the most tokens of one, padding included.
        normalise: what counts alike in the mean.
        most: the longest answer that is allowed.
    """
    places = TokenPlaces.of(chosen.groups)
    lengths_N = torch.tensor([len(one) for group in chosen.groups for one in group.completions])
    weights_N = answer_weights(lengths_N, how=normalise, most=most).numpy()
    arrays = {
        "old": rollout.policy,
        "sampled": rollout.sampled,
        "reference": rollout.reference,
        "advantage": learned.advantages,
        "returns": learned.returns,
        "value": rollout.values,
    }
    told = {name: values[chosen.tokens] if len(values) else values for name, values in arrays.items()}
    laid = lay_out_groups(
        chosen.groups,
        tokens_per_batch=tokens_per_batch,
        specials=loaded.specials,
        shared=layout == "shared",
        whole_groups=False,
    )
    return [
        Piece(
            _item(loaded, item, {name: values[places.in_pack(item)] if len(values) else values
                                 for name, values in told.items()}, weights_N),
            scale=1.0 / places.total,
            targets=len(item.owners),
            tokens=item.pack.tokens,
            size=item.pack.size,
        )
        for item in laid
    ]  # fmt: skip


def _item(
    loaded: LoadedModel, item: GroupPack, told: dict[str, NDArray[np.float32]], weights_N: NDArray[np.float64]
) -> PolicyItem:
    device = loaded.device
    order = np.argsort(item.numbers)
    rows = order[np.searchsorted(item.numbers[order], item.owners)]
    within = np.full((len(item.numbers), int(item.places.max()) + 1), len(item.owners), dtype=np.int64)
    within[rows, item.places] = np.arange(len(item.owners))

    def moved(values: Sequence[float] | NDArray[np.floating]) -> torch.Tensor:
        return torch.tensor(np.asarray(values, dtype=np.float32)).to(device)

    return PolicyItem(
        pack=to_tensors(item.pack, device),
        places=torch.from_numpy(within).to(device),
        weight=moved(weights_N[item.numbers]),
        token_weight=moved(weights_N[item.owners]),
        tokens=item.pack.tokens,
        size=item.pack.size,
        **{name: moved(values) for name, values in told.items()},
    )
