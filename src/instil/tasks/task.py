"""A task: a source of examples, the templates that phrase them, and the metrics that judge the answers.

Task("ni/task1565_triviaqa_classification")
  cluster    Question Answering          collection  ni          licence  Apache 2.0
  examples   108 rows of {definition, input, outputs}
  exemplars  4 worked ones (the file's positive examples)
  templates  definition                  metrics  rouge_l
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from instil.fingerprint import fingerprint
from instil.records import Example
from instil.tasks.template import Renderer


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that a task was read from."""

    path: str
    sha256: str
    """Of its bytes, 64 hex digits."""


@dataclass(frozen=True, eq=False)
class Task:
    """Examples with their templates. Two tasks are the same if their fingerprints are."""

    name: str
    """Unique: the collection's name, a slash, the task's own name."""
    cluster: str
    """The kind of task, such as `Sentiment Analysis`: what is held out as a whole."""
    collection: str
    """Where it comes from: ni, cot, p3, bbh, bigbench, jsonl, pocket, ..."""
    templates: tuple[Renderer, ...]
    examples: Sequence[Example]
    """The rows; only their number and one row at a time are asked for, so they may be read lazily."""
    exemplars: Sequence[Example] | None = None
    """The pool of worked examples for few-shot prompts; the examples themselves where None."""
    metrics: tuple[str, ...] = ("exact_match",)
    """Names in `tasks.metrics`; the first is the one to report."""
    licence: str = ""
    language: str = "English"
    source: str = ""
    """The data sets that it was made from, or the file that it was read from."""
    citation: str = ""
    evaluation_only: bool = False
    """Whether its publishers ask that it is never trained on (the BIG-bench canary)."""
    content: str = ""
    """Names the rows, where the reader has a cheaper way than reading them all, such as the file's SHA-256."""
    files: tuple[SourceFile, ...] = ()
    """What it was read from, so that a change is found and named; none for tasks that a program makes."""

    @property
    def size(self) -> int:
        """How many examples it has."""
        return len(self.examples)

    @cached_property
    def fingerprint(self) -> str:
        """Names everything that a prompt of this task can come from."""
        return fingerprint(
            {
                "name": self.name,
                "templates": [[template.name, template.fingerprint] for template in self.templates],
                "rows": self.content or _rows(self.examples),
                "exemplars": None if self.exemplars is None else _rows(self.exemplars),
                "size": self.size,
                "metrics": list(self.metrics),
            }
        )


def _rows(examples: Sequence[Example]) -> str:
    # Rows that stay in their files (`hub.Rows`) say what names them, so that they are not all read for it.
    named: str = getattr(examples, "content", "")
    return named or fingerprint([[example.key, dict(example.fields)] for example in examples])
