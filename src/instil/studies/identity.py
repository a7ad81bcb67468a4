"""What a run is, by content: two runs that cannot differ have one name, so a finished run is found and not repeated.

    recipe, every default written out, without what decides nothing (its name, where its data lies, what is logged)
    + content of the model it begins from      or the name of the run it begins from
    + content of the tasks in its mixture, of the suites that it is watched by, of the text that it replays
    + code and versions of what reads, trains and answers                                      ->  "5d0c31..."

An ask is named in the same way, apart from the run: another suite is asked without tuning again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from instil.errors import RecipeError
from instil.evaluation import archive
from instil.experiments.recipe import Recipe, resolve
from instil.experiments.tune import MAY_CHANGE
from instil.fingerprint import fingerprint
from instil.mixtures.load import assemble
from instil.studies.grid import Ask, Grid, Run

if TYPE_CHECKING:
    from instil.evaluation.suite import Suite

#: What a continued run may change, and yet decides what comes out of it.
_DECIDES = ("tuning.max_steps", "tuning.evaluate_every", "tuning.patience")
_IGNORED = tuple(key for key in MAY_CHANGE if key not in _DECIDES)
#: The parts of the package that decide what a run learns.
_TRAINS = ("tasks", "mixtures", "models", "tuning")


@dataclass
class Identities:
    """Names runs and asks; what several of them share is opened once.

    Args:
        grid: the study's runs.
        data: the root of the data sets.
        threads: torch threads of each run, where its recipe says nothing: they decide the last bits.
    """

    grid: Grid
    data: Path | None
    threads: int
    _runs: dict[str, str] = field(default_factory=dict)
    _seen: dict[tuple[str, str], str] = field(default_factory=dict)
    _versions: dict[str, str] = field(default_factory=archive.versions)

    def of(self, run: Run) -> str:
        """The run's name.

        Raises:
            InstilError: if its recipe, model or data cannot be used.
        """
        if run.key not in self._runs:
            self._runs[run.key] = fingerprint(self._content(run))
        return self._runs[run.key]

    def recipe(self, run: Run) -> Recipe | None:
        """The run's recipe, whole; where it begins from another run's model, that is filled in by whoever tunes.

        Raises:
            RecipeError: if it is wrong.
        """
        if run.recipe is None:
            return None
        raw = {"name": run.key, **run.recipe}
        if run.start:
            there = raw.get("model")
            raw["model"] = {**(there if isinstance(there, Mapping) else {}), "path": f"start:{run.start}"}
        elif run.model and "model" not in raw:
            raw["model"] = run.model
        tuning = raw.get("tuning", {})
        raw["tuning"] = {"threads": self.threads, **tuning} if isinstance(tuning, Mapping) else tuning
        recipe = resolve(raw, data=self.data, origin=f"the recipe of run {run.key}")
        if recipe.evaluation.suites:
            raise RecipeError(
                f"the recipe of run {run.key} has evaluation.suites, and a study asks its runs itself",
                remedy="Name the suites in the study",
            )
        return recipe

    def ask(self, ask: Ask) -> str:
        """Names all that decides the answers to an ask, but for the model.

        Raises:
            InstilError: if its suite cannot be opened.
        """
        made_of = json.dumps([ask.suite, ask.held_out], sort_keys=True)
        found = self._once("suite", made_of, partial(_suite_content, ask, self.data))
        return fingerprint([found, ask.limit, self._versions, archive.code()])

    def _content(self, run: Run) -> list[object]:
        recipe = self.recipe(run)
        if run.start:
            begins: object = {"start": self.of(self.grid[run.start])}
        else:
            begins = {"model": self._model(run.model if recipe is None else recipe.model.path)}
        if recipe is None:
            return [begins, self._versions, code()]
        plain = _flat(recipe.model_dump(mode="json"))
        decides = {key: value for key, value in plain.items() if not _is_ignored(key)}
        return [begins, decides, self._data(recipe), _device(recipe.model.device), self._versions, code()]

    def _model(self, name: str) -> str:
        from instil.models.loading import model_fingerprint, resolve  # imports torch

        return self._once("model", name, lambda: model_fingerprint(resolve(name)))

    def _data(self, recipe: Recipe) -> list[str]:
        """The content of all that a recipe reads."""
        root = None if recipe.data is None else Path(recipe.data)
        where = str(root)
        mixture = recipe.mixture.model_dump_json()
        found = [self._once("mixture", where + mixture, lambda: assemble(recipe.mixture, data=root).fingerprint)]
        for name in (*recipe.validation.suites, *recipe.validation.watched):
            watched = Ask(name, suite=name)
            found.append(self._once("watched", where + name, partial(_suite_content, watched, root)))
        if recipe.tuning.replay_share:
            named = json.dumps([recipe.replay, recipe.model.path, where])
            found.append(self._once("text", named, partial(_text_content, recipe, root)))
        return found

    def _once(self, kind: str, name: str, make: Callable[[], str]) -> str:
        if (kind, name) not in self._seen:
            self._seen[kind, name] = make()
        return self._seen[kind, name]


def open_ask(ask: Ask, data: Path | None) -> Suite:
    """The suite that an ask names, or makes of held-out rows.

    Raises:
        InstilError: if it cannot be opened.
    """
    if ask.held_out is None:
        from instil.evaluation.spec import load_suite

        return load_suite(ask.suite, data)
    from instil.studies.target_suite import target_suite

    return target_suite(ask.held_out, data)


def _text_content(recipe: Recipe, data: Path | None) -> str:
    from instil.experiments.forgetting import text_of

    text = text_of(recipe, data)
    return "" if text is None else text.fingerprint


def _suite_content(ask: Ask, data: Path | None) -> str:
    return open_ask(ask, data).fingerprint


@cache
def code() -> str:
    """Names the code that decides what a run learns: another version may learn otherwise."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in _TRAINS:
        folder = Path(str(import_module(f"instil.{part}").__file__)).parent
        for file in sorted(folder.rglob("*.py")):
            hasher.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()


def _device(asked: str) -> str:
    """Where a run is made; numbers differ from one kind to another."""
    import torch

    return asked.partition(":")[0] if asked != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _is_ignored(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _IGNORED)


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    """{"tuning": {"seed": 1}} -> {"tuning.seed": 1}; lists stay whole."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    flat: dict[str, object] = {}
    for key, value in node.items():
        flat.update(_flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
