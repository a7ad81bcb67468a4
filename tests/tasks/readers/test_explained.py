"""CoS-E and e-SNLI: files that belong together, by id and by line number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.tasks.readers.damage import write

from instil.tasks.check import reading_of
from instil.tasks.metrics import final_answer
from instil.tasks.readers.cos_e import Explanations
from instil.tasks.readers.esnli import Esnli
from instil.tasks.readers.promptsource import task_of, template_file


@pytest.mark.parametrize(("split", "rows"), [("train", 7610), ("dev", 950)])
def test_every_explanation_of_cos_e_finds_its_question(data_root: Path, split: str, rows: int) -> None:
    folder = data_root / "cos_e" / "v1.0"
    reading = reading_of(folder / f"cose_{split}_v1.0_processed.jsonl.gz")
    assert (reading.format, reading.read, reading.quarantined) == ("cos-e", rows, [])
    (task,) = reading.tasks
    assert (task.name, task.exemplars is None) == (f"cos_e/v1.0_{split}", split == "train")
    for example in task.examples:
        assert example.fields["answer"] in example.fields["choices"]  # type: ignore[operator]
    asked = reading_of(folder / f"{split}_rand_split.jsonl.gz")
    assert (asked.format, asked.read, asked.quarantined, asked.tasks) == ("commonsense-qa", rows, [], [])


def test_the_join_of_cos_e_is_by_id_not_by_order(data_root: Path) -> None:
    (task,) = Explanations().read(data_root / "cos_e" / "v1.0" / "cose_dev_v1.0_processed.jsonl.gz").tasks
    row = task.examples[0]
    assert row.key == "31d7dd1d00aabe411568df3e72d5b5e0"
    assert row.fields["question"] == "A bald eagle is likely to be found on what kind of work?"
    made = {template.name: template.render(row, seed=0) for template in task.templates}
    assert (made["direct"].target, made["direct"].options) == ("painting", ("aviary", "painting", "rural area"))
    assert made["cot"].target.startswith("while we seeing the bald eagle")
    assert final_answer(made["cot"].target) == made["cot"].answer == "painting"
    assert len(task.files) == 4


def test_promptsource_templates_of_cos_e_render_on_its_rows(data_root: Path) -> None:
    (task,) = Explanations().read(data_root / "cos_e" / "v1.0" / "cose_dev_v1.0_processed.jsonl.gz").tasks
    rows = [dict(example.fields) for example in task.examples[:50]]
    phrased = task_of(template_file(data_root / "promptsource/templates/cos_e/v1.0/templates.yaml"), rows)
    assert len(phrased.templates) == 11
    for example in phrased.examples:
        for template in phrased.templates:
            assert template.render(example, seed=0).target


def test_damaged_rows_and_lost_questions_of_cos_e(tmp_path: Path) -> None:
    def question(name: str, **change: object) -> str:
        asked = {"stem": "Q?", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]}
        return json.dumps({"id": name, "answerKey": "B", "question": asked, **change})

    def explained(name: str, why: object = "because") -> str:
        return json.dumps({"id": name, "explanation": {"open-ended": why, "selected": "Q"}})

    said = [explained("1"), explained("2"), explained("3"), explained("1", " "), '{"id": "1"}', "{", explained("1")]
    path = write(tmp_path, "cose_dev_v9.1_processed.jsonl", "\n".join(said).encode())
    assert reading_of(path).reasons["no file of questions beside it"] == 5
    asked = [question("1"), question("3", answerKey="C"), question("4", question=5)]
    questions = write(tmp_path, "dev_rand_split.jsonl", "\n".join(asked).encode())
    reading = reading_of(path)
    assert (reading.read, reading.accepted) == (7, 2)
    assert [row.where for row in reading.quarantined] == ["line 2", "line 3", "line 4", "line 5", "line 6"]
    assert reading.reasons["no question of this id in dev_rand_split.jsonl"] == 2
    assert [row.key for row in reading.tasks[0].examples] == ["1", "1#7"]
    assert reading_of(questions).reasons == {"the answer is none of the options": 1, "no question with choices": 1}


def test_questions_alone_are_a_task(tmp_path: Path) -> None:
    asked = {"stem": "Q?", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]}
    row = json.dumps({"id": "1", "answerKey": "B", "question": asked}).encode()
    (task,) = reading_of(write(tmp_path, "dev_rand_split.jsonl", row)).tasks
    assert (task.name, task.source, [template.cot for template in task.templates]) == (
        "cos_e/dev_rand_split",
        "CommonsenseQA",
        [False] * 3,
    )


def test_every_line_of_esnli_is_aligned(data_root: Path) -> None:
    folder = data_root / "esnli"
    reading = Esnli().read(folder / "s1.dev.gz")
    assert (reading.read, reading.quarantined) == (9842, [])
    (task,) = reading.tasks
    assert [Path(file.path).name for file in task.files][:3] == ["s1.dev.gz", "s2.dev.gz", "labels.dev"]
    fields = task.examples[0].fields
    assert (fields["premise"], fields["answer"]) == (
        "Two women are embracing while holding to go packages .",
        "neutral",
    )
    assert len(fields["explanations"]) == 3  # type: ignore[arg-type]
    last = task.examples[-1].fields
    assert all(str(last[name]).strip() for name in ("premise", "hypothesis", "explanation_1", "explanation_3"))
    made = {template.name: template.render(task.examples[0], seed=0) for template in task.templates}
    assert made["cot"].target == f"{fields['explanation_1']} So the answer is neutral."
    assert made["explain"].references == tuple(fields["explanations"])  # type: ignore[arg-type]
    assert made["write-hypothesis"].input.endswith("\nWrite a sentence that may be true or not.")
    assert made["write-hypothesis"].target == fields["hypothesis"]
    assert made["relation"].options == ("entailment", "neutral", "contradiction")
    for path in sorted(folder.iterdir()):
        part = reading_of(path)
        assert part.read == part.accepted == 9842
        assert (part.format, len(part.tasks)) == (("e-snli", 1) if path.name == "s1.dev.gz" else ("e-snli-part", 0))


def test_a_file_with_other_lines_sets_every_row_aside_with_the_reason(tmp_path: Path) -> None:
    anchor = write(tmp_path, "s1.dev", b"a .\nb .\nc .\n")
    write(tmp_path, "s2.dev", b"x .\ny .\nz .")
    assert reading_of(anchor).reasons == {"there is no labels.dev": 3}
    write(tmp_path, "labels.dev", b"neutral\nentailment\n")
    reading = reading_of(anchor)
    assert (reading.read, reading.tasks) == (3, [])
    assert reading.reasons == {"labels.dev has 2 lines, not 3": 3}
    write(tmp_path, "labels.dev", b"neutral\nentailment\nneutral\n")
    write(tmp_path, "preproc1_expl_1.dev", b"because\nso\n")
    assert reading_of(anchor).reasons == {"preproc1_expl_1.dev has 2 lines, not 3": 3}


def test_damaged_lines_of_esnli(tmp_path: Path) -> None:
    anchor = write(tmp_path, "s1.train", b"a .\r\n\r\nc .\nd\xff\ne .\nf .\ng .\n")
    write(tmp_path, "s2.train", b"x\nx\n\nx\nx\nx\xff\nx\n", zipped=True)
    write(tmp_path, "labels.train", b"neutral\nneutral\nneutral\nneutral\n-\nneutral\nmaybe\n")
    write(tmp_path, "expl_1.train", b"because\n\n\n\n\n\n\n")
    reading = reading_of(anchor)
    assert (reading.read, reading.accepted) == (7, 1)
    assert [row.reason for row in reading.quarantined] == [
        "empty premise",
        "empty hypothesis",
        "not UTF-8",
        "no gold label",
        "s2: not UTF-8",
        "the label is none of the three",
    ]
    assert reading.tasks[0].examples[0].fields["rationale"] == "because"
    part = reading_of(tmp_path / "s2.train.gz")
    assert (part.format, part.read, part.reasons) == ("e-snli-part", 7, {"not UTF-8": 1})


def test_without_explanations_only_direct_templates_are_there(tmp_path: Path) -> None:
    write(tmp_path, "s2.test", b"x\n")
    write(tmp_path, "labels.test", b"entailment\n")
    (task,) = reading_of(write(tmp_path, "s1.test", b"a\n")).tasks
    assert [template.cot for template in task.templates] == [False] * 5
    assert reading_of(write(tmp_path, "s1.other", b"a\n")).format == "unknown"
