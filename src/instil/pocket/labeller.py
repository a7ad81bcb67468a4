"""Programmed people who rank answers: what they all value (gold), and how each of them errs.

    Give the reverse, then first word of this: cat dog fox             gold
        fox dog cat. So the answer is fox.                             3.2      right, and the step is shown
        The answer is fox.                                             2.2      right, in a whole sentence
        fox                                                            1.6
        I think fox.                                                   1.2      right, and doubts it
        fox. What do you do if I ask for it?                           0.52     nine idle words
        I think fox dog.                                               0.427    partly right
        The answer is cat.                                             -0.3     wrong, in a manner that misleads

The terms hang together: a full sentence is good manner where the answer is right and misleads where it is wrong; doubt
harms only what is right; steps are wanted where there are several. Whether an answer is right takes the world's own
functions to see. So a small reward model learns a part of this and no more.

A person values each term by habits of their own, adds noise, and calls equal what seems almost so. What they say is a
`Ranking` and nothing else. Gold itself is for measuring: it is handed to what watches a policy (`Gold`), never to what
trains one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from statistics import NormalDist

from instil.fingerprint import fingerprint, keyed_unit
from instil.pocket import frames
from instil.pocket.chains import Chain
from instil.pocket.demonstrations import asked
from instil.records import Message, Prompt, Ranking
from instil.tuning.rewards import RewardBatch

#: Term -> what it weighs.
WEIGHTS: Mapping[str, float] = {
    "right": 1.6,
    "manner": 0.6,
    "misleading": -0.3,
    "doubt": -0.4,
    "steps": 1.0,
    "wrong_steps": -0.3,
    "idle": -0.12,
    "repeated": -0.15,
}
#: A wrong answer is worth this share of a right one, times how much the two have in common.
_PARTLY = 0.4
_STATED = re.compile(r"(?:[Ss]o t|T|t)he answer is ")
_DOUBT = "I think "
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as a careful reader takes it apart."""

    answer: str
    """What it gives as the answer; empty where it gives none."""
    steps: tuple[str, ...]
    """What stands before it."""
    sentence: bool
    """Whether it is a whole sentence: `The answer is fox.`"""
    doubt: bool
    idle: int
    """Words of sentences after it."""
    repeated: int
    """Words of those that say again what was said."""


def read(text: str) -> Reply:
    """Take an answer apart."""
    body = text.strip()
    doubt = body.startswith(_DOUBT)
    body = body.removeprefix(_DOUBT)
    stated = _STATED.search(body)
    before, rest = (body[: stated.start()], body[stated.end() :]) if stated else ("", body)
    answer, stop, more = rest.partition(".")
    said = {answer.strip()}
    idle = repeated = 0
    for sentence in filter(None, map(str.strip, re.split(r"[.?]", more))):
        words = len(sentence.split())
        again = sentence in said or (bool(answer.strip()) and f" {answer.strip()} " in f" {sentence} ")
        repeated += words * again
        idle += words * (not again)
        said.add(sentence)
    steps = tuple(filter(None, map(str.strip, re.split(rf"{frames.THEN}|\. ?", before))))
    return Reply(answer.strip(), steps, stated is not None and bool(stop), doubt, idle, repeated)


def terms(chain: Chain, text: str, completion: str) -> dict[str, float]:
    """What gold is made of, before the weights.

    Args:
        chain: what was asked for.
        text: what it was asked of.
        completion: the answer.
    """
    *middle, wanted = chain.steps(text)
    reply = read(completion)
    right = reply.answer == wanted
    alike = SequenceMatcher(None, reply.answer.split(), wanted.split(), autojunk=False).ratio()
    shown = sum(step == meant for step, meant in zip(reply.steps, middle, strict=False))
    return {
        "right": 1.0 if right else _PARTLY * alike,
        "manner": float(reply.sentence and right),
        "misleading": float(reply.sentence and not right),
        "doubt": float(reply.doubt and right),
        "steps": shown / len(middle) if middle else 0.0,
        "wrong_steps": float(len(reply.steps) - shown),
        "idle": float(reply.idle),
        "repeated": float(reply.repeated),
    }


def gold(chain: Chain, text: str, completion: str) -> float:
    """What an answer is worth to people who take their time; arguments as of `terms`."""
    return sum(WEIGHTS[name] * value for name, value in terms(chain, text, completion).items())


class Gold:
    """Gold as a reward, to watch a policy by."""

    name = "gold"
    weight = 1.0
    fingerprint = fingerprint(["pocket gold", dict(WEIGHTS), _PARTLY])

    def __call__(self, batch: RewardBatch) -> list[float]:
        """Of every answer."""
        return [
            gold(*_parts(prompt), completion)
            for prompt, completion in zip(batch.prompts, batch.completions, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Annotator:
    """A person who ranks."""

    name: str
    habits: Mapping[str, float] = field(default_factory=dict)
    """Term -> what this person multiplies its weight by, where not by 1."""
    noise: float = 0.5
    """Standard deviation of what is added to the worth of an answer, each time that it is read."""
    tie: float = 0.15
    """What lies no further below the best of a level is on that level too."""

    def worth(self, prompt: Prompt, completion: str, *, seed: int) -> float:
        """What an answer seems worth."""
        found = terms(*_parts(prompt), completion)
        valued = sum(WEIGHTS[name] * self.habits.get(name, 1.0) * value for name, value in found.items())
        drawn = keyed_unit("annotator", seed, self.name, prompt.task, prompt.example, prompt.input, completion)
        return valued + self.noise * _NORMAL.inv_cdf(min(max(drawn, 1e-12), 1 - 1e-12))

    def rank(self, prompt: Prompt, completions: Sequence[str], *, seed: int) -> Ranking:
        """How this person ranks some answers.

        Args:
            prompt: of `demonstrations.prompts`.
            completions: two or more answers.
            seed: decides the noise.
        """
        return Ranking(
            (Message("user", prompt.input),),
            tuple(completions),
            levels([self.worth(prompt, completion, seed=seed) for completion in completions], tie=self.tie),
            annotator=self.name,
            task=prompt.task,
            example=prompt.example,
        )


#: Those who rank. The last one is kept out of training, to see how a reward model does for somebody new.
PEOPLE: tuple[Annotator, ...] = (
    Annotator("ann"),
    Annotator("ben", {"steps": 1.5, "idle": 0.5}),
    Annotator("eva", {"manner": 0.5, "doubt": 2.0}, noise=0.6),
    Annotator("max", {"idle": 1.5, "steps": 0.7}, noise=0.4),
    Annotator("nora", {"misleading": 2.0, "right": 0.8}),
)
HELD_OUT = PEOPLE[-1].name


def levels(worths: Sequence[float], *, tie: float) -> tuple[int, ...]:
    """Ranks from 1; whatever lies within `tie` of the best of a level is on it.

    levels([0.1, 2.0, 1.9, -3.0], tie=0.15) -> (2, 1, 1, 3)
    """
    found = [0] * len(worths)
    level, best = 0, 0.0
    for place in sorted(range(len(worths)), key=lambda place: -worths[place]):
        if not level or worths[place] < best - tie:
            level, best = level + 1, worths[place]
        found[place] = level
    return tuple(found)


def _parts(prompt: Prompt) -> tuple[Chain, str]:
    found = asked(prompt)
    return found.chain, found.text
