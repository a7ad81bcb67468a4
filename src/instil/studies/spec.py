"""What one study file says; each question's `Spec` adds its own keys.

    question: should-i
    models: [pocket, pocket-seq2seq]
    recipe: {mixture: {sources: [{collection: pocket}]}, tuning: {max_steps: 300}}     # or the path of a recipe file
    seeds: [0, 1]
    suites: [pocket]
    held_in: [held_in]
    held_out: [unseen_skills]

    read_study("should-i", "quick")                                    -> a preset that ships
    read_study("should-i", "mine.yaml", ["seeds=[0,1,2]"])             -> a file, with `--set`

Every choice that the study will make is in the file (or a default here) before its first run; the page lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from instil.errors import RecipeError
from instil.mixtures.load import beside
from instil.recipe import Section, load_yaml, override, parse
from instil.studies.questions import question_of

_REMEDY = "Correct the study file; docs/studies.md lists every key"
T = TypeVar("T")


class StudySpec(Section):
    """What the studies of every question say."""

    name: str
    """What the study is called; the file's name by default."""
    question: str
    """The verb that answers it: should-i, scaling, cot, settings, sources, next."""
    recipe: dict[str, Any]
    """The base recipe: what every tuning of the study begins from, as a mapping or as the path of a recipe file. Model,
    seeds and evaluation are the study's: those of a recipe file are left aside."""
    models: list[str] = Field(min_length=1)
    """The models that it is asked of: installed names, folders or hub names. `--model` overrides it."""
    seeds: list[int] = Field(default=[0], min_length=1)
    """The seeds of each arm. With one, intervals do not cover chance in training."""
    data: str | None = None
    """The folder that the paths of mixture and suites start from; `--data` overrides it."""
    suites: list[str] = Field(default_factory=list)
    """Names of suites, or suite files (from the study file or the working folder), that tuned models and bases are
    asked."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many examples of a task; what the suite says by default."""
    held_in: list[str] = Field(default_factory=list)
    """Groups of those suites whose tasks are trained on."""
    held_out: list[str] = Field(default_factory=list)
    """Groups of those suites that no training sees."""
    overlap: float = Field(default=0.1, ge=0.0, le=1.0)
    """The largest share of the held-out items that may stand word for word, with their answer, in rows that are trained
    on, whatever the template: more is refused. `recipe.mixture.decontaminate` drops such rows."""
    smallest_gain: float = Field(default=0.02, ge=0.0, le=1.0)
    """The smallest gain that would matter, as a share: an interval that lies below it is a "no"."""
    pretraining_tokens: dict[str, int] = Field(default_factory=dict)
    """By model: how many tokens it was pre-trained on, to put tuning's cost beside it. The embedded bases know."""
    notes: list[str] = Field(default_factory=list)
    """Sentences for the page's method: how a choice of this file came about, such as after a trial. They decide
    nothing."""
    workers: int | None = Field(default=None, ge=1)
    """Runs at a time; as many as the cores allow by default."""
    threads: int = Field(default=1, ge=1)
    """Torch threads of a run. It decides the last bits of a result, so it is part of what names a run."""

    @field_validator("models", "seeds", "suites", "held_in", "held_out")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if twice := _first_repeated(values):
            raise ValueError(f"{twice[0]!r} stands there twice")
        return values

    @field_validator("held_out")
    @classmethod
    def _on_one_side(cls, groups: list[str], given: ValidationInfo) -> list[str]:
        if both := next((group for group in groups if group in given.data.get("held_in", ())), None):
            raise ValueError(f"group {both!r} stands under held_in too: it is trained on, or it is not")
        return groups

    def recipe_for(self, model: str, seed: int, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The base recipe as plain data for one run: its model, its seed, and keys that differ, written with dots.

        recipe_for("pocket", 1, {"tuning.max_steps": 40}) -> {"name": ..., "model": {"path": "pocket"}, "seed": 1, ...}
        """
        raw = override(self.recipe, [])  # a copy that shares nothing
        raw |= {"name": self.name, "seed": seed, "model": {**_mapping(raw.get("model")), "path": model}}
        for part in ("mixture", "tuning"):  # a seed of their own would make every seed of the study the same run
            if isinstance(raw.get(part), dict):
                raw[part].pop("seed", None)
        if self.data is not None:
            raw["data"] = self.data
        for key, value in (changes or {}).items():
            _put(raw, key.split("."), value)
        return raw


def _mapping(model: Any) -> dict[str, Any]:
    return dict(model) if isinstance(model, Mapping) else {}


def _put(node: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    node[keys[-1]] = value


def _first_repeated(values: Iterable[T]) -> tuple[T] | None:
    seen: list[T] = []
    for value in values:
        if value in seen:
            return (value,)
        seen.append(value)
    return None


def presets(question: str) -> dict[str, Path]:
    """The presets that ship for a question, by name: `presets/should-i-quick.yaml` is its `quick`."""
    folder = Path(str(files("instil.studies") / "presets"))
    found = sorted(folder.glob(f"{question}-*.yaml"))
    return {path.stem.removeprefix(f"{question}-"): path for path in found}


def read_study(
    question: str,
    given: str | Path,
    assignments: Sequence[str] = (),
    *,
    models: Sequence[str] = (),
    data: Path | None = None,
    parsed: Callable[[StudySpec], None] = lambda spec: None,
) -> StudySpec:
    """The study in a file or preset, with `--set`, `--model` and `--data` applied, its base recipe checked.

    Args:
        question: the verb, as in should-i.
        given: a study file (`*.yaml`), or the name of a preset.
        assignments: overrides, as in `seeds=[0,1]` or `recipe.tuning.max_steps=50`.
        models: the models to ask it of, instead of the file's.
        data: the root of the data, instead of the file's.
        parsed: is given the study before its base recipe is checked, which imports torch.

    Raises:
        RecipeError: if the file, a key, an override or the base recipe is wrong; the message names the nearest key.
    """
    path = _file(question, given)
    raw: dict[str, Any] = {"name": path.stem, "question": question, **load_yaml(path)}
    if raw["question"] != question:
        raise RecipeError(
            f"{path} is a study of {raw['question']!r}, not of {question!r}",
            remedy=f"Write `instil study {raw['question']} {path}`",
        )
    if raw.get("recipe") is None:
        raw.pop("recipe", None)  # a key that is missing, and not one of the wrong kind
    else:
        raw["recipe"] = _inlined(raw["recipe"], path)
    if isinstance(suites := raw.get("suites"), list):
        raw["suites"] = [_beside(one, path.parent) for one in suites]
    raw = override(raw, assignments)
    if models:
        raw["models"] = list(models)
    if data is not None:
        raw["data"] = str(data)
    origin = str(path) + (" with --set" if assignments else "")
    spec: StudySpec = parse(question_of(question).Spec, raw, origin=origin, remedy=_REMEDY)
    parsed(spec)
    _check_recipe(spec, origin)
    return spec


def _file(question: str, given: str | Path) -> Path:
    """The file of a preset, or the file itself."""
    if isinstance(given, Path) or Path(given).suffix in (".yaml", ".yml"):
        return Path(given)
    shipped = presets(question)
    if given not in shipped:
        if Path(given).exists():
            raise RecipeError(f"{given} is no study file", remedy="A study file ends in .yaml")
        raise RecipeError(
            f"study {question} has no preset {given!r}",
            remedy=f"Its presets are {', '.join(shipped) or '(none)'}; a file of your own ends in .yaml",
        )
    return shipped[given]


def _beside(suite: Any, folder: Path) -> Any:
    """A suite file that lies beside the study file is named by its path; anything else is a suite's name."""
    return str(folder / suite) if isinstance(suite, str) and (folder / suite).is_file() else suite


def _inlined(recipe: Any, path: Path) -> Any:
    """The base recipe as a mapping, whose template files lie where they lie from the file that names them."""
    folder = path.parent
    if isinstance(recipe, str):
        file = folder / recipe
        recipe, folder = load_yaml(file), file.parent
        recipe.pop("evaluation", None)
    if isinstance(recipe, dict) and isinstance(recipe.get("mixture"), dict):
        recipe = {**recipe, "mixture": beside(recipe["mixture"], folder)}
    return recipe


def _check_recipe(spec: StudySpec, origin: str) -> None:
    """Refuse a base recipe that no run could be made from, or that does itself what the study does."""
    if evaluated := spec.recipe.get("evaluation"):
        raise RecipeError(
            f"{origin}: recipe.evaluation says {evaluated!r}, but the study evaluates",
            remedy="Leave it out, and list suites under `suites`",
        )
    from instil.experiments.recipe import resolve  # imports torch

    resolve(spec.recipe_for(spec.models[0], spec.seeds[0]), origin=f"{origin}, recipe")
