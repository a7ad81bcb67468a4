"""BIG-Bench Hard: tasks for evaluation, with the publishers' prompts as exemplars."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tasks.readers.damage import BBH, BIGBENCH, write

from instil.tasks.readers.bbh import BigBenchHard, prompt_file

READER = BigBenchHard()


def test_every_real_row_renders(data_root: Path) -> None:
    paths = sorted((data_root / "bbh").glob("*.json"))
    assert len(paths) == 14
    for path in paths:
        (task,) = READER.read(path).tasks
        assert task.evaluation_only
        direct, cot = task.templates
        for row in task.examples:
            made = direct.render(row, seed=0)
            assert made.instruction
            assert made.target == row.fields["target"]
            assert not made.options or made.target in made.options
            assert cot.render(row, seed=0).answer == made.target


def test_the_prompt_file_gives_description_and_three_shots(data_root: Path) -> None:
    for path in sorted((data_root / "bbh" / "cot-prompts").iterdir()):
        description, worked = prompt_file(path)
        assert description
        assert "canary" not in description
        assert len(worked) == 3
        for shot in worked:
            assert shot["rationale"].endswith(f"So the answer is {shot['target']}.")


def test_exemplars_are_never_test_rows(data_root: Path) -> None:
    (task,) = READER.read(data_root / "bbh" / "snarks.json").tasks
    assert task.exemplars is not None
    assert len(task.exemplars) == 3
    direct, cot = task.templates
    assert direct.render_exemplar(task.exemplars[0], number=1, seed=0).target in ("(A)", "(B)")
    assert "So the answer is" in cot.render_exemplar(task.exemplars[0], number=1, seed=0).target


@pytest.mark.parametrize(("name", "options"), [("snarks", ("(A)", "(B)")), ("boolean_expressions", ("False", "True"))])
def test_options_come_from_the_question_or_from_the_two_answers_of_the_file(
    data_root: Path, name: str, options: tuple[str, ...]
) -> None:
    (task,) = READER.read(data_root / "bbh" / f"{name}.json").tasks
    assert task.templates[0].render(task.examples[0], seed=0).options == options


def test_without_prompt_file_rows_are_the_exemplars(tmp_path: Path) -> None:
    (task,) = READER.read(write(tmp_path, "hard.json", BBH)).tasks
    assert task.exemplars is None
    assert task.templates[1].render_exemplar(task.examples[0], number=1, seed=0).target == "So the answer is (A)."


def test_big_bench_files_are_not_taken_for_hard_ones() -> None:
    assert READER.recognises(Path("x.json"), BBH)
    assert not READER.recognises(Path("x.json"), BIGBENCH)
