"""What a model wrote: its token ids, their text, and where a stop string ends it.

(31, 8, 44) -> " two words; more", cut by "length"       and with stop (";",) -> " two words", ended by "stop"
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel

Reason = Literal["end", "stop", "length"]
"""What ended a completion: the end token, a stop string, or a limit of its length."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model wrote after a prompt."""

    ids: tuple[int, ...]
    """The new tokens, without the end token."""
    text: str
    """Their text, up to the stop string where one ended it."""
    reason: Reason
    """What ended it."""
    end: int | None = field(default=None, compare=False)
    """The end token that ended it, where one did and answers are not streamed."""
    log_probs: tuple[float, ...] = field(default=(), compare=False)
    """Where they were asked for: of each token, that of the end included, its log-probability as it was drawn."""

    @property
    def finished(self) -> bool:
        """Whether the model ended by itself (end token or stop string); False where a length limit cut it."""
        return self.reason != "length"


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely a model finds an option after its prompt."""

    loglikelihood: float
    """The log-probabilities of its tokens, summed (natural logarithm)."""
    greedy: bool
    """Whether each of its tokens is the likeliest one, so that the model would have written it."""


class Writing:
    """The text of what one model writes.

    Args:
        loaded: the model, its tokenizer and its end token.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.end_ids = frozenset(_end_ids(loaded))
        """The tokens that end an answer."""

    def take(self, written: list[int], token: int, stop: Sequence[str], budget: int) -> Reason | None:
        """Add a token to what was written, unless it is the end token; what ended the answer, None while it goes on.

        In a single slot every token is an answer, and the whole of it.

        Args:
            written: the tokens before it.
            token: the one that comes next.
            stop: strings that end the answer.
            budget: the most tokens.
        """
        single = self.loaded.specials.slots == 1
        if token in self.end_ids and not single:
            return "end"
        written.append(token)
        if self.stopped(written, stop):
            return "stop"
        if single:
            return "end"
        return "length" if len(written) >= budget else None

    def streamed(
        self, following: Callable[[list[int]], int], budget: int, stop: Sequence[str]
    ) -> Generator[str, None, Completion]:
        """An answer piece by piece, as its tokens come; returns the whole completion.

        A piece is held back while it ends within a character or could still become a stop string.

        Args:
            following: the token that comes after those that were written.
            budget: the most tokens.
            stop: strings that end the answer.
        """
        written: list[int] = []
        shown = ""
        reason: Reason | None = None if budget > 0 else "length"
        while reason is None:
            reason = self.take(written, following(written), stop, budget)
            whole = self.completion(written, stop, reason or "length")
            ready = settled(whole.text, stop) if reason in (None, "length") else whole.text
            if ready.startswith(shown) and len(ready) > len(shown):
                yield ready[len(shown) :]
                shown = ready
        whole = self.completion(written, stop, reason)
        if whole.text.startswith(shown) and len(whole.text) > len(shown):
            yield whole.text[len(shown) :]
        return whole

    def completion(self, ids: Sequence[int], stop: Sequence[str], reason: Reason) -> Completion:
        """The tokens with their text, cut at the first stop string where one ended it."""
        text = self._text(ids)
        if reason == "stop":
            found = (text.find(mark) for mark in stop if mark)
            text = text[: min((at for at in found if at >= 0), default=len(text))]
        return Completion(tuple(ids), text, reason)

    def stopped(self, ids: Sequence[int], stop: Sequence[str]) -> bool:
        """Whether the last token completed a stop string; an empty one ends nothing."""
        if not any(stop):
            return False
        # A stop string of n bytes cannot begin more than n tokens ago, save for tokens without text.
        tail = self._text(ids[-max(len(mark.encode()) for mark in stop) - 8 :])
        return any(mark in tail for mark in stop if mark)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.loaded.backend.decode(list(ids), skip_special_tokens=True))


def settled(text: str, stop: Sequence[str]) -> str:
    """The part of a growing text that will not change: no half character and no possible start of a stop string."""
    text = text.rstrip("\ufffd")
    overlap = max((n for mark in stop for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
    return text[: len(text) - overlap]


def _end_ids(loaded: LoadedModel) -> Iterator[int]:
    yield loaded.eos_id
    more = getattr(getattr(loaded.model, "generation_config", None), "eos_token_id", None)
    for token in more if isinstance(more, (list, tuple)) else [more]:
        if token is not None:
            yield int(token)
