"""One recipe becomes a reward model in a run folder, or an ensemble of them.

recipe -> rankings by side, base           all opened before anything long begins
       -> train                            out/metrics.jsonl, out/checkpoints/
       -> reference answers average 0      the head's bias
       -> the model                        out/model/: a plain Hugging Face folder and reward.safetensors
       -> what it says of all sides        out/rewards.json
       -> report                           out/report.html, out/report.json

With `members: 3` each is a run folder of its own, out/reward-0/, out/reward-1/, out/reward-2/, and the report above
them is about their mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from instil.errors import RunError
from instil.experiments.reward_prepare import PreparedReward, base_of, prepare_reward
from instil.experiments.reward_recipe import RewardRecipe
from instil.experiments.reward_report import Said, how_reward_was_made, reward_card, reward_report
from instil.experiments.reward_scores import figures
from instil.experiments.tune import tokenizer_fingerprint
from instil.mixtures.rankings import Rankings
from instil.models.loading import LoadedModel
from instil.reports.reward import render_reward
from instil.reports.reward_report import RewardReport
from instil.runs import RunFolder, write_json, write_text
from instil.tuning.distributed import World, joined, open_run
from instil.tuning.loop import CHANGEABLE, TrainResult
from instil.tuning.lora import merge_lora
from instil.tuning.reward import Rewards, layout_for, train_reward
from instil.tuning.reward_model import MEMBER, RewardModel, encoder_for, save_reward
from instil.tuning.reward_packs import reward_pieces
from instil.tuning.trackers import tracking

#: Keys of a recipe that may change when a run is continued: they do not decide a single step.
MAY_CHANGE = ("name", "data", "trackers", "model.path", *(f"tuning.{key}" for key in CHANGEABLE))

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RewardResult:
    """What a run gave."""

    out: Path
    models: tuple[Path, ...]
    """The folders of the reward models: one, or those of an ensemble."""
    trainings: tuple[TrainResult, ...]
    report: RewardReport | None
    """None in the processes beside the first."""

    @property
    def model(self) -> Path:
        """The folder of the first."""
        return self.models[0]


@dataclass(frozen=True, slots=True)
class _Member:
    """A model as it came out."""

    training: TrainResult
    said: Said
    reference: Mapping[str, Any]


def reward(
    recipe: RewardRecipe,
    out: Path,
    *,
    resume: bool = False,
    rankings: Rankings | None = None,
    say: Say | None = None,
    show_progress: bool = True,
    command: str = "",
    strict: bool = False,
    follow: Callable[[Mapping[str, Any]], None] | None = None,
) -> RewardResult:
    """Carry out a recipe in a run folder, or go on with one that was stopped.

    Args:
        recipe: what to do.
        out: the run folder.
        resume: go on from the last checkpoint there.
        rankings: to learn from, instead of those of the recipe.
        say: shows a line to the person; the standard error stream by default.
        show_progress: whether to show how far training is.
        command: how the run was started, for the report.
        strict: refuse the first row that cannot be used, instead of counting it.
        follow: gets every row of metrics as it is written.

    Raises:
        InstilError: if anything in the recipe cannot be used, or the folder cannot be written.
        Interrupted: after Ctrl-C or SIGTERM, once the step is saved.
    """
    begun = time.monotonic()
    with joined(recipe.model.device) as world:
        prepared = world.together(lambda: prepare_reward(recipe, rankings=rankings, strict=strict))
        with _open(prepared, prepared.recipe, out, world, resume=resume, say=say) as run:
            for line in prepared.rankings.lines():
                run.say(line)
            run.say(prepared.looked.line)
            return _carry_out(prepared, run, world, show_progress, command, follow, begun)


def _open(
    prepared: PreparedReward, recipe: RewardRecipe, out: Path, world: World, *, resume: bool, say: Say | None
) -> RunFolder:
    """A run folder, which names everything that the run is made from."""
    loaded = prepared.loaded
    inputs = {
        "data": prepared.rankings.fingerprint,
        "model": loaded.fingerprint,
        "tokenizer": tokenizer_fingerprint(loaded),
    }
    if chat := encoder_for(loaded).chat:  # which may stand in tokenizer_config.json, no part of the model's fingerprint
        inputs["chat template"] = chat.fingerprint
    if prepared.references.fingerprint:
        inputs["demonstrations"] = prepared.references.fingerprint
    return open_run(
        world,
        out,
        recipe=recipe.model_dump(mode="json"),
        inputs=inputs,
        changeable=MAY_CHANGE,
        resume=resume,
        echo=say,
    )


def _carry_out(
    prepared: PreparedReward,
    run: RunFolder,
    world: World,
    shown: bool,
    command: str,
    follow: Callable[[Mapping[str, Any]], None] | None,
    begun: float,
) -> RewardResult:
    recipe, out = prepared.recipe, run.path
    phases: dict[str, float] = {}
    if recipe.members == 1:
        folders = [out]
        made = [_member(prepared, recipe, prepared.loaded, run, world, shown, follow, phases)]
    else:
        folders = [out / MEMBER.format(number) for number in range(recipe.members)]
        made = []
        for number, folder in enumerate(folders):
            own, begun_before = recipe.member(number), (folder / "fingerprint.json").is_file()
            with _open(prepared, own, folder, world, resume=begun_before, say=run.echo) as inner:
                run.say(f"model {number + 1} of {recipe.members}, seed {own.tuning.seed}")
                loaded = prepared.loaded if number == 0 else world.together(partial(base_of, own))
                made.append(_member(prepared, own, loaded, inner, world, shown, follow, phases))
    models, trainings = tuple(folder / "model" for folder in folders), tuple(one.training for one in made)
    if not world.is_first:
        return RewardResult(out, models, trainings, None)
    report = reward_report(prepared, [one.said for one in made], trainings, folders)
    report["seconds"] = time.monotonic() - begun
    report["made"] = how_reward_was_made(recipe, out, phases, command)
    if recipe.members == 1:
        report["reference"] = made[0].reference  # type: ignore[typeddict-item]
    for number, (model, one) in enumerate(zip(models, made, strict=True)):
        card = reward_card(recipe.member(number), prepared.rankings, one.reference, report["verdict"])
        write_text(model / "README.md", card)
    write_json(out / "report.json", report)
    write_text(out / "report.html", render_reward(report))
    run.say(report["verdict"])
    run.say(f"the report is {out / 'report.html'}")
    return RewardResult(out, models, trainings, report)


def _member(
    prepared: PreparedReward,
    recipe: RewardRecipe,
    loaded: LoadedModel,
    run: RunFolder,
    world: World,
    shown: bool,
    follow: Callable[[Mapping[str, Any]], None] | None,
    phases: dict[str, float],
) -> _Member:
    """Train one model, make reference answers average 0, save it, and ask it for the rewards of all sides."""
    spec, watched = recipe.tuning, prepared.watched
    groups = [row.group for row in watched]

    def asked(rewards: Rewards) -> Mapping[str, Any]:
        return figures(watched, rewards(groups))

    if follow is not None:
        run.followers.append(follow)
    began = time.monotonic()
    with tracking(recipe.trackers, run, title=recipe.name):
        training = train_reward(
            loaded, prepared.train, spec, run, evaluate=asked if watched else None, show_progress=shown
        )
    phases["training"] = phases.get("training", 0.0) + time.monotonic() - began
    if not world.is_first:
        return _Member(training, {}, {})
    began = time.monotonic()
    if spec.lora is not None:
        merge_lora(loaded.model)
    judge = RewardModel(loaded, max_length=spec.max_length)
    reference = _centre(judge, prepared)
    said = {side: judge.rewards([row.group for row in rows]) for side, rows in prepared.sides.items()}
    _refuse_no_numbers(said)
    write_json(run.path / "rewards.json", said)
    phases["judging"] = phases.get("judging", 0.0) + time.monotonic() - began
    details = {
        "max_length": judge.encoder.max_length,
        "base": prepared.loaded.fingerprint,
        "reference": reference,
    }
    card = reward_card(recipe, prepared.rankings, reference)
    save_reward(loaded, run.path / "model", card=card, details=details)
    run.say(f"saved the reward model to {run.path / 'model'}")
    return _Member(training, said, reference)


def _centre(judge: RewardModel, prepared: PreparedReward) -> dict[str, Any]:
    """Set the bias such that reference answers average 0; what they are."""
    references = prepared.references
    means = [float(np.mean(said)) for said in judge.rewards(references.groups)]
    return {"of": references.of, "n": len(means), "bias": judge.centre(float(np.mean(means)))}


def _refuse_no_numbers(said: Said) -> None:
    for side, rows in said.items():
        bad = sum(not np.isfinite(row).all() for row in rows)
        if bad:
            raise RunError(
                f"the model gives no number for {bad:,} of {len(rows):,} prompts of {side}",
                remedy="Lower tuning.learning_rate, and start a new run",
            )


def dry_run(recipe: RewardRecipe, *, strict: bool = False) -> list[str]:
    """What the run would take, a line each; nothing is written."""
    prepared = prepare_reward(recipe, strict=strict)
    spec, loaded, rows = prepared.recipe.tuning, prepared.loaded, prepared.train
    told: list[str] = [*prepared.rankings.lines(), prepared.looked.line]
    loaded.model.float()
    layout = layout_for(loaded, spec, told.append)
    alone, together = (
        sum(piece.tokens for piece in reward_pieces(loaded, rows, way, 8192)) for way in ("bucketed", layout)
    )
    shared = f"{alone / together:.1f} times fewer than with a prompt for each" if layout == "shared" else "not shared"
    epochs = spec.max_steps * spec.prompts_per_step / len(rows)
    told.append(
        f"{spec.max_steps:,} steps of {spec.prompts_per_step} prompts, {epochs:.2f} epochs of {len(rows):,} prompts"
        + (f", {prepared.recipe.members} models" if prepared.recipe.members > 1 else "")
    )
    told.append(f"{together:,} tokens an epoch; completions share their prompt: {shared}")
    told.append(
        f"judged: {len(prepared.held_out):,} held-out prompts, {len(prepared.strangers):,} of held-out annotators"
    )
    return told
