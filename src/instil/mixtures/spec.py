"""What a recipe says under `mixture:`.

    mixture:
      seed: 7
      temperature: 2
      settings: {zero-shot: 0.5, few-shot-3: 0.5}
      sources:
        - {collection: ni, tasks: [splits/default/train_tasks.txt], cap: 5000, share: 0.7}
        - {collection: cot, cap: 100000, share: 0.3, settings: {zero-shot-cot: 1}}

A file of one's own is a source as well: `{collection: jsonl, path: my.jsonl, map: {inputs: question}}`; so is a whole
other mixture, whose own shares, caps and settings act inside it: `{mixture: cot.yaml, share: 0.05}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from instil.mixtures.option_styles import style_names
from instil.mixtures.settings import Setting
from instil.recipe import Section
from instil.tasks.licences import LicenceClass


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


def _known_styles(names: list[str] | None) -> list[str] | None:
    return None if names is None else list(style_names(names))


def _positive_weights(weights: Mapping[str, float]) -> Mapping[str, float]:
    for pattern, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise ValueError(f"{pattern!r} needs a positive weight; leave tasks out with `exclude`")
    return weights


class SourceSpec(Section):
    """Tasks that come from one place, and how much of the mixture they are."""

    collection: str = ""
    """Name of the collection: `ni`, `cot`, `p3`, `jsonl`, `pocket`, ... (`instil tasks list` names all)."""
    mixture: str | None = None
    """In place of a collection: a recipe file, looked for beside this recipe, then from the working folder. Its own
    shares, caps and settings act inside; its seed does not."""
    path: str | None = None
    """Folder or file to read instead of the collection's usual place, relative to the data root."""
    config: str | None = None
    """For the collection `hub`: the configuration of the data set."""
    split: str | None = None
    """For the collection `hub`: the split, `train` by default."""
    revision: str | None = None
    """For the collection `hub`: the commit, tag or branch of the data set."""
    where: dict[str, str | list[str]] = Field(default_factory=dict)
    """For the collection `hub`: only rows whose columns hold these values, as in {template_type: zs_opt}."""
    task_column: str | None = None
    """For the collection `hub`: the column that names the task of a row, where a data set holds many."""
    catalogue: str | None = None
    """Says cluster, licence, language and citation of tasks whose files do not: `flan-2021`, ..., or a YAML file."""
    tasks: list[str] | None = None
    """Which tasks: names, patterns such as `task12*`, or a file that lists a name a line; all by default."""
    clusters: list[str] | None = None
    """Only tasks of these clusters: names or patterns, such as `*Sentiment*`."""
    exclude: list[str] = Field(default_factory=list)
    """Tasks to leave out: names or patterns."""
    templates: str | None = None
    """A file of templates that phrase the rows, in place of the collection's own."""
    phrasings: list[str] | None = None
    """Which templates to use: names or patterns; all by default. Tasks left without a template are left out."""
    share: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        json_schema_extra={
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
                {"type": "null"},
            ]
        },
    )
    """Share of the prompts, or several by name ({A: 52, B: 46}: see `proportions`). Where every source has one, only
    their ratio matters. Where some have none, shares are fractions below 1, and what they leave over is split among the
    others by size. By default all goes by size."""
    cap: int | None = Field(default=None, ge=1)
    """At most so many examples of a task count towards its weight (all are used); the mixture's `cap` by default."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many examples of each task; the mixture's `limit` by default."""
    weights: dict[str, float] = Field(default_factory=dict)
    """How the source's part is split among its tasks, in place of their sizes: {"task1*": 2, "*": 1}. The first pattern
    that fits a task is its own, and every task needs one."""
    settings: dict[str, float] | None = None
    """Weight of each setting, for example {zero-shot: 0.5, few-shot-3: 0.5}; the mixture's `settings` by default.
    A setting that a task cannot be shown in (no CoT template, no row for exemplars) falls away for that task."""
    option_styles: list[str] | None = None
    """How listed options may look, one drawn for each prompt; all styles by default."""
    few_shot_tokens: int = Field(default=0, ge=0)
    """At most so many tokens for a few-shot prompt, by leaving out exemplars; 0: as many as the context holds."""
    map: dict[str, str] = Field(default_factory=dict)
    """For rows of one's own: which column stands for inputs, targets and options, as in {inputs: question}."""

    _settings = field_validator("settings")(_known_settings)
    _weights = field_validator("weights")(_positive_weights)
    _option_styles = field_validator("option_styles")(_known_styles)

    @model_validator(mode="after")
    def _one_place(self) -> SourceSpec:
        if bool(self.collection) == (self.mixture is not None):
            raise ValueError("give a `collection`, or the recipe file of a `mixture`, and not both")
        if self.mixture is not None and (foreign := self.model_fields_set - {"mixture", "share", "collection"}):
            raise ValueError(f"a nested mixture takes no {min(foreign)!r}: write it in {self.mixture}")
        return self

    @property
    def name(self) -> str:
        """The collection, or the file of the nested mixture."""
        return self.collection or str(self.mixture)


class HoldOut(Section):
    """Tasks that are kept out of the mixture, so that they can be asked about afterwards."""

    tasks: list[str] = Field(default_factory=list)
    """Names, patterns, or files that list a name a line."""
    clusters: list[str] = Field(default_factory=list)
    """Whole clusters: names or patterns."""
    examples: int = Field(default=0, ge=0)
    """Of every task that stays: so many examples, drawn by key, that are not trained on but asked while training
    (`validation`); at most half of a task's. `limit` counts what is left."""
    siblings: Literal["flan-v1"] | dict[str, list[str]] = Field(default_factory=dict)
    """Clusters that are too close to be trained on where one is held out: {nli: [paraphrase]}, or `flan-v1`."""


class Subset(Section):
    """A random part of the tasks. A smaller part of the same draw lies within a larger one."""

    tasks: int = Field(ge=1)
    """How many tasks."""
    draw: int = 0
    """Which draw: other numbers give other tasks."""
    stratified: bool = False
    """Whether every cluster gives its share of the tasks, as far as whole tasks allow."""


class MixtureSpec(Section):
    """Which tasks are trained on, in which proportions, and how their prompts look."""

    sources: list[SourceSpec] = Field(min_length=1)
    """Where the tasks come from."""
    seed: int = 0
    """Decides the order of tasks and examples, and every choice of template, setting and exemplar."""
    proportions: str | None = None
    """Which of the named shares of its sources hold, for recipes that were published with several."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """A task's weight is min(cap, number of examples) to the power 1 / temperature. 1 (default): examples-proportional;
    larger values bring tasks closer to equal weight."""
    cap: int | None = Field(default=None, ge=1)
    """At most so many examples of a task count towards its weight, where its source says nothing; no cap by default."""
    large_set: int | None = Field(default=None, ge=1)
    """T0's rule, in place of a cap: each (task, template) counts with all its examples, but those of a data set of
    more than so many examples (500,000 in T0) count as so many together. Tasks of one data set name one `source`."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many examples of each task, where its source says nothing; all by default."""
    limit_draw: int | None = None
    """Which examples a `limit` leaves: so many of this keyed draw, those of a smaller limit among those of a larger
    one. The first ones by default."""
    balance: Literal["tasks", "clusters"] = "tasks"
    """`clusters`: among the tasks that compete by size (those of one source with a share; those of all sources without
    one together) every cluster weighs the same, and a cluster's tasks share its weight by size."""
    minimum: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    """The least share of a task; tasks below it are raised to it, and the others pay in proportion."""
    settings: dict[str, float] = Field(default_factory=lambda: {"zero-shot": 1.0})
    """Weight of each setting, where a source says nothing. Zero-shot by default, as most users' own prompts are."""
    hold_out: HoldOut = Field(default_factory=HoldOut)
    """Tasks and clusters that are kept out."""
    subset: Subset | None = None
    """Only a random part of the tasks, for studies of their number."""
    templates_per_task: int | None = Field(default=None, ge=1)
    """At most so many templates of each task, and of each kind (direct, chain of thought, inverted), drawn by key for
    every task by itself; all by default. What fewer keep, more keep too."""
    templates_draw: int = 0
    """Which draw of templates: other numbers give other ones."""
    licence: list[LicenceClass] | None = None
    """Only tasks whose licence is of these classes: permissive, copyleft, non-commercial, custom, unknown."""
    language: list[str] | None = None
    """Only tasks in these languages: names or codes, such as `English` or `de`."""
    missing: Literal["error", "skip"] = "error"
    """What happens where a source or a named task is not there; `skip`: a remark, and the others share its part."""
    duplicates: Literal["keep", "drop-exact", "drop-near"] = "keep"
    """Whether rows that repeat another row of the mixture are left out."""
    decontaminate: list[str] = Field(default_factory=list)
    """Suites, by name or file: rows that hold one of their items, word for word, nearly or in good part, are left out
    (`instil contamination` says which and why)."""

    shuffle: Literal["targets", "tasks"] | None = None
    """A control, not a way to tune: every prompt gets the target of another row. `targets`: of its own task; `tasks`:
    of another task, so that instruction and answer do not belong together. What is held out stays as it is."""

    _settings = field_validator("settings")(_known_settings)

    @model_validator(mode="before")
    @classmethod
    def _named_shares(cls, raw: Any) -> Any:
        """Each source with the one of its named shares that `proportions` chooses."""
        sources = raw.get("sources") if isinstance(raw, Mapping) else None
        if not isinstance(sources, list):
            return raw
        chosen = raw.get("proportions")
        named = [source["share"] for source in sources if isinstance(source, Mapping) and _is_named(source)]
        offered = list(dict.fromkeys(name for shares in named for name in shares))
        if chosen is None and not named:
            return raw
        if not all(chosen in shares for shares in named) or not named:
            said = f"proportions {chosen!r} are not named by every source" if named else "no source names its shares"
            raise ValueError(f"{said}; " + (f"there are {', '.join(offered)}" if named else "leave proportions out"))
        held = [{**one, "share": one["share"][chosen]} if _is_named(one) else one for one in sources]
        return {**raw, "sources": held}

    @model_validator(mode="after")
    def _rules_agree(self) -> MixtureSpec:
        given = [source.share for source in self.sources if source.share is not None]
        if given and len(given) < len(self.sources) and sum(given) >= 1:
            raise ValueError(
                f"the shares sum to {sum(given):g} and {len(self.sources) - len(given)} source(s) have none: "
                "give every source a share, or shares that leave something below 1"
            )
        if self.large_set is not None and self.cap is not None:
            raise ValueError("cap and large_set are two rules for the same; give one")
        nested = [source.name for source in self.sources if source.mixture is not None and source.share is None]
        if self.balance == "clusters" and nested:
            raise ValueError(f"balance: clusters cannot weigh the mixture {nested[0]} by size; give it a share")
        return self

    def settings_of(self, source: SourceSpec) -> dict[Setting, Fraction]:
        """The settings of a source with their weights, in the order written."""
        weights = self.settings if source.settings is None else source.settings
        return {Setting.parse(name): exact(weight) for name, weight in weights.items()}

    def capped(self, source: SourceSpec, size: int) -> int:
        """How many of a task's `size` examples count towards its weight."""
        cap = self.cap if source.cap is None else source.cap
        return size if cap is None else min(cap, size)


def _is_named(source: Any) -> bool:
    return isinstance(source, Mapping) and isinstance(source.get("share"), Mapping)


def exact(number: float) -> Fraction:
    """The number as written: 0.1 is one tenth."""
    return Fraction(Decimal(repr(number)))
