r"""promptsource's template files, applied to rows: YAML with the tags `!Template` and `!TemplateMetadata`.

    dataset: ag_news
    templates:
      24e44a81-...: !Template
        name: classify_question_first
        answer_choices: World politics ||| Sports ||| Business ||| Science and technology
        jinja: "What label best describes this news article?\n{{text}} ||| \n{{answer_choices[label] }}"

`tasks.template_file` reads them, and files of one's own; `task_of` applies them to the rows of a JSONL or Parquet file.
A `-` in a column's name becomes `_`, as promptsource does it. Unlike there, a field that a row lacks is an error and no
empty text, `choice` draws by the render's seed, and nothing is cut.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instil.fingerprint import fingerprint
from instil.records import Example
from instil.tasks.readers.reading import Keys, Reading
from instil.tasks.readers.source import Source
from instil.tasks.task import Task
from instil.tasks.template import Template
from instil.tasks.template_file import TemplateFile, open_templates, template_file

__all__ = ["METRICS", "Promptsource", "TemplateFile", "task_of", "template_file"]

#: What promptsource calls the metrics that there are, without regard to case, blanks and hyphens; the rest (`Squad`,
#: `Pearson Correlation`, `Other`, ...) is compared exactly.
METRICS = {"accuracy": "exact_match", "rouge": "rouge_l", "rougel": "rouge_l", "bleu": "rouge_l"}

#: A list or mapping under `templates:` at the left edge: a recipe names a file there, and further in.
_LISTED = re.compile(rb"(?m)^templates:[ \t]*(#.*)?\r?$")


@dataclass(frozen=True)
class Promptsource:
    """Reads one file of templates. Its rows are its templates; it makes no task without a file of rows."""

    name: str = "promptsource"

    def recognises(self, path: Path, head: bytes) -> bool:
        """YAML with a `templates:` key and the tag `!Template`, or a list of templates of one's own."""
        if Source(path).suffix not in (".yaml", ".yml") or b"templates:" not in head:
            return False
        return b"!Template" in head or _LISTED.search(head) is not None

    def read(self, path: Path) -> Reading:
        """The account of the templates: accepted ones compile."""
        return self.open(path)[1]

    def open(self, path: Path) -> tuple[TemplateFile, Reading]:
        """The templates that compile, and the account of all."""
        file = open_templates(path)
        return file, Reading(self.name, [], len(file.templates), list(file.aside))


def task_of(file: TemplateFile, rows: Iterable[Mapping[str, Any]], *, licence: str = "not stated") -> Task:
    """The task that the templates make of rows.

    Args:
        file: the templates.
        rows: mappings of column to value; `-` in a column's name becomes `_`.
        licence: of the rows.
    """
    keys = Keys()
    examples = [
        Example(keys.take(row.get("id"), number), {str(key).replace("-", "_"): value for key, value in row.items()})
        for number, row in enumerate(rows, start=1)
    ]
    return Task(
        name=f"promptsource/{file.title}",
        cluster=file.dataset,
        collection="promptsource",
        templates=file.templates,
        examples=examples,
        metrics=metrics_of(file.templates),
        licence=licence,
        source=file.title,
        citation="Bach et al. 2022, PromptSource, arXiv:2202.01279",
        content=fingerprint([dict(example.fields) for example in examples]),
    )


def metrics_of(templates: Sequence[Template]) -> tuple[str, ...]:
    """The metrics that the templates name, in our names, the one named most often first."""
    named: Counter[str] = Counter()
    for template in templates:
        listed = template.metadata.get("metrics")
        for metric in listed if isinstance(listed, list) else [listed] if isinstance(listed, str) else []:
            named[METRICS.get(re.sub(r"[\s_-]+", "", metric).casefold(), "exact_match")] += 1
    return tuple(metric for metric, _ in named.most_common()) or ("exact_match",)


READERS = (Promptsource(),)
