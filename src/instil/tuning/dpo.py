"""Learning from rankings without sampling: DPO, IPO and KTO.

    before step 0   reference log-probabilities of every completion, once (kept in the run folder)
    rows            prompts_per_step prompts, each with its completions: which ones, a function of the step's number
    policy          each prompt once, its completions beside each other, where the model may; log-probabilities summed
    log-ratio       policy - reference, of every completion; the implicit reward is beta x this
    loss            dpo, ipo: the mean over a prompt's untied pairs, then over the prompts of the step
                    kto: the mean over the completions of the step, against the baseline z0 that it has in this step
                    + sft_weight x the mean over prompts of the best completions' cross entropy a token (RPO)

At the first step policy and reference are the same: all margins are 0, dpo's loss is log 2, and of implicit rewards
that tie half count as ordered rightly. Dropout, where a model has it, is in the policy alone.

Shape legend: N completions, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from transformers import PreTrainedModel

from instil.errors import RecipeError
from instil.mixtures.encode import Encoder
from instil.mixtures.encoding_report import EncodingReport
from instil.models.loading import LoadedModel
from instil.models.tensors import Layout
from instil.records import Architecture, Ranking
from instil.runs import RunFolder
from instil.tuning.baseline import Baseline
from instil.tuning.completion_log_probs import (
    CompletionPack,
    CompletionScorer,
    LogProbSums,
    choose_group_layout,
    completion_packs,
)
from instil.tuning.distributed import World
from instil.tuning.head import Trained, training_only
from instil.tuning.kin import stranger
from instil.tuning.loop import Evaluate, LoopSpec, Piece, TrainResult, piece_tokens, train
from instil.tuning.loop_spec import product_dtype
from instil.tuning.lora import LoraSpec, add_lora
from instil.tuning.memory import recomputing
from instil.tuning.preference_losses import dpo_loss, hinge_loss, ipo_loss, kto_loss, robust_dpo_loss
from instil.tuning.preference_packs import PreferencePack, preference_pieces
from instil.tuning.preference_rows import EpochOrder, PreferenceRow, RankedAs, mismatched, paired_rows, rated_rows
from instil.tuning.reference_log_probs import HeldTo

Method = Literal["dpo", "ipo", "kto"]

#: Margins, in nats, that rounding makes of nothing: between sums of log-probabilities, and between their means a token.
_TIE, _TIE_OF_MEANS = 1e-3, 1e-5


class DpoSpec(LoopSpec):
    """Learning from rankings without sampling."""

    method: Method = "dpo"
    """`dpo` and `ipo` learn from pairs, `kto` from completions that are good or bad by themselves."""
    form: Literal["sigmoid", "robust", "hinge"] = "sigmoid"
    """Of dpo: `robust` corrects for labels that are flipped with a chance of `label_smoothing`, `hinge` is that of
    SLiC."""
    beta: float = Field(default=0.1, gt=0)
    """How dear it is to leave the reference. For ipo, half of one over the margin a token that is aimed at."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """dpo: the chance that a pair is labelled the wrong way round (conservative DPO, or `form: robust`)."""
    rankings: RankedAs = "pairs"
    """`pairs` takes all untied pairs of a prompt as one element, `extremes` the best completion against the worst."""
    sft_weight: float = Field(default=0.0, ge=0)
    """What the cross entropy a token of the best completions is multiplied by and added (RPO); not with kto."""
    reference_free: bool = False
    """Whether log-ratios are the policy's log-probabilities alone; not with kto."""
    desirable_weight: float = Field(default=1.0, ge=0)
    """kto: of good completions."""
    undesirable_weight: float = Field(default=1.0, ge=0)
    """kto: of bad completions. The paper asks for weights that make both kinds weigh between 1 : 1 and 4 : 3."""
    desirable_from: float = 0.5
    """kto: the score from which on a scored completion is good."""
    prompts_per_step: int = Field(default=64, ge=1)
    """Prompts of one optimizer step, each with all its completions."""
    max_length: int | None = Field(default=None, ge=16)
    """The longest prompt with a completion, in tokens; longer ones are cut and counted. What the model can read by
    default. Of an encoder-decoder, the longest prompt alone."""
    max_completion_length: int | None = Field(default=None, ge=2)
    """The longest completion, in tokens, with its end token; longer ones are cut."""
    layout: Literal["auto", "shared", "bucketed"] = "auto"
    """`auto` lets the completions of a prompt share it, where the loaded model proves that it computes the same."""
    gradient_checkpointing: bool = False
    """Computes each block twice and keeps only its inputs in between: less memory, more time, the same result."""
    trained: Trained = "all"
    """`head` trains the output layer alone, where it is not the embedding too."""
    lora: LoraSpec | None = None
    """Trains thin matrices beside the linear layers instead of all weights; `{}` takes every default of it."""

    @model_validator(mode="after")
    def _keys_of_the_method(self) -> Self:
        if self.method != "dpo" and (self.form != "sigmoid" or self.label_smoothing):
            raise ValueError(f"form and label_smoothing belong to method dpo, and it is {self.method}")
        if self.form == "hinge" and self.label_smoothing:
            raise ValueError("label_smoothing is for the forms sigmoid and robust, and form is hinge")
        if self.method == "kto" and (self.sft_weight or self.reference_free or self.rankings != "pairs"):
            raise ValueError("sft_weight, reference_free and rankings are for pairs, and method kto has none")
        if self.lora is not None and self.trained != "all":
            raise ValueError("lora and `trained: head` exclude each other: an adapter trains itself alone")
        return self


def align_offline(
    loaded: LoadedModel,
    train_on: Sequence[Ranking],
    spec: DpoSpec,
    run: RunFolder,
    *,
    encoder: Encoder,
    reference: LoadedModel | None = None,
    evaluate: Evaluate | None = None,
    show_progress: bool = True,
) -> TrainResult:
    """Train `loaded.model` in place on rankings; with `spec.lora` it then holds an adapter, not merged.

    Args:
        loaded: the policy, as it starts.
        train_on: the rankings; kto takes completions with scores alone as well.
        spec: how.
        run: where metrics, checkpoints and the reference's log-probabilities go.
        encoder: of the policy.
        reference: what the policy is held to; by default the policy as it is now.
        evaluate: see `train`.
        show_progress: see `train`.

    Raises:
        RecipeError: if the policy is masked, or the reference has another tokenizer.
        DataError: if no ranking can be learnt from.
        RunError, Interrupted: as `train` does.
    """
    refuse_policy(loaded)
    report = EncodingReport()
    rows = rows_of(train_on, encoder, spec, report=report)
    if left_out := len(train_on) - len(rows):
        run.say(f"{left_out:,} of {len(train_on):,} rankings are not trained on: nothing in them is better or worse")
    run.say(report.line)
    if World.current().size == 1:  # as `train` holds its weights: what is tried in float32 is tried more sharply
        loaded.model.float()
    order = EpochOrder(len(rows), seed=spec.seed, size=spec.prompts_per_step)
    met = order.met(spec.max_steps)
    held_to = reference_of(loaded, spec, run, reference=reference)
    known = dict(zip(met, held_to.log_probs([rows[number].group for number in met], name="train"), strict=True))
    room = encoder.max_length if loaded.architecture == "causal" else None
    others = mismatched(rows, seed=spec.seed, longest=room) if spec.method == "kto" else []
    behind = held_to.log_probs([others[number] for number in met], name="mismatched") if others else []
    if spec.lora is not None:
        add_lora(loaded.model, spec.lora, seed=spec.seed)
    layout = World.current().together(lambda: group_layout(loaded, spec, run.say))
    baseline = None
    if others:
        scorer = scorer_of(loaded, spec, layout)
        baseline = Baseline(others, dict(zip(met, behind, strict=True)), order, scorer)

    def packs(step: int, tokens_per_batch: int) -> list[CompletionPack]:
        return completion_packs(loaded, [rows[place].group for place in order.window(step)], layout, tokens_per_batch)

    def batches(step: int, tokens_per_batch: int) -> list[Piece[PreferencePack]]:
        places = order.window(step)
        return preference_pieces(
            packs(step, tokens_per_batch),
            [rows[place] for place in places],
            [known[place] for place in places],
            baseline=baseline.of(step) if baseline else 0.0,
        )

    with training_only(loaded.model, spec.trained), recomputing(loaded.model, spec.gradient_checkpointing):
        loss_sum = PreferenceLoss(loaded.architecture, spec, layout)
        if World.current().size > 1:
            loss_sum.look(loaded.model, packs(0, piece_tokens(spec, loaded.device))[0])
        return train(
            spec,
            loaded.model,
            batches,
            loss_sum,
            run,
            evaluate=evaluate,
            prepare=baseline.prepare if baseline else None,
            title=spec.method,
            show_progress=show_progress,
        )


def refuse_policy(loaded: LoadedModel) -> None:
    """Refuse a model that writes no completions.

    Raises:
        RecipeError: if it is masked.
    """
    if loaded.architecture == "masked":
        raise RecipeError(
            f"{loaded.path} is a masked model, which fills slots and writes no completions that could be ranked",
            remedy="Give a causal or seq2seq model; a masked one can be the reward model (`instil reward`)",
        )


def rows_of(
    rankings: Sequence[Ranking], encoder: Encoder, spec: DpoSpec, *, report: EncodingReport | None = None
) -> list[PreferenceRow]:
    """What the method of a spec learns from; `report` counts what was cut.

    Raises:
        DataError: if that is nothing.
    """
    if spec.method == "kto":
        good = spec.desirable_from
        return rated_rows(rankings, encoder, desirable_from=good, most_tokens=spec.max_completion_length, report=report)
    return paired_rows(
        rankings, encoder, ranked_as=spec.rankings, most_tokens=spec.max_completion_length, report=report
    )


def reference_of(loaded: LoadedModel, spec: DpoSpec, run: RunFolder, *, reference: LoadedModel | None = None) -> HeldTo:
    """What the policy is held to: another model, or itself as it is now; or nothing, where the spec says so.

    Raises:
        RecipeError: if another model has another tokenizer.
    """
    if reference is not None and (fault := stranger(reference, loaded)):
        raise RecipeError(
            f"the reference reads other tokens than the policy {loaded.path}: {fault}",
            remedy="Give the model that the policy was made from, or leave the reference out",
        )
    asked = loaded if reference is None else reference
    return HeldTo(
        run,
        scorer=lambda: scorer_of(asked, spec, group_layout(asked, spec, run.say)),
        fingerprint="" if spec.reference_free else asked.fingerprint,
    )


def group_layout(loaded: LoadedModel, spec: DpoSpec, say: Callable[[str], None]) -> Layout:
    """How the completions of a prompt are laid out for this very model."""
    return choose_group_layout(loaded, shared=spec.layout != "bucketed", asked=spec.layout == "shared", say=say)


def scorer_of(loaded: LoadedModel, spec: DpoSpec, layout: Layout) -> CompletionScorer:
    """What asks a model, in the number format of the training."""
    tokens, dtype = piece_tokens(spec, loaded.device), product_dtype(spec, loaded.device)
    return CompletionScorer(loaded, layout, tokens_per_batch=tokens, dtype=dtype)


class PreferenceLoss:
    """The summed loss of a piece, and the sums of its figures.

    Args:
        architecture: of the policy.
        spec: names the loss.
        layout: of the pieces.
    """

    def __init__(self, architecture: Architecture, spec: DpoSpec, layout: Layout) -> None:
        self.spec, self._log_prob_sums = spec, LogProbSums(architecture, layout)
        kinds = ("desirable", "undesirable") if spec.method == "kto" else ("chosen", "rejected")
        names = [
            "accuracy",
            "margin",
            *(f"{kind}_{what}" for what in ("reward", "log_prob") for kind in kinds),
            "drift",
        ]
        own = ["kl"] if spec.method == "kto" else ["preference_loss", "sft_loss"] if spec.sft_weight else []
        self.figures = {"loss": (*names, *own)}

    def __call__(self, model: PreTrainedModel, item: PreferencePack) -> Tensor:
        """The loss, then what `figures` names."""
        sums_N = self._log_prob_sums(model, item.completions)
        return (self._unpaired if self.spec.method == "kto" else self._paired)(sums_N, item)

    def look(self, model: PreTrainedModel, item: CompletionPack) -> None:
        """See `TokenLogProbs.look`."""
        self._log_prob_sums.look(model, item)

    def _paired(self, sums_N: Tensor, item: PreferencePack) -> Tensor:
        """Of every prompt the mean over its pairs."""
        spec, lengths_N = self.spec, item.completions.lengths
        ratio_N = sums_N - item.reference
        read_N = ratio_N / lengths_N if spec.method == "ipo" else ratio_N
        margin_P = read_N.index_select(0, item.better) - read_N.index_select(0, item.worse)
        preference = (item.pair_share * pair_loss(margin_P, spec)).sum()
        loss, own = preference, []
        if spec.sft_weight:
            sft = -(item.best_share * sums_N / lengths_N).sum()
            loss, own = preference + spec.sft_weight * sft, [preference, sft]
        with torch.no_grad():
            figures = [
                (item.pair_share * ordered_rightly(margin_P, spec)).sum(),
                spec.beta * (item.pair_share * margin_P).sum(),
                *(
                    (item.pair_share * value_N.index_select(0, side_P)).sum()
                    for value_N in (spec.beta * read_N, sums_N)
                    for side_P in (item.better, item.worse)
                ),
                (item.share * ratio_N.abs() / lengths_N).sum(),
            ]
        return torch.stack([loss, *figures, *own])

    def _unpaired(self, sums_N: Tensor, item: PreferencePack) -> Tensor:
        """Of every completion its own loss."""
        spec, good_N = self.spec, item.desirable
        ratio_N = sums_N - item.reference
        loss_N = kto_loss(
            ratio_N,
            good_N,
            beta=spec.beta,
            baseline=item.baseline,
            desirable_weight=spec.desirable_weight,
            undesirable_weight=spec.undesirable_weight,
        )
        with torch.no_grad():
            above_N = torch.where(good_N, 1.0, -1.0) * (ratio_N - item.baseline)
            means = [
                (torch.where(side_N, item.kind_share, 0.0) * value_N).sum()
                for value_N in (spec.beta * ratio_N, sums_N)
                for side_N in (good_N, ~good_N)
            ]
            drift = (ratio_N.abs() / item.completions.lengths).sum()
            z0 = torch.full_like(drift, item.baseline * len(ratio_N))
            figures = [ordered_rightly(above_N, spec).sum(), means[0] - means[1], *means, drift, z0]
        return torch.stack([loss_N.sum(), *figures])


def pair_loss(margin_P: Tensor, spec: DpoSpec) -> Tensor:
    """The loss (P,) that a spec names, of margins as it reads them."""
    if spec.method == "ipo":
        return ipo_loss(margin_P, beta=spec.beta)
    if spec.form == "hinge":
        return hinge_loss(margin_P, beta=spec.beta)
    if spec.form == "robust":
        return robust_dpo_loss(margin_P, beta=spec.beta, label_smoothing=spec.label_smoothing)
    return dpo_loss(margin_P, beta=spec.beta, label_smoothing=spec.label_smoothing)


def ordered_rightly(margin_P: Tensor, spec: DpoSpec) -> Tensor:
    """1 where the better one has the higher implicit reward, a half where they tie, else 0.

    Sums of log-probabilities that differ by rounding alone tie.
    """
    tie = _TIE_OF_MEANS if spec.method == "ipo" else _TIE
    return torch.where(margin_P.abs() <= tie, 0.5, (margin_P > 0).to(margin_P.dtype))
