r"""promptsource's template files: YAML with the tags `!Template` and `!TemplateMetadata`, and no rows of their own.

    dataset: ag_news
    templates:
      24e44a81-...: !Template
        name: classify_question_first
        answer_choices: World politics ||| Sports ||| Business ||| Science and technology
        jinja: "What label best describes this news article?\n{{text}} ||| \n{{answer_choices[label] }}"

`template_file` reads them; `task_of` applies them to the rows of a JSONL or Parquet file. A `-` in a column's name
becomes `_`, as promptsource does it. Nothing is built but plain mappings: the tags name no Python objects here. Unlike
there, a field that a row lacks is an error and no empty text, `choice` draws by the render's seed, and nothing is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent

from instil.errors import DataError, TemplateError
from instil.fingerprint import fingerprint
from instil.records import Example
from instil.tasks.readers.reading import Keys, Reading, RowProblem
from instil.tasks.readers.source import Damage, Source
from instil.tasks.task import Task
from instil.tasks.template import Template

#: Real files nest 5 deep; libyaml's own recursion has no bound and ends the process.
MAX_DEPTH = 50

#: What promptsource calls the metrics that there are; the rest is compared exactly.
METRICS = {"accuracy": "exact_match", "rouge": "rouge_l", "bleu": "rouge_l"}

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TemplateLoader(_Loader):  # type: ignore[misc]  # which of the two safe loaders depends on the machine
    """Reads promptsource's tags as plain mappings, and refuses repeated keys."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if repeated:
        raise Damage(f"key {repeated[0][:60]!r} stands twice")
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return mapping


for _tag in ("!Template", "!TemplateMetadata", "tag:yaml.org,2002:map"):
    _TemplateLoader.add_constructor(_tag, _mapping)


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """The templates of one data set."""

    dataset: str
    subset: str
    templates: tuple[Template, ...]

    @property
    def title(self) -> str:
        """`glue/mnli`, or the data set alone."""
        return f"{self.dataset}/{self.subset}" if self.subset else self.dataset


@dataclass(frozen=True)
class Promptsource:
    """Reads one `templates.yaml`. Its rows are its templates; it makes no task without a file of rows."""

    name: str = "promptsource"

    def recognises(self, path: Path, head: bytes) -> bool:
        """YAML with a `templates:` key and the tag `!Template`."""
        return Source(path).suffix in (".yaml", ".yml") and b"!Template" in head and b"templates:" in head

    def read(self, path: Path) -> Reading:
        """The account of the templates: accepted ones compile."""
        return self.open(path)[1]

    def open(self, path: Path) -> tuple[TemplateFile, Reading]:
        """The templates that compile, and the account of all."""
        reading = Reading(self.name)
        try:
            content = _content(Source(path).text())
        except Damage as damage:
            reading.quarantine("file", str(damage))
            return TemplateFile(path.parent.name, "", ()), reading
        listed = content.get("templates")
        templates: list[Template] = []
        taken: set[str] = set()
        for key, entry in (listed if isinstance(listed, dict) else {}).items():
            try:
                templates.append(_template(entry, taken))
            except RowProblem as problem:
                reading.quarantine(f"template {str(key)[:80]!r}", str(problem))
        if not isinstance(listed, (dict, type(None))):
            reading.quarantine("file", "no mapping of templates")
        reading.accepted = len(templates)
        dataset, subset = content.get("dataset"), content.get("subset")
        return TemplateFile(str(dataset or path.parent.name), str(subset or ""), tuple(templates)), reading


def _content(text: str) -> dict[Any, Any]:
    try:
        depth = 0
        for event in yaml.parse(text, _Loader):
            if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                depth -= 1
            if depth > MAX_DEPTH:
                raise Damage("not usable YAML (nested too deeply)")
        content = yaml.load(text, _TemplateLoader)  # noqa: S506 - a safe loader: the tags become plain mappings
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise Damage(f"not YAML ({where}{getattr(error, 'problem', None) or type(error).__name__})") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise Damage(f"not usable YAML ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise Damage("no mapping")
    return content


def _template(entry: object, taken: set[str]) -> Template:
    if not isinstance(entry, dict):
        raise RowProblem("not a mapping")
    jinja, choices, name = entry.get("jinja"), entry.get("answer_choices"), entry.get("name")
    if not isinstance(jinja, str):
        raise RowProblem("no text in field 'jinja'")
    if not isinstance(choices, (str, type(None))):
        raise RowProblem("field 'answer_choices' is no text")
    if "|||" not in jinja:
        raise RowProblem("no ||| between input and target")
    unique = str(name or entry.get("id"))
    while unique in taken:
        unique += "'"
    taken.add(unique)
    metadata = entry.get("metadata")
    template = Template.from_promptsource(
        unique, jinja, answer_choices=choices, metadata=metadata if isinstance(metadata, dict) else {}
    )
    try:
        template.fields  # noqa: B018 - compiles every part
    except TemplateError as error:
        raise RowProblem(error.message.removeprefix(f"template {unique!r}: ")) from None
    return template


def template_file(path: Path) -> TemplateFile:
    """The templates of a promptsource file.

    Raises:
        DataError: if it holds none that can be used.
    """
    file, reading = Promptsource().open(path)
    if not file.templates:
        reasons = "; ".join(reading.reasons) or "it lists no templates"
        raise DataError(f"{path}: no template can be used ({reasons})", remedy="Give a promptsource templates.yaml")
    return file


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
        metrics=_metrics(file.templates),
        licence=licence,
        source=file.title,
        citation="Bach et al. 2022, PromptSource, arXiv:2202.01279",
        content=fingerprint([dict(example.fields) for example in examples]),
    )


def _metrics(templates: Sequence[Template]) -> tuple[str, ...]:
    named = Counter(
        METRICS.get(str(metric).lower(), "exact_match")
        for template in templates
        for metric in template.metadata.get("metrics") or ()
    )
    return tuple(metric for metric, _ in named.most_common()) or ("exact_match",)


READERS = (Promptsource(),)
