"""Whether what a study calls held out stands in what it trains on, before anything is trained.

    held-out groups of the suites   146 items
    the base recipe's mixture       268,100 rows, whatever their templates
    word for word in a row          9 items, 6.2%      of pocket/unseen-skills/does_what 5 of 6, ...

More than the study allows (`overlap`) is refused, with the numbers. Rows are looked at once and what was found is kept
beside the collections (`INSTIL_CACHE`), so that a process may look ahead (`early`). Test rows that should-i draws
itself are looked for alike: in the rows of their own task they are not even asked (`target_suite`), but another task
may say the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instil.errors import DataError
from instil.fingerprint import fingerprint
from instil.mixtures.dropped import bar
from instil.mixtures.spec import MixtureSpec
from instil.recipe import parse
from instil.runs import write_json
from instil.tasks import cache as task_cache

if TYPE_CHECKING:
    from instil.evaluation.suite import Suite
    from instil.mixtures.mixture import Mixture
    from instil.studies.spec import StudySpec

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Items of a suite that stand in the rows of a mixture."""

    suite: str
    items: int
    """That were looked for."""
    rows: int
    """That were looked at."""
    found: dict[str, int]
    """By the items' task: how many stand in a row word for word."""
    given: str = ""
    """What the study calls the suite: the name or the path that `decontaminate` takes."""
    tasks: int = 0
    """Held-out tasks of the suite."""
    trained: tuple[str, ...] = ()
    """Those that the mixture holds by name, with other rows or templates: held out by template, or by mistake."""

    @property
    def share(self) -> float:
        """Of the items."""
        return sum(self.found.values()) / max(1, self.items)

    def told(self) -> str:
        """In words."""
        both = f"of its {self.tasks:,} held-out tasks the mixture holds {len(self.trained):,} by name"
        worst = ", ".join(f"{task} ({count:,})" for task, count in Counter(self.found).most_common(3))
        return (
            f"{sum(self.found.values()):,} of {self.items:,} held-out items of {self.suite} ({self.share:.1%}) stand "
            f"word for word in the {self.rows:,} rows that are trained on"
            + (f": of {worst}" if worst else "")
            + (f"; {both}" if self.trained else "")
        )


def refuse_overlap(spec: StudySpec, say: Say = lambda line: None) -> list[Overlap]:
    """See that what is called held out is not trained on; what was found, for the page.

    Args:
        spec: the study.
        say: is told what was found where the study allows it.

    Raises:
        DataError: if more held-out items stand in the training rows than the study allows.
    """
    found = overlaps(spec)
    for overlap in found:
        if overlap.share > spec.overlap:
            drop = f"Drop such rows with recipe.mixture.decontaminate: [{overlap.given}]"
            raise DataError(
                f"{overlap.told()}, and the study allows {spec.overlap:.1%}",
                remedy=f"{drop if overlap.given else 'Take other targets'}, or allow more with `overlap`",
            )
        if overlap.found or overlap.trained:
            say(f"{overlap.told()}; the study allows {spec.overlap:.1%}")
    return found


def overlaps(spec: StudySpec) -> list[Overlap]:
    """What stands in the base recipe's mixture, suite by suite; nothing where the study holds nothing out."""
    from instil.evaluation.suite import Suite
    from instil.mixtures.load import assemble

    data = None if spec.data is None else Path(spec.data)
    asked = list(_held_out(spec, data))
    if not asked:
        return []
    section = spec.recipe_for(spec.models[0], spec.seeds[0]).get("mixture", {})  # alone: a recipe imports torch
    mixture = assemble(parse(MixtureSpec, section, origin=f"study {spec.name}, recipe.mixture"), data=data)
    trained = {task.name for task in mixture.tasks}
    found = []
    for given, suite, groups in asked:
        cells = tuple(cell for cell in suite.cells if set(cell.groups) & set(groups))
        if cells:
            names = dict.fromkeys(cell.task.name for cell in cells)
            both = tuple(name for name in names if name in trained)
            one = _overlap(Suite(suite.name, cells, seed=suite.seed), mixture)
            found.append(replace(one, given=given, tasks=len(names), trained=both))
    return found


def _held_out(spec: StudySpec, data: Path | None) -> Iterator[tuple[str, Suite, Sequence[str]]]:
    """(what `decontaminate` would take, the suite, which of its groups are held out) of all that a study asks."""
    from instil.evaluation.spec import load_suite
    from instil.studies.questions import question_of

    drawn = getattr(question_of(spec.question), "held_out_rows", None)
    if drawn is not None:
        yield "", drawn(spec), ["held_out"]
    for name in spec.suites if spec.held_out else ():
        yield name, load_suite(name, data), spec.held_out


def _overlap(suite: Suite, mixture: Mixture) -> Overlap:
    from instil.evaluation import archive

    tasks: Sequence[Any] = mixture.tasks
    folder = task_cache.folder()
    names = [[task.name, task.fingerprint] for task in tasks]
    mark = fingerprint([suite.fingerprint, names, archive.code()])
    place = None if folder is None else folder / f"overlap-{mark}.json"
    if place is not None:
        with suppress(OSError, ValueError, TypeError):  # damaged: look anew
            return Overlap(**json.loads(place.read_text("utf-8")))
    made = _look(suite, tasks)
    if place is not None:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, asdict(made))
    return made


def _look(suite: Suite, tasks: Sequence[Any]) -> Overlap:
    """One pass over all rows."""
    from instil.evaluation.suite_questions import questions_of
    from instil.mixtures.leaks import Leaks
    from instil.mixtures.leaky import leaky_rows

    asked = questions_of(suite)
    if not asked.questions:
        return Overlap(suite.name, 0, 0, {})
    exact: set[int] = set()
    rows = sum(len(task.examples) + len(task.exemplars or ()) for task in tasks)
    with bar(rows, f"looking for held-out items of {suite.name}") as progress:
        for found in leaky_rows(tasks, Leaks(asked.questions, near=False), progress=progress):
            exact |= {leak.question for leak in found.leaks if leak.kind == "exact"}
    of_task = Counter(asked.questions[number].task for number in exact)
    return Overlap(suite.name, len(asked.questions), rows, dict(sorted(of_task.items())))
