r"""P3 as GPT-3 fine-tuning rows, one prompt template a file: what the files do not say about themselves.

    p3/quarel_do_not_use.jsonl     {"prompt": "...\\n", "completion": "ice<|endoftext|>"}
    ->  Task p3/quarel_do_not_use, cluster multiple-choice question answering, licence CC BY 4.0

The rows are read by `plain`.
"""

from __future__ import annotations

from dataclasses import replace

from instil.tasks.readers.plain import Plain
from instil.tasks.readers.reading import Declared
from instil.tasks.task import Task

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


COLLECTIONS = (
    Declared(
        "p3",
        "p3",
        Plain(collection="p3"),
        (".jsonl", ".json", ".parquet"),
        "P3 rows, one template a file",
        describe=_described_p3,
    ),
)
