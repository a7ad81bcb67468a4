"""The loss of a ranking: all pairs of a prompt's completions are one element of the batch, not one each.

    prompt A -> a0 a1 a2, ranks 1 2 2        rewards 1.0  0.0  -0.5
    prompt B -> b0 b1,    ranks 2 1          rewards 0.2  0.7

    pairs (better, worse)    A: (a0, a1) (a0, a2)          B: (b1, b0)
    -log sigmoid(difference) A: 0.313  0.201               B: 0.474
    mean over the pairs      A: 0.257                      B: 0.474
    mean over the prompts    0.366

A tie (a1, a2) says nothing here and is dropped, as InstructGPT does (Ouyang et al. 2022, section 3.5). It can count
as half a win each way (`half`), which is least where both rewards are equal, or pull them together by their squared
difference (`squared`); it is then one more pair of its prompt.

Pairs taken one by one, in any order, let a completion move the weights up to K - 1 times an epoch, and the paper found
that to overfit in one pass. Here each completion is read once, and moves them once.

Shape legend: N completions, P pairs.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Ties = Literal["drop", "half", "squared"]
"""What two completions of one rank teach: nothing; half a win each way; or a squared difference."""


def pair_losses(difference_P: Tensor, margin_P: Tensor) -> Tensor:
    """-log sigmoid(reward of the better - reward of the worse - margin), of each pair (P,).

    Args:
        difference_P: better less worse.
        margin_P: how much more than nothing the better one should be ahead (Touvron et al. 2023).
    """
    return -F.logsigmoid(difference_P - margin_P)


def tie_losses(difference_P: Tensor, ties: Ties) -> Tensor:
    """What a pair of one rank costs (P,), by the difference of its rewards, whichever way round."""
    if ties == "squared":
        return difference_P.square()
    return -0.5 * (F.logsigmoid(difference_P) + F.logsigmoid(-difference_P))


def ranking_loss(
    reward_N: Tensor,
    better_P: Tensor,
    worse_P: Tensor,
    share_P: Tensor,
    margin_P: Tensor,
    tied_P: Tensor,
    *,
    ties: Ties = "drop",
) -> Tensor:
    """The sum over prompts of the mean over each prompt's pairs: a number.

    Worked example, the prompts above::

        ranking_loss([1.0, 0.0, -0.5, 0.2, 0.7], [0, 0, 4], [1, 2, 3], [1/2, 1/2, 1], [0, 0, 0], [no, no, no]) -> 0.731

    Args:
        reward_N: of every completion.
        better_P: the number of each pair's better completion.
        worse_P: of its worse one.
        share_P: one over the pairs of its prompt.
        margin_P: see `pair_losses`.
        tied_P: whether the two are of one rank; where `ties` is `drop`, none is.
        ties: what those teach.
    """
    # index_select, not reward[better]: the backward of indexing is not deterministic where indices repeat
    difference_P = reward_N.index_select(0, better_P) - reward_N.index_select(0, worse_P)
    loss_P = pair_losses(difference_P, margin_P)
    if ties != "drop":
        loss_P = loss_P.where(~tied_P, tie_losses(difference_P, ties))
    return (share_P * loss_P).sum()
