"""The frozen records that parts hand to one another. Data and models meet here and nowhere else.

    Example   {"premise": ..., "label": 1}            one row of a source
    Prompt    "Does it follow? ..." -> "yes"          a rendered example: text, target, options, origin
    Encoded   [12, 7, 9 | 4, 2]                        token ids; what stands after the bar is trained on
    Pack      several Encoded in one rectangle         what a model is fed
    Ranking   "Name a fruit." -> Apple, A chair: 1, 2  completions of one prompt, ranked by one person
    Group     [12, 7] -> [4, 2], [8, 8, 2]             the same as token ids: a prompt, and completions of it
    GroupPack groups in one rectangle                  each prompt once where the architecture allows it

Shape legend: B rows, T tokens a row, K trained tokens in the rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Architecture = Literal["causal", "seq2seq", "masked"]
"""Decoder-only, encoder-decoder, encoder-only."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a source: named fields, and a key that is unique within its task."""

    key: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One worked example shown inside a few-shot prompt."""

    input: str
    target: str
    example: str = ""
    """Key of the example that it was made from."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system`, `user`, `assistant` or `tool`."""
    content: str
    """What is said, as text; a call of a tool as JSON."""
    given: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Where a tool is called or replies: what a chat template reads besides, or instead of the content (`content`,
    `tool_calls`, `name`, `tool_call_id`)."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How the parts of a prompt become one text. Kept beside the weights, so that tuning, evaluation and chat agree.

    A conversation is written with a word before each turn, or by the model's own chat template::

        Be kind.                       <|im_start|>system
        User: Hello                    Be kind.<|im_end|> ...
        Assistant: Hi. What is it?     (chat: see mixtures.encode)
        User: Sum 2 and 3.
        Assistant:

    The white space at the end of `separator` belongs to the answer's first token (as in ` Paris`), because that is how
    byte-pair tokenizers cut words; so it is moved behind the boundary between what is read and what is trained on.
    """

    separator: str = "\n"
    """Stands between an input and its target."""
    exemplar_separator: str = "\n\n"
    """Stands between instruction, exemplars and query."""
    user: str = "User: "
    """Stands before what the person says in a conversation."""
    assistant: str = "Assistant: "
    """Stands before what the model says in a conversation; the blanks at its end belong to the answer."""
    tool: str = "Tool: "
    """Stands before what a tool gives back in a conversation."""
    turn_separator: str = "\n"
    """Stands between the turns of a conversation."""
    chat: bool = False
    """Whether everything is written through the model's own chat template, as a conversation."""
    answer_slots: int = 1
    """Masked models: the mask tokens that stand where the answer goes, however long it is. With 1 the answer is one
    token; with more it ends with the end token, so that its length does not show."""

    @property
    def cue(self) -> str:
        """The part of the separator that the model reads: all but the white space at its end."""
        return self.separator.rstrip(" ")

    @property
    def lead(self) -> str:
        """The part of the separator that the answer starts with: the blanks at its end."""
        return self.separator[len(self.cue) :]

    @property
    def turn_lead(self) -> str:
        """As `lead`, for the model's turn in a conversation."""
        return self.assistant[len(self.assistant.rstrip(" ")) :]

    def transcript(self, messages: Sequence[Message]) -> str:
        """A conversation as plain text, up to where the model's next turn starts."""
        before = {"system": "", "user": self.user, "assistant": self.assistant, "tool": self.tool}
        said = [before.get(message.role, f"{message.role}: ") + message.content for message in messages]
        return self.turn_separator.join([*said, self.assistant.rstrip(" ")])


@dataclass(frozen=True, slots=True)
class ChatSource:
    """A model's own chat template, as its folder has it; `tasks.chat_template` renders it."""

    template: str
    """The Jinja text: the file chat_template.jinja, or `chat_template` in tokenizer_config.json."""
    bos: str | None = None
    """The text of the token that begins a sequence."""
    eos: str | None = None
    """The text of the token that ends a sequence."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered example, as text: what the model reads, what it should answer, and where both came from.

    `mixture[i]` gives one of these, with all its exemplars; `mixtures.encode` turns it into ids and prunes exemplars
    to the token budget.
    """

    input: str
    """The query alone, without exemplars."""
    target: str
    options: tuple[str, ...] = ()
    """The answers to choose from, each a full target text; empty for free text."""
    references: tuple[str, ...] = ()
    """Every accepted target; `target` is one of them."""
    instruction: str = ""
    """Said once, before the exemplars (the Definition of Natural Instructions); may be empty."""
    exemplars: tuple[Exemplar, ...] = ()
    task: str = ""
    cluster: str = ""
    collection: str = ""
    template: str = ""
    setting: str = ""
    """Name of the setting: `zero-shot`, `few-shot-3`, `zero-shot-cot`, ..."""
    example: str = ""
    """Key of the example."""
    answer: str = ""
    """For chain of thought: the final answer inside `target`; otherwise empty."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    """For a conversation: all that is said before the target, the last turn included (`input` repeats its text)."""
    few_shot_tokens: int = 0
    """With exemplars: at most so many tokens are read; 0 is the model's whole context."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """For a conversation: the JSON schemas of the tools that may be called, for the model's chat template."""
    reply: Mapping[str, Any] = field(default_factory=dict)
    """Where the target calls a tool: what a chat template reads of it, as `Message.given`."""

    def text(self, form: PromptFormat, exemplars: int | None = None) -> str:
        """What the model reads, up to where its answer starts, written without a chat template.

        Args:
            form: the separators.
            exemplars: how many exemplars to keep (the first ones); all by default.
        """
        if self.messages:
            return form.transcript(self.conversation(form, exemplars))
        kept = self.exemplars if exemplars is None else self.exemplars[:exemplars]
        parts = [self.instruction] if self.instruction else []
        parts += [f"{shown.input}{form.separator}{shown.target}" for shown in kept]
        parts.append(self.input)
        return form.exemplar_separator.join(parts) + form.cue

    def continuation(self, form: PromptFormat, target: str | None = None) -> str:
        """What the model should write: the target (or another candidate), with the blanks that lead it."""
        lead = form.turn_lead if self.messages else form.lead
        return lead + (self.target if target is None else target)

    def conversation(self, form: PromptFormat, exemplars: int | None = None) -> tuple[Message, ...]:
        """What the model reads as messages: the instruction is the system's, exemplars are earlier turns.

        Args:
            form: its `exemplar_separator` stands between the instruction and what else the system says.
            exemplars: how many exemplars to keep (the first ones); all by default.
        """
        said = self.messages or (Message("user", self.input),)
        system, turns = [self.instruction] if self.instruction else [], list(said)
        while turns and turns[0].role == "system":
            system.append(turns.pop(0).content)
        head = [Message("system", form.exemplar_separator.join(system))] if system else []
        for shown in self.exemplars if exemplars is None else self.exemplars[:exemplars]:
            head += [Message("user", shown.input), Message("assistant", shown.target)]
        return (*head, *turns)

    def shortened(self) -> list[Prompt]:
        """A conversation without exemplars and without its oldest turn, its two oldest, ...; the last one stays.

        A turn goes from one user message to the next, so that the speakers still take turns. What the system says first
        is no turn.
        """
        said = self.messages
        system = next((place for place, message in enumerate(said) if message.role != "system"), 0)
        starts = [place for place, message in enumerate(said) if message.role == "user" and place > system]
        return [replace(self, exemplars=(), messages=(*said[:system], *said[start:])) for start in starts]


@dataclass(frozen=True, slots=True)
class Specials:
    """The tokens that a model's architecture puts around what is read and what is written.

    causal    read + answer                       [12 7 9 | 4 2]
    seq2seq   encoder read + end, decoder start + answer        T5 [12 7 9 1] [0 | 4 1], BART [0 12 7 9 2] [2 0 | 4 2]
    masked    read + slots + end                  BERT [101 12 7 9 | 103 103 103 | 102], answer 4 102
    """

    architecture: Architecture = "causal"
    pad: int = 0
    """Stands where there is nothing."""
    start: tuple[int, ...] = ()
    """seq2seq: what the decoder begins with; the last of them predicts the answer's first token."""
    end: tuple[int, ...] = ()
    """seq2seq: what the encoder's text ends with; masked: what stands after the slots."""
    mask: int = -1
    """masked: the mask token."""
    slots: int = 0
    """masked: how many mask tokens hold an answer."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as token ids. `ids[answer_start:]` is trained on, the end token included.

    What is before is read: by the encoder of a seq2seq model, with its end token; of a masked model without the slots
    and without what stands after them.
    """

    ids: NDArray[np.int32]
    answer_start: int
    exemplars_kept: int = 0
    cut: str = ""
    """What had to be cut to fit: empty, `exemplars`, `turns`, `input` or `answer`."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Rows of one or several segments that cannot see each other."""

    ids: NDArray[np.int32]
    """(B, S)."""
    segments: NDArray[np.int32]
    """(B, S): 0 where padded, else the number of the segment in its row, from 1."""
    positions: NDArray[np.int32]
    """(B, S): the logical position within the segment; 0 where padded."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A rectangle of token ids: rows of one or several segments that cannot see each other.

    Worked example, two prompts [5 6 | 7 2] and [8 | 9 2] packed in one row of 8 (0 pads)::

        ids       [[5 6 7 2 8 9 2 0]]
        segments  [[1 1 1 1 2 2 2 0]]
        positions [[0 1 2 3 0 1 2 0]]
        target_index [1 2 4 5]    where in ids.ravel() the prediction is read: one before each trained token
        target_ids   [7 2 9 2]

    Of a masked model the prediction is read at the trained token's own place, where `ids` holds a mask token.
    """

    ids: NDArray[np.int32]
    """(B, T)."""
    segments: NDArray[np.int32]
    """(B, T): 0 where padded, else the number of the segment in its row, from 1."""
    positions: NDArray[np.int32]
    """(B, T): the logical position within the segment; 0 where padded."""
    target_index: NDArray[np.int64]
    """(K,): index into the flattened rectangle of the hidden state that predicts each trained token."""
    target_ids: NDArray[np.int64]
    """(K,): the trained tokens."""

    encoder: Rectangle | None = None
    """seq2seq: what the encoder reads. Row b and segment n here belong to row b and segment n of the decoder, which the
    other fields describe."""
    parents: NDArray[np.int32] | None = None
    """(B, T), in trees alone: the segment of the same row that a token sees besides its own, 0 where there is none."""
    encoder_rows: NDArray[np.int64] | None = None
    """(B,), seq2seq, where an input has several answers: the row of `encoder` that each row of the decoder reads."""

    @property
    def tokens(self) -> int:
        """Tokens that are not padding, those of the encoder included."""
        read = 0 if self.encoder is None else np.count_nonzero(self.encoder.segments)
        return int(np.count_nonzero(self.segments) + read)

    @property
    def size(self) -> int:
        """Tokens, padding included: what memory depends on."""
        return int(self.ids.size + (0 if self.encoder is None else self.encoder.ids.size))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Several completions of one prompt, ranked by one person (or scored one by one, which may be the only one)."""

    messages: tuple[Message, ...]
    """What is answered; the last turn is not the assistant's. May be empty: then completions are texts of their own."""
    completions: tuple[str, ...]
    ranks: tuple[int, ...] = ()
    """For each completion, 1 is best; equal ranks are a tie. Empty where completions were scored and not compared."""
    scores: tuple[float, ...] = ()
    """For each completion, where it was scored (0 or 1: bad or good); else empty."""
    annotator: str = ""
    """Who ranked; empty where nobody says."""
    task: str = ""
    example: str = ""
    """Key of the row that it comes from."""

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(better, worse) by number of the completion, for every pair that is not tied."""
        places = range(len(self.ranks))
        return tuple((i, j) for i in places for j in places if self.ranks[i] < self.ranks[j])


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with several completions of it, as token ids."""

    prompt: NDArray[np.int32]
    """What is read: by the encoder of a seq2seq model, with its end token."""
    completions: tuple[NDArray[np.int32], ...]
    """Each with its end token, where it ended."""


@dataclass(frozen=True, slots=True)
class GroupPack:
    """Groups in one rectangle. Completions are numbered through: those of the first group, those of the second, ...

    Worked example, prompt [5 6] with completions [7 2] and [8 2], shared in one row::

        ids       [[5 6 7 2 8 2]]    segments [[1 1 2 2 3 3]]    parents [[0 0 1 1 1 1]]    positions [[0 1 2 3 2 3]]
        target_index [1 2 1 4]   target_ids [7 2 8 2]      owners [0 0 1 1]    places [0 1 0 1]     ends [3 5]
    """

    pack: Pack
    """Every token of every completion is a target."""
    owners: NDArray[np.int64]
    """(K,): the number of the completion that each target belongs to, in the whole list of groups."""
    places: NDArray[np.int64]
    """(K,): the place of each target in its completion, from 0."""
    numbers: NDArray[np.int64]
    """(N,): the numbers of the completions in this rectangle."""
    ends: NDArray[np.int64]
    """(N,): index into the flattened rectangle of the last token of each of them: where a reward is read."""
