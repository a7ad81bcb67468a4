"""`tasks check` on the real files: what each is, and every row that the manifest counts."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from instil.errors import DataError
from instil.tasks.check import Checked, check, totals

#: What the manifest calls the formats of which every row must be found, and what `check` calls them.
FORMATS = {
    "ni": {"natural-instructions"},
    "nitrunc": {"natural-instructions"},
    "niv1": {"natural-instructions-v1"},
    "bbh": {"bbh"},
    "bigbench": {"bigbench"},
    "yaml": {"promptsource"},
    "tsv": {"flan-cot", "query-wellformedness"},
    "csv": {"mmlu"},
    "csv+h": {"e2e-nlg", "persona-chat", "catalogue"},
    "clinc": {"clinc"},
    "disfl": {"disfl-qa"},
    "rest8k": {"restaurant8k", "nlupp"},
    "ii": {"instruction-induction", "instruction-annotations"},
    "lines": {"e-snli", "e-snli-part", "split-list"},
}
#: The manifest counts a data set that lies in several files once; here each of these files makes its own tasks: every
#: split, every fold, the rows to induce from.
TASKS_A_FILE = {
    "taskmaster": 1,
    "taskmaster-rewards": 1,
    "mmlu": 1,
    "cos-e": 1,
    "disfl-qa": 1,
    "query-wellformedness": 1,
    "instruction-induction": 1,
    "clinc": 3,  # train, val and test lie in one file
    "nlupp": 2,  # intents and slots
    "self-instruct": 1,  # the manifest counts each of the 175 instructions
}


@pytest.fixture(scope="module")
def manifest(data_root: Path) -> dict[str, dict[str, str]]:
    with (data_root / "MANIFEST.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    names = rows[0]
    return {row[0]: dict(zip(names, row, strict=False)) for row in rows[1:]}


@pytest.fixture(scope="module")
def checked(data_root: Path) -> dict[str, Checked]:
    return {row.path: row for row in check(data_root) if "/" in row.path}  # what lies in no folder is the manifest


def test_no_file_is_passed_over(manifest: dict[str, dict[str, str]], checked: dict[str, Checked]) -> None:
    assert set(checked) == set(manifest)


def test_rows_equal_the_manifest(manifest: dict[str, dict[str, str]], checked: dict[str, Checked]) -> None:
    wrong = {
        path: (row.read, listed["rows"])
        for path, listed in manifest.items()
        if (row := checked[path]).read != int(listed["rows"] or 0)
    }
    assert wrong == {}


def test_formats_and_tasks_equal_the_manifest(manifest: dict[str, dict[str, str]], checked: dict[str, Checked]) -> None:
    for path, listed in manifest.items():
        row = checked[path]
        expected = FORMATS.get(listed["fmt"])
        assert expected is None or row.format in expected, path
        templates_alone = row.format == "promptsource"  # a file of templates makes no task without rows
        expected_tasks = TASKS_A_FILE.get(row.format, int(listed["tasks"] or 0))
        assert row.tasks == (0 if templates_alone else expected_tasks), path
        assert row.format != "unknown", path


def test_every_row_is_accounted_for(checked: dict[str, Checked]) -> None:
    for row in checked.values():
        assert row.read == row.accepted + row.quarantined
        assert row.quarantined == sum(row.reasons.values())


def test_only_rows_that_nobody_can_use_are_set_aside(checked: dict[str, Checked]) -> None:
    aside = {path: row.reasons for path, row in checked.items() if row.quarantined}
    assert aside.pop("hh_rlhf/harmless-base_test_even.jsonl.gz") == {"empty reply": 2}
    assert aside.pop("blimp/principle_A_case_2.jsonl.gz") == {"the two sentences are the same": 5}
    assert aside.pop("disfl_qa/train.json.gz") == {"empty input": 1}
    assert {reason for reasons in aside.values() for reason in reasons} == {"empty target"}
    assert aside["edge_cases/p3_all_targets_empty__trec_trec1.jsonl"] == {"empty target": 200}
    assert sum(count for reasons in aside.values() for count in reasons.values()) == 214


def test_files_that_are_no_tasks_are_named_as_what_they_are(checked: dict[str, Checked]) -> None:
    assert checked["edge_cases/p3_empty_file__trec_fine_grained_ABBR.jsonl"].format == "empty"
    assert Counter(row.format for path, row in checked.items() if "LICENSES" in path) == {"licence": 20}
    assert Counter(row.format for path, row in checked.items() if "splits" in path) == {"split-list": 9}
    assert Counter(row.format for path, row in checked.items() if "cot-prompts" in path) == {"prompt-file": 14}
    assert Counter(row.format for path, row in checked.items() if "meta/" in path) == {"catalogue": 4}
    assert checked["natural_instructions/tasks/README.md"].format == "prose"


def test_the_totals_are_the_sums(checked: dict[str, Checked]) -> None:
    sums = totals(list(checked.values()))
    assert sums["files"] == len(checked)
    assert sums["read"] == sums["accepted"] + sums["quarantined"]


def test_a_format_of_no_reader_is_listed_as_unknown(tmp_path: Path) -> None:
    (tmp_path / "rows.arrow").write_bytes(b"ARROW1\0\0")
    (tmp_path / "config.json").write_text('{"layers": 2}')
    rows = list(check(tmp_path))
    assert {row.format for row in rows} == {"unknown"}
    assert [(row.read, row.quarantined, *row.reasons) for row in rows] == [(1, 1, "no reader knows this format")] * 2


def test_a_single_file_can_be_checked(data_root: Path) -> None:
    (row,) = check(data_root / "bbh" / "snarks.json")
    assert (row.path, row.format, row.read) == ("snarks.json", "bbh", 178)


def test_nothing_at_a_path_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to check at"):
        list(check(tmp_path / "absent"))
