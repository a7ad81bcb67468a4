"""Parts of hub data sets: by configuration, by a column that names the task, by a choice of rows; offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from instil.errors import AbsentError, DataError
from instil.tasks.catalogue import load_catalogue
from instil.tasks.hub_parts import open_parts
from instil.tasks.registry import open_collection

TYPES = ("zs_opt", "fs_opt")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data root with a set of several tasks, and one of several configurations."""
    import datasets

    root = tmp_path_factory.mktemp("parts")
    rows = [
        {"inputs": f"{task} {number}", "targets": "t", "task_name": task, "template_type": TYPES[number % 2]}
        for number in range(4)
        for task in ("glue/mnli:2.0.0", "trec:1.0.0")
    ]
    rows.append({"inputs": "nobody's", "targets": "t", "task_name": None, "template_type": "zs_opt"})
    datasets.Dataset.from_list(rows).save_to_disk(root / "submix")
    names = ("ag_news_classify", "ag_news_recommend", "imdb_Movie")
    listed = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in names)
    (root / "P3").mkdir()
    (root / "P3" / "README.md").write_text(f"---\nconfigs:\n{listed}---\n", encoding="utf-8")
    for name in names:
        (root / "P3" / name).mkdir()
        line = json.dumps({"inputs_pretokenized": name, "targets_pretokenized": " t"})
        (root / "P3" / name / "a.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
        yield root


def test_a_column_divides_a_set_into_tasks_that_keep_the_order_of_their_rows(hub: Path) -> None:
    tasks, absent = open_parts("submix", base=hub, task_column="task_name")
    assert absent == []
    assert [task.name for task in tasks] == ["hub/submix/glue/mnli:2.0.0", "hub/submix/trec:1.0.0"]
    assert [row.fields["inputs"] for row in tasks[1].examples] == [f"trec:1.0.0 {number}" for number in range(4)]
    assert tasks[0].fingerprint != tasks[1].fingerprint


def test_where_keeps_the_rows_that_hold_the_values_and_stands_in_the_name(hub: Path) -> None:
    (mnli, _), _ = open_parts("submix", base=hub, task_column="task_name", where={"template_type": "fs_opt"})
    assert mnli.name == "hub/submix@fs_opt/glue/mnli:2.0.0"
    assert [row.fields["inputs"] for row in mnli.examples] == ["glue/mnli:2.0.0 1", "glue/mnli:2.0.0 3"]
    both, _ = open_parts("submix", base=hub, where={"template_type": list(TYPES)})
    assert [task.size for task in both] == [9]


def test_two_choices_of_the_same_rows_can_stand_in_one_mixture(hub: Path) -> None:
    names = [
        task.name
        for kind in TYPES
        for task in open_parts("submix", base=hub, task_column="task_name", where={"template_type": kind})[0]
    ]
    assert len(set(names)) == len(names) == 4


def test_configurations_that_fit_a_pattern_are_tasks(hub: Path) -> None:
    found = open_collection("hub", hub, path="P3", tasks=["ag_news_*"])
    assert [task.name for task in found.tasks] == ["hub/P3/ag_news_classify", "hub/P3/ag_news_recommend"]
    assert found.tasks[0].templates[0].render(found.tasks[0].examples[0], seed=0).target == "t"


def test_a_pattern_that_fits_nothing_is_absent(hub: Path) -> None:
    with pytest.raises(AbsentError, match="trec"):
        open_collection("hub", hub, path="P3", tasks=["imdb_*", "trec_*"])
    found = open_collection("hub", hub, path="P3", tasks=["imdb_*", "trec_*"], skip_absent=True)
    assert (len(found.tasks), found.absent) == (1, ("trec_*",))


def test_a_catalogue_knows_parts_by_their_own_name(hub: Path) -> None:
    tasks, _ = open_parts("submix", base=hub, task_column="task_name")
    assert [load_catalogue("flan-2021").describe(task).cluster for task in tasks] == [
        "entailment",
        "question_classification",
    ]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"where": {"kind": "x"}}, "no column 'kind'.*template_type"),
        ({"where": {"template_type": "zs"}}, "no row has 'zs'.*zs_opt"),
        ({"task_column": "task"}, "no column 'task'.*task_name"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(hub: Path, asked: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_parts("submix", base=hub, **asked)  # type: ignore[arg-type]


def test_a_slice_of_a_split_is_divided_by_its_own_rows(hub: Path) -> None:
    import datasets

    datasets.load_from_disk(str(hub / "submix")).shuffle(seed=1).select(range(4)).save_to_disk(hub / "few")
    tasks, _ = open_parts("few", base=hub, task_column="task_name")
    for task in tasks:
        assert all(str(row.fields["inputs"]).startswith(task.source) for row in task.examples)


def test_worked_examples_of_a_part_are_of_its_own_task_and_kind(hub: Path) -> None:
    import datasets

    rows = datasets.load_from_disk(str(hub / "submix"))
    datasets.DatasetDict({"train": rows, "validation": rows}).save_to_disk(hub / "split")
    tasks, _ = open_parts("split", base=hub, split="validation", task_column="task_name")
    for task in tasks:
        assert task.exemplars is not None
        assert [row.key.partition("-")[0] for row in task.exemplars] == ["train"] * 4
        assert all(str(row.fields["inputs"]).startswith(task.source) for row in task.exemplars)
    kinds, _ = open_parts("split", base=hub, split="validation", where={"template_type": "fs_opt"})
    assert [len(task.exemplars or ()) for task in kinds] == [4]
    assert len({task.fingerprint for task in (*tasks, *kinds)}) == 3


def test_a_part_that_the_train_split_lacks_shows_its_own_rows(hub: Path) -> None:
    import datasets

    rows = datasets.load_from_disk(str(hub / "submix"))
    other = rows.filter(lambda row: row["task_name"] == "trec:1.0.0")
    datasets.DatasetDict({"train": other, "validation": rows}).save_to_disk(hub / "lacking")
    (mnli, trec), _ = open_parts("lacking", base=hub, split="validation", task_column="task_name")
    assert mnli.exemplars is None
    assert len(trec.exemplars or ()) == 4
