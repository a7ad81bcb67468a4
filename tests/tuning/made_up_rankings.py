"""Rankings that a tiny model can learn: of two completions the one with more of the small words is better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from instil.mixtures.encode import Encoder
from instil.models.loading import LoadedModel
from instil.records import Message, Ranking
from instil.runs import RunFolder
from instil.tuning.dpo import DpoSpec, align_offline
from instil.tuning.loop import CHANGEABLE, TrainResult


def rankings(
    count: int, *, seed: int = 0, completions: tuple[int, int] = (2, 4), flipped: bool = False
) -> list[Ranking]:
    """Prompts with between so many completions; small words are those below w30; ties occur."""
    generator = np.random.default_rng(seed)

    def text(least: int, most: int) -> str:
        return " ".join(f"w{word}" for word in generator.integers(0, 60, int(generator.integers(least, most + 1))))

    made = []
    while len(made) < count:
        said = tuple({text(2, 6): None for _ in range(int(generator.integers(completions[0], completions[1] + 1)))})
        small = [np.mean([int(word[1:]) < 30 for word in one.split()]) for one in said]
        levels = sorted(set(small), reverse=not flipped)
        if len(levels) > 1:
            ranks = tuple(levels.index(share) + 1 for share in small)
            made.append(Ranking((Message("user", text(3, 9)),), said, ranks))
    return made


def encoder_of(loaded: LoadedModel, **more: Any) -> Encoder:
    given = {"max_length": loaded.max_length, **more}
    return Encoder(loaded.backend, form=loaded.form, eos_id=loaded.eos_id, specials=loaded.specials, **given)


def aligned(
    path: Path, loaded: LoadedModel, train_on: list[Ranking], said: list[str] | None = None, **keys: Any
) -> TrainResult:
    """A run, begun or continued."""
    more = {key: keys.pop(key) for key in ("reference", "evaluate") if key in keys}
    spec = DpoSpec.model_validate({"tokens_per_batch": 128, "log_every": 1, "save_every": 0, **keys})
    recipe = {"tuning": spec.model_dump(mode="json")}
    changeable = [f"tuning.{key}" for key in CHANGEABLE]
    echo = (lambda message: None) if said is None else said.append
    with RunFolder.open(path, recipe=recipe, inputs={}, changeable=changeable, resume=True, echo=echo) as run:
        return align_offline(loaded, train_on, spec, run, encoder=encoder_of(loaded), show_progress=False, **more)
