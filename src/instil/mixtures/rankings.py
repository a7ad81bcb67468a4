"""Rankings of completions from files of any form, split by prompt and by annotator: what is learnt from preferences.

    rankings:
      held_out: 0.1                    a tenth of the prompts
      held_out_annotators: [carol]     all that Carol ranked
      sources:
        - {collection: comparisons, path: ranked.jsonl}
        - {collection: hh-rlhf}

    open_rankings(spec, data).train[0]   Ranking(messages [user "Name a fruit."], completions ("Apple", "A chair"),
                                                 ranks (1, 2), annotator "ada")

Every ranking stands on one side:

                        prompt is trained on    prompt is held out
    other annotators    train                   held_out
    held-out ones       left out, counted       held_out_annotators        (also prompts that nobody else ranked)

The side of a prompt is a keyed hash of its text, so other rows that come or go do not move it. Conversations that begin
alike, up to the first that the user says, stand on one side together (`split_by`): a data set often has one dialogue
several times, each time a turn longer. Completions that were scored one by one (0 or 1) and belong to one prompt are a
ranking where both levels occur, and stay scored (`rated`) where only one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from instil.errors import AbsentError, DataError, RecipeError
from instil.fingerprint import fingerprint, keyed_unit
from instil.mixtures.agreement import Agreement, agreement
from instil.mixtures.ranking_rows import (
    NOT_A_RANKING,
    Dropped,
    clean,
    exact_key,
    joined,
    ranking_of,
    same_key,
    some_completions,
    split_key,
)
from instil.mixtures.rankings_report import RankingsReport, SourceRows, side_of
from instil.mixtures.spec import SourceSpec
from instil.recipe import Section
from instil.records import Message, Ranking
from instil.tasks.licences import LicenceClass

if TYPE_CHECKING:
    from instil.tasks.task import Task

REPEATS = "repeats another row"
SCORED_TWICE = "one completion with two scores"
TRAINED_PROMPT = "of a held-out annotator, and the prompt is trained on"

#: What a source of a mixture can say, and a source of rankings cannot: how prompts are phrased and weighed.
_WEIGHED = {"mixture", "share", "cap", "weights", "settings", "option_styles", "few_shot_tokens"}
_PHRASED = {"templates", "phrasings", "map"}
_FORMS = "comparisons, preference, labelled, hh-rlhf, llmbar and taskmaster-rewards are such collections"


class RankingsSpec(Section):
    """Which rankings are learnt from, and which are kept to measure with."""

    sources: list[SourceSpec] = Field(min_length=1)
    """Where they come from: `{collection: comparisons, path: ranked.jsonl}`, `{collection: hh-rlhf}`, ..."""
    seed: int = 0
    """Decides which prompts and annotators are held out."""
    held_out: float = Field(default=0.1, ge=0, lt=1, allow_inf_nan=False)
    """The share of prompts that are not trained on: with all their rankings, never a pair of them alone."""
    held_out_annotators: float | list[str] = 0.0
    """Annotators whose rankings are not trained on: a share of them (at least one, never all), or their names."""
    split_by: Literal["opening", "prompt"] = "opening"
    """What stands on one side as a whole: conversations with the same `opening`, up to the first that the user says, or
    those that are the same to their end (`prompt`), without regard to case, marks and white space."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first so many rows of each task, where its source says nothing; all by default."""
    max_completions: int | None = Field(default=None, ge=2)
    """At most so many completions of a ranking: one of the best, one of the worst and others drawn by key."""
    licence: list[LicenceClass] | None = None
    """Only sources whose licence is of these classes: permissive, copyleft, non-commercial, custom, unknown."""
    missing: Literal["error", "skip"] = "error"
    """What happens where a source is not there; `skip`: a remark."""

    @field_validator("held_out_annotators")
    @classmethod
    def _share_or_names(cls, value: float | list[str]) -> float | list[str]:
        if isinstance(value, float) and not 0 <= value < 1:
            raise ValueError("give a share from 0 to below 1, or a list of names")
        return value

    @model_validator(mode="after")
    def _rankings_alone(self) -> RankingsSpec:
        for source in self.sources:
            if foreign := sorted(source.model_fields_set & (_WEIGHED | _PHRASED)):
                raise ValueError(f"a source of rankings takes no {foreign[0]!r}: it says how tasks are asked")
        return self


@dataclass(frozen=True)
class Rankings:
    """Rankings by side. See the module."""

    train: tuple[Ranking, ...]
    held_out: tuple[Ranking, ...]
    """Of prompts that are not trained on, by the annotators who are."""
    held_out_annotators: tuple[Ranking, ...]
    """By annotators who are not trained on, of prompts that are not."""
    rated: tuple[Ranking, ...]
    """To train on where good and bad completions need not be paired: scored ones of one level, without ranks."""
    rated_held_out: tuple[Ranking, ...]
    """As `rated`, of prompts or by annotators that are held out."""
    report: RankingsReport
    seed: int = 0

    @cached_property
    def agreement(self) -> Agreement | None:
        """How far annotators agree, on all sides together; None where no two of them ordered the same pair."""
        return agreement([*self.train, *self.held_out, *self.held_out_annotators])

    @cached_property
    def fingerprint(self) -> str:
        """Names every ranking and the side that it stands on."""
        sides = (self.train, self.held_out, self.held_out_annotators, self.rated, self.rated_held_out)
        return fingerprint([[fingerprint(_content(ranking)) for ranking in side] for side in sides])

    def lines(self) -> list[str]:
        """What a person should know before training, a line each."""
        return self.report.lines(self.agreement)

    def card(self) -> dict[str, Any]:
        """Sources, licences, counts and agreement, as plain JSON: keys are added, never renamed."""
        return {"fingerprint": self.fingerprint, "seed": self.seed, **self.report.card(self.agreement)}


def prompts_of(rankings: Iterable[Ranking]) -> list[tuple[Message, ...]]:
    """The different prompts, in the order in which they are first met; rankings without one give none."""
    found = {exact_key(ranking.messages): ranking.messages for ranking in reversed(list(rankings)) if ranking.messages}
    return list(reversed(found.values()))


def open_rankings(spec: RankingsSpec, data: Path | None = None, *, strict: bool = False) -> Rankings:
    """The rankings that a spec describes.

    Args:
        spec: what to open.
        data: the folder that collections and paths are looked for in; the current folder if None.
        strict: refuse the first row that a reader cannot use, instead of counting it.

    Raises:
        RecipeError: if an annotator is to be held out who ranked nothing.
        DataError: if a source holds no rankings, or nothing is left to train on.
    """
    rows = _Rows()
    for number, source in enumerate(spec.sources):
        try:
            _read_source(rows, number, source, spec, data, strict)
        except AbsentError as error:
            if spec.missing == "error":
                raise
            rows.remarks.append(f"{source.name} was skipped: {error.message}")
    if not rows.sources:
        why = f" ({rows.remarks[0]})" if rows.remarks else ""
        raise DataError(f"no source of rankings is left{why}", remedy="Check sources, licence and the data root")
    return _arranged(rows, spec)


def arrange(
    rankings: Iterable[Ranking],
    *,
    seed: int = 0,
    held_out: float = 0.1,
    held_out_annotators: float | Sequence[str] = 0.0,
    source: str = "given",
    **rules: Any,
) -> Rankings:
    """Rankings that a program made, cleaned and split as those of files are.

    Args:
        rankings: with a rank or a score, or both, for each completion.
        seed: see `RankingsSpec`; so are the others.
        held_out: see there.
        held_out_annotators: see there.
        source: what to call where they come from.
        rules: `split_by`, `max_completions`.
    """
    who = held_out_annotators if isinstance(held_out_annotators, float | int) else list(held_out_annotators)
    given: dict[str, Any] = {"seed": seed, "held_out": held_out, "held_out_annotators": who, **rules}
    spec = RankingsSpec.model_validate({"sources": [{"collection": source}], **given})
    rows = _Rows()
    cleaned = [clean(ranking, rows.completions_dropped) for ranking in rankings]
    rows.sources.append(SourceRows(source, source, "", "", len(cleaned)))
    for one in cleaned:
        rows.add(one, 0)
    return _arranged(rows, spec)


@dataclass(slots=True)
class _Rows:
    """Rows as they are read, and an account of them."""

    kept: list[tuple[Ranking, int]] = field(default_factory=list)
    """Each with the number of its source."""
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    completions_dropped: Counter[str] = field(default_factory=Counter)
    sources: list[SourceRows] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _seen: set[tuple[object, ...]] = field(default_factory=set)

    def add(self, row: Ranking | Dropped, source: int) -> None:
        """Take a row, unless it repeats another."""
        self.read += 1
        if isinstance(row, Dropped):
            self.dropped[row.reason] += 1
            return
        if (same := same_key(row)) in self._seen:
            self.dropped[REPEATS] += 1
            return
        self._seen.add(same)
        self.kept.append((row, source))


def _read_source(
    rows: _Rows, number: int, source: SourceSpec, spec: RankingsSpec, data: Path | None, strict: bool
) -> None:
    """Read the rows of a source's tasks."""
    from instil.mixtures.filters import with_licence
    from instil.mixtures.held_out import some_examples
    from instil.mixtures.sources import open_source

    opened = open_source(source, data, skip_absent=spec.missing == "skip", strict=strict)
    rows.remarks += opened.remarks
    tasks = list(opened.tasks) if spec.licence is None else with_licence(opened.tasks, spec.licence)
    if len(tasks) < len(opened.tasks):
        rows.remarks.append(f"{source.name}: {len(opened.tasks) - len(tasks):,} tasks are left out for their licence")
    for row in opened.quarantined if tasks else ():
        rows.add(Dropped(row.reason), number)
    limit = spec.limit if source.limit is None else source.limit
    for task in tasks:
        _read_task(rows, number, task if limit is None else some_examples(task, limit))


def _read_task(rows: _Rows, number: int, task: Task) -> None:
    rankings = [ranking_of(example, task.name, rows.completions_dropped) for example in task.examples]
    if all(isinstance(one, Dropped) and one.reason == NOT_A_RANKING for one in rankings):
        raise DataError(f"{task.name} holds {NOT_A_RANKING} in none of its {len(rankings):,} rows", remedy=_FORMS)
    for one in rankings:
        rows.add(one, number)
    rows.sources.append(SourceRows(task.name, task.collection, task.licence, task.citation, len(rankings)))


def _arranged(rows: _Rows, spec: RankingsSpec) -> Rankings:
    """The rows as rankings, each on its side."""
    found = _together(rows)
    if spec.max_completions is not None:
        most, cut = spec.max_completions, sum(len(one.completions) > spec.max_completions for one, _ in found)
        found = [(some_completions(one, most, seed=spec.seed), count) for one, count in found]
        if cut:
            rows.remarks.append(f"{cut:,} rankings were cut to {most} completions (max_completions)")
    names = sorted({one.annotator for one, _ in found if one.annotator})
    out = _annotators_out(names, spec)
    keys = [split_key(one, opening=spec.split_by == "opening") for one, _ in found]
    kept_in = [keyed_unit(spec.seed, "held-out prompts", key) >= spec.held_out for key in keys]
    trained = {
        key for (one, _), key, stays in zip(found, keys, kept_in, strict=True) if stays and one.annotator not in out
    }
    sides: dict[str, list[Ranking]] = {"train": [], "held_out": [], "held_out_annotators": []}
    kept = 0
    for (one, count), key in zip(found, keys, strict=True):
        if one.annotator in out and key in trained:
            rows.dropped[TRAINED_PROMPT] += count
            continue
        kept += count
        side = "held_out_annotators" if one.annotator in out else "train" if key in trained else "held_out"
        sides[side].append(one)
    if not sides["train"]:
        raise DataError(*_nothing_left(rows, spec))
    if spec.held_out and not sides["held_out"]:
        rows.remarks.append(f"no prompt is held out: of {len(set(keys)):,} prompts none falls to the share")
    ranked = {name: tuple(one for one in side if one.ranks) for name, side in sides.items()}
    rated = {name: tuple(one for one in side if not one.ranks) for name, side in sides.items()}
    rated_out = (*rated["held_out"], *rated["held_out_annotators"])
    report = RankingsReport(
        sources=tuple(rows.sources),
        read=rows.read,
        kept=kept,
        dropped=dict(rows.dropped.most_common()),
        completions_dropped={reason: count for reason, count in rows.completions_dropped.most_common() if count},
        sides={name: side_of(side) for name, side in ranked.items()},
        rated=side_of(rated["train"]),
        rated_held_out=side_of(rated_out),
        annotators=dict(Counter(one.annotator for side in sides.values() for one in side if one.annotator)),
        annotators_out=tuple(sorted(out)),
        remarks=tuple(dict.fromkeys(rows.remarks)),
    )
    return Rankings(
        ranked["train"],
        ranked["held_out"],
        ranked["held_out_annotators"],
        rated["train"],
        rated_out,
        report,
        spec.seed,
    )


def _nothing_left(rows: _Rows, spec: RankingsSpec) -> tuple[str]:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in rows.dropped.most_common(3))
    return (f"of {rows.read:,} rows none is left to train on{f' ({reasons})' if reasons else ''}",)


def _together(rows: _Rows) -> list[tuple[Ranking, int]]:
    """Rankings with the number of rows that each is made of: completions scored one by one stand together."""
    found: list[tuple[Ranking, int]] = []
    groups: dict[tuple[int, str, str], list[Ranking]] = {}
    places: dict[tuple[int, str, str], int] = {}
    for one, source in rows.kept:
        if len(one.completions) > 1:
            found.append((one, 1))
            continue
        key = source, one.annotator, exact_key(one.messages)
        if key not in groups:
            places[key] = len(found)
            found.append((one, 0))
        groups.setdefault(key, []).append(one)
    for key, members in groups.items():
        scores: dict[str, set[float]] = {}
        for one in members:
            scores.setdefault(one.completions[0], set()).add(one.scores[0])
        certain = [one for one in members if len(scores[one.completions[0]]) == 1]
        if torn := len(members) - len(certain):
            rows.dropped[SCORED_TWICE] += torn
        if certain:
            found[places[key]] = joined(certain), len(certain)
    return [(one, count) for one, count in found if count]


def _annotators_out(names: Sequence[str], spec: RankingsSpec) -> frozenset[str]:
    """Who is held out."""
    asked = spec.held_out_annotators
    if isinstance(asked, list):
        for name in asked:
            if name not in names:
                known = f"There are {', '.join(names[:12])}" if names else "No row names an annotator"
                raise RecipeError(f"held_out_annotators: {name!r} ranked nothing", remedy=known)
        return frozenset(asked)
    if not asked:
        return frozenset()
    if len(names) < 2:
        raise RecipeError(
            f"held_out_annotators: {asked:g} of {len(names)} annotators cannot be held out",
            remedy="Say in each row who ranked (`annotator`), or leave it out",
        )
    units = {name: keyed_unit(spec.seed, "held-out annotators", name) for name in names}
    ordered = sorted(names, key=lambda name: (units[name], name))
    below = sum(units[name] < asked for name in names)
    return frozenset(ordered[: min(max(below, 1), len(names) - 1)])


def _content(ranking: Ranking) -> Mapping[str, object]:
    return {
        "messages": [[one.role, one.content, dict(one.given)] for one in ranking.messages],
        "completions": ranking.completions,
        "ranks": ranking.ranks,
        "scores": ranking.scores,
        "annotator": ranking.annotator,
    }
