"""Generation and option scoring for many prompts at once, in a plain loop over the model's own forward pass.

    engine = Engine(load("pocket"))
    engine.generate([[12, 7, 9], [12, 4]], max_new_tokens=12)     -> [Completion((31, 8), " two words", "end"), ...]
    engine.loglikelihoods([[12, 7, 9]], [[[31], [8, 5]]])         -> [[-0.7, -3.1]]   one sum for each option
    for piece in engine.stream([12, 7, 9]): print(piece, end="")

What makes it fast, and why none of it changes a number:

    batches        rows of similar length up to a budget, padded on the left             ..5 6 7 | new tokens
    early exit     rows that ended make room for those that wait, or leave the batch (`decoding`, `pool`)
    once           equal prompts are read once: several samples of one, or several greedy answers, which are equal
    shared heads   what all rows of a batch start with (a definition, exemplars) is read once   [head] ..5 6 | new
    trees          many questions with their options stand in one row behind what they share (`option_scoring`)
    one prefix     for a model that fails in trees: a question is read once, its options go on from copies of its cache

Padding and shared heads are exact for models that attend by logical position. The first batch that needs one of them
is checked against the same row computed alone; a model that fails reads rows of equal length only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from instil.errors import ModelError
from instil.models.cache import selected
from instil.models.completion import Completion, Scored, Writing
from instil.models.decoding import Decoder, Told, asks_of, completion_of, unfinished
from instil.models.memory import in_halves
from instil.models.option_rows import scores_behind
from instil.models.option_scoring import OptionScorer
from instil.models.pool import Pool
from instil.models.reading import HOLD, Read, Reader
from instil.models.sampling import Sampling, next_tokens
from instil.models.stepping import Stepper, step_fault

if TYPE_CHECKING:
    from instil.models.loading import LoadedModel


class Engine:
    """Generates and scores with one loaded model.

    Args:
        loaded: the model, its tokenizer and its special tokens.
        tokens_per_batch: rows x width that are read together; four times as many are held while answers are written.
            By default 4,096 on CPU (more falls out of its caches: slower, measured) and 32,768 elsewhere.
    """

    def __init__(self, loaded: LoadedModel, *, tokens_per_batch: int | None = None) -> None:
        self.loaded = loaded
        self.model: Any = loaded.model
        self.device = torch.device(loaded.device)
        self.limit = int(loaded.max_length)
        self.writing = Writing(loaded)
        self.tokens_per_batch = tokens_per_batch or (4096 if self.device.type == "cpu" else 32768)
        self.reader = Reader(
            self.model, self.device, tokens_per_batch=self.tokens_per_batch, limit=self.limit, name=loaded.path
        )
        self.scorer = OptionScorer(Stepper(self.model, self.device), tokens=self.tokens_per_batch, name=loaded.path)
        self._step_fault: str | None = None

    @property
    def step_fault(self) -> str:
        """Why options are not scored in steps of a tree with this model; empty where they are. Found out once."""
        if self._step_fault is None:
            self._step_fault = step_fault(self.model, self.device)
        return self._step_fault

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
        """The continuation of every prompt, in the order given: greedy, or drawn.

        Args:
            prompts: token ids, as the encoder gives them.
            max_new_tokens: the most tokens to write; less where the model's context ends before.
            stop: strings that end a completion; they and what follows are cut from its text.
            sampling: how tokens are drawn; None takes the likeliest.
            seeds: what the draws of each prompt depend on; its number in the order given where there are none.
            log_probs: whether completions come with the log-probability of each of their tokens.
            on_done: called with the number of prompts that were just finished.

        Raises:
            ModelError: if a prompt leaves no room in the model's context, or the model's output is not a number.
        """
        rows = [self._begun(row) for row in prompts]
        self._check_room([len(row) + 1 for row in rows])
        budgets = [min(max_new_tokens, self.limit - len(row)) for row in rows]
        chosen = None if sampling is None else range(len(rows)) if seeds is None else seeds
        hold = HOLD * self.tokens_per_batch
        asks, answers = asks_of(
            rows, budgets, chosen, lambda number: hold // max(1, len(rows[number]) + budgets[number])
        )
        decoder = Decoder(self.writing, sampling, stop, Told(answers, on_done).ended, log_probs=log_probs)
        asks = unfinished(asks)
        once = [ask.row for ask in asks]
        costs = [len(ask.row) + max(answer.budget for answer in ask.answers) for ask in asks]
        with self._scoring():
            for head, pool, most in self.reader.pools(once, costs, steps=max_new_tokens):

                def written(part: list[int], head: int = head, most: int = most) -> None:
                    Pool(self.reader, unfinished([asks[index] for index in part]), head, most).write(decoder)

                for _ in in_halves(written, pool, lambda index: f"a prompt of {len(once[index])} tokens", self.device):
                    pass
        return [completion_of(answer, self.writing, stop) for answer in answers]

    def stream(
        self,
        prompt: Sequence[int],
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        *,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> Generator[str, None, Completion]:
        """The continuation of one prompt, piece by piece as it is written; returns the whole completion.

        A piece is held back while it ends within a character or could still become a stop string.

        Raises:
            ModelError: as `generate`.
        """
        row = self._begun(prompt)
        self._check_room([len(row) + 1])
        budget = min(max_new_tokens, self.limit - len(row))
        read: Read | None = None

        def following(written: list[int]) -> int:
            nonlocal read
            # Entered anew for every token: between two pieces the caller's own code runs.
            with self._scoring():
                if read is None:
                    read = self.reader.read([row], len(row) + budget)
                else:
                    self.reader.step(read, torch.tensor(written[-1:], device=self.device))
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
        """The summed log-probability of every option's tokens after its prefix (natural logarithm).

        Args:
            prefixes: one question each, as token ids.
            options: for each question, its options as token ids.
            on_done: called with the number of questions that were just scored.

        Raises:
            ModelError: if a prefix with its longest option exceeds the model's context, an option has no tokens, or
                the model's output is not a number.
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
        # An option's last token is predicted and never read.
        self._check_room([len(row) + width - 1 for row, width in zip(rows, widths, strict=True)])
        with self._scoring():
            if not self.step_fault:
                return self.scorer.scores(rows, options, on_done)
        results: list[list[Scored]] = [[] for _ in rows]
        costs = [len(row) + len(choices) * width for row, choices, width in zip(rows, options, widths, strict=True)]
        with self._scoring():
            for head, batch in self.reader.batches(rows, costs, steps=1):

                def scored(part: list[int], head: int = head) -> list[list[Scored]]:
                    return self._follow([rows[i] for i in part], [[list(o) for o in options[i]] for i in part], head)

                for part, found in in_halves(
                    scored,
                    batch,
                    lambda index: f"a question of {len(rows[index])} tokens with {len(options[index])} options",
                    self.device,
                ):
                    for index, values in zip(part, found, strict=True):
                        results[index] = values
                if on_done:
                    on_done(len(batch))
        return results

    def _follow(self, rows: list[list[int]], options: list[list[list[int]]], head: int) -> list[list[Scored]]:
        read = self.reader.read(rows, max(len(row) for row in rows), head)

        def feed(questions: Tensor, fed: Tensor) -> Tensor:
            width = fed.shape[1]
            cache = selected(read.cache, questions, read.width + width)
            mask = None if read.mask is None else torch.cat([read.mask[questions], torch.ones_like(fed)], 1)
            positions = read.lengths[questions, None] + torch.arange(width, device=self.device)
            return self.reader.forward(fed, cache, mask, positions, keep=0)

        return scores_behind(read.logits, options, feed, columns=read.width, held=HOLD * self.tokens_per_batch)

    # --- around a call ----------------------------------------------------------------------------------------------

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        """No gradients, no dropout; the model is handed back in the mode it came in."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.reader.forget()
            self.scorer.stepper.forget()
            self.model.train(training)

    def _begun(self, row: Sequence[int]) -> list[int]:
        """The prompt; an empty one begins with the beginning-of-text (else end-of-text) token, as there must be one."""
        if len(row):
            return [int(token) for token in row]
        return [self.loaded.eos_id if self.loaded.bos_id is None else self.loaded.bos_id]

    def _check_room(self, needed: list[int]) -> None:
        longest = max(needed, default=0)
        if longest > self.limit:
            raise ModelError(
                f"a prompt needs {longest} tokens and the model's context holds {self.limit}",
                remedy="Shorten the prompt, use fewer exemplars or a model with a longer context",
            )
