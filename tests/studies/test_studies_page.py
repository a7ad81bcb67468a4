"""docs/studies.md says of every key of every study file what it is by default, in its question's chapter, and what the
studies in docs/studies found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from instil.cli.app import run
from instil.studies.controls import CONTROLS
from instil.studies.next_tasks import DrawnHave
from instil.studies.questions import QUESTIONS, question_of
from instil.studies.should_i import Targets
from instil.studies.sources import DiversitySpec
from instil.studies.spec import StudySpec, presets

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


def answers(repository: Path) -> dict[str, tuple[str, str]]:
    """{"cot": ("yes, +26.6 points [14.5, 38.8] on ...", "26 minutes")}: what the page says of docs/studies."""
    page = (repository / "docs" / "studies.md").read_text("utf-8")
    found = re.findall(r"^\| \[([\w-]+)\]\(studies/([\w-]+)/index\.html\).*? \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert all(name == folder for name, folder, _, _ in found)
    return {name: (answer, minutes) for name, _, answer, minutes in found}


def in_points(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{100 * row['gain']:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]"


def finished(repository: Path, question: str, file: str) -> Any:
    return json.loads((repository / "docs" / "studies" / question / file).read_text("utf-8"))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_page_says_what_the_verdict_of_each_study_says(question: str, repository: Path) -> None:
    verdict = finished(repository, question, "verdict.json")
    said, _ = answers(repository)[question]
    assert said.startswith(f"{verdict['verdict']}, {in_points(verdict)}")
    if question == "should-i":
        for part, words in (("without_fine_tuning", "as it is"), ("after_fine_tuning", "after fine-tuning")):
            assert f"{in_points(verdict[part]).replace(' points', '')} {words}" in said
    assert finished(repository, question, "study.json")["verdict"] == verdict


def test_the_overview_has_the_studies_in_the_order_of_the_questions(repository: Path, tmp_path: Path) -> None:
    for question, asked in QUESTIONS.items():
        report = finished(repository, question, "study.json")
        assert report["question"] == asked.text
        (tmp_path / question).mkdir()
        (tmp_path / question / "study.json").write_text(json.dumps({**report, "figures": []}))
    assert run(["study", "overview", str(tmp_path)]) == 0
    for folder in (tmp_path, repository / "docs" / "studies"):
        links = re.findall(r'href="([\w-]+)/index\.html"', (folder / "index.html").read_text("utf-8"))
        assert list(dict.fromkeys(links)) == list(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_page_and_the_preset_say_how_long_tuning_took_by_the_study_itself(question: str, repository: Path) -> None:
    phases = finished(repository, question, "study.json")["made"]["phases"]
    seconds = phases["all its tunings, one after another, whenever they were made"]
    runs = finished(repository, question, "facts.json")["runs"]
    each = {run["facts"]["identity"]: run["facts"].get("whole_seconds", 0.0) for run in runs}
    assert sum(each.values()) == pytest.approx(seconds)
    minutes = f"{seconds / 60:.0f} minutes"
    assert answers(repository)[question][1] == minutes
    head = presets(question)["pocket"].read_text("utf-8").partition("\nquestion:")[0].replace("\n# ", " ")
    assert f"took {minutes} in sum" in head


def test_the_page_says_how_long_the_first_four_took_together(repository: Path) -> None:
    four = ["should-i", "scaling", "cot", "settings"]
    each = [finished(repository, one, "study.json")["made"]["phases"] for one in four]
    seconds = sum(phases["all its tunings, one after another, whenever they were made"] for phases in each)
    assert f"{seconds / 60:.0f} minutes of tuning" in (repository / "docs" / "studies.md").read_text("utf-8")


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_pages_have_no_more_than_one_of_one_thing(question: str, repository: Path) -> None:
    told = (repository / "docs" / "studies" / question / "index.html").read_text("utf-8")
    assert re.findall(r"(?<![\d.,])1 (?:tasks|rows|seeds|draws|templates|clusters|items|models|runs)\b", told) == []
