"""Generation and option scoring for encoder-decoder models: each prompt is encoded once for all that is asked.

    engine = Seq2SeqEngine(load("google/flan-t5-small"))
    engine.generate([[12, 7, 9, 1], [12, 4, 1]], max_new_tokens=12)   -> [Completion((31, 8), "two words", "end"), ...]
    engine.loglikelihoods([[12, 7, 9, 1]], [[[31, 1], [8, 5, 1]]])    -> [[-0.7, -3.1]]    one sum for each option

The decoder's first step also gives the probability of the first token of every option; options of one token need
nothing more. Rows that ended leave the batch. What is read, and what of it may stand together, is `seq2seq_reading`'s.

Shape legend: B rows, T tokens fed to the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from instil.errors import ModelError
from instil.models.completion import Completion, Scored, Writing
from instil.models.decoding import Answer, Ask, Decoder, Told, asks_of, completion_of, left, unfinished
from instil.models.memory import in_halves
from instil.models.option_rows import scores_behind
from instil.models.parity import evaluating
from instil.models.reading import HOLD
from instil.models.sampling import Sampling, next_tokens
from instil.models.seq2seq_reading import Read, Seq2SeqReader

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel

T = TypeVar("T")


class Seq2SeqEngine:
    """Generates and scores with one loaded encoder-decoder model.

    Args:
        loaded: the model, its tokenizer and its special tokens.
        tokens_per_batch: rows x width that are encoded together; four times as many are held while answers are written.
            By default 4,096 on CPU and 32,768 elsewhere.
    """

    def __init__(self, loaded: LoadedModel, *, tokens_per_batch: int | None = None) -> None:
        self.loaded = loaded
        self.device = torch.device(loaded.device)
        self.limit = int(loaded.max_length)
        self.start = list(loaded.specials.start)
        self.writing = Writing(loaded)
        self.tokens_per_batch = tokens_per_batch or (4096 if self.device.type == "cpu" else 32768)
        self.reader = Seq2SeqReader(loaded, self.tokens_per_batch)

    # --- generation -------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int = 64,
        stop: Sequence[str] = (),
        *,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
        log_probs: bool = False,
        on_done: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """The answer to every prompt, in the order given: greedy, or drawn.

        Args:
            prompts: token ids, as the encoder of prompts gives them: with the end token.
            max_new_tokens: the most tokens to write; less where the decoder's positions end before.
            stop: strings that end an answer; they and what follows are cut from its text.
            sampling: how tokens are drawn; None takes the likeliest.
            seeds: what the draws of each prompt depend on; its number in the order given where there are none.
            log_probs: whether completions come with the log-probability of each of their tokens.
            on_done: called with the number of prompts that were just finished.

        Raises:
            ModelError: if a prompt is longer than the model can read, or the model's output is not a number.
        """
        rows = [self._begun(row) for row in prompts]
        budget = self._budget(max_new_tokens)
        costs = [len(row) + len(self.start) + budget for row in rows]
        chosen = None if sampling is None else range(len(rows)) if seeds is None else seeds
        asks, answers = asks_of(
            rows, [budget] * len(rows), chosen, lambda number: HOLD * self.tokens_per_batch // costs[number]
        )
        decoder = Decoder(self.writing, sampling, stop, Told(answers, on_done).ended, log_probs=log_probs)

        def written(batch: list[int]) -> list[None]:
            fresh = unfinished([asks[index] for index in batch])
            if fresh:
                decoder.write(self.reader, *self._read(fresh))
            return [None] * len(batch)

        wide = [len(ask.answers) * (len(ask.row) + len(self.start) + budget) for ask in asks]
        self._by_batch([ask.row for ask in asks], wide, written, None)
        return [completion_of(answer, self.writing, stop) for answer in answers]

    def _read(self, asks: list[Ask]) -> tuple[Read, list[Answer]]:
        """Each prompt once, then a row for each of its answers."""
        answers = [answer for ask in asks for answer in ask.answers]
        read = self.reader.read([ask.row for ask in asks], len(self.start) + left(answers))
        if len(answers) > len(asks):
            index = [place for place, ask in enumerate(asks) for _ in ask.answers]
            read = self.reader.chosen(read, torch.tensor(index, device=self.device), left(answers))
        return read, answers

    def stream(
        self,
        prompt: Sequence[int],
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        *,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> Generator[str, None, Completion]:
        """The answer to one prompt, piece by piece as it is written; returns the whole completion.

        A piece is held back while it ends within a character or could still become a stop string.

        Raises:
            ModelError: as `generate`.
        """
        row = self._begun(prompt)
        self._check_room([row])
        budget = self._budget(max_new_tokens)
        read: Read | None = None

        def following(written: list[int]) -> int:
            nonlocal read
            # Entered anew for every token: between two pieces the caller's own code runs.
            with self._asking():
                if read is None:
                    read = self.reader.read([row], len(self.start) + budget)
                else:
                    read.logits = self.reader.feed(read, torch.tensor([written[-1:]], device=self.device))[:, -1]
                return int(next_tokens(read.logits, sampling, [seed], [len(written)]))

        return (yield from self.writing.streamed(following, budget, stop))

    # --- options ----------------------------------------------------------------------------------------------------

    def loglikelihoods(
        self,
        prefixes: Sequence[Sequence[int]],
        options: Sequence[Sequence[Sequence[int]]],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[list[float]]:
        """The summed log-probability of every option's tokens as an answer to its prompt (natural logarithm).

        Args:
            prefixes: one question each, as token ids with the end token.
            options: for each question, its options as token ids.
            on_done: called with the number of questions that were just scored.

        Raises:
            ModelError: if a question is longer than the model can read, an option longer than it can write or without
                tokens, or the model's output is not a number.
        """
        found = self.scores(prefixes, options, on_done=on_done)
        return [[score.loglikelihood for score in choices] for choices in found]

    def scores(
        self,
        prefixes: Sequence[Sequence[int]],
        options: Sequence[Sequence[Sequence[int]]],
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[list[Scored]]:
        """As `loglikelihoods`; also whether the model, writing greedily, would have written the option.

        Raises:
            ModelError: as `loglikelihoods`.
        """
        rows = [self._begun(row) for row in prefixes]
        widths = [max((len(option) for option in choices), default=1) for choices in options]
        if any(not option for choices in options for option in choices):
            raise ModelError("an option has no tokens, so it has no likelihood", remedy="Remove empty options")
        longest = max(widths, default=1)
        if longest > self._budget(longest):
            raise ModelError(
                f"an option of {longest} tokens is longer than the model can write ({self._budget(longest)})",
                remedy="Shorten the options",
            )
        costs = [len(choices) * (len(row) + width) for row, choices, width in zip(rows, options, widths, strict=True)]

        def scored(batch: list[int]) -> list[list[Scored]]:
            return self._score([rows[index] for index in batch], [options[index] for index in batch])

        return self._by_batch(
            rows, [max(cost, len(row)) for cost, row in zip(costs, rows, strict=True)], scored, on_done
        )

    def _score(self, rows: list[list[int]], options: Sequence[Sequence[Sequence[int]]]) -> list[list[Scored]]:
        read = self.reader.read(rows, len(self.start))

        def feed(questions: Tensor, fed: Tensor) -> Tensor:
            return self.reader.feed(self.reader.chosen(read, questions, fed.shape[1]), fed)

        return scores_behind(read.logits, options, feed, columns=read.columns, held=HOLD * self.tokens_per_batch)

    # --- around a call ----------------------------------------------------------------------------------------------

    def _by_batch(
        self,
        rows: list[list[int]],
        costs: list[int],
        compute: Callable[[list[int]], list[T]],
        on_done: Callable[[int], None] | None,
    ) -> list[T]:
        """The results of all rows, computed batch by batch."""
        self._check_room(rows)
        results: dict[int, T] = {}
        with self._asking():
            for batch in self.reader.batches(rows, costs):
                for part, computed in in_halves(
                    compute, batch, lambda index: f"a prompt of {len(rows[index])} tokens", self.device
                ):
                    results.update(zip(part, computed, strict=True))
                if on_done:
                    on_done(len(batch))
        return [results[index] for index in range(len(rows))]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """No gradients, no dropout; the model is handed back in the mode it came in."""
        with evaluating(self.loaded.model), torch.inference_mode():
            yield

    def _begun(self, row: Sequence[int]) -> list[int]:
        """The prompt; of an empty one the end token, as there must be something to read."""
        return [int(token) for token in row] or list(self.loaded.specials.end) or [self.loaded.eos_id]

    def _budget(self, max_new_tokens: int) -> int:
        """The tokens that may be written: the last one is not fed again."""
        return min(max_new_tokens, self.limit - len(self.start) + 1)

    def _check_room(self, rows: list[list[int]]) -> None:
        longest = max(map(len, rows), default=0)
        if longest > self.limit:
            raise ModelError(
                f"a prompt needs {longest} tokens and the model reads {self.limit}",
                remedy="Shorten the prompt, use fewer exemplars or a model with a longer context",
            )
