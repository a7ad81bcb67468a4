"""Rankings of completions from files of any form, split by prompt and by annotator: what is learnt from preferences.

    rankings:
      held_out: 0.1                    a tenth of the prompts
      held_out_annotators: [carol]     all that Carol ranked
      sources:
        - {collection: comparisons, path: ranked.jsonl}
        - {collection: hh-rlhf}

    open_rankings(spec, data).train[0]   Ranking(messages [user "Name a fruit."], completions ("Apple", "A chair"),
                                                 ranks (1, 2), annotator "ada")

Every ranking stands on one side (`ranking_split`): training, held-out prompts, or annotators who are held out. Of
conversations that begin alike, up to the first that the user says, all stand on one side (`split_by`): a data set often
has one dialogue several times, each time a turn longer. Completions that were scored one by one (0 or 1) and belong to
one prompt are a ranking where both levels occur, and stay scored (`rated`) where only one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from instil.errors import AbsentError, DataError
from instil.fingerprint import fingerprint
from instil.mixtures.agreement import Agreement, agreement
from instil.mixtures.ranking_reading import RankingRows
from instil.mixtures.ranking_rows import exact_key, some_completions
from instil.mixtures.ranking_split import SIDES, SideName, SplitBy, alike, annotators_out, split
from instil.mixtures.rankings_report import RankingsReport, side_of
from instil.mixtures.spec import SourceSpec
from instil.recipe import Section
from instil.records import Message, Ranking
from instil.tasks.licences import LicenceClass

TRAINED_PROMPT = "of a held-out annotator, and the prompt is trained on"

#: What a source of a mixture can say, and a source of rankings cannot: how prompts are phrased and weighed.
_WEIGHED = {"mixture", "share", "cap", "weights", "settings", "option_styles", "few_shot_tokens"}
_PHRASED = {"templates", "phrasings", "map"}
_PLAIN = {name: field.get_default(call_default_factory=True) for name, field in SourceSpec.model_fields.items()}


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
    split_by: SplitBy = "opening"
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
            # a recipe with every default written out, as a run keeps it, says nothing of its own
            said = [name for name in source.model_fields_set if getattr(source, name) != _PLAIN[name]]
            if foreign := sorted({*said} & (_WEIGHED | _PHRASED)):
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

    @property
    def agreement(self) -> Agreement | None:
        """How far annotators agree, on all sides together; None where no two of them ordered the same pair."""
        return self.report.agreement

    @cached_property
    def fingerprint(self) -> str:
        """Names every ranking and the side that it stands on."""
        sides = (self.train, self.held_out, self.held_out_annotators, self.rated, self.rated_held_out)
        return fingerprint([[fingerprint(_content(ranking)) for ranking in side] for side in sides])

    def lines(self) -> list[str]:
        """What a person should know before training, a line each."""
        return self.report.lines()

    def card(self) -> dict[str, Any]:
        """Sources, licences, counts and agreement, as plain JSON: keys are added, never renamed."""
        return {"fingerprint": self.fingerprint, "seed": self.seed, **self.report.card()}


def prompts_of(rankings: Iterable[Ranking]) -> list[tuple[Message, ...]]:
    """The different prompts, in the order in which they are first met; rankings without one give none."""
    found: dict[str, tuple[Message, ...]] = {}
    for ranking in rankings:
        if ranking.messages:
            found.setdefault(exact_key(ranking.messages), ranking.messages)
    return list(found.values())


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
    rows = RankingRows()
    for number, source in enumerate(spec.sources):
        limit = spec.limit if source.limit is None else source.limit
        try:
            rows.take_source(
                source,
                number,
                data,
                limit=limit,
                licence=spec.licence,
                skip_absent=spec.missing == "skip",
                strict=strict,
            )
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
    rows = RankingRows()
    rows.take_rankings(rankings, source)
    return _arranged(rows, spec)


def _arranged(rows: RankingRows, spec: RankingsSpec) -> Rankings:
    """The rows as rankings, each on its side."""
    found = rows.together()
    agreed = agreement(one for one, _ in found)  # of all that was said, also what is cut or left out below
    if spec.max_completions is not None:
        most, cut = spec.max_completions, sum(len(one.completions) > spec.max_completions for one, _ in found)
        found = [(some_completions(one, most, seed=spec.seed), count) for one, count in found]
        if cut:
            rows.remarks.append(f"{cut:,} rankings were cut to {most} completions (max_completions)")
    out = annotators_out((one for one, _ in found), spec.held_out_annotators, seed=spec.seed)
    placed = split(
        [one for one, _ in found], seed=spec.seed, held_out=spec.held_out, annotators_out=out, by=spec.split_by
    )
    sides: dict[SideName, list[Ranking]] = {name: [] for name in SIDES}
    kept = 0
    for (one, count), side in zip(found, placed, strict=True):
        if side is None:
            rows.dropped[TRAINED_PROMPT] += count
        else:
            sides[side].append(one)
            kept += count
    if not sides["train"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in rows.dropped.most_common(3))
        raise DataError(
            f"of {rows.read:,} rows none is left to train on{f' ({reasons})' if reasons else ''}",
            remedy="Give more rankings, or hold out fewer prompts and annotators (held_out, split_by: prompt)",
        )
    rows.remarks += _remarks(sides, spec)
    scores = [score for side in sides.values() for one in side for score in one.scores]
    ranked = {name: tuple(one for one in side if one.ranks) for name, side in sides.items()}
    rated = {name: tuple(one for one in side if not one.ranks) for name, side in sides.items()}
    rated_out = (*rated["held_out"], *rated["held_out_annotators"])
    report = RankingsReport(
        sources=tuple(rows.sources),
        read=rows.read,
        kept=kept,
        dropped=dict(rows.dropped.most_common()),
        completions_dropped=dict(rows.completions_dropped.most_common()),
        sides={name: side_of(side) for name, side in ranked.items()},
        rated=side_of(rated["train"]),
        rated_held_out=side_of(rated_out),
        scores=(min(scores), max(scores)) if scores else None,
        annotators=dict(Counter(one.annotator for side in sides.values() for one in side if one.annotator)),
        annotators_out=tuple(sorted(out)),
        ranked_by_several=_by_several(ranked.values()),
        agreement=agreed,
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


def _remarks(sides: Mapping[SideName, Sequence[Ranking]], spec: RankingsSpec) -> Iterator[str]:
    """What a person should know of the split."""
    for name, count in alike(sides.items()):
        if count:
            yield (
                f"{count:,} of {len(sides[name]):,} rankings of {name} belong to conversations that begin as one that "
                "is trained on; `split_by: opening` keeps those together"
            )
    if spec.held_out and not sides["held_out"]:
        yield f"nothing is held out: no prompt falls to the share of {spec.held_out:g} (seed {spec.seed})"


def _by_several(sides: Iterable[Sequence[Ranking]]) -> int:
    """How many prompts two annotators or more ranked."""
    who: dict[str, set[str]] = {}
    for side in sides:
        for one in side:
            if one.annotator:
                who.setdefault(exact_key(one.messages), set()).add(one.annotator)
    return sum(len(names) > 1 for names in who.values())


def _content(ranking: Ranking) -> Mapping[str, object]:
    return {
        "messages": [[one.role, one.content, dict(one.given)] for one in ranking.messages],
        "completions": ranking.completions,
        "ranks": ranking.ranks,
        "scores": ranking.scores,
        "annotator": ranking.annotator,
    }
