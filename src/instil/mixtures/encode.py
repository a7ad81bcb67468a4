r"""From a prompt to token ids, and which of them are trained on.

    Prompt("Capital of France?" -> "Paris"), separator "\nAnswer: "
    ids           Capital | of | France | ? | \n | Answer | : |  Paris | <end>
    trained on                                               |  x       x       answer_start = 7

ids = what the model reads + the answer as a continuation (boundary.py) + the end token: the same as at inference.

A prompt that is longer than the model's context is cut in this order, every cut counted in an `EncodingReport`:

1. Exemplars go, the last ones first, until it fits.
2. Then the query's input is cut in its middle. Templates put the task's wording before a long passage or the question
   after it; so the instruction, then equal parts of the input's beginning and end are kept. An instruction so long
   that less than a quarter of the room is left for the input is cut at its own end.
3. The answer is cut last, at its end and without end token (it does not end there), when it takes more than three
   quarters of the context. An answer that has no token is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from tokenizers import Tokenizer

from instil.errors import DataError, ModelError
from instil.mixtures.boundary import prefix_ids, reader, writer
from instil.records import Encoded, Prompt, PromptFormat

#: Below this a prompt of a few words and its answer would be cut to shreds.
_SHORTEST_CONTEXT = 16


@dataclass(slots=True)
class EncodingReport:
    """What encoding did to the prompts: nothing is cut, refused or altered in silence."""

    prompts: int = 0
    """How many came in."""
    exemplars_pruned: int = 0
    """Prompts that lost exemplars."""
    inputs_cut: int = 0
    answers_cut: int = 0
    answers_refused: int = 0
    """Prompts left out, because their answer has no token."""
    answers_altered: int = 0
    """Answers that the tokenizer cannot give back as written: it loses case, line breaks or unknown characters."""
    tokens: int = 0
    trained_tokens: int = 0

    def add(self, other: EncodingReport) -> None:
        """Count what `other` counted, too."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    @property
    def line(self) -> str:
        """One line for a person."""
        done = [
            (self.exemplars_pruned, "lost exemplars"),
            (self.inputs_cut, "had their input cut"),
            (self.answers_cut, "had their answer cut"),
            (self.answers_refused, "were left out for an empty answer"),
            (self.answers_altered, "have an answer that the tokenizer alters"),
        ]
        said = ", ".join(f"{count:,} {what}" for count, what in done if count)
        return f"{self.prompts:,} prompts, {self.tokens:,} tokens, {self.trained_tokens:,} trained on" + (
            f"; {said}" if said else "; none cut"
        )

    def check(self) -> None:
        """Refuse prompts of which no answer is whole: nothing in them teaches a model to answer and stop.

        Raises:
            DataError: if every answer was cut or refused.
        """
        if self.prompts and self.answers_cut + self.answers_refused >= self.prompts:
            raise DataError(
                f"of {self.prompts:,} prompts none has a whole answer: {self.answers_cut:,} are longer than the "
                f"context allows, {self.answers_refused:,} are empty",
                remedy="Take a model with a longer context, or tasks with shorter answers",
            )


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model reads of a prompt, as token ids."""

    ids: list[int]
    exemplars_kept: int
    cut: str = ""
    """`exemplars`, `input`, or empty."""


class Encoder:
    """Turns prompts into ids for one tokenizer and one context length.

    Args:
        tokenizer: of the model. A beginning-of-text token is put in front only if its own post-processor does so.
        form: the separators that the model's prompts are written with.
        max_length: the model's context, in tokens.
        eos_id: the end token, which every whole answer ends with.

    Raises:
        ModelError: if the context is too short for any prompt.
    """

    def __init__(self, tokenizer: Tokenizer, *, form: PromptFormat, max_length: int, eos_id: int) -> None:
        if max_length < _SHORTEST_CONTEXT:
            raise ModelError(
                f"a context of {max_length} tokens holds no prompt", remedy=f"Give at least {_SHORTEST_CONTEXT}"
            )
        self.tokenizer = tokenizer
        self.form = form
        self.max_length = max_length
        self.eos_id = eos_id
        self.prefix = prefix_ids(tokenizer)
        self._reader = reader(tokenizer)
        self._writer = writer(tokenizer)

    def encode(self, prompt: Prompt) -> Encoded:
        """One prompt with its answer.

        Raises:
            DataError: if the answer has no token.
        """
        encoded = self.encode_batch([prompt])
        if not encoded:
            raise DataError(
                f"task {prompt.task!r}, example {prompt.example!r}: the answer {prompt.target!r} has no token",
                remedy="Correct the row, or the template that renders it",
            )
        return encoded[0]

    def encode_batch(self, prompts: Sequence[Prompt], report: EncodingReport | None = None) -> list[Encoded]:
        """Many prompts with their answers, in order; those whose answer has no token are left out.

        Args:
            prompts: what to encode.
            report: is added to, where given.
        """
        return [encoded for encoded in self.encode_places(prompts, report) if encoded is not None]

    def encode_places(
        self, prompts: Sequence[Prompt], report: EncodingReport | None = None
    ) -> list[Encoded | None]:
        """As `encode_batch`, with None in the place of a prompt whose answer has no token."""
        counted = EncodingReport(prompts=len(prompts))
        texts = [prompt.continuation(self.form) for prompt in prompts]
        answers = [item.ids for item in self._writer.encode_batch_fast(texts, add_special_tokens=False)]
        kept = [k for k, prompt in enumerate(prompts) if answers[k] and prompt.target.strip()]
        counted.answers_refused = len(prompts) - len(kept)
        wanted = [self.max_length - len(answers[k]) - 1 for k in kept]
        floor = self.max_length // 4
        readings = self._read([prompts[k] for k in kept], wanted, [max(budget, floor) for budget in wanted])
        result: list[Encoded | None] = [None] * len(prompts)
        for k, reading in zip(kept, readings, strict=True):
            room = self.max_length - len(reading.ids)
            answer = [*answers[k], self.eos_id]
            short = len(answer) > room
            counted.exemplars_pruned += reading.exemplars_kept < len(prompts[k].exemplars)
            counted.inputs_cut += reading.cut == "input"
            counted.answers_cut += short
            ids = np.array(reading.ids + answer[:room], dtype=np.int32)
            counted.tokens += len(ids)
            counted.trained_tokens += len(ids) - len(reading.ids)
            cut = "answer" if short else reading.cut
            result[k] = Encoded(ids, len(reading.ids), exemplars_kept=reading.exemplars_kept, cut=cut)
        if report is not None:
            given = self._writer.decode_batch([answers[k] for k in kept], skip_special_tokens=False)
            counted.answers_altered = sum(
                back.strip(" ") != prompts[k].target.strip(" ") for k, back in zip(kept, given, strict=True)
            )
            report.add(counted)
        return result

    def encode_continuation(self, text: str) -> list[int]:
        """Ids of a text that goes on from what was read: no blank gained in front, no end token."""
        return list(self._writer.encode(text, add_special_tokens=False).ids)

    def option_ids(self, prompt: Prompt, *, end: bool = False) -> list[list[int]]:
        """The ids of each of the prompt's options as a continuation, with the end token where `end` says so."""
        texts = [prompt.continuation(self.form, option) for option in prompt.options]
        last = [self.eos_id] if end else []
        return [item.ids + last for item in self._writer.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion, special tokens left out."""
        return str(self._reader.decode(list(ids), skip_special_tokens=True))

    def read(self, prompts: Sequence[Prompt], reserve: int | Sequence[int]) -> list[Reading]:
        """What the model reads of each prompt, cut so that `reserve` tokens are left for its answer."""
        reserves = [reserve] * len(prompts) if isinstance(reserve, int) else reserve
        budgets = [self.max_length - tokens for tokens in reserves]
        if budgets and min(budgets) < 1:
            raise ModelError(
                f"no room to read: {max(reserves)} of {self.max_length} tokens are kept for the answer",
                remedy="Ask for shorter answers",
            )
        return self._read(prompts, budgets, budgets)

    def _read(self, prompts: Sequence[Prompt], wanted: Sequence[int], allowed: Sequence[int]) -> list[Reading]:
        """Exemplars go until the `wanted` length is reached; the input is cut only if the `allowed` length is not."""
        whole = self._encode([(prompt, len(prompt.exemplars)) for prompt in prompts])
        result = [Reading(ids, len(prompt.exemplars)) for ids, prompt in zip(whole, prompts, strict=True)]
        long = [k for k, ids in enumerate(whole) if len(ids) > wanted[k]]
        for k, reading in self._prune({k: prompts[k] for k in long}, wanted).items():
            result[k] = reading
        for k in long:
            if len(result[k].ids) > allowed[k]:
                result[k] = self._cut(prompts[k], result[k].ids, allowed[k])
        return result

    def _encode(self, wanted: Sequence[tuple[Prompt, int]]) -> list[list[int]]:
        texts = [prompt.text(self.form, exemplars) for prompt, exemplars in wanted]
        return [self.prefix + item.ids for item in self._reader.encode_batch_fast(texts, add_special_tokens=False)]

    def _prune(self, prompts: dict[int, Prompt], budgets: Sequence[int]) -> dict[int, Reading]:
        """The most exemplars that fit, found by halving for all prompts at once; none where none fit."""
        low = {k: -1 for k, prompt in prompts.items() if prompt.exemplars}
        high = {k: len(prompts[k].exemplars) - 1 for k in low}
        found: dict[int, Reading] = {}
        while searching := [k for k in low if low[k] < high[k]]:
            tried = [(low[k] + high[k] + 1) // 2 for k in searching]
            encoded = self._encode([(prompts[k], count) for k, count in zip(searching, tried, strict=True)])
            for k, count, ids in zip(searching, tried, encoded, strict=True):
                if len(ids) <= budgets[k]:
                    low[k] = count
                    found[k] = Reading(ids, count, cut="exemplars")
                else:
                    high[k] = count - 1
                    if count == 0:
                        found[k] = Reading(ids, 0, cut="exemplars")
        return found

    def _cut(self, prompt: Prompt, ids: list[int], budget: int) -> Reading:
        """Without exemplars and with the middle of the input left out."""
        instruction = len(self.prefix)
        if prompt.instruction:
            text = prompt.instruction + self.form.exemplar_separator
            instruction += len(self._reader.encode(text, add_special_tokens=False).ids)
        head = min(instruction + max(budget - instruction, 0) // 2, budget - budget // 4)
        tail = budget - head
        return Reading(ids[:head] + ids[len(ids) - tail :], 0, cut="input")
