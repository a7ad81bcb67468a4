"""Where a mixture comes from and under which terms: a row a task, totals by licence, language, collection and cluster.

    {"tasks": [{"task": "cot/creak", "licence": "CC BY-SA 3.0", "licence_class": "copyleft", "share": 0.031, ...}, ...],
     "totals": {"licence": [{"name": "permissive", "tasks": 180, "rows": 90125, "share": 0.71}, ...], ...},
     "citations": [{"citation": "Chung et al. 2022, ...", "tasks": 9}, ...], "remarks": [...]}

What a task does not say is said to be unknown; nothing is guessed. Plain JSON: keys are added, never renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from instil.tasks.languages import language_codes
from instil.tasks.licences import CLASSES, licence_class, licence_name

if TYPE_CHECKING:
    from instil.mixtures.mixture import Mixture, Part


class FileCard(TypedDict):
    """A file that a task was read from."""

    path: str
    sha256: str


class TaskCard(TypedDict):
    """One task of a mixture."""

    task: str
    collection: str
    cluster: str
    source: str
    licence: str
    """As its publishers state it; `not stated` where they do not."""
    licence_name: str
    """By its SPDX name, where it has one."""
    licence_class: str
    language: str
    languages: Sequence[str]
    """Codes; `und` where nobody says."""
    citation: str
    rows: int
    share: float
    """Of the prompts."""
    templates: Sequence[str]
    settings: Mapping[str, float]
    """The share of the task's prompts that each setting has."""
    files: Sequence[FileCard]


class Total(TypedDict):
    """The tasks that have something in common."""

    name: str
    tasks: int
    rows: int
    share: float


class Citation(TypedDict):
    """What to cite."""

    citation: str
    tasks: int


class MixtureCard(TypedDict):
    """The whole card."""

    name: str
    fingerprint: str
    seed: int
    prompts_an_epoch: int
    filters: Mapping[str, Sequence[str]]
    """Which classes of licence and which languages the recipe asks for; absent where it takes all."""
    totals: Mapping[str, Sequence[Total]]
    """By `licence`, `language`, `collection`, `cluster` and `setting`, the largest share first."""
    tasks: Sequence[TaskCard]
    citations: Sequence[Citation]
    remarks: Sequence[str]
    """What was filtered, held out, missing, set aside or dropped."""


def mixture_card(mixture: Mixture, *, name: str) -> MixtureCard:
    """The card of a mixture.

    Args:
        mixture: opened from a recipe.
        name: what to call it, such as the recipe's file.
    """
    tasks = [_task(part) for part in mixture.parts]
    spec = mixture.spec
    filters = {"licence": spec.licence, "language": spec.language}
    return {
        "name": name,
        "fingerprint": mixture.fingerprint,
        "seed": spec.seed,
        "prompts_an_epoch": len(mixture),
        "filters": {key: list(wanted) for key, wanted in filters.items() if wanted},
        "totals": {
            "licence": _totals(tasks, lambda task: [task["licence_class"]], order=CLASSES),
            "language": _totals(tasks, lambda task: [", ".join(task["languages"])]),
            "collection": _totals(tasks, lambda task: [task["collection"]]),
            "cluster": _totals(tasks, lambda task: [task["cluster"] or "not stated"]),
            "setting": _settings(tasks),
        },
        "tasks": tasks,
        "citations": _citations(tasks),
        "remarks": list(mixture.remarks),
    }


def _task(part: Part) -> TaskCard:
    task = part.task
    templates = dict.fromkeys(template.name for setting in part.settings for template in part.templates(setting))
    starts = (0, *part.bounds[:-1])
    shown = zip(part.settings, starts, part.bounds, strict=False)  # a task of too small a share has one setting
    return {
        "task": task.name,
        "collection": task.collection,
        "cluster": task.cluster,
        "source": task.source,
        "licence": task.licence or "not stated",
        "licence_name": licence_name(task.licence),
        "licence_class": licence_class(task.licence),
        "language": task.language or "not stated",
        "languages": list(language_codes(task.language)),
        "citation": task.citation,
        "rows": len(task.examples),
        "share": float(part.share),
        "templates": list(templates),
        "settings": {setting.name: (end - start) / part.bounds[-1] for setting, start, end in shown},
        "files": [{"path": file.path, "sha256": file.sha256} for file in task.files],
    }


def _totals(
    tasks: Sequence[TaskCard], names: Callable[[TaskCard], Sequence[str]], *, order: Sequence[str] = ()
) -> list[Total]:
    found: dict[str, Total] = {}
    for task in tasks:
        for name in names(task):
            total = found.setdefault(name, {"name": name, "tasks": 0, "rows": 0, "share": 0.0})
            total["tasks"] += 1
            total["rows"] += task["rows"]
            total["share"] += task["share"]
    if order:
        return sorted(found.values(), key=lambda total: order.index(total["name"]))
    return sorted(found.values(), key=lambda total: (-total["share"], total["name"]))


def _settings(tasks: Sequence[TaskCard]) -> list[Total]:
    found: dict[str, Total] = {}
    for task in tasks:
        for name, share in task["settings"].items():
            total = found.setdefault(name, {"name": name, "tasks": 0, "rows": 0, "share": 0.0})
            total["tasks"] += 1
            total["rows"] += task["rows"]
            total["share"] += share * task["share"]
    return sorted(found.values(), key=lambda total: (-total["share"], total["name"]))


def _citations(tasks: Sequence[TaskCard]) -> list[Citation]:
    counts: dict[str, int] = {}
    for task in tasks:
        for citation in filter(None, map(str.strip, task["citation"].split("\n"))):
            counts[citation] = counts.get(citation, 0) + 1
    return [{"citation": citation, "tasks": count} for citation, count in sorted(counts.items())]


def terms(card: MixtureCard) -> str:
    """What the licences amount to, in a sentence or two."""
    totals = {total["name"]: total for total in card["totals"]["licence"]}
    parts = [f"{_percent(total['share'])} {name} ({total['tasks']:,})" for name, total in totals.items()]
    said = f"Share of the prompts by class of licence (and number of tasks): {', '.join(parts)}."
    unknown = totals.get("unknown")
    if unknown:
        verb = "state" if unknown["tasks"] != 1 else "states"
        noun = "tasks" if unknown["tasks"] != 1 else "task"
        said += f" {unknown['tasks']:,} {noun} {verb} no licence: ask the publishers before you rely on them."
    return said


def _percent(share: float) -> str:
    text = f"{100 * share:.1f}%"
    return "less than 0.1%" if text == "0.0%" and share else text
