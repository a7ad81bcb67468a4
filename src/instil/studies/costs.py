"""What a step of tuning and a prompt asked cost on this machine, measured once for each kind of run and kept.

    kind     same base, same settings and steps of the same size; other seeds, tasks, lengths and controls are that kind
    tuning   TuningCost(flops_per_token=7.4e6, tokens_per_step=2_900, seconds_per_step=0.11, seconds_fixed=0.9, ...)
    asking   AskCost(flops_per_prompt=1.1e8, seconds_per_prompt=0.012)

FLOPs are counted on windows laid out as tuning lays them out, padding and replayed text included. Seconds come from two
very short runs of tuning (what the longer one takes beyond the shorter is the steps) and from a few prompts asked.
Measurements lie in the cache (`INSTIL_CACHE`) by kind, code, versions and machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from instil.errors import RunError
from instil.fingerprint import fingerprint
from instil.runs import machine, write_json
from instil.studies.flops import Matrices, asking_flops
from instil.studies.pretraining import piece_flops
from instil.tasks import cache as task_cache

if TYPE_CHECKING:
    from instil.evaluation.suite import Suite
    from instil.experiments.prepare import Prepared
    from instil.experiments.recipe import Recipe

C = TypeVar("C", "TuningShape", "TuningSeconds", "AskCost")

#: Windows that are laid out to count what a step takes.
_WINDOWS = 4
#: Steps of the two short runs that are timed.
_SHORT, _LONGER = 2, 8
#: Prompts that are asked to time them, about.
_PROMPTS = 48
#: Keys of `tuning` that change what a step takes.
_SHAPES_STEPS = (
    "prompts_per_step", "max_length", "max_answer_length", "layout", "replay_share", "replay_row_tokens", "mlm_share",
    "gradient_checkpointing", "trained", "lora", "tokens_per_batch", "dtype", "optimizer",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TuningShape:
    """What a step of a kind of tuning computes."""

    tokens_per_step: float
    flops_per_token: float
    """Forward and backward, padding included, for each token that is none."""


@dataclass(frozen=True, slots=True)
class TuningSeconds:
    """How long a kind of tuning takes on this machine."""

    per_step: float
    fixed: float
    """Opening, checking and saving."""
    per_evaluation: float
    """Of what is asked while it learns."""


@dataclass(frozen=True, slots=True)
class AskCost:
    """What a prompt of a kind of ask takes."""

    flops_per_prompt: float
    seconds_per_prompt: float


def kind_of(recipe: Recipe, root: str) -> str:
    """Names what decides the cost of a step.

    Args:
        recipe: of the run.
        root: the model that its line of runs begins from.
    """
    tuning = recipe.tuning.model_dump(mode="json")
    sources = [[source.name, source.path, source.share, source.settings] for source in recipe.mixture.sources]
    steps = {key: tuning[key] for key in _SHAPES_STEPS}
    return fingerprint([root, sources, recipe.mixture.settings, steps, recipe.model.answer_slots, recipe.model.chat])


def tuning_shape(recipe: Recipe, root: str) -> TuningShape:
    """What a step computes.

    Raises:
        InstilError: if the recipe cannot be opened.
    """
    return _kept(TuningShape, ["shape", kind_of(recipe, root)], lambda: _shape(recipe, root))


def _shape(recipe: Recipe, root: str) -> TuningShape:
    from instil.experiments.tune import prepare
    from instil.tuning.loop import piece_tokens
    from instil.tuning.sft import choose_layout, step_pieces

    prepared: Prepared = prepare(begun_from(recipe, root))
    loaded, spec, sizes = prepared.loaded, prepared.recipe.tuning, Matrices.named(root)
    layout = choose_layout(loaded, spec, lambda line: None)
    count = min(spec.max_steps, _WINDOWS)
    tokens = flops = 0.0
    with prepared.windows() as windows:
        for place in range(count):
            step = place * spec.max_steps // count
            most = piece_tokens(spec, loaded.device)
            pieces = step_pieces(loaded, windows(step), spec, layout, most, step=step, replay=prepared.replay)
            tokens += sum(piece.tokens for piece in pieces)
            flops += sum(piece_flops(sizes, piece.item) for piece in pieces)
    if not tokens:
        raise RunError("the mixture gives no prompt to train on", remedy="Look at it with `instil mix show`")
    return TuningShape(tokens / count, flops / tokens)


def begun_from(recipe: Recipe, root: str) -> Recipe:
    """A recipe that begins from the root of its line, where the model between is not there yet."""
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": root})})


def tuning_seconds(recipe: Recipe, root: str, *, threads: int) -> TuningSeconds:
    """How long steps take here.

    Raises:
        InstilError: if the recipe cannot be opened.
    """
    asks = [recipe.validation.model_dump(mode="json"), recipe.mixture.hold_out.examples, bool(_evaluations(recipe))]
    mark = ["seconds", kind_of(recipe, root), threads, asks]
    return _kept(TuningSeconds, mark, lambda: _time_tuning(begun_from(recipe, root), threads))


def _time_tuning(recipe: Recipe, threads: int) -> TuningSeconds:
    asks = recipe.validation
    never = asks.model_copy(update={"suites": [], "watched": [], "held_out": False})
    plain = {"keep_best": None, "patience": 0, "save_every": 0, "warmup_steps": 0, "threads": threads}

    def timed(steps: int, *, asked: bool = False) -> float:
        keys = {**plain, "max_steps": steps, "evaluate_every": steps if asked else 0}
        tuning = recipe.tuning.model_copy(update=keys)
        return _time_run(recipe.model_copy(update={"tuning": tuning, "validation": asks if asked else never}))

    timed(_SHORT)  # what is opened for the first time is opened here
    short, longer = timed(_SHORT), timed(_LONGER)
    per_step = max(1e-4, (longer - short) / (_LONGER - _SHORT))
    fixed = max(0.0, short - _SHORT * per_step)
    per_evaluation = max(0.0, timed(_SHORT, asked=True) - short) if _evaluations(recipe) else 0.0
    return TuningSeconds(per_step, fixed, per_evaluation)


def _time_run(recipe: Recipe) -> float:
    from instil.experiments.tune import tune

    with tempfile.TemporaryDirectory(prefix="instil-plan-") as folder:
        begun = time.monotonic()
        tune(recipe, Path(folder) / "run", say=lambda line: None, show_progress=False, measure_forgetting=False)
        return time.monotonic() - begun


def _evaluations(recipe: Recipe) -> int:
    """How often a run is asked while it learns."""
    every = recipe.tuning.evaluate_every
    return recipe.tuning.max_steps // every if every else 0


def tuning_cost(recipe: Recipe, root: str, *, threads: int) -> tuple[float, float]:
    """(FLOPs, seconds) of a whole tuning."""
    shape, seconds = tuning_shape(recipe, root), tuning_seconds(recipe, root, threads=threads)
    steps = recipe.tuning.max_steps
    return (
        steps * shape.tokens_per_step * shape.flops_per_token,
        seconds.fixed + steps * seconds.per_step + _evaluations(recipe) * seconds.per_evaluation,
    )


def ask_cost(suite: Suite, kind: str, root: str, *, threads: int, limit: int | None) -> AskCost:
    """What a prompt of an ask takes, asked of the model that the line begins from.

    Args:
        suite: what is asked.
        kind: names asks that cost alike.
        root: the model.
        threads: of the run.
        limit: of the ask.
    """
    return _kept(AskCost, ["asking", kind, root, threads], lambda: _time_asking(suite, root, threads, limit))


def _time_asking(suite: Suite, root: str, threads: int, limit: int | None) -> AskCost:
    import torch

    from instil.evaluation.evaluate import evaluate_suite
    from instil.evaluation.scoring import encoder_of
    from instil.models.loading import load

    loaded = load(root)
    few = max(1, _PROMPTS // max(1, len(suite.cells)))
    few = few if limit is None else min(few, limit)
    items = [item.prompt for cell in suite.cells for item in cell.asked(seed=suite.seed, limit=few)]
    encoded = encoder_of(loaded).encode_batch([prompt for prompt in items if prompt is not None])
    lengths = [len(one.ids) for one in encoded]
    answers = [len(one.ids) - int(one.answer_start) for one in encoded]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        begun = time.monotonic()
        evaluate_suite(loaded, suite, limit=few)
        seconds = time.monotonic() - begun
    finally:
        torch.set_num_threads(before)
    count = max(1, len(encoded))
    answer = sum(answers) / count
    flops = asking_flops(Matrices.named(root), prompts=1, tokens=sum(lengths) / count - answer, answer_tokens=answer)
    return AskCost(flops, seconds / max(1, len(items)))


def _kept(kind: type[C], mark: list[Any], measure: Callable[[], C]) -> C:
    """A measurement from the cache, or made and put there."""
    from instil.studies.identity import code

    folder = task_cache.folder()
    place = None if folder is None else folder / "costs" / f"{fingerprint([mark, code(), machine()])}.json"
    if place is not None:
        with suppress(OSError, ValueError, TypeError):
            found: Mapping[str, float] = json.loads(place.read_text("utf-8"))
            return kind(**found)
    made = measure()
    if place is not None:
        with suppress(OSError, RunError):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, asdict(made))
    return made
