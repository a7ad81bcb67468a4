"""e-SNLI: premises, hypotheses, labels and explanations in files of their own, aligned by line number.

    s1.dev                 line 1   Two women are embracing while holding to go packages .
    s2.dev                 line 1   The sisters are hugging goodbye while holding to go packages ...
    labels.dev             line 1   neutral
    preproc1_expl_1.dev    line 1   the to go packages may not be from lunch .        (up to three explanations)
    cot   ... Let's think step by step.   ->  the to go packages may not be from lunch . So the answer is neutral.

`s1.<split>` makes the task; the others are read with it, and each is counted line by line on its own. Where one has
more or fewer lines than `s1`, nothing says which line belongs to which, and every row is set aside with that reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from instil.records import Example
from instil.tasks.readers.phrasing import direct, inverse, reasoned
from instil.tasks.readers.reading import Declared, Reading, RowProblem
from instil.tasks.readers.rows import examples_of
from instil.tasks.readers.source import Damage, Source
from instil.tasks.readers.splits import beside, content_of, pool, source_files
from instil.tasks.task import Task

LABELS = ["entailment", "neutral", "contradiction"]
_PAIR = "Premise: {{ premise }}\nHypothesis: {{ hypothesis }}\n"
DIRECT = (
    direct(
        "relation",
        _PAIR + "Does the premise entail the hypothesis, contradict it, or neither (neutral)?",
        options="options",
    ),
    direct(
        "options",
        _PAIR + "How do they relate?\nOptions:\n- entailment\n- neutral\n- contradiction",
        options="options",
        lists_options=True,
    ),
    direct(
        "is-it-true",
        'Suppose that this is true: "{{ premise }}" What follows for "{{ hypothesis }}":'
        " entailment, neutral or contradiction?",
        options="options",
        lists_options=True,
    ),
)
INVERSE = (
    inverse(
        "write-hypothesis",
        "{{ premise }}\nWrite a sentence that "
        "{{ ['follows from this', 'may be true or not', 'contradicts this'][label] }}.",
        "{{ hypothesis }}",
    ),
    inverse(
        "write-pair",
        "Write a premise and a hypothesis whose relation is {{ answer }}.",
        "Premise: {{ premise }}\nHypothesis: {{ hypothesis }}",
    ),
)
EXPLAINED = (
    reasoned(
        "cot",
        _PAIR + "Entailment, neutral or contradiction? Let's think step by step.",
        options="options",
        lists_options=True,
    ),
    reasoned("cot-explain", _PAIR + "Explain how they relate, and end with the relation.", options="options"),
    inverse(
        "explain",
        _PAIR + "Their relation is {{ answer }}. Why?",
        "{{ explanations | choice }}",
        cot=True,
        references="explanations",
    ),
)
CITATION = "Camburu et al. 2018, e-SNLI, arXiv:1812.01193; Bowman et al. 2015, SNLI, arXiv:1508.05326"

_PART = re.compile(r"(?P<part>s1|s2|labels|(?:preproc\d+_)?expl_\d)\.(?P<split>train|dev|test)")


@dataclass(frozen=True)
class Esnli:
    """Reads one split from its file of premises."""

    name: str = "e-snli"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A file called `s1.<split>` that has `s2` and `labels` beside it, or either."""
        return _part(path) == "s1" and any(_aligned(path, part) for part in ("s2", "labels"))

    def read(self, path: Path) -> Reading:
        """One task; its worked examples are the train split's."""
        reading = Reading(self.name)
        examples, parts = _examples(path, reading), _parts(path)
        if examples:
            train = None if path.name.startswith("s1.train") else beside(path, "s1.train")
            shots = pool(train, _examples)
            files = source_files((path, *parts.values(), *((train, *_parts(train).values()) if train else ())))
            reading.tasks.append(
                Task(
                    name=f"esnli/{_split(path)}",
                    cluster="natural language inference",
                    collection="esnli",
                    templates=(*DIRECT, *INVERSE, *(EXPLAINED if len(parts) > 2 else ())),
                    examples=examples,
                    exemplars=shots,
                    licence="MIT (e-SNLI); CC BY-SA 4.0 (SNLI)",
                    source=f"e-SNLI, {_split(path)}",
                    citation=CITATION,
                    content=content_of(files),
                    files=files,
                )
            )
        return reading


@dataclass(frozen=True)
class EsnliPart:
    """Counts the lines of a file that is read with the premises."""

    name: str = "e-snli-part"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A file called `s2`, `labels` or `expl_N`, with `s1` beside it."""
        return _part(path) not in ("", "s1") and _aligned(path, "s1") is not None

    def read(self, path: Path) -> Reading:
        """Its lines; damaged ones are set aside."""
        reading = Reading(self.name)
        for number, line in Source(path).lines(blank=True):
            if isinstance(line, Damage):
                reading.quarantine(f"line {number}", str(line))
            else:
                reading.accepted += 1
        return reading


def _part(path: Path) -> str:
    found = _PART.fullmatch(path.name.removesuffix(".gz"))
    return found["part"] if found else ""


def _split(path: Path) -> str:
    found = _PART.fullmatch(path.name.removesuffix(".gz"))
    return found["split"] if found else Source(path).stem


def _aligned(path: Path, part: str) -> Path | None:
    """The file of another part of the same split."""
    return beside(path, f"{part}.{_split(path)}")


def _parts(path: Path) -> dict[str, Path]:
    """The files that go with the premises: s2 and labels first, then the explanations that are there."""
    names = ["s2", "labels"]
    names += [f"{kind}expl_{number}" for number in (1, 2, 3) for kind in ("preproc1_", "")]
    found = {name: file for name in names if (file := _aligned(path, name))}
    return {name: file for name, file in found.items() if f"preproc1_{name}" not in found}


def _examples(path: Path, reading: Reading) -> list[Example]:
    """The lines of all parts, side by side."""
    parts = _parts(path)
    columns = {name: [line for _, line in Source(file).lines(blank=True)] for name, file in parts.items()}
    premises = [line for _, line in Source(path).lines(blank=True)]
    problem = next((f"there is no {part}.{_split(path)}" for part in ("s2", "labels") if part not in parts), "")
    for name, column in columns.items():
        if len(column) != len(premises) and not problem:
            problem = f"{parts[name].name} has {len(column)} lines, not {len(premises)}"

    def fields(row: int) -> dict[str, object]:
        if problem:
            raise RowProblem(problem)
        return _fields(premises[row], {name: column[row] for name, column in columns.items()})

    return examples_of(((f"line {row + 1}", row) for row in range(len(premises))), fields, reading)


def _fields(premise: str | Damage, parts: dict[str, str | Damage]) -> dict[str, object]:
    said: dict[str, str] = {}
    for name, line in (("s1", premise), *parts.items()):
        if isinstance(line, Damage):
            raise RowProblem(str(line) if name == "s1" else f"{name}: {line}")
        said[name] = line.strip()
    if not said["s1"] or not said["s2"]:
        raise RowProblem("empty premise" if not said["s1"] else "empty hypothesis")
    if said["labels"] not in LABELS:
        raise RowProblem("no gold label" if said["labels"] in ("-", "") else "the label is none of the three")
    explanations = [line for name, line in said.items() if "expl" in name and line]
    numbered = {f"explanation_{number}": line for number, line in enumerate(explanations, start=1)}
    return {
        "premise": said["s1"],
        "hypothesis": said["s2"],
        "label": LABELS.index(said["labels"]),
        "answer": said["labels"],
        "options": LABELS,
        **({"explanations": explanations, "rationale": explanations[0]} if explanations else {}),
        **numbered,
    }


READERS = (Esnli(), EsnliPart())
COLLECTIONS = (
    Declared(
        "esnli",
        "esnli",
        Esnli(),
        (".train", ".dev", ".test"),
        "e-SNLI, inference with explanations",
        title=_split,
        makes_task=lambda path: _part(path) == "s1",
    ),
)
