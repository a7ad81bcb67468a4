"""Disfl-QA, query wellformedness and E2E NLG: rows by key, ratings, several references of one meaning."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tasks.readers.damage import write

from instil.tasks.check import reading_of


@pytest.mark.parametrize(("split", "rows", "aside"), [("train", 7182, 1), ("dev", 1000, 0), ("test", 3643, 0)])
def test_disfl_qa_is_keyed_by_id(data_root: Path, split: str, rows: int, aside: int) -> None:
    reading = reading_of(data_root / "disfl_qa" / f"{split}.json.gz")
    assert (reading.format, reading.read, len(reading.quarantined)) == ("disfl-qa", rows, aside)
    (task,) = reading.tasks
    if split == "train":  # one question was never made to stumble
        assert [(row.where, row.reason) for row in reading.quarantined] == [
            ("entry 5729d36b1d04691400779609", "empty input")
        ]
        assert task.exemplars is None
    else:
        assert task.exemplars is not None
        assert len(task.exemplars) == 7181
    if split == "dev":
        assert task.examples[0].key == "5a665142846392001a1e1ac0"
        made = task.templates[0].render(task.examples[0], seed=0)
        assert made.input.endswith("\nWho did no What did the government want Thoreau to do?")
        assert made.target == "What did the government want Thoreau to do?"


def test_damaged_entries_of_disfl_qa(tmp_path: Path) -> None:
    content = b'{"a": {"original": "Q?", "disfluent": "no Q?"}, "b": {"original": "Q?"}, "c": 5,'
    content += b'"d": {"original": "", "disfluent": "x"}}'
    reading = reading_of(write(tmp_path, "dev.json", content))
    assert (reading.format, reading.read, reading.accepted) == ("disfl-qa", 4, 1)
    assert reading.reasons == {"no field 'disfluent'": 1, "not an object": 1, "empty target": 1}
    twice = reading_of(write(tmp_path, "dev.json", content.replace(b'"b"', b'"a"')))
    assert twice.reasons == {"key 'a' stands twice": 1}


@pytest.mark.parametrize(("split", "rows"), [("train", 17500), ("dev", 3750), ("test", 3850)])
def test_queries_have_ratings_from_0_to_1(data_root: Path, split: str, rows: int) -> None:
    reading = reading_of(data_root / "query_wellformedness" / f"{split}.tsv.gz")
    assert (reading.format, reading.read, reading.quarantined) == ("query-wellformedness", rows, [])
    (task,) = reading.tasks
    assert (task.exemplars is None) == (split == "train")
    for example in task.examples:
        rating, grade = example.fields["rating"], example.fields["grade"]
        assert isinstance(rating, float)
        assert grade in example.fields["grades"]  # type: ignore[operator]
        assert abs(float(str(grade)) - rating) <= 0.051
        assert (example.fields["answer"] == "yes") == (rating >= 0.8)


def test_damaged_ratings(tmp_path: Path) -> None:
    content = b"a ?\t1.0\r\nb ?\t0.833333333333\nc ?\t1.5\nd ?\tnan\ne ?\tx\nf ?\n\t0.5\ng\th\t0.5\n\xff\t1.0\n"
    content += b"h ?\t0.2\ni ?\t1\nj ?\t0\n"
    reading = reading_of(write(tmp_path, "mine.tsv", content))
    assert (reading.format, reading.read, reading.accepted) == ("query-wellformedness", 12, 5)
    assert [(row.where, row.reason) for row in reading.quarantined] == [
        ("line 3", "the rating is not from 0 to 1"),
        ("line 4", "the rating is not from 0 to 1"),
        ("line 5", "the rating is no number"),
        ("line 6", "1 column, not 2"),
        ("line 7", "empty question"),
        ("line 8", "3 columns, not 2"),
        ("line 9", "not UTF-8"),
    ]
    assert [row.fields["grade"] for row in reading.tasks[0].examples] == ["1.0", "0.8", "0.2", "1.0", "0.0"]


def test_rows_of_one_meaning_are_references_of_one_example(data_root: Path) -> None:
    reading = reading_of(data_root / "e2e_nlg" / "devset.csv.gz")
    assert (reading.format, reading.read, reading.accepted) == ("e2e-nlg", 4672, 4672)
    (task,) = reading.tasks
    assert task.size == 547
    first = task.examples[0]
    assert first.fields["mr"] == "name[Alimentum], area[city centre], familyFriendly[no]"
    assert first.fields["slots"] == [
        {"name": "name", "value": "Alimentum"},
        {"name": "area", "value": "city centre"},
        {"name": "familyFriendly", "value": "no"},
    ]
    references = first.fields["references"]
    assert isinstance(references, list)
    made = [task.templates[0].render(first, seed=seed) for seed in range(40)]
    assert {one.target for one in made} == set(references)  # every sentence is drawn
    assert all(set(one.references) == set(references) for one in made)
    assert "\r" not in "".join(str(row.fields["mr"]) for row in task.examples)


@pytest.mark.parametrize(("header", "end"), [(b"mr,ref", b"\r\n"), (b'"mr","ref"', b"\n"), (b"MR,ref", b"\n")])
def test_both_headers_of_e2e(tmp_path: Path, header: bytes, end: bytes) -> None:
    rows = [
        header,
        b'"name[A], area[B]","A, in\nB."',
        b'"name[A], area[B]",A is in B.',
        b'"name[A], area[B]",A is in B.',
    ]
    rows += [b"name[C],", b",text", b"a,b,c", b"name[D],D.", b'name[E],"E']
    reading = reading_of(write(tmp_path, "testset_w_refs.csv", end.join(rows)))
    assert (reading.format, reading.read, reading.accepted) == ("e2e-nlg", 8, 4)
    assert [(row.where, row.reason) for row in reading.quarantined] == [
        ("row 5", "empty target"),
        ("row 6", "empty input"),
        ("row 7", "3 columns, not 2"),
        ("row 9", "not CSV (unexpected end of data)"),
    ]
    (task,) = reading.tasks
    assert [(row.key, row.fields["references"]) for row in task.examples] == [
        ("2", ["A, in\nB.", "A is in B."]),
        ("8", ["D."]),
    ]
