"""The collections that instil knows by name: where their files lie under a data root, and what the files do not say.

p3/quarel_do_not_use.jsonl  ->  Task p3/quarel_do_not_use, cluster multiple-choice question answering, CC BY 4.0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from instil.tasks.readers.bbh import BigBenchHard
from instil.tasks.readers.bigbench import BigBench
from instil.tasks.readers.flan_cot import FlanCot
from instil.tasks.readers.natural_instructions import NaturalInstructions
from instil.tasks.readers.plain import Plain
from instil.tasks.readers.reading import Reader
from instil.tasks.task import Task


@dataclass(frozen=True)
class Declared:
    """A collection that is a folder of files in one format."""

    name: str
    folder: str
    reader: Reader
    suffixes: tuple[str, ...]
    note: str
    titled_by_folder: bool = False
    """Whether a task is named after its folder (`snarks/task.json`), not its file."""
    describe: Callable[[Task], Task] = lambda task: task


#: P3's data sets: cluster and licence of the source. The files say neither.
P3_SETS = {
    "adversarial_qa": ("extractive question answering", "CC BY-SA 3.0"),
    "common_gen": ("structure to text", "MIT"),
    "commonsense_qa": ("multiple-choice question answering", "MIT"),
    "paws": ("paraphrase identification", "PAWS licence (free use)"),
    "quarel": ("multiple-choice question answering", "CC BY 4.0"),
    "quartz": ("multiple-choice question answering", "CC BY 4.0"),
    "quoref": ("extractive question answering", "CC BY 4.0"),
    "ropes": ("extractive question answering", "CC BY 4.0"),
    "wiki_bio": ("structure to text", "CC BY-SA 3.0"),
}


def _described_p3(task: Task) -> Task:
    title = task.name.partition("/")[2]
    found = max((name for name in P3_SETS if title.startswith(name)), key=len, default="")
    cluster, licence = P3_SETS.get(found, (task.cluster, "not stated"))
    citation = "Sanh et al. 2021, Multitask Prompted Training Enables Zero-Shot Task Generalization, arXiv:2110.08207"
    return replace(
        task, cluster=cluster, licence=licence, language="English", source=found or task.source, citation=citation
    )


DECLARED = {
    declared.name: declared
    for declared in (
        Declared("ni", "natural_instructions/tasks", NaturalInstructions(), (".json",), "Natural Instructions v2"),
        Declared("cot", "flan_cot", FlanCot(), (".tsv",), "FLAN's chain-of-thought sets"),
        Declared(
            "p3",
            "p3",
            Plain(collection="p3"),
            (".jsonl", ".json", ".parquet"),
            "P3 rows, one template a file",
            describe=_described_p3,
        ),
        Declared("bbh", "bbh", BigBenchHard(), (".json",), "BIG-Bench Hard, for evaluation alone"),
        Declared(
            "bigbench",
            "bigbench",
            BigBench(),
            (".json",),
            "BIG-bench JSON tasks, for evaluation alone",
            titled_by_folder=True,
        ),
    )
}
