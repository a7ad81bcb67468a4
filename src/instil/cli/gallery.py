"""`instil tasks gallery` and `instil mix gallery`: tasks and their prompts as one HTML page to browse.

Prompts are drawn by number: row and template from keyed hashes of task, setting and turn, so that the same command
writes the same page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instil.cli.mix_recipe import Assignments, Data, Language, Licence, Recipe, check_filters, progress, read_recipe
from instil.cli.output import complain
from instil.errors import TemplateError
from instil.fingerprint import keyed_int

if TYPE_CHECKING:
    from instil.mixtures.encode import Encoder
    from instil.mixtures.settings import Setting
    from instil.reports.gallery import Gallery, GalleryPrompt, GalleryTask, GalleryTemplate
    from instil.tasks.task import Task
    from instil.tasks.template import Renderer

#: The settings that a gallery of tasks looks for; a task is shown in those that its templates and rows allow.
SETTINGS = (
    "zero-shot",
    "few-shot-2",
    "zero-shot-cot",
    "few-shot-2-cot",
    "zero-shot-options",
    "zero-shot-no-options",
    "zero-shot-inverted",
    "few-shot-2-dialogue",
)
#: Rows of a task whose lengths are measured.
MEASURED = 24
#: How often a prompt that cannot be made is drawn again.
REDRAWS = 8

Out = Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")]
Count = Annotated[int, typer.Option("-n", "--count", min=1, max=20, help="Prompts of each task in each setting.")]
Tokens = Annotated[
    str | None,
    typer.Option("--tokenizer", help="A tokenizer.json, a model folder or a model's name: shows tokens, counts them."),
]


def tasks_gallery(
    out: Out,
    collections: Annotated[
        list[str] | None, typer.Argument(help="ni, cot, p3, ...; all that are there if left out.", metavar="COLLECTION")
    ] = None,
    count: Count = 1,
    tasks: Annotated[list[str] | None, typer.Option("--tasks", help="Names, globs, or a file that lists them.")] = None,
    path: Annotated[str | None, typer.Option("--path", help="Another place than the collection's own.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--setting", help="Only this setting; several times for several.")
    ] = None,
    tokenizer: Tokens = None,
    licence: Licence = None,
    language: Language = None,
    data: Annotated[Path | None, typer.Option("--data", help="The folder under which data lies.")] = None,
) -> None:
    """Write one HTML page to browse the tasks of collections: search, filters, prompts in every setting.

    Example: instil tasks gallery ni cot p3 --data ../data --out gallery.html
    """
    from instil.mixtures import filters
    from instil.mixtures.settings import Setting
    from instil.mixtures.tokenizer import find_encoder
    from instil.tasks.registry import open_collection

    check_filters(licence, language)
    names = collections or _present(data)
    found: list[Task] = []
    for name in names:
        found += open_collection(name, data, tasks=tasks, path=path).tasks
    if licence:
        found = filters.with_licence(found, licence)  # type: ignore[arg-type]  # checked above
    if language:
        found = filters.with_language(found, language)
    encoder = None if tokenizer is None else find_encoder(tokenizer)
    wanted = [_setting(name, Setting) for name in settings or SETTINGS]
    rows = sum(task.size for task in found) or 1
    with progress(len(found), "drawing") as advance:
        shown = []
        for task in found:
            shown.append(_task(task, _ways(task, wanted), task.size / rows, count, encoder))
            advance(1)
    _write(
        out,
        {
            "eyebrow": "instil tasks gallery",
            "title": f"{len(found):,} tasks of {', '.join(names) if len(names) < 5 else f'{len(names)} collections'}",
            "lead": f"{rows:,} rows in {len({task.cluster for task in found}):,} clusters.",
            "weighed_by": "rows",
            "unit": "tokens" if encoder else "characters",
            "tasks": shown,
            "notes": _notes(encoder, tokenizer),
            "command": f"instil tasks gallery {' '.join(names)}",
        },
    )


def mix_gallery(
    recipe: Recipe,
    out: Out,
    count: Count = 2,
    tokenizer: Tokens = None,
    licence: Licence = None,
    language: Language = None,
    data: Data = None,
    assignments: Assignments = None,
) -> None:
    """Write one HTML page to browse what a mixture trains on: shares, lengths, prompts in each of its settings.

    [bold]Example:[/bold] instil mix gallery recipes/real-mix.yaml --data ../data --out gallery.html
    """
    from instil.cli.mix import find_mixture_encoder
    from instil.mixtures.load import load_mixture

    raw = read_recipe(recipe, assignments, licence=licence, language=language)
    mixture = load_mixture(raw, data, origin=recipe)
    encoder = find_mixture_encoder(raw, tokenizer)
    with progress(len(mixture.parts), "drawing") as advance:
        shown = []
        for part in mixture.parts:
            ways = [(setting, part.templates(setting)) for setting in part.settings]
            shown.append(
                _task(
                    part.task,
                    ways,
                    float(part.share),
                    count,
                    encoder,
                    seed=mixture.spec.seed,
                    few_shot_tokens=part.asked.few_shot_tokens,
                )
            )
            advance(1)
    _write(
        out,
        {
            "eyebrow": f"instil mix gallery · {recipe}",
            "title": f"{len(shown):,} tasks, {len(mixture):,} prompts an epoch",
            "lead": "Shares are those of the mixture: how many of its prompts a task has.",
            "weighed_by": "prompts",
            "unit": "tokens" if encoder else "characters",
            "tasks": shown,
            "notes": [*mixture.remarks, *_notes(encoder, tokenizer or "the recipe's model")],
            "command": f"instil mix gallery {recipe}",
        },
    )


def _task(
    task: Task,
    ways: Sequence[tuple[Setting, Sequence[Renderer]]],
    weight: float,
    count: int,
    encoder: Encoder | None,
    *,
    seed: int = 0,
    few_shot_tokens: int = 0,
) -> GalleryTask:
    from instil.tasks.licences import licence_class

    used = [template for _, templates in ways for template in templates]
    prompts = [
        prompt
        for turn in range(count)
        for setting, templates in ways
        if templates and (prompt := _prompt(task, setting, templates, turn, encoder, seed, few_shot_tokens)) is not None
    ]
    read, written = _lengths(task, encoder)
    return {
        "task": task.name,
        "collection": task.collection,
        "cluster": task.cluster,
        "source": task.source,
        "licence": task.licence or "not stated",
        "licence_class": licence_class(task.licence),
        "language": task.language or "not stated",
        "citation": task.citation,
        "metrics": list(task.metrics),
        "remark": "For evaluation only, as its publishers ask." if task.evaluation_only else "",
        "rows": task.size,
        "weight": weight,
        "read": read,
        "written": written,
        "templates": list(_templates(used, {prompt["template"] for prompt in prompts})),
        "prompts": prompts,
    }


def _prompt(
    task: Task,
    setting: Setting,
    templates: Sequence[Renderer],
    turn: int,
    encoder: Encoder | None,
    seed: int,
    few_shot_tokens: int,
) -> GalleryPrompt | None:
    """The turn-th prompt of a task in a setting; None where none could be made."""
    from instil.mixtures.compose import compose
    from instil.mixtures.showing import describe

    first = keyed_int(seed, "gallery template", task.name, setting.name, n=len(templates))
    for attempt in range(REDRAWS):
        row = keyed_int(seed, "gallery", task.name, setting.name, turn, attempt, n=task.size)
        template = templates[(first + turn + attempt) % len(templates)]
        try:
            example = task.examples[row]
            prompt = compose(
                task, template, example, setting, seed=row, among=templates, few_shot_tokens=few_shot_tokens
            )
        except TemplateError:
            continue
        return _shown(describe(row, prompt, encoder))
    return None


def _shown(row: dict[str, Any]) -> GalleryPrompt:
    text, query = row["text"], row["input"]
    place = text.rfind(query) if query else len(text)
    start = max(place, 0)
    if "ids" in row:
        answer = [token for token, on in zip(row["tokens"], row["mask"], strict=True) if on]
        read, written = len(row["mask"]) - sum(row["mask"]), sum(row["mask"])
    else:
        answer, read, written = [row["continuation"]], len(text), len(row["continuation"])
    remarks = {
        "exemplars": "Exemplars were left out to fit the context.",
        "turns": "The oldest turns were left out to fit the context.",
        "input": "The middle of the input was cut to fit the context.",
        "answer": "The end of the answer was cut to fit the context.",
    }
    return {
        "setting": row["setting"],
        "template": row["template"],
        "example": row["example"],
        "context": text[:start],
        "query": text[start:],
        "answer": answer,
        "read": read,
        "written": written,
        "options": list(row["options"]),
        "right": row["options"].index(row["target"]) if row["target"] in row["options"] else -1,
        "remark": row["refused"] if "refused" in row else remarks.get(row.get("cut", ""), ""),
    }


def _templates(used: Iterable[Renderer], shown: set[str]) -> Iterator[GalleryTemplate]:
    """The templates that prompts were made with, and how many others there are is left to the count of names."""
    seen: set[str] = set()
    for template in used:
        if template.name not in seen:
            seen.add(template.name)
            yield {"name": template.name, "text": source_of(template) if template.name in shown else ""}


def source_of(template: Renderer) -> str:
    """A template as it is written, whatever it is wrapped in; empty where it is no text."""
    inner: Any = template
    while hasattr(inner, "inner"):
        inner = inner.inner
    if not isinstance(getattr(inner, "input", None), str):
        return ""
    parts = [inner.instruction] if inner.instruction else []
    parts.append(inner.input if inner.target is None else f"{inner.input}\n|||\n{inner.target}")
    if inner.answer_choices:
        parts.append(f"answer_choices: {inner.answer_choices}")
    return "\n\n".join(parts)


def _lengths(task: Task, encoder: Encoder | None) -> tuple[list[int], list[int]]:
    """Percentiles of how long rows spread over the task are to read and to write."""
    from instil.mixtures.duplicates import phrase

    rows = sorted({task.size * number // MEASURED for number in range(MEASURED)})
    phrased = [one for row in rows if (one := phrase(task, row)) is not None]

    def measure(texts: Sequence[str]) -> list[int]:
        if encoder is None:
            found = sorted(map(len, texts))
        else:
            coded = encoder.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            found = sorted(len(one.ids) for one in coded)
        return [found[int(share * (len(found) - 1) + 0.5)] for share in (0.05, 0.25, 0.5, 0.75, 0.95)] if found else []

    asked = ["\n\n".join(part for part in (one.instruction, one.input) if part) for one in phrased]
    return measure(asked), measure([one.target for one in phrased])


def _ways(task: Task, settings: Sequence[Setting]) -> list[tuple[Setting, Sequence[Renderer]]]:
    """The settings that a task can be shown in, with their templates; not those that change nothing for it."""
    from instil.mixtures.compose import phrasings

    pool = task.size - 1 if task.exemplars is None else len(task.exemplars)
    ways = [(setting, phrasings(task, setting)) for setting in settings if pool > 0 or not setting.shots]
    plain = [templates for setting, templates in ways if setting.name == "zero-shot"]
    return [
        (setting, templates)
        for setting, templates in ways
        if templates and not (setting.options is False and templates in plain)
    ]


def _present(data: Path | None) -> list[str]:
    """The collections that lie under the data root."""
    from instil.errors import DataError
    from instil.tasks.formats import DECLARED

    root = data or Path()
    found = [name for name, declared in DECLARED.items() if (root / declared.folder).is_dir()]
    if not found:
        raise DataError(f"no collection lies under {root}", remedy="Name the folder of the data with --data")
    return found


def _setting(name: str, kind: type[Setting]) -> Setting:
    from instil.errors import RecipeError

    try:
        return kind.parse(name)
    except ValueError as error:
        raise RecipeError(f"--setting: {error}") from None


def _notes(encoder: Encoder | None, tokenizer: str | None) -> list[str]:
    if encoder is None:
        return ["Lengths are in characters, and what is trained on is marked as a whole; --tokenizer shows tokens."]
    return [f"What is trained on is marked token by token, and lengths are in tokens, of {tokenizer}."]


def _write(out: Path, gallery: Gallery) -> None:
    from instil.reports.gallery import render_gallery

    page = render_gallery(gallery)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    empty = sum(not task["prompts"] for task in gallery["tasks"])
    if empty:
        complain("note", f"{empty:,} tasks have no row that a template can phrase")
    typer.echo(f"{out}: {len(gallery['tasks']):,} tasks, {len(page.encode()) / 1e6:.1f} MB")
