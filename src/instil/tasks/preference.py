r"""Preferences as instructions: people's rankings and ratings of replies, asked about and never imitated.

    messages [user "Name a fruit."]  completions ["Apple.", "A chair."]  ranks [1, 2]
    Better   "user: Name a fruit.\n\nWhich reply is better?\n(A) A chair.\n(B) Apple."      ->  "(B)"
    messages [user "I'd like a mocha."]  completions ["Anything else?"]  scores [1.0]
    Rating   "user: I'd like a mocha.\n\nReply: Anything else?\n\nIs this a good reply?"    ->  "Yes"

Which two replies are compared, and in which order, is drawn by the seed and the row among those of different rank: ties
are never asked about, nor are empty ones. The letters are the options, so the place of the better reply says nothing;
nor do the letters of worked examples, which share the prompt's seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from instil.fingerprint import fingerprint, keyed_choice, keyed_int
from instil.records import Example, Exemplar
from instil.tasks.dialogue import messages_of, refused
from instil.tasks.template import Rendered

LETTERS = ("(A)", "(B)")


@dataclass(frozen=True)
class Better:
    """Asks which of two completions is better. Needs `messages` (may be empty), `completions` and `ranks`."""

    name: str = "better"
    question: str = "Which reply is better?"
    cot: bool = False
    inverted: bool = False
    shows_options: bool | None = True

    @cached_property
    def fingerprint(self) -> str:
        """Names what it would render."""
        return fingerprint(["better", self.name, self.question])

    def render(self, example: Example, *, seed: int) -> Rendered:
        """Two completions of different rank in a drawn order.

        Raises:
            RenderRefused: if all share one rank, or there are none.
        """
        completions, ranks = completions_of(example, self.name), example.fields.get("ranks")
        if not isinstance(ranks, (list, tuple)) or len(ranks) != len(completions):
            raise refused(example, self.name, "missing field", "needs a rank for each completion in field 'ranks'")
        shown = [place for place, text in enumerate(completions) if text]
        pairs = [pair for pair in combinations(shown, 2) if ranks[pair[0]] != ranks[pair[1]]]
        if not pairs:
            raise refused(example, self.name, "all tied", "ranks every completion alike")
        first, second = keyed_choice(pairs, seed, "pair", example.key)
        if keyed_int(seed, "order", example.key, n=2):
            first, second = second, first
        lettered = zip(LETTERS, (completions[first], completions[second]), strict=True)
        listed = "\n".join(f"{letter} {text}" for letter, text in lettered)
        target = LETTERS[0] if ranks[first] < ranks[second] else LETTERS[1]
        asked = transcript(example, self.name)
        return Rendered(
            input="\n\n".join(part for part in (asked, f"{self.question}\n{listed}") if part),
            target=target,
            options=LETTERS,
            references=(target,),
        )

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        """A worked example: the same question with its answer."""
        rendered = self.render(example, seed=seed)
        return Exemplar(input=rendered.input, target=rendered.target, example=example.key)


@dataclass(frozen=True)
class Likelier:
    """Asks nothing: the best completion should be the likeliest by itself. Needs `completions` and `ranks`."""

    name: str = "likelier"
    cot: bool = False
    inverted: bool = False
    shows_options: bool | None = False

    @cached_property
    def fingerprint(self) -> str:
        """Names what it would render."""
        return fingerprint(["likelier", self.name])

    def render(self, example: Example, *, seed: int) -> Rendered:
        """An empty input, and all completions as options.

        Raises:
            RenderRefused: if no completion is the best.
        """
        completions, ranks = completions_of(example, self.name), example.fields.get("ranks")
        if not isinstance(ranks, (list, tuple)) or len(ranks) != len(completions) or not ranks:
            raise refused(example, self.name, "missing field", "needs a rank for each completion in field 'ranks'")
        if list(ranks).count(min(ranks)) > 1:
            raise refused(example, self.name, "all tied", "ranks several completions best")
        best = completions[list(ranks).index(min(ranks))]
        return Rendered(input="", target=best, options=tuple(completions), references=(best,))

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        """A worked example: the best completion, after nothing."""
        return Exemplar(input="", target=self.render(example, seed=seed).target, example=example.key)


@dataclass(frozen=True)
class Rating:
    """Asks whether a single completion is good. Needs `messages`, one of `completions`, and its 0 or 1 in `scores`."""

    name: str = "rating"
    question: str = "Is this a good reply?"
    answers: tuple[str, str] = ("No", "Yes")
    """For a score of 0, and of 1."""
    cot: bool = False
    inverted: bool = False
    shows_options: bool | None = False

    @cached_property
    def fingerprint(self) -> str:
        """Names what it would render."""
        return fingerprint(["rating", self.name, self.question, list(self.answers)])

    def render(self, example: Example, *, seed: int) -> Rendered:
        """The completion after what it answers, and the question.

        Raises:
            RenderRefused: if there is not exactly one completion with a score of 0 or 1.
        """
        completions, scores = completions_of(example, self.name), example.fields.get("scores")
        if len(completions) != 1 or not isinstance(scores, (list, tuple)) or len(scores) != 1:
            raise refused(example, self.name, "missing field", "needs one completion and its score")
        if scores[0] not in (0, 1):
            raise refused(example, self.name, "empty target", "has a score that is neither 0 nor 1")
        target = self.answers[int(scores[0])]
        parts = (transcript(example, self.name), f"Reply: {completions[0]}", self.question)
        return Rendered(
            input="\n\n".join(part for part in parts if part),
            target=target,
            options=self.answers,
            references=(target,),
        )

    def render_exemplar(self, example: Example, *, number: int, seed: int) -> Exemplar:
        """A worked example: the same question with its answer."""
        rendered = self.render(example, seed=seed)
        return Exemplar(input=rendered.input, target=rendered.target, example=example.key)


#: How a preference, and a rating, are asked about: one is drawn for each prompt.
PREFERENCES = (
    Better(),
    Better("preferred", "Which of these two replies did people prefer?"),
    Better("choose", "Two replies follow. Say which is the better one."),
)
RATINGS = (Rating(), Rating("approved", "Would people approve of this reply?"))


def completions_of(example: Example, template: str) -> Sequence[str]:
    """The completions of a row.

    Raises:
        RenderRefused: if it has none in the form that readers give.
    """
    completions = example.fields.get("completions")
    if not isinstance(completions, (list, tuple)) or not all(isinstance(text, str) for text in completions):
        raise refused(example, template, "missing field", "needs a list of texts in field 'completions'")
    return completions


def transcript(example: Example, template: str) -> str:
    """What was said before the completions, a line a turn."""
    return "\n".join(f"{one['role']}: {one['content']}" for one in messages_of(example, template) if one["content"])
