r"""From a prompt to token ids, and which of them are trained on.

    Prompt("Capital of France?" -> "Paris"), separator "\nAnswer: "
    ids           Capital | of | France | ? | \n | Answer | : |  Paris | <end>
    trained on                                               |  x       x       answer_start = 7

ids = what the model reads + the answer as a continuation (boundary.py) + the end token: the same as at inference. Where
the format is `chat`, the model's own chat template writes all three (chat.py). By architecture:

    causal    read + answer + end, in one row
    seq2seq   read + end in the encoder, answer + end in the decoder: each a text of its own, each with its own length
    masked    read, slots, end: the answer and an end token stand in the slots; with one slot, an answer of one token

A prompt that is longer than the model's context is cut in this order, every cut counted in an `EncodingReport`:

1. Exemplars go, the last ones first, until it fits. Where a prompt names a budget for few-shot (`few_shot_tokens`),
   they go until what is read fits that, too.
2. Then the oldest turns of a conversation go: whole ones, from one user message to the next; what the system says
   stays, and so does the last turn.
3. Then the query's input is cut in its middle. Templates put the task's wording before a long passage or the question
   after it; so the instruction, then equal parts of the input's beginning and end are kept. An instruction so long
   that less than a quarter of the room is left for the input is cut at its own end.
4. The answer is cut last, at its end and without end token (it does not end there), when it takes more than three
   quarters of the context. An answer that has no token is refused, and one that is longer than a masked model's slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from instil.errors import DataError, ModelError, TemplateError
from instil.mixtures.boundary import prefix_ids, reader, writer
from instil.mixtures.chat import Chat
from instil.mixtures.encoding_report import EncodingReport
from instil.mixtures.room import Room
from instil.mixtures.words import Words
from instil.records import ChatSource, Encoded, Prompt, PromptFormat, Specials

#: Below this a prompt of a few words and its answer would be cut to shreds.
_SHORTEST_CONTEXT = 16
CAUSAL = Specials()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model reads of a prompt, as token ids."""

    ids: list[int]
    exemplars_kept: int
    cut: str = ""
    """`exemplars`, `turns`, `input`, or empty."""
    turns_dropped: int = 0


class Encoder:
    """Turns prompts into ids for one tokenizer and one context length.

    Args:
        tokenizer: of the model. A beginning-of-text token is put in front only if its own post-processor does so.
        form: the separators that the model's prompts are written with.
        max_length: the model's context, in tokens; of seq2seq models the encoder's.
        eos_id: the end token, which every whole answer ends with.
        chat: the model's chat template, which a format that is `chat` is written through.
        specials: what the model's architecture puts around what is read and what is written; the slots of a masked
            model are those of `form`.
        max_answer: the most tokens of an answer, its end token included; what the context allows by default.

    Raises:
        ModelError: if the context is too short for any prompt, or a chat template is missing or cannot be used.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        form: PromptFormat,
        max_length: int,
        eos_id: int,
        chat: ChatSource | None = None,
        specials: Specials = CAUSAL,
        max_answer: int | None = None,
    ) -> None:
        if max_length < _SHORTEST_CONTEXT:
            raise ModelError(
                f"a context of {max_length} tokens holds no prompt", remedy=f"Give at least {_SHORTEST_CONTEXT}"
            )
        self.tokenizer = tokenizer
        self.form = form
        self.max_length = max_length
        self.specials = replace(specials, slots=form.answer_slots) if specials.architecture == "masked" else specials
        self.room = Room(self.specials, max_length, max_answer)
        if self.room.to_read(1) < 1:
            raise ModelError(
                f"{form.answer_slots} slots for an answer leave nothing of a context of {max_length} tokens to read",
                remedy="Lower answer_slots",
            )
        self.chat = _chat(tokenizer, chat, eos_id, specials) if form.chat else None
        self.end_ids: list[int] = self.chat.end_ids if self.chat else _end(self.specials, eos_id)
        """What ends every whole answer; nothing where a masked model has one slot."""
        self.eos_id = self.end_ids[-1] if self.end_ids else eos_id
        """The token at which an answer is complete."""
        self.prefix = [] if self.chat else prefix_ids(tokenizer)
        self.suffix = list(specials.end) if specials.architecture == "seq2seq" else []
        """What ends every text that is read."""
        self._reader = reader(tokenizer)
        self._writer = writer(tokenizer)
        self._reads, self._writes = Words(self._reader), Words(self._writer)

    @property
    def speaks_anew(self) -> bool:
        """Whether an answer is a text of its own, not the continuation of what was read."""
        return self.specials.architecture == "seq2seq"

    def encode(self, prompt: Prompt) -> Encoded:
        """One prompt with its answer.

        Raises:
            DataError: if the answer has no token, or the chat template refuses the messages.
        """
        encoded = self.encode_batch([prompt])
        if not encoded:
            where = f"task {prompt.task!r}, example {prompt.example!r}"
            if refusal := self.refusal(prompt):
                raise DataError(f"{where}: {refusal.message}", remedy=refusal.remedy)
            size = len(self._answers([prompt])[0])
            if prompt.target.strip() and size:
                raise DataError(
                    f"{where}: the answer {prompt.target!r} has {size} tokens, and masked answers have "
                    f"{self._most_written} here",
                    remedy="Raise answer_slots, or give the task answers of one token",
                )
            raise DataError(
                f"{where}: the answer {prompt.target!r} has no token",
                remedy="Correct the row, or the template that renders it",
            )
        return encoded[0]

    def encode_batch(self, prompts: Sequence[Prompt], report: EncodingReport | None = None) -> list[Encoded]:
        """Many prompts with their answers, in order; those whose answer has no token, or too many, are left out.

        Args:
            prompts: what to encode.
            report: is added to, where given.
        """
        return [encoded for encoded in self.encode_places(prompts, report) if encoded is not None]

    def encode_places(self, prompts: Sequence[Prompt], report: EncodingReport | None = None) -> list[Encoded | None]:
        """As `encode_batch`, with None in the place of a prompt that is left out."""
        counted = EncodingReport(prompts=len(prompts))
        answers = self._answers(prompts)
        told = [k for k, prompt in enumerate(prompts) if answers[k] and prompt.target.strip()]
        unsaid = sum(1 for k, prompt in enumerate(prompts) if not answers[k] and prompt.reply and self.refusal(prompt))
        counted.answers_refused = len(prompts) - len(told) - unsaid
        if self.specials.architecture == "masked":
            fitting = [k for k in told if len(answers[k]) <= self._most_written]
            counted.answers_too_long, told = len(told) - len(fitting), fitting
        kept, readings = self._read_for(prompts, told, answers)
        counted.messages_refused = unsaid + len(told) - len(kept)
        result: list[Encoded | None] = [None] * len(prompts)
        for k, reading in zip(kept, readings, strict=True):
            room = self.room.to_write(len(reading.ids))
            answer = [*answers[k], *self.end_ids]
            short = len(answer) > room
            counted.exemplars_pruned += reading.exemplars_kept < len(prompts[k].exemplars)
            counted.turns_dropped += reading.turns_dropped > 0
            counted.inputs_cut += reading.cut == "input"
            counted.answers_cut += short
            ids = np.array(reading.ids + answer[:room], dtype=np.int32)
            counted.tokens += len(ids)
            counted.trained_tokens += len(ids) - len(reading.ids)
            cut = "answer" if short else reading.cut
            result[k] = Encoded(ids, len(reading.ids), exemplars_kept=reading.exemplars_kept, cut=cut)
        if report is not None:
            given = self._writer.decode_batch([answers[k] for k in kept], skip_special_tokens=False)
            lead = self.chat.lead if self.chat else ""
            counted.answers_altered = sum(
                back.removeprefix(lead).strip(" ") != self._meant(prompts[k]).strip(" ")
                for k, back in zip(kept, given, strict=True)
            )
            report.add(counted)
        return result

    def text(self, prompt: Prompt, exemplars: int | None = None) -> str:
        """What the model reads, as text, with the first so many `exemplars` (all by default)."""
        if self.chat:
            return self.chat.text(prompt.conversation(self.form, exemplars), prompt.tools)
        return prompt.text(self.form, exemplars)

    def continuation(self, prompt: Prompt) -> str:
        """What the model should write, as text, up to where it ends."""
        if self.chat:
            return self.chat.answer(prompt)
        return prompt.target if self.speaks_anew else prompt.continuation(self.form)

    def references(self, prompt: Prompt) -> tuple[str, ...]:
        """Every accepted answer, a call of a tool as the model's chat template writes it too."""
        accepted = prompt.references or (prompt.target,)
        if self.chat and self.chat.calls_tool(prompt) and not self.refusal(prompt):
            return tuple(dict.fromkeys((self.decode(self._answers([prompt])[0]).strip(), *accepted)))
        return accepted

    def _meant(self, prompt: Prompt) -> str:
        """The answer as it should be read back from its ids, without what leads it."""
        if self.chat and self.chat.calls_tool(prompt):
            return self.chat.answer(prompt).removeprefix(self.chat.lead)
        return prompt.target

    def refusal(self, prompt: Prompt) -> TemplateError | None:
        """Why the chat template refuses a prompt's messages; None where it does not."""
        if self.chat:
            try:
                self.chat.text(prompt.conversation(self.form), prompt.tools)
                self.chat.answer(prompt)
            except TemplateError as error:
                return error
        return None

    def stops(self, prompt: Prompt) -> tuple[str, ...]:
        """Besides the end token, what ends an answer of a model that was not tuned: the next turn or example."""
        if self.chat:
            return ()
        if prompt.messages:
            return (self.form.turn_separator + self.form.user.rstrip(" "),)
        return (self.form.exemplar_separator,) if prompt.exemplars and self.form.exemplar_separator else ()

    def _read_for(
        self, prompts: Sequence[Prompt], places: Sequence[int], answers: Sequence[Sequence[int]]
    ) -> tuple[Sequence[int], list[Reading]]:
        """What is read at these places, with room for their answers; without those that a chat template refuses."""
        wanted = [self.room.to_read(len(answers[k]) + len(self.end_ids)) for k in places]
        allowed = [max(budget, self.room.least_read) for budget in wanted]
        try:
            return places, self.read_within([prompts[k] for k in places], wanted, allowed)
        except TemplateError:
            fine = [k for k in places if self.refusal(prompts[k]) is None]
            if len(fine) == len(places):
                raise
            return self._read_for(prompts, fine, answers)

    def _answers(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        if self.chat:
            try:
                return self.chat.write(prompts)
            except TemplateError:
                return [[] if self.refusal(prompt) else self.chat.write([prompt])[0] for prompt in prompts]
        texts = [self.continuation(prompt) for prompt in prompts]
        return (self._reads if self.speaks_anew else self._writes).encode(texts)

    @property
    def _most_written(self) -> int:
        """Tokens of the longest answer that fits a masked model's slots."""
        return self.specials.slots - len(self.end_ids)

    def encode_continuation(self, text: str) -> list[int]:
        """Ids of a text that goes on from what was read: no blank gained in front, no end token."""
        return list(self._writer.encode(text, add_special_tokens=False).ids)

    def option_ids(self, prompt: Prompt, *, end: bool = False) -> list[list[int]]:
        """The ids of each of the prompt's options as a continuation, with the end token where `end` says so."""
        last = self.end_ids if end else []
        each = [replace(prompt, target=option, reply={}) for option in prompt.options]
        return [ids + last for ids in self._answers(each)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion, special tokens left out."""
        return str(self._reader.decode(list(ids), skip_special_tokens=True))

    def read(self, prompts: Sequence[Prompt], reserve: int | Sequence[int]) -> list[Reading]:
        """What the model reads of each prompt, cut so that `reserve` tokens are left for its answer.

        What an encoder reads needs no room for the answer, and the slots of masked models are always kept.
        """
        reserves = [reserve] * len(prompts) if isinstance(reserve, int) else reserve
        budgets = [self.room.to_read(tokens) for tokens in reserves]
        if budgets and min(budgets) < 1:
            raise ModelError(
                f"no room to read: {max(reserves)} of {self.max_length} tokens are kept for the answer",
                remedy="Ask for shorter answers",
            )
        return self.read_within(prompts, budgets, budgets)

    def read_within(self, prompts: Sequence[Prompt], wanted: Sequence[int], allowed: Sequence[int]) -> list[Reading]:
        """Exemplars and turns go until the `wanted` length is reached; the input is cut only if the `allowed` isn't."""
        whole = self._encode([(prompt, len(prompt.exemplars)) for prompt in prompts])
        result = [Reading(ids, len(prompt.exemplars)) for ids, prompt in zip(whole, prompts, strict=True)]
        shown = [
            min(most, prompt.few_shot_tokens) if prompt.few_shot_tokens and prompt.exemplars else most
            for prompt, most in zip(prompts, wanted, strict=True)
        ]
        long = [k for k, ids in enumerate(whole) if len(ids) > shown[k]]
        for k, reading in self._prune({k: prompts[k] for k in long}, shown).items():
            result[k] = reading
        for k in long:
            prompt = prompts[k]
            if len(prompt.messages) > 1 and len(result[k].ids) > wanted[k]:
                prompt, result[k] = self._drop_turns(prompt, result[k], wanted[k])
            if len(result[k].ids) > allowed[k]:
                result[k] = self._cut(prompt, result[k], allowed[k])
        return result

    def _encode(self, wanted: Sequence[tuple[Prompt, int]]) -> list[list[int]]:
        if self.chat:
            return self.chat.read([(prompt.conversation(self.form, shown), prompt.tools) for prompt, shown in wanted])
        texts = [prompt.text(self.form, exemplars) for prompt, exemplars in wanted]
        return [[*self.prefix, *ids, *self.suffix] for ids in self._reads.encode(texts)]

    def _drop_turns(self, prompt: Prompt, reading: Reading, budget: int) -> tuple[Prompt, Reading]:
        """The conversation without as many of its oldest turns as it takes to fit, or with the last one alone."""
        for place, shorter in enumerate(prompt.shortened(), start=1):
            (ids,) = self._encode([(shorter, 0)])
            prompt, reading = shorter, Reading(ids, 0, cut="turns", turns_dropped=place)
            if len(ids) <= budget:
                break
        return prompt, reading

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

    def _cut(self, prompt: Prompt, reading: Reading, budget: int) -> Reading:
        """Without exemplars and with the middle of the input left out."""
        begun = len(self.prefix)
        said = prompt.conversation(self.form, 0)[0] if prompt.messages or self.chat else None
        instruction = prompt.instruction if said is None else said.content if said.role == "system" else ""
        if instruction:
            text = instruction + self.form.exemplar_separator
            begun += len(self._reader.encode(text, add_special_tokens=False).ids)
        head = min(begun + max(budget - begun, 0) // 2, budget - budget // 4)
        tail = budget - head
        ids = reading.ids[:head] + reading.ids[len(reading.ids) - tail :]
        return Reading(ids, 0, cut="input", turns_dropped=reading.turns_dropped)


def _end(specials: Specials, eos_id: int) -> list[int]:
    return [] if specials.architecture == "masked" and specials.slots == 1 else [eos_id]


def _chat(tokenizer: Tokenizer, source: ChatSource | None, eos_id: int, specials: Specials) -> Chat:
    if specials.architecture != "causal":
        raise ModelError(
            f"prompts are to be written through a chat template, and the model is {specials.architecture}: it does not "
            "continue a conversation",
            remedy="Leave out `chat: true`; conversations are written as plain text then",
        )
    if source is None:
        raise ModelError(
            "prompts are to be written through the model's chat template, and it has none",
            remedy="Leave out `chat: true`, or put a chat_template.jinja beside the weights",
        )
    return Chat(tokenizer, source, eos_id=eos_id)
