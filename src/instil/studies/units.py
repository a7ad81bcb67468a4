"""What is carried out: the runs of a grid that are one by content are one unit, with all that they are asked.

    runs/5d0c31.../    recipe.yaml metrics.jsonl ...    of tuning, as in every run folder
                       tuned.json                       {"facts": {"steps": 40, ...}}: tuning is done
                       asks/held-out-91ab03f2/          results.json samples.jsonl
                       model/                           where something begins from it, or it is small

An ask is answered where its results stand: they are written last, and what they answer is in the folder's name.

`survey` says of each what is there already: nothing, a model that was asked something else, or everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instil.studies.grid import Ask, Grid
from instil.studies.identity import Identities

if TYPE_CHECKING:
    from instil.experiments.recipe import Recipe

TUNED = "tuned.json"
#: Prompts asked that take as long as one prompt trained on, roughly: answers are written token by token.
_ASKED_AS_TRAINED = 2.0
_ASKED_BY_DEFAULT = 500


@dataclass
class Unit:
    """One tuning, or one model as it is, with its asks."""

    identity: str
    folder: Path
    recipe: Recipe | None
    model: str
    """The model that is asked, where there is no recipe and no start."""
    start: str = ""
    """The identity of the unit that it begins from."""
    runs: list[str] = field(default_factory=list)
    """The keys of its runs, the first of which stands for it."""
    asks: dict[str, Ask] = field(default_factory=dict)
    """By the name of their folder."""
    named: dict[str, str] = field(default_factory=dict)
    """What an ask is -> the name of its folder."""
    keeps_model: bool = False
    """Whether its model stays however large it is: it was asked for, or something begins from it."""

    @property
    def key(self) -> str:
        """What it is called to a person."""
        return self.runs[0]

    @property
    def model_folder(self) -> Path:
        """Where its tuned model is, while it is there."""
        return self.folder / "model"

    def folder_of(self, ask: Ask) -> Path:
        """Where the answers to an ask stand."""
        return self.folder / "asks" / self.named[_plain(ask)]

    def unanswered(self) -> dict[str, Ask]:
        """The asks that have no results yet."""
        return {name: ask for name, ask in self.asks.items() if not self.results(name).is_file()}

    def results(self, ask: str) -> Path:
        """The results of an ask, by the name of its folder."""
        return self.folder / "asks" / ask / "results.json"

    @property
    def is_tuned(self) -> bool:
        """Whether nothing is left to learn."""
        return self.recipe is None or (self.folder / TUNED).is_file()

    @property
    def needs_start(self) -> bool:
        """Whether the model that it begins from is needed for what is left to do."""
        return bool(self.start) and (self.recipe is None or not self.has_model)

    @property
    def has_model(self) -> bool:
        """Whether its model can be asked, or begun from."""
        return self.recipe is None or (self.is_tuned and (self.model_folder / "config.json").is_file())

    def facts(self) -> dict[str, Any]:
        """What tuning noted; what the asks know of the model, where there was none."""
        found: dict[str, Any] = {}
        for name in self.asks:
            about = _json(self.results(name)).get("model", {})
            found |= {key: about[key] for key in ("architecture", "parameters") if key in about}
        return {**found, **_json(self.folder / TUNED).get("facts", {})}

    def weight(self) -> float:
        """How long it takes beside others, where nobody measured: prompts read or answered."""
        trained = 0 if self.recipe is None else self.recipe.tuning.max_steps * self.recipe.tuning.prompts_per_step
        asked = sum(ask.limit or _ASKED_BY_DEFAULT for ask in self.asks.values())
        return trained + _ASKED_AS_TRAINED * asked


def ask_folder(ask: Ask, identities: Identities) -> str:
    """`held-out-91ab03f2`: studies that share runs may ask different things by one name."""
    return f"{ask.name.replace('/', '-')}-{identities.ask(ask)[:8]}"


def units_of(grid: Grid, runs: Path, *, data: Path | None, threads: int) -> dict[str, Unit]:
    """The units of a grid by identity, each after the one that it begins from.

    Raises:
        InstilError: if a recipe, a model, a mixture or a suite cannot be used.
    """
    identities = Identities(grid, data, threads)
    units: dict[str, Unit] = {}
    for run in grid.in_order():
        identity = identities.of(run)
        unit = units.get(identity)
        if unit is None:
            start = identities.of(grid[run.start]) if run.start else ""
            model = "" if start or run.recipe is not None else run.model
            unit = Unit(identity, runs / identity, identities.recipe(run), model, start)
            units[identity] = unit
        unit.runs.append(run.key)
        for ask in run.asks:
            name = unit.named.setdefault(_plain(ask), ask_folder(ask, identities))
            unit.asks[name] = ask
        unit.keeps_model |= run.keep == "model"
        if unit.start:
            units[unit.start].keeps_model = True
    return units


@dataclass(frozen=True, slots=True)
class Survey:
    """What of a grid is there already."""

    units: Mapping[str, Unit]
    complete: tuple[str, ...]
    """Identities of units that are wholly done."""
    tuned: tuple[str, ...]
    """Identities of units that are tuned, and not asked everything; none that are complete."""

    @property
    def by_run(self) -> dict[str, str]:
        """The key of every run -> its identity."""
        return {key: unit.identity for unit in self.units.values() for key in unit.runs}

    def left(self) -> list[Unit]:
        """The units with something left to do: those whose answers are missing, and those that they begin from."""
        waiting = {identity for identity, unit in self.units.items() if identity not in self.complete}
        for unit in reversed(list(self.units.values())):  # what is begun from stands before what begins from it
            if unit.identity in waiting and unit.needs_start and not self.units[unit.start].has_model:
                waiting.add(unit.start)
        return [unit for unit in self.units.values() if unit.identity in waiting]


def survey(grid: Grid, runs: Path, *, data: Path | None = None, threads: int = 1) -> Survey:
    """What of a grid is there already, in a folder of runs; nothing is written.

    Raises:
        InstilError: as `units_of`.
    """
    units = units_of(grid, runs, data=data, threads=threads)
    complete, tuned = [], []
    for identity, unit in units.items():
        if unit.is_tuned and not unit.unanswered() and (unit.has_model or not _asked_to_keep(unit, grid)):
            complete.append(identity)
        elif unit.recipe is not None and unit.has_model:
            tuned.append(identity)
    return Survey(units, tuple(complete), tuple(tuned))


def _asked_to_keep(unit: Unit, grid: Grid) -> bool:
    return any(grid[key].keep == "model" for key in unit.runs)


def _plain(ask: Ask) -> str:
    return json.dumps(asdict(ask), sort_keys=True)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
