"""docs/studies.md says of every key of every study file what it is by default, in its question's chapter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from instil.studies.controls import CONTROLS
from instil.studies.next_tasks import DrawnHave
from instil.studies.questions import QUESTIONS, question_of
from instil.studies.should_i import Targets
from instil.studies.sources import DiversitySpec
from instil.studies.spec import StudySpec

EVERY_STUDY = "Keys of every study"
#: Keys that hold a section of their own.
SECTIONS: dict[tuple[str, str], type[BaseModel]] = {
    ("should-i", "targets"): Targets,
    ("sources", "diversity"): DiversitySpec,
    ("next", "drawn"): DrawnHave,
}
#: What the page says in words.
IN_WORDS = {"name": "the file's name", "question": "the verb"}


def chapters(repository: Path) -> dict[str, str]:
    """The text below each heading of the second rank."""
    page = (repository / "docs" / "studies.md").read_text("utf-8")
    _, *found = re.split(r"^## ", page, flags=re.MULTILINE)
    return {text.partition("\n")[0]: text for text in found}


def rows(chapter: str) -> dict[str, str]:
    """{"smallest_gain": "`0.02`"}: the keys of a chapter's tables, with their defaults."""
    return dict(re.findall(r"^\| `([\w.]+)` \| .+? \| (.+?) \| ", chapter, re.MULTILINE))


def written(default: Any) -> str:
    text = yaml.safe_dump(default, default_flow_style=True, width=200)
    return f"`{text.removesuffix(chr(10)).removesuffix('...').strip()}`"


def keys(
    section: type[BaseModel], *, besides: type[BaseModel] | None = None, prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Every key of a section with its default, as the page writes it."""
    for name, field in section.model_fields.items():
        if besides is not None and name in besides.model_fields:
            continue
        default = "required" if field.is_required() else written(field.get_default(call_default_factory=True))
        yield f"{prefix}{name}", default


def expected(question: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, default in keys(question_of(question).Spec, besides=StudySpec):
        inner = SECTIONS.get((question, name))
        if inner is None or default != "required":
            found[name] = default
        if inner is not None:
            found |= keys(inner, prefix=f"{name}.")
    return found


def test_the_page_gives_every_key_of_every_study_with_its_default(repository: Path) -> None:
    assert rows(chapters(repository)[EVERY_STUDY]) == dict(keys(StudySpec)) | IN_WORDS


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_page_gives_every_key_of_a_question_with_its_default(question: str, repository: Path) -> None:
    assert rows(chapters(repository)[question]) == expected(question)


def test_a_question_with_a_section_of_its_own_is_looked_into() -> None:
    held = {
        (question, name)
        for question in QUESTIONS
        for name, field in question_of(question).Spec.model_fields.items()
        if name not in StudySpec.model_fields
        and any(section.__name__ in str(field.annotation) for section in SECTIONS.values())
    }
    assert held == set(SECTIONS)


def test_the_page_names_every_control(repository: Path) -> None:
    assert all(f"| `{name}` |" in chapters(repository)["should-i"] for name in CONTROLS)
