"""What became of the rows of rankings, and what is in those that are left: for a person before training, and for pages.

read 1,571 = kept 1,569 + dropped {"empty reply": 2}            always: nothing is passed over
train  1,412 rankings of 1,398 prompts   {2: 1,390, 4: 22} completions   1,522 pairs, 14 more are tied
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import comb
from typing import Any

from instil.mixtures.agreement import Agreed, Agreement
from instil.mixtures.ranking_rows import exact_key
from instil.records import Ranking
from instil.tasks.licences import licence_class, licence_name


@dataclass(frozen=True, slots=True)
class SourceRows:
    """A task that rankings come from."""

    task: str
    collection: str
    licence: str
    """As its publishers state it; may be empty."""
    citation: str
    rows: int
    """Those that its reader could use."""
    files: tuple[tuple[str, str], ...] = ()
    """What it was read from: path and SHA-256."""


@dataclass(frozen=True, slots=True)
class Side:
    """What stands on one side of the split."""

    rankings: int
    prompts: int
    completions: int
    pairs: int
    """Of different rank."""
    tied: int
    """Pairs of the same rank."""
    sizes: Mapping[int, int]
    """How many rankings have so many completions."""


def side_of(rankings: Iterable[Ranking]) -> Side:
    """The counts of some rankings."""
    listed = list(rankings)
    ties = sum(comb(count, 2) for one in listed for count in Counter(one.ranks).values())
    every = sum(comb(len(one.ranks), 2) for one in listed)
    return Side(
        len(listed),
        len({exact_key(one.messages) if one.messages else one.completions for one in listed}),
        sum(len(one.completions) for one in listed),
        every - ties,
        ties,
        dict(sorted(Counter(len(one.completions) for one in listed).items())),
    )


@dataclass(frozen=True, slots=True)
class RankingsReport:
    """The account of all rows. See the module."""

    sources: tuple[SourceRows, ...]
    read: int
    kept: int
    """Rows that stand in a ranking on any side."""
    dropped: Mapping[str, int]
    """Rows that are left out, by reason."""
    completions_dropped: Mapping[str, int]
    """Completions that are left out of rows that are not, by reason."""
    sides: Mapping[str, Side]
    """`train`, `held_out` and `held_out_annotators`."""
    rated: Side
    """What is scored and not ranked, to train on."""
    rated_held_out: Side
    scores: tuple[float, float] | None
    """The lowest and the highest score; None where nothing is scored."""
    annotators: Mapping[str, int]
    """How many rankings each gave."""
    annotators_out: tuple[str, ...]
    """Who is held out."""
    ranked_by_several: int
    """How many prompts two annotators or more ranked."""
    agreement: Agreement | None
    """Of all who ranked the same completions; None where no two did."""
    remarks: tuple[str, ...]

    @property
    def sizes(self) -> dict[int, int]:
        """How many rankings of all sides have so many completions."""
        counts: Counter[int] = Counter()
        for side in self.sides.values():
            counts.update(side.sizes)
        return dict(sorted(counts.items()))

    @property
    def tied_share(self) -> float | None:
        """The share of pairs that are tied, on all sides together; None where there are no pairs."""
        tied = sum(side.tied for side in self.sides.values())
        pairs = tied + sum(side.pairs for side in self.sides.values())
        return tied / pairs if pairs else None

    def lines(self) -> list[str]:
        """For a person, before training."""
        made = [f"{self.kept:,} of {self.read:,} rows are used{_reasons('; left out', self.dropped)}"]
        if self.completions_dropped:
            made.append(f"completions left out of rows that are used{_reasons('', self.completions_dropped)}")
        made.append("rankings: " + ", ".join(self._sides()))
        sizes = ", ".join(f"{size} ({count:,})" for size, count in self.sizes.items())
        if sizes:
            tied = self.tied_share
            ties = f"; {100 * tied:.1f}% of their pairs are tied" if tied else ""
            made.append(f"completions of a ranking (and how many have so many): {sizes}{ties}")
        if self.rated.rankings or self.rated_held_out.rankings:
            made.append(
                f"scored alone: {self.rated.completions:,} completions of {self.rated.prompts:,} prompts to train on, "
                f"{self.rated_held_out.completions:,} held out"
            )
        if self.scores is not None and not {*self.scores} <= {0.0, 1.0}:
            made.append(f"scores: from {self.scores[0]:g} to {self.scores[1]:g}, not good (1) or bad (0)")
        made.append(self._annotators())
        made.append(f"licences: {', '.join(f'{name} ({count:,} rows)' for name, count in self._licences().items())}")
        return [*made, *self.remarks]

    def _sides(self) -> list[str]:
        told = {"train": "to train on", "held_out": "held out", "held_out_annotators": "of held-out annotators"}
        sides = {name: side for name, side in self.sides.items() if side.rankings or name != "held_out_annotators"}
        return [f"{side.rankings:,} {told[name]} ({side.prompts:,} prompts)" for name, side in sides.items()]

    def _annotators(self) -> str:
        if not self.annotators:
            return "annotators: none is named"
        said = f"annotators: {len(self.annotators):,}"
        if self.ranked_by_several:
            said += f" ({self.ranked_by_several:,} prompts were ranked by several)"
        if self.annotators_out:
            said += f", held out {', '.join(self.annotators_out[:6])}{', ...' if len(self.annotators_out) > 6 else ''}"
        if (agreed := self.agreement) is None:
            return f"{said}; no two ordered the same pair, so nobody can say how far they agree"
        low, high = (f"{100 * end:.1f}%" for end in agreed.ci95)
        return (
            f"{said}; two of them agree on {100 * agreed.rate:.1f}% [{low}, {high}] of {agreed.n:,} pairs that both "
            f"order ({agreed.prompts:,} prompts)"
        )

    def _licences(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for source in self.sources:
            counts[licence_name(source.licence)] += source.rows
        return dict(counts.most_common())

    def card(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "rows": {"read": self.read, "kept": self.kept, "dropped": dict(self.dropped)},
            "completions_dropped": dict(self.completions_dropped),
            "sources": [
                {
                    "task": source.task,
                    "collection": source.collection,
                    "rows": source.rows,
                    "licence": source.licence or "not stated",
                    "licence_name": licence_name(source.licence),
                    "licence_class": licence_class(source.licence),
                    "citation": source.citation,
                    "files": [{"path": path, "sha256": sha256} for path, sha256 in source.files],
                }
                for source in self.sources
            ],
            "licences": self._licences(),
            "sides": {name: _side(side) for name, side in self.sides.items()},
            "rated": {"train": _side(self.rated), "held_out": _side(self.rated_held_out)},
            "scores": None if self.scores is None else list(self.scores),
            "completions": {str(size): count for size, count in self.sizes.items()},
            "tied_share": self.tied_share,
            "annotators": dict(sorted(self.annotators.items())),
            "held_out_annotators": list(self.annotators_out),
            "ranked_by_several": self.ranked_by_several,
            "agreement": None if self.agreement is None else _agreement(self.agreement),
            "remarks": list(self.remarks),
        }


def _reasons(before: str, counts: Mapping[str, int]) -> str:
    said = ", ".join(f"{count:,} ({reason})" for reason, count in counts.items())
    return f"{before}: {said}" if said else ""


def _side(side: Side) -> dict[str, Any]:
    return {
        "rankings": side.rankings,
        "prompts": side.prompts,
        "completions": side.completions,
        "pairs": side.pairs,
        "tied": side.tied,
        "sizes": {str(size): count for size, count in side.sizes.items()},
    }


def _agreed(agreed: Agreed) -> dict[str, Any]:
    return {"rate": agreed.rate, "n": agreed.n, "ci95": list(agreed.ci95)}


def _agreement(agreed: Agreement) -> dict[str, Any]:
    return {
        **_agreed(agreed),
        "prompts": agreed.prompts,
        "tied": agreed.tied,
        "with_ties": agreed.with_ties,
        "by_annotator": {who: _agreed(one) for who, one in agreed.by_annotator.items()},
    }
