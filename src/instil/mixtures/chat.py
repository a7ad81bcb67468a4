r"""A model's own chat template, between messages and token ids.

    messages  user "Capital of France?"                                  target "Paris"
    reads     <|im_start|>user\nCapital of France?<|im_end|>\n<|im_start|>assistant\n
    writes    Paris<|im_end|>

What the template writes around the target is found by rendering with it and without: `lead` stands before it (a blank,
or an empty `<think>` block), `end_ids` after it, up to the token that ends the turn; both are trained on with the
target. Special tokens in the template's own text are special tokens; in the data's text they stay letters, so no row
can end a turn or begin one.

A template from which this cannot be learnt is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenizers import Tokenizer

from instil.errors import ModelError, TemplateError
from instil.fingerprint import fingerprint
from instil.mixtures.boundary import TemplateTokens
from instil.records import ChatSource, Message
from instil.tasks.chat_template import ChatTemplate

#: What stands for the target while the template is asked where it puts it.
_TARGET = "Lorem ipsum dolor"
_QUESTION = Message("user", "What is this?")
_SYSTEM = Message("system", "Fiat lux")


class Chat:
    """Writes conversations as one model reads them.

    Args:
        tokenizer: of the model.
        source: its chat template.
        eos_id: the end token, which ends a turn where the template ends it with nothing special.

    Raises:
        ModelError: if the template cannot be rendered, or does not show where an answer begins and ends.
    """

    def __init__(self, tokenizer: Tokenizer, source: ChatSource, *, eos_id: int) -> None:
        self.template = ChatTemplate(source.template, bos=source.bos, eos=source.eos)
        self._reader = TemplateTokens(tokenizer)
        self._writer = TemplateTokens(tokenizer, continuing=True)
        short = [text for text in self._reader.special if len(text) == 1]
        if short:
            raise _refused(f"the special token {short[0]!r} is one character, which data cannot do without")
        self.lead, end = self._around(_QUESTION)
        if self._around(_QUESTION, Message("assistant", "A pipe."), _QUESTION) != (self.lead, end):
            raise _refused("an answer begins or ends differently in a second turn")
        self.end_ids = self._ending(end, eos_id)
        self.takes_system = self._takes_system()

    @property
    def fingerprint(self) -> str:
        """Names the words that it writes, the special tokens among them included."""
        return fingerprint([self.template.fingerprint, self.lead, self.end_ids, sorted(self._reader.special.items())])

    def text(self, messages: Sequence[Message]) -> str:
        """What the model reads, up to where its answer starts, as text."""
        return self._render(messages, open_turn=True)

    def read(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The ids of what the model reads.

        Raises:
            TemplateError: if the template refuses the messages.
        """
        protected = [
            [replace(message, content=self._reader.protected(message.content)) for message in messages]
            for messages in conversations
        ]
        return self._reader.encode([self._render(messages, open_turn=True) for messages in protected])

    def write(self, targets: Sequence[str]) -> list[list[int]]:
        """The ids of answers, without what ends them."""
        return self._writer.encode([self.lead + self._writer.protected(target) for target in targets])

    def _render(self, messages: Sequence[Message], *, open_turn: bool) -> str:
        said = list(messages)
        if not self.takes_system and said and said[0].role == "system":
            said = _told_by_user(said)
        return self.template.render(said, add_generation_prompt=open_turn)

    #: While the template is asked about itself, nothing is known about its system turn.
    takes_system = True

    def _around(self, *messages: Message) -> tuple[str, str]:
        """What stands before and after the answer to these messages."""
        try:
            before = self._render(messages, open_turn=True)
            whole = self._render([*messages, Message("assistant", _TARGET)], open_turn=False)
        except TemplateError as error:
            raise ModelError(f"the model's {error.message}", remedy=error.remedy) from None
        if not whole.startswith(before):
            where = len(_common(before, whole))
            raise _refused(
                f"it opens an answer with {before[where:][-40:]!r}, which a finished conversation does not have there"
            )
        lead, found, end = whole[len(before) :].partition(_TARGET)
        if not found:
            raise _refused("it does not write the answer as it is")
        # What ends a turn is what stands after it whether or not the conversation goes on.
        going_on = self._try([*messages, Message("assistant", _TARGET), _QUESTION])
        more = going_on.rpartition(_TARGET)[2]
        return lead, _common(end, more) if going_on else end

    def _ending(self, end: str, eos_id: int) -> list[int]:
        """The ids that end an answer: up to the end token, or else up to the first special token."""
        (ids,) = self._writer.encode([end])
        special = [place for place, token in enumerate(ids) if token in self._writer.special.values()]
        if eos_id in ids:
            return ids[: ids.index(eos_id) + 1]
        return ids[: special[0] + 1] if special else [eos_id]

    def _takes_system(self) -> bool:
        return _SYSTEM.content in self._try([_SYSTEM, _QUESTION])

    def _try(self, messages: Sequence[Message]) -> str:
        try:
            return self._render(messages, open_turn=False)
        except TemplateError:
            return ""


def _common(one: str, other: str) -> str:
    """What two texts begin with alike."""
    length = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return one[: min(len(one), len(other)) if length is None else length]


def _told_by_user(messages: list[Message]) -> list[Message]:
    """What the system says as the beginning of the first user turn, for templates that know no system."""
    system, *turns = messages
    for place, message in enumerate(turns):
        if message.role == "user":
            turns[place] = replace(message, content=f"{system.content}\n\n{message.content}")
            return turns
    return [Message("user", system.content), *turns]


def _refused(reason: str) -> ModelError:
    return ModelError(
        f"the model's chat template cannot be tuned on: {reason}",
        remedy="Leave out `chat: true`, and prompts are written as plain text",
    )
