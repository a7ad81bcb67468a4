r"""Input inversion: the question is asked for, given its answer.

    straight   What is 2 + 3?  ->  5
    inverted   Write a question whose answer is: 5  ->  What is 2 + 3?

A task that has inverted templates of its own is shown in these. Any other template is turned round, in one of several
wordings that the prompt's seed draws; chains of thought permute question, answer and rationale::

    answer, rationale    ->  question
    rationale            ->  question, answer
    question, answer     ->  rationale
    answer               ->  question, rationale

The question is the rendered input without a last line such as `A:`. Where one field of the row (`question`, `input`,
`inputs`) makes up most of that input, or the template asks for reasoning in words of its own, the field alone is the
question: a model should learn to ask, and not to repeat a template's words. Of a conversation it is the last turn,
where that is the user's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from instil.fingerprint import fingerprint, keyed_choice
from instil.records import Example, Exemplar
from instil.tasks.template import Rendered, Renderer, RenderRefused

#: Fields that hold a question alone.
_QUESTIONS = ("question", "bare_question", "input", "inputs")
#: A last line that asks for the answer is no part of the question.
_CUE = re.compile(r"\n[^\n]{0,40}:\s*\Z")

#: What asks for the question, given the answer.
DIRECT = (
    "Write a question or an input whose answer is: {answer}",
    "This is an answer: {answer}\nWhat was asked?",
    "Here is an answer. What could the question have been?\n\n{answer}",
    "Answer: {answer}\nQuestion:",
    "Output: {answer}\n\nWrite an input that leads to this output.",
    "Make up a problem that has this solution: {answer}",
    "What would one have to ask, to be told the following?\n{answer}",
    "Invert the task: from the answer below, recover what was asked.\nAnswer: {answer}",
)

#: What asks for one part of a chain of thought, and what is answered: each is drawn alike.
PERMUTED = (
    # the question
    ("{rationale}\nThe answer is {answer}.\n\nWrite the question that this answers.", "{question}"),
    ("Reasoning: {rationale}\nAnswer: {answer}\nQuestion:", "{question}"),
    ("Given a rationale and its answer, ask the question.\nAnswer: {answer}\nRationale: {rationale}", "{question}"),
    # question and answer
    (
        "Rationale: {rationale}\n\nWrite the question that it reasons about, and its answer.",
        "Question: {question}\nAnswer: {answer}",
    ),
    (
        "Somebody thought: {rationale}\nWhat were they asked, and what did they answer?",
        "They were asked: {question}\nThey answered: {answer}",
    ),
    ("Make a question and an answer out of this explanation.\n\n{rationale}", "Q: {question}\nA: {answer}"),
    # the rationale
    ("{question}\n\nThe answer is {answer}. Explain why.", "{rationale}"),
    ("Question: {question}\nAnswer: {answer}\nRationale:", "{rationale}"),
    ("Show the steps that lead from the question to its answer.\nQ: {question}\nA: {answer}", "{rationale}"),
    # question and rationale
    (
        "Make up a question whose answer is {answer}, and explain why it is.",
        "Question: {question}\nExplanation: {rationale}",
    ),
    (
        "The answer is: {answer}\nWrite a question for it and the reasoning in between.",
        "{question}\nReasoning: {rationale}",
    ),
)


def words() -> list[object]:
    """All that turning round writes, as plain data: what is shown so is named by it."""
    return [list(DIRECT), [list(pair) for pair in PERMUTED]]


@dataclass(frozen=True)
class Inverted:
    """A template turned round. See the module's picture."""

    inner: Renderer

    @property
    def name(self) -> str:
        """The template's name, and that it is inverted."""
        return f"{self.inner.name}, inverted"

    @property
    def cot(self) -> bool:
        """Whether the template that it turns round reasons."""
        return self.inner.cot

    @property
    def inverted(self) -> bool:
        """It is."""
        return True

    @property
    def shows_options(self) -> bool | None:
        """As the template that it turns round."""
        return self.inner.shows_options

    @cached_property
    def fingerprint(self) -> str:
        """Names what it would render."""
        return fingerprint(["inverted", self.inner.fingerprint, words()])

    def render(self, example: Example, *, seed: int) -> Rendered:
        """Phrase an example the other way round.

        Raises:
            RenderRefused: if it has no question, or a chain of thought no rationale.
        """
        rendered = self.inner.render(example, seed=seed)
        question = _question(rendered, example, cot=self.cot)
        if not question:
            raise self._refused(example, "no question to ask for", "has no question")
        if not self.cot:
            asks = keyed_choice(DIRECT, seed, "inverted").format(answer=rendered.target)
            return Rendered(asks, question, rendered.instruction, references=(question,))
        if not rendered.rationale:
            raise self._refused(example, "no rationale", "has no rationale")
        asks, says = keyed_choice(PERMUTED, seed, "permuted")
        parts = {"question": question, "answer": rendered.answer, "rationale": rendered.rationale}
        target = says.format(**parts)
        return Rendered(asks.format(**parts), target, rendered.instruction, references=(target,))

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        """As the query: the same seed draws the same wording."""
        rendered = self.render(example, seed=seed)
        return Exemplar(rendered.input, rendered.target, example.key)

    def _refused(self, example: Example, reason: str, message: str) -> RenderRefused:
        return RenderRefused(f"template {self.name!r}, row {example.key!r} {message}", reason=reason)


def _question(rendered: Rendered, example: Example, *, cot: bool) -> str:
    if rendered.messages and rendered.messages[-1].role != "user":
        return ""  # a tool's reply is nobody's question
    shown = _CUE.sub("", rendered.input).strip()
    for name in _QUESTIONS:
        held = example.fields.get(name)
        if isinstance(held, str) and held.strip() in shown and (cot or 2 * len(held.strip()) > len(shown)):
            return held.strip() or shown
    return shown
