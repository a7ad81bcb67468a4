"""PPO-ptx: what the policy learned before is learned on beside the rewards, against the alignment tax.

    step gradient = gradient of the policy's loss + gamma x gradient of the mean cross entropy a token of

        documents   pre-training text, as `pretrain` reads it          ptx_ratio tokens for each token of the step
        windows     prompts with their answers, as `sft` reads them    ptx_ratio of them for each sampled answer

InstructGPT: gamma 27.8, eight times as many pre-training examples as answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from instil.errors import RunError
from instil.models.loading import LoadedModel
from instil.models.tensors import PackTensors, to_tensors
from instil.records import Encoded
from instil.tuning.corruption import Document
from instil.tuning.gradient import Piece
from instil.tuning.objectives import ObjectiveSpec
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.pretrain import text_pieces
from instil.tuning.window import lay_out

#: The column of metrics.jsonl.
KIND = "ptx_loss"
#: Length of rows of text, where the model can look so far.
_ROW_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Ptx:
    """What is mixed in; exactly one of both."""

    documents: Callable[[int, int], Sequence[Document]] | None = None
    """(step, tokens) -> pre-training text of so many tokens at least: a pure function."""
    windows: Callable[[int, int], Sequence[Encoded]] | None = None
    """(step, prompts) -> so many prompts with their answers: a pure function."""

    def __post_init__(self) -> None:
        if (self.documents is None) == (self.windows is None):
            raise ValueError("ptx is text or prompts with answers: give one of both")

    def pieces(
        self, loaded: LoadedModel, spec: PolicySpec, step: int, tokens_per_batch: int, *, answers: int, tokens: int
    ) -> list[Piece[PackTensors]]:
        """What is mixed into a step that has so many sampled answers and reads so many tokens.

        Raises:
            RunError: if the text is too short.
        """
        if self.documents is not None:
            return text_pieces(
                self._documents(step, max(1, round(spec.ptx_ratio * tokens))),
                loaded,
                tokens_per_batch,
                row_tokens=min(_ROW_TOKENS, loaded.max_length),
                objective=ObjectiveSpec(),
                seed=spec.seed,
                step=step,
                kind=KIND,
                weight=spec.ptx_weight,
            )
        assert self.windows is not None
        window = self.windows(step, max(1, round(spec.ptx_ratio * answers)))
        packs = lay_out(window, "bucketed", tokens_per_batch, specials=loaded.specials)
        scale = spec.ptx_weight / max(1, sum(len(part.target_ids) for part in packs))
        return [
            Piece(to_tensors(part, loaded.device), scale, len(part.target_ids), part.tokens, part.size, KIND)
            for part in packs
        ]

    def _documents(self, step: int, tokens: int) -> list[Document]:
        """The first documents of a step that have so many tokens together."""
        assert self.documents is not None
        found = list(self.documents(step, tokens))
        sums = list(itertools.accumulate(map(len, found)))
        if not sums or sums[-1] < tokens:
            raise RunError(
                f"the text that is mixed into step {step + 1} has {sums[-1] if sums else 0:,} tokens, ptx_ratio needs "
                f"{tokens:,}",
                remedy="Lower ptx_ratio, or give more text",
            )
        return found[: next(place for place, so_far in enumerate(sums, start=1) if so_far >= tokens)]
