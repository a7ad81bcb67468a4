r"""Files of templates: one's own, and promptsource's as they are.

    templates:                                        dataset: ag_news
      - name: follows                                 templates:
        input: "{{ premise }} So: {{ hypothesis }}"     24e44a81-...: !Template
        target: "{{ answer_choices[label] }}"             name: classify_question_first
        answer_choices: yes ||| no                        answer_choices: World politics ||| Sports ||| Business
      - name: in-one-text                                 jinja: "{{text}}\nWhat is it about? |||
        jinja: "{{ premise }} ... ||| {{ label }}"          {{answer_choices[label] }}"

A list holds templates of one's own: whatever `Template` has (`instruction`, `cot`, `answer`, `rationale`, `inverted`,
...), and a mistake in one is an error. A mapping is promptsource's form: what cannot be used is set aside by name, so
that one bad template of somebody else's does not stop the others. The tags name no Python objects here: nothing is
built but plain mappings.

`load_templates` gives the templates of a file; `rephrased` puts them in the place of a task's own; `chosen` keeps those
of a task that a recipe names.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent

from instil.errors import DataError, TemplateError
from instil.tasks.readers.reading import Quarantined, RowProblem
from instil.tasks.readers.source import Damage, Source
from instil.tasks.task import SourceFile, Task
from instil.tasks.template import SEPARATOR, Renderer, Template

#: Real files nest 5 deep; libyaml's own recursion has no bound and ends the process.
MAX_DEPTH = 50

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TemplateLoader(_Loader):  # type: ignore[misc]  # which of the two safe loaders depends on the machine
    """Reads promptsource's tags as plain mappings, and refuses repeated keys.

    Of bare words, `true`, `false` and `null` are values; the rest is text: an answer `no` or `1.10` stays what it is.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name and kind


_TemplateLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"
)
_TemplateLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]
)
_TemplateLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), "<")


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
    """The templates of one file, and those that were set aside."""

    path: Path
    dataset: str
    subset: str
    templates: tuple[Template, ...]
    aside: tuple[Quarantined, ...] = ()
    """Templates that cannot be used, by name (`template 'x'`), or the file as a whole (`file`)."""
    own: bool = False
    """Whether it is a list of one's own templates."""
    sha256: str = ""
    """Of its bytes."""

    @property
    def title(self) -> str:
        """`glue/mnli`, or the data set alone."""
        return f"{self.dataset}/{self.subset}" if self.subset else self.dataset

    @property
    def quarantined(self) -> dict[str, list[Quarantined]]:
        """What was set aside, by file, as collections tell it."""
        return {str(self.path): list(self.aside)} if self.aside else {}


def open_templates(path: Path) -> TemplateFile:
    """The templates of a file that compile, and an account of the others. Never raises for what the file holds."""
    source = Source(path)
    try:
        content = _content(source.text())
    except Damage as damage:
        return TemplateFile(path, path.parent.name, "", (), (Quarantined("file", str(damage)),))
    listed, own = content.get("templates"), isinstance(content.get("templates"), list)
    aside: list[Quarantined] = []
    templates: list[Template] = []
    taken: set[str] = set()
    for key, entry in _entries(listed):
        try:
            templates.append(_own(entry, taken) if own else _promptsource(entry, taken))
        except RowProblem as problem:
            aside.append(Quarantined(f"template {_called(entry, key)!r}", str(problem)))
    if not isinstance(listed, (dict, list, type(None))):
        aside.append(Quarantined("file", "no mapping or list of templates"))
    dataset, subset = (content.get(name) for name in ("dataset", "subset"))
    # promptsource calls every file templates.yaml, in a folder that is named after the data set.
    dataset = dataset if isinstance(dataset, str) and dataset else path.stem if own else path.parent.name
    subset = subset if isinstance(subset, str) else ""
    return TemplateFile(path, dataset, subset, tuple(templates), tuple(aside), own, source.sha256())


def template_file(path: Path) -> TemplateFile:
    """The templates of a file.

    Raises:
        DataError: if none can be used, or one of one's own cannot.
    """
    if not path.is_file():
        raise DataError(f"no file of templates at {path}", remedy="Give its path from the data root")
    file = open_templates(path)
    if file.own and file.aside:
        raise DataError(f"{path}, {file.aside[0].where}: {file.aside[0].reason}", remedy="Correct the template")
    if not file.templates:
        reasons = "; ".join(dict.fromkeys(row.reason for row in file.aside)) or "it lists no templates"
        remedy = "Give a list `templates: [{name, input, target}]`, or a promptsource templates.yaml"
        raise DataError(f"{path}: no template can be used ({reasons})", remedy=remedy)
    return file


def load_templates(path: Path) -> tuple[Template, ...]:
    """The templates of a file; see `template_file`, which also says what was set aside."""
    return template_file(path).templates


def rephrased(task: Task, file: TemplateFile) -> Task:
    """The task with the templates of a file in place of its own."""
    return replace(task, templates=file.templates, files=(*task.files, SourceFile(str(file.path), file.sha256)))


def chosen(task: Task, patterns: Iterable[str], further: Sequence[Renderer] = ()) -> Task | None:
    """The task with those of its templates whose names fit, in the task's own order; None where none does.

    Args:
        task: the task.
        patterns: names, or patterns such as `cot*`.
        further: templates that its collection has besides, used only where they are asked for.
    """
    wanted = list(patterns)
    own = {template.name for template in task.templates}
    offered = [*task.templates, *(template for template in further if template.name not in own)]
    kept = tuple(one for one in offered if any(one.name == name or fnmatchcase(one.name, name) for name in wanted))
    return replace(task, templates=kept) if kept else None


# The YAML, and its entries. -----------------------------------------------------------------------------------------


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
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Damage(f"not usable YAML ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise Damage("no mapping")
    return content


def _entries(listed: object) -> list[tuple[object, object]]:
    if isinstance(listed, dict):
        return list(listed.items())
    return list(enumerate(listed, start=1)) if isinstance(listed, list) else []


def _called(entry: object, key: object) -> str:
    """The name that a person knows a template by: promptsource's keys are random."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return str(name if isinstance(name, str) and name else key)[:80]


def _text(entry: Mapping[Any, Any], name: str) -> str:
    value = entry.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowProblem(f"field {name!r} is no text")
    return value


def _promptsource(entry: object, taken: set[str]) -> Template:
    if not isinstance(entry, dict):
        raise RowProblem("not a mapping")
    if not isinstance(entry.get("jinja"), str):
        raise RowProblem("no text in field 'jinja'")
    unique = _text(entry, "name") or _text(entry, "id") or "unnamed"
    while unique in taken:
        unique += "'"
    template = _in_one_text(entry, unique)
    taken.add(unique)
    return _compiling(template)


def _in_one_text(entry: Mapping[Any, Any], name: str) -> Template:
    jinja, choices = entry["jinja"], _text(entry, "answer_choices")
    if SEPARATOR not in jinja:
        raise RowProblem("no ||| between input and target")
    return Template.from_promptsource(name, jinja, answer_choices=choices or None, metadata=_metadata(entry))


def _metadata(entry: Mapping[Any, Any]) -> dict[str, Any]:
    """What promptsource says there, scalars and lists of texts: an alias in YAML can tower up to anything else."""
    said = entry.get("metadata")
    kept: dict[str, Any] = {}
    for key, value in said.items() if isinstance(said, dict) else ():
        if isinstance(value, list):
            kept[str(key)] = [item for item in value if isinstance(item, str)]
        elif isinstance(value, (str, bool)):
            kept[str(key)] = value
    return kept


def _compiling(template: Template) -> Template:
    try:
        template.fields  # noqa: B018 - compiles every part
    except TemplateError as error:
        raise RowProblem(error.message.removeprefix(f"template {template.name!r}: ")) from None
    return template


_TEXTS = ("input", "target", "answer_choices", "instruction", "references", "answer", "rationale")
_FLAGS = ("cot", "inverted", "shows_options")
_OWN_KEYS = ("name", "jinja", "exemplar", "metadata", *_TEXTS, *_FLAGS)


def _own(entry: object, taken: set[str]) -> Template:
    """A template of one's own. It is written by hand, so an unknown key is a slip of the pen."""
    if not isinstance(entry, dict):
        raise RowProblem("not a mapping")
    for key in entry:
        if key not in _OWN_KEYS:
            close = difflib.get_close_matches(str(key), _OWN_KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_OWN_KEYS)}"
            raise RowProblem(f"no field {str(key)[:60]!r} is known; {hint}")
    name = _text(entry, "name")
    if not name:
        raise RowProblem("no text in field 'name'")
    if name in taken:
        raise RowProblem("the name is taken by a template above")
    choices = entry.get("answer_choices")
    if isinstance(choices, list):
        unclear = next((choice for choice in choices if not isinstance(choice, str)), "")
        if not isinstance(unclear, str):
            shown = str(unclear) if isinstance(unclear, (bool, type(None))) else type(unclear).__name__
            raise RowProblem(f"answer choice {shown!r} is no text: put it in quotes")
        entry = entry | {"answer_choices": f" {SEPARATOR} ".join(choices)}
    for flag in _FLAGS:
        if not isinstance(entry.get(flag), (bool, type(None))):
            raise RowProblem(f"field {flag!r} is not true or false")
    has_both = "input" in entry and "target" in entry
    if ("jinja" in entry) == has_both or ("jinja" in entry and ("input" in entry or "target" in entry)):
        raise RowProblem("needs `input` and `target`, or `jinja` with ||| between them")
    if "jinja" in entry:
        template = _in_one_text(entry | {"jinja": _text(entry, "jinja")}, name)
    else:
        template = Template(name, "", "", answer_choices=_text(entry, "answer_choices") or None)
        template = replace(template, input=_text(entry, "input"), target=_text(entry, "target"))
    flags: dict[str, Any] = {flag: entry[flag] for flag in _FLAGS if entry.get(flag) is not None}
    parts: dict[str, Any] = {part: _text(entry, part) for part in ("instruction", "references", "answer", "rationale")}
    template = replace(template, exemplar=_exemplar(entry), **parts, **flags)
    taken.add(name)
    return _compiling(template)


def _exemplar(entry: Mapping[Any, Any]) -> tuple[str, str] | None:
    worked = entry.get("exemplar")
    if worked is None:
        return None
    if not isinstance(worked, dict) or set(worked) != {"input", "target"}:
        raise RowProblem("field 'exemplar' is no mapping of `input` and `target`")
    return _text(worked, "input"), _text(worked, "target")
