r"""Instruction induction: simple tasks, each with rows to execute, rows to induce from, and people's instructions.

    execute/singular_to_plural.json       {"examples": {"1": {"input": "end", "output": "ends"}, ...}}    the task
    induce/singular_to_plural.json.gz     the same form: the worked examples
    annotations/singular_to_plural.json   {"annotations": ["write the plurals of the inputs", ...]}   a template each
    ->  write the plurals of the inputs\n\nInput: end\nOutput:   ->   ends

Keys are numbers and are taken in that order ("2" before "10"). Two tasks have fields of their own: common_concept gives
items with their concept, cause_and_effect two sentences of which the cause is asked for. Lists `possible_*` and
`all_common_concepts` are further references. Both tasks come from BIG-bench, which asks that nobody trains on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.fingerprint import keyed_int
from instil.records import Example
from instil.tasks.readers.phrasing import direct
from instil.tasks.readers.reading import Declared, Reading, RowProblem, as_text, text_in, texts_in
from instil.tasks.readers.rows import examples_of, keyed_rows
from instil.tasks.readers.source import Damage, Source, as_row
from instil.tasks.readers.splits import beside, content_of, pool, source_files
from instil.tasks.task import Task
from instil.tasks.template import Template

CITATION = "Honovich et al. 2022, Instruction Induction, arXiv:2205.10782"
#: Made from BIG-bench's novel_concepts and cause_and_effect.
FROM_BIGBENCH = frozenset({"common_concept", "cause_and_effect"})
LANGUAGES = {"translation_en-de": "German", "translation_en-es": "Spanish", "translation_en-fr": "French"}

_ROWS = re.compile(rb'"examples"\s*:\s*\{\s*(?:"\d+"\s*:\s*\{|\})')
_ANNOTATIONS = re.compile(rb'\{\s*"annotations"\s*:\s*\[')


@dataclass(frozen=True)
class InstructionInduction:
    """Reads the rows of one task."""

    name: str = "instruction-induction"

    def recognises(self, path: Path, head: bytes) -> bool:
        """JSON with examples by number."""
        return bool(_ROWS.search(head))

    def read(self, path: Path) -> Reading:
        """One task: people's instructions are its templates, the rows to induce from its worked examples."""
        reading = Reading(self.name)
        annotated, worked = _companion(path, "annotations"), None
        instructions = _instructions(annotated, Reading("annotations"))
        examples = _examples(path, reading, instructions)
        if path.parent.name == "execute":
            worked = _companion(path, "induce")
        if examples:
            stem = Source(path).stem
            files = source_files((path, worked, annotated))
            reading.tasks.append(
                Task(
                    name=f"instruction_induction/{title(path)}",
                    cluster="instruction induction",
                    collection="instruction_induction",
                    templates=_templates(len(instructions)),
                    examples=examples,
                    exemplars=pool(worked, lambda file, account: _examples(file, account, instructions)),
                    metrics=("exact_match", "rouge_l"),
                    licence="Apache-2.0",
                    language=LANGUAGES.get(stem, "English"),
                    source=f"Instruction Induction, {stem}",
                    citation=CITATION,
                    evaluation_only=stem in FROM_BIGBENCH,
                    content=content_of(files),
                    files=files,
                )
            )
        return reading


@dataclass(frozen=True)
class Annotations:
    """Counts people's instructions for one task."""

    name: str = "instruction-annotations"

    def recognises(self, path: Path, head: bytes) -> bool:
        """A JSON object that holds nothing but a list of annotations."""
        return bool(_ANNOTATIONS.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")))

    def read(self, path: Path) -> Reading:
        """The account of the instructions."""
        reading = Reading(self.name)
        _instructions(path, reading)
        return reading


def title(path: Path) -> str:
    """`sum` for the rows to execute, `sum_induce` for those to induce from."""
    stem = Source(path).stem
    return f"{stem}_induce" if path.parent.name == "induce" else stem


def _companion(path: Path, kind: str) -> Path | None:
    """`data/annotations/sum.json` for `data/raw/execute/sum.json`, or with the folders side by side."""
    name = f"{Source(path).stem}.json"
    folders = (path.parent.parent / kind, path.parent.parent.parent / kind)
    return next((file for folder in folders if (file := beside(folder / name, name))), None)


def _templates(count: int) -> tuple[Template, ...]:
    """One for each instruction; the rows alone where there is none."""
    shown = "Input: {{ input }}\nOutput:"
    return tuple(
        direct(
            f"annotation-{number + 1}",
            shown,
            "{{ output }}",
            references="references",
            instruction=f"{{{{ instructions[{number}] }}}}",
        )
        for number in range(count)
    ) or (direct("rows", shown, "{{ output }}", references="references"),)


def _instructions(path: Path | None, reading: Reading) -> list[str]:
    if path is None:
        return []
    found: list[str] = []
    try:
        listed = as_row(Source(path).json()).get("annotations")
        if not isinstance(listed, list):
            raise Damage("no list of annotations")
    except Damage as damage:
        reading.quarantine("file", str(damage))
        return found
    for number, item in enumerate(listed, start=1):
        try:
            text = as_text(item, "annotations").strip()
            if not text:
                raise RowProblem("empty instruction")
            found.append(text)
        except RowProblem as problem:
            reading.quarantine(f"item {number}", str(problem))
    reading.accepted = len(found)
    return found


def _examples(path: Path, reading: Reading, instructions: list[str]) -> list[Example]:
    return examples_of(_numbered(path), lambda entry: _fields(*entry, instructions), reading, key="id")


def _numbered(path: Path) -> Iterator[tuple[str, tuple[str, dict[str, Any]] | Damage]]:
    """The rows in the order of their numbers."""
    rows = list(keyed_rows(path, "examples"))
    keys = [where.rpartition(" ")[2] for where, _ in rows]
    yield from (rows[at] for at in sorted(range(len(rows)), key=lambda at: (_number(keys[at]), at)))


def _number(key: str) -> int:
    return int(key) if key.isascii() and key.isdigit() and len(key) < 10 else 10**10


def _fields(key: str, row: Mapping[str, Any], instructions: list[str]) -> dict[str, object]:
    if "items" in row:
        shown, output = ", ".join(texts_in(row, "items")), text_in(row, "concept")
    elif "cause" in row:
        output = text_in(row, "cause")
        pair = [output, text_in(row, "effect")]
        # Which of the two stands first says nothing about which is the cause.
        first = keyed_int("cause_and_effect", key, n=2)
        shown = f"Sentence 1: {pair[first]} Sentence 2: {pair[1 - first]}"
    else:
        shown, output = text_in(row, "input"), text_in(row, "output")
    if not shown.strip():
        raise RowProblem("empty input")
    if not output.strip():
        raise RowProblem("empty target")
    further = [
        text.strip()
        for name in row
        if name.startswith("possible_") or name == "all_common_concepts"
        for text in texts_in(row, name)
    ]
    return {
        "id": key,
        "input": shown.strip(),
        "output": output.strip(),
        "references": list(dict.fromkeys([output.strip(), *further])),
        "instructions": instructions,
    }


READERS = (InstructionInduction(), Annotations())
COLLECTIONS = (
    Declared(
        "instruction_induction",
        "instruction_induction",
        InstructionInduction(),
        (".json",),
        "Instruction induction, simple tasks with people's instructions",
        title=title,
        makes_task=lambda path: path.parent.name == "execute",
    ),
)
