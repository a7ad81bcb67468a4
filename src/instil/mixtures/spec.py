"""What a recipe says under `mixture:`.

    mixture:
      seed: 7
      temperature: 2
      settings: {zero-shot: 0.5, few-shot-3: 0.5}
      sources:
        - {collection: ni, tasks: [splits/default/train_tasks.txt], cap: 5000, share: 0.7}
        - {collection: cot, cap: 100000, share: 0.3, settings: {zero-shot-cot: 1}}

A file of one's own is a source as well: `{collection: jsonl, path: my.jsonl, map: {inputs: question}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

from pydantic import Field, field_validator, model_validator

from instil.mixtures.settings import Setting
from instil.recipe import Section


def _known_settings(weights: Mapping[str, float] | None) -> Mapping[str, float] | None:
    if weights is None:
        return None
    if not weights:
        raise ValueError("settings is empty; write for example {zero-shot: 1}")
    for name, weight in weights.items():
        Setting.parse(name)
        if not 0 < weight < float("inf"):
            raise ValueError(f"setting {name!r} needs a positive weight")
    return weights


class SourceSpec(Section):
    """Tasks that come from one place, and how much of the mixture they are."""

    collection: str
    """Name of the collection: `ni`, `cot`, `p3`, `jsonl`, `pocket`, ... (`instil tasks list` names all)."""
    path: str | None = None
    """Folder or file to read instead of the collection's usual place, relative to the data root."""
    tasks: list[str] | None = None
    """Which tasks: names, patterns such as `task12*`, or a file that lists a name a line; all by default."""
    exclude: list[str] = Field(default_factory=list)
    """Tasks to leave out: names or patterns."""
    templates: str | None = None
    """For the collection `promptsource`: the file of templates that phrases the rows at `path`."""
    share: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Share of the prompts. Where every source has one, only their ratio matters. Where some have none, shares are
    fractions below 1, and what they leave over is split among the others by size. By default all goes by size."""
    cap: int | None = Field(default=None, ge=1)
    """At most so many examples of a task count towards its weight (all are used); the mixture's `cap` by default."""
    settings: dict[str, float] | None = None
    """Weight of each setting, for example {zero-shot: 0.5, few-shot-3: 0.5}; the mixture's `settings` by default.
    A setting that a task cannot be shown in (no CoT template, no row for exemplars) falls away for that task."""
    map: dict[str, str] = Field(default_factory=dict)
    """For rows of one's own: which column stands for inputs, targets and options, as in {inputs: question}."""

    _settings = field_validator("settings")(_known_settings)


class MixtureSpec(Section):
    """Which tasks are trained on, in which proportions, and how their prompts look."""

    sources: list[SourceSpec] = Field(min_length=1)
    """Where the tasks come from."""
    seed: int = 0
    """Decides the order of tasks and examples, and every choice of template, setting and exemplar."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """A task's weight is min(cap, number of examples) to the power 1 / temperature. 1 (default): examples-proportional;
    larger values bring tasks closer to equal weight."""
    cap: int | None = Field(default=None, ge=1)
    """At most so many examples of a task count towards its weight, where its source says nothing; no cap by default."""
    settings: dict[str, float] = Field(default_factory=lambda: {"zero-shot": 1.0})
    """Weight of each setting, where a source says nothing. Zero-shot by default, as most users' own prompts are."""

    _settings = field_validator("settings")(_known_settings)

    @model_validator(mode="after")
    def _shares_leave_room(self) -> MixtureSpec:
        given = [source.share for source in self.sources if source.share is not None]
        if given and len(given) < len(self.sources) and sum(given) >= 1:
            raise ValueError(
                f"the shares sum to {sum(given):g} and {len(self.sources) - len(given)} source(s) have none: "
                "give every source a share, or shares that leave something below 1"
            )
        return self

    def settings_of(self, source: SourceSpec) -> dict[Setting, Fraction]:
        """The settings of a source with their weights, in the order written."""
        weights = self.settings if source.settings is None else source.settings
        return {Setting.parse(name): _exact(weight) for name, weight in weights.items()}

    def task_weights(self, sizes: Sequence[Sequence[int]]) -> list[list[Fraction]]:
        """The weight of every task of every source: exact numbers, so that all platforms agree on every prompt.

        Args:
            sizes: for each source, the number of examples of each of its tasks.
        """
        tempered = [
            [self._tempered(self.capped(source, size)) for size in inner]
            for source, inner in zip(self.sources, sizes, strict=True)
        ]
        shares = [None if source.share is None else _exact(source.share) for source in self.sources]
        free = sum((sum(inner) for inner, share in zip(tempered, shares, strict=True) if share is None), Fraction(0))
        left = 1 - sum((share for share in shares if share is not None), Fraction(0))
        weights = []
        for inner, share in zip(tempered, shares, strict=True):
            factor = left / free if share is None else share / sum(inner)
            weights.append([weight * factor for weight in inner])
        return weights

    def capped(self, source: SourceSpec, size: int) -> int:
        """How many of a task's `size` examples count towards its weight."""
        cap = self.cap if source.cap is None else source.cap
        return size if cap is None else min(cap, size)

    def _tempered(self, size: int) -> Fraction:
        if self.temperature == 1:
            return Fraction(size)
        # Decimal, because the last digit of a float power differs between C libraries.
        with localcontext(prec=28):
            return Fraction(Decimal(size) ** (1 / Decimal(repr(self.temperature))))


def _exact(number: float) -> Fraction:
    """The number as written: 0.1 is one tenth."""
    return Fraction(Decimal(repr(number)))
