"""Losses of preferences without sampling (DPO, IPO, KTO): tensors in, tensors out, one loss a pair or a completion.

    log-probability of a completion        policy   reference   log-ratio r = policy - reference
    better: "Apple </s>", 2 tokens          -4.0      -5.0      +1.0
    worse:  "A chair </s>", 3 tokens        -9.0      -8.0      -1.0
    margin h = r(better) - r(worse)                             +2.0

    dpo, beta 0.1                -log sigmoid(0.1 x 2.0)                         = 0.598
      label smoothing 0.1        0.9 x 0.598 + 0.1 x -log sigmoid(-0.2)          = 0.618    (conservative DPO)
      robust, of 0.1             (0.9 x 0.598 - 0.1 x 0.798) / (1 - 0.2)         = 0.573
      hinge                      max(0, 1 - 0.1 x 2.0)                           = 0.8
    ipo, beta 0.1                (1.0 / 2 tokens - -1.0 / 3 tokens - 1 / 0.2)**2 = 17.361
    kto, beta 0.1, z0 0.5        better: 1 - sigmoid(0.1 x (1.0 - 0.5))          = 0.488
                                 worse:  1 - sigmoid(0.1 x (0.5 - -1.0))         = 0.463

The implicit reward of a completion is beta x r. A log-probability is summed over the completion's tokens, its end token
included. IPO alone takes the mean over them: its target 1 / (2 beta) is a fixed distance, which long completions would
reach by their length alone (the paper leaves this open; its authors confirmed the mean to TRL, which takes it too).

Papers: DPO 2305.18290, conservative DPO (Mitchell, "A note on DPO with noisy preferences"), robust DPO 2403.00409,
hinge 2305.10425 (SLiC) as in 2309.06657 (RSO), IPO 2310.12036, KTO 2402.01306, fine-tuning as a second term 2404.19733
(RPO).

Shape legend: P pairs, N completions, K tokens of completions, L tokens of the longest completion.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def completion_sums(log_probs_K: Tensor, places_NL: Tensor) -> Tensor:
    """The summed log-probability (N,) of each completion.

    Args:
        log_probs_K: of every token.
        places_NL: where in them each completion's tokens are; K where it has no more.
    """
    padded = torch.cat([log_probs_K, log_probs_K.new_zeros(1)])  # index_select: its backward is deterministic
    return padded.index_select(0, places_NL.reshape(-1)).view_as(places_NL).sum(1)


def dpo_loss(margin_P: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """The cross entropy of "the better one is better", which is wrong with a chance of `label_smoothing`."""
    right, wrong = F.logsigmoid(beta * margin_P), F.logsigmoid(-beta * margin_P)
    return -(1.0 - label_smoothing) * right - label_smoothing * wrong


def robust_dpo_loss(margin_P: Tensor, *, beta: float, label_smoothing: float) -> Tensor:
    """What the loss of true labels is expected to be, given labels of which a share of `label_smoothing` is flipped."""
    right, wrong = F.logsigmoid(beta * margin_P), F.logsigmoid(-beta * margin_P)
    return (-(1.0 - label_smoothing) * right + label_smoothing * wrong) / (1.0 - 2.0 * label_smoothing)


def hinge_loss(margin_P: Tensor, *, beta: float) -> Tensor:
    """Zero once implicit rewards are 1 apart."""
    return torch.relu(1.0 - beta * margin_P)


def ipo_loss(mean_margin_P: Tensor, *, beta: float) -> Tensor:
    """The squared distance to a margin of 1 / (2 beta).

    Args:
        mean_margin_P: the difference of log-ratios, each a mean over its completion's tokens.
        beta: called tau in the paper.
    """
    return (mean_margin_P - 1.0 / (2.0 * beta)).square()


def kto_loss(
    ratio_N: Tensor,
    desirable_N: Tensor,
    *,
    beta: float,
    baseline: Tensor | float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """How far each completion is from being wanted, or not wanted, more than the baseline.

    Args:
        ratio_N: log-ratios.
        desirable_N: whether each is good.
        beta: as in DPO.
        baseline: z0 of the paper, see `kto_baseline`; no gradient goes through it.
        desirable_weight: of good ones; `undesirable_weight` of bad ones.
        undesirable_weight: see there.
    """
    good_N = desirable_N.to(ratio_N.dtype)
    sign_N = 2.0 * good_N - 1.0
    weight_N = desirable_weight * good_N + undesirable_weight * (1.0 - good_N)
    return weight_N * (1.0 - torch.sigmoid(beta * sign_N * (ratio_N - baseline)))


def kto_baseline(mismatched_N: Tensor) -> Tensor:
    """z0: an estimate of the policy's divergence from the reference, never below 0.

    Args:
        mismatched_N: log-ratios of completions behind prompts that they do not belong to.
    """
    return mismatched_N.mean().clamp(min=0.0)
