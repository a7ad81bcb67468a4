"""The pocket suite's tasks: chains of skills, asked for in frames.

    pocket/skills/rotate_left            "Give the rotate left of this: cat dog fox"             -> "dog fox cat"
    pocket/compositions/reverse+first    "... Show the steps."               -> "fox dog cat. So the answer is fox."

What tuning may use and what is held out are two collections, `pocket` and `pocket-held-out`, so that no recipe mixes
them up; the second is for evaluation only. `pocket-options` is `pocket` row by row, each with the choices that settings
with `-options` list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import overload

from instil.fingerprint import fingerprint
from instil.pocket import frames
from instil.pocket.chains import Chain
from instil.pocket.dice import Dice
from instil.pocket.documents import labelled
from instil.pocket.skills import SKILLS
from instil.pocket.split import Split, split
from instil.records import Example
from instil.tasks.task import Task
from instil.tasks.template import Template

LICENCE = "Apache-2.0"
#: Rows of a task of one skill, and of a composition: so that examples-proportional mixing gives both sides their due.
SKILL_ROWS, COMPOSITION_ROWS = 2000, 1000
#: How many answers an example offers for rank classification, where so many different ones can be found.
OPTIONS = 8
#: The parts of a task's rows. Those for tuning carry no options, which take longer to find than all the rest.
TUNE, EVALUATE, EXEMPLARS, TARGET = "tune", "evaluate", "exemplars", "target"


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Example]):
    """The examples of a chain, drawn when asked for: row i depends on the chain, the part and i alone."""

    chain: Chain
    part: str
    """Training and evaluation draw from different parts."""
    size: int
    options: bool = False
    """Whether rows for tuning carry options too. It changes nothing else in them."""

    def __len__(self) -> int:
        return self.size

    @cached_property
    def content(self) -> str:
        """Names the rows, so that nobody draws them all for that: what the chain says to fixed probes decides them."""
        named = {"chain": self.chain.name, "part": self.part, "signature": list(self.chain.signature())}
        return fingerprint({**named, "options": self.options})

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self.size))]
        if not -self.size <= index < self.size:
            raise IndexError(index)
        row = index % self.size
        dice = Dice("example", self.part, self.chain.name, row)
        text = self.chain.draw(dice)
        *middle, answer = self.chain.steps(text)
        fields: dict[str, object] = {"n": labelled(self.chain, dice), "x": text, "y": answer}
        fields["rationale"] = frames.THEN.join(middle)
        if self.part != TUNE or self.options:
            fields["choices"] = self._choices(text, answer, dice)
        return Example(key=f"{self.part}-{row}", fields=fields)

    def __iter__(self) -> Iterator[Example]:
        return (self[row] for row in range(self.size))

    def _choices(self, text: str, answer: str, dice: Dice) -> list[str]:
        """The answer among what other skills would say to the same input, and among its own answers to other inputs."""
        last = self.chain.skills[-1]
        before = self.chain.steps(text)[-2] if self.chain.depth > 1 else text
        rivals = [skill for skill in SKILLS.values() if skill.takes == last.takes and skill is not last]
        found = dict.fromkeys([answer])
        for skill in dice.sample(rivals, len(rivals)):
            found.setdefault(_try(Chain((skill,)), before))
            found.pop("", None)
        for _ in range(3 * OPTIONS):
            found.setdefault(self.chain.steps(self.chain.draw(dice))[-1])
        kept = list(found)[:OPTIONS]
        return dice.sample(kept, len(kept))


def _try(chain: Chain, text: str) -> str:
    try:
        return chain.steps(text)[-1]
    except (IndexError, ValueError, KeyError):
        return ""


def templates(
    phrasings: Sequence[str], *, kind: str, steps: Sequence[str] = (), options: bool = False
) -> tuple[Template, ...]:
    """The frames as templates: one a frame that asks for the answer, and one a frame that asks for the steps as well.

    Args:
        phrasings: the frames, with `{n}` and `{x}`.
        kind: goes into the templates' names: `tuned` or `held-out`.
        options: whether the examples carry options.
        steps: what asks for the steps; one is used in turn for each frame. None where steps make no sense.
    """
    made = []
    for number, frame in enumerate(phrasings):
        text = frame.format(n="{{ n }}", x="{{ x }}")
        name = f"{kind}-{number + 1}"
        made.append(
            Template(name, text, "{{ y }}", answer_choices="{{ choices | join(' ||| ') }}" if options else None)
        )
        if steps:
            asks = text + steps[number % len(steps)]
            says = frames.RATIONALE.format(steps="{{ rationale }}", answer="{{ y }}")
            made.append(Template(f"{name}-steps", asks, says, cot=True, answer="{{ y }}", rationale="{{ rationale }}"))
    return tuple(made)


@cache
def task(
    chain: Chain,
    *,
    side: str,
    part: str,
    held_out_frames: bool = False,
    count: int | None = None,
    options: bool = False,
) -> Task:
    """A chain as a task; the same one each time, so that what is found out of it is found out once.

    Args:
        chain: what to do.
        side: the middle of its name: `skills`, `compositions`, `unseen-skills`, ...
        part: which rows: `tune` or `evaluate`.
        held_out_frames: ask in the frames that tuning never uses.
        count: how many rows.
        options: whether rows for tuning carry options too, as those for evaluation do.
    """
    phrasings = frames.HELD_OUT if held_out_frames else frames.TUNED
    steps = frames.STEPS_HELD_OUT if held_out_frames else frames.STEPS_TUNED
    size = count or (SKILL_ROWS if chain.depth == 1 else COMPOSITION_ROWS)
    rows = Rows(chain, part, size, options)
    return Task(
        name=f"pocket/{side}/{chain.name}",
        cluster=chain.cluster,
        collection="pocket",
        templates=templates(
            phrasings,
            kind="held-out" if held_out_frames else "tuned",
            steps=steps if chain.depth > 1 else (),
            options=options or part == EVALUATE,
        ),
        examples=rows,
        exemplars=Rows(chain, EXEMPLARS, 64),
        metrics=("exact_match",),
        licence=LICENCE,
        source="generated by instil",
        evaluation_only=part == EVALUATE,
        content=rows.content,
    )


def collection(*, options: bool = False) -> list[Task]:
    """The collection `pocket`: what tuning may use."""
    parts = split()
    return [task(chain, side="skills", part=TUNE, options=options) for chain in parts.tuned_skills] + [
        task(chain, side="compositions", part=TUNE, options=options) for chain in parts.tuned_compositions
    ]


def collection_with_options() -> list[Task]:
    """The collection `pocket-options`: the same rows with options, for studies of settings that list them."""
    return collection(options=True)


def targets_collection() -> list[Task]:
    """The collection `pocket-targets`: what a study fine-tunes on, one task at a time.

    Tuned chains with the very rows of `pocket`, so that what a mixture holds out of them is the same; unseen chains
    with rows for training, apart from those that suites ask. All carry options, so that a base can be ranked.
    """
    sides = held_out_sides(split())
    return collection(options=True) + [
        task(chain, side=side, part=TARGET, options=True) for side, chains in sides.items() for chain in chains
    ]


def held_out_collection() -> list[Task]:
    """The collection `pocket-held-out`: what only the evaluation asks for."""
    sides = held_out_sides(split())
    return [task(chain, side=side, part=EVALUATE) for side, chains in sides.items() for chain in chains]


def held_out_sides(parts: Split) -> dict[str, tuple[Chain, ...]]:
    """The held-out chains by kind."""
    return {
        "unseen-skills": parts.unseen_skills,
        "unseen-cluster": parts.unseen_cluster,
        "unseen-compositions": parts.unseen_compositions,
        "unseen-deep": parts.unseen_deep,
        "control": parts.negative_control,
    }
