"""One recipe becomes a tuned model in a run folder.

recipe -> mixture, suites, model           all opened before anything long begins
       -> the base answers the suites      out/eval/base/
       -> tune                             out/metrics.jsonl, out/checkpoints/
       -> the model                        out/model/, a plain Hugging Face folder with its card
                                           out/adapter/, what LoRA trained, merged into that model
       -> the tuned model answers          out/eval/tuned/
       -> report                           out/report.html, out/report.json
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from instil.evaluation.results import SuiteResult
from instil.experiments.card import adapter_card, card, hub_name
from instil.experiments.forgetting import forgetting, held_out_loss, told
from instil.experiments.measure import Watch, measure, unwatched
from instil.experiments.prepare import Prepared as Prepared
from instil.experiments.prepare import in_form as in_form
from instil.experiments.prepare import prepare as prepare
from instil.experiments.recipe import Recipe
from instil.experiments.report import how_made, run_report, validated
from instil.experiments.texts import Documents
from instil.experiments.trained_on import trained_tokens, write_trained_on
from instil.fingerprint import fingerprint
from instil.mixtures.decontaminated import DECONTAMINATED, drop_report
from instil.models.loading import LoadedModel, model_fingerprint, save
from instil.records import Prompt
from instil.reports.report import RunReport, TrainedTokens
from instil.reports.run import render_run
from instil.runs import RunFolder, write_json, write_text
from instil.tuning.distributed import World, joined, open_run
from instil.tuning.head import training_only
from instil.tuning.loop import CHANGEABLE, TrainResult
from instil.tuning.lora import merge_lora, save_lora, trying_lora
from instil.tuning.plan import Source, TuningPlan, plan
from instil.tuning.sft import tune as tune_windows
from instil.tuning.trackers import tracking

#: Keys of a recipe that may change when a run is continued: they do not decide a single step.
MAY_CHANGE = (
    "name", "data", "evaluation", "compiled", "trackers", "model.path", *(f"tuning.{key}" for key in CHANGEABLE)
)  # fmt: skip

#: Places of the mixture among which are prompts to show token by token.
_LOOKED_AT = 8

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gave."""

    out: Path
    training: TrainResult
    report: RunReport | None
    """None where the recipe evaluates nothing."""
    tasks: tuple[str, ...] = ()
    """The names of the tasks that it was trained on."""

    @property
    def model(self) -> Path:
        """The tuned model's folder."""
        return self.out / "model"


def dry_run(recipe: Recipe, *, text: Documents | None = None, strict: bool = False) -> TuningPlan:
    """What the run would take; nothing is written."""
    prepared = prepare(recipe, text=text, strict=strict)
    sources: dict[str, Source] = {}
    for part in prepared.mixture.parts:
        name = recipe.mixture.sources[part.source].name
        share, examples = (sources[name].share, sources[name].examples) if name in sources else (0.0, 0)
        sources[name] = Source(share + float(part.share), examples + part.examples)
    model, spec = prepared.loaded.model, recipe.tuning
    with prepared.windows() as windows, trying_lora(model, spec.lora), training_only(model, spec.trained):
        return plan(prepared.loaded, windows, recipe.tuning, replay=prepared.replay, sources=sources)


def tune(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    text: Documents | None = None,
    say: Say | None = None,
    show_progress: bool = True,
    watch: Watch = unwatched,
    command: str = "",
    strict: bool = False,
    follow: Callable[[Mapping[str, Any]], None] | None = None,
    measure_forgetting: bool = True,
) -> RunResult:
    """Carry out a recipe in a run folder, or go on with one that was stopped.

    Args:
        recipe: what to do.
        out: the run folder.
        resume: go on from the last checkpoint there.
        text: pre-training text to replay where `tuning.replay_share` asks for it, instead of the recipe's.
        say: shows a line to the person; the standard error stream by default.
        show_progress: whether to show how far tuning is.
        watch: shows how far an evaluation is.
        command: how the run was started, for the report.
        strict: refuse the first row that cannot be used, instead of setting it aside.
        follow: gets every row of metrics as it is written.
        measure_forgetting: whether the loss on pre-training text is taken before and after, where that text is known.

    Raises:
        InstilError: if anything in the recipe cannot be used, or the folder cannot be written.
        Interrupted: after Ctrl-C or SIGTERM, once the step is saved.
    """
    begun = time.monotonic()
    with joined(recipe.model.device) as world:
        prepared = world.together(lambda: prepare(recipe, text=text, strict=strict))
        run = _open(prepared, out, world, resume=resume, say=say)
        if follow is not None:
            run.followers.append(follow)
        if not measure_forgetting:
            prepared = replace(prepared, held_out=())
        with run:
            return _carry_out(
                prepared, run, world, show_progress=show_progress, watch=watch, command=command, begun=begun
            )


def _open(prepared: Prepared, out: Path, world: World, *, resume: bool, say: Say | None) -> RunFolder:
    """The run folder, which names everything that the run is made from."""
    loaded, mixture = prepared.loaded, prepared.mixture
    inputs = {"data": mixture.fingerprint, "model": loaded.fingerprint, "tokenizer": tokenizer_fingerprint(loaded)}
    if chat := prepared.encoder.chat:  # which may stand in tokenizer_config.json, no part of the model's fingerprint
        inputs["chat template"] = chat.fingerprint
    if prepared.text is not None:
        inputs["replay"] = prepared.text.fingerprint
    if prepared.validation is not None:
        inputs["validation"] = prepared.validation.fingerprint
    return open_run(
        world,
        out,
        recipe=prepared.recipe.model_dump(mode="json"),
        inputs=inputs,
        changeable=MAY_CHANGE,
        resume=resume,
        echo=say,
    )


def _carry_out(
    prepared: Prepared, run: RunFolder, world: World, *, show_progress: bool, watch: Watch, command: str, begun: float
) -> RunResult:
    """Ask the base, tune, save, ask again, report; the processes beside the first do nothing but tune."""
    recipe, mixture, loaded, out = prepared.recipe, prepared.mixture, prepared.loaded, run.path
    tasks = tuple(task.name for task in mixture.tasks)
    phases: dict[str, float] = {}
    before: list[SuiteResult] = []
    if world.is_first and (mixture.spec.decontaminate or mixture.dropped):
        write_json(out / DECONTAMINATED, drop_report(mixture))
    for remark in mixture.remarks:
        run.log(remark)
    if warning := prepared.looked.warning:
        run.say(warning)
    if _compares(recipe) and world.is_first:
        before = _timed(phases, "base", lambda: _ask(prepared, run, "base", watch))
    shown = _show_tokens(prepared, run) if world.is_first else []
    losses = held_out_loss(loaded, prepared.held_out) if world.is_first else []
    training = _timed(phases, "tuning", lambda: _train(prepared, run, world, show_progress))
    if not world.is_first:
        return RunResult(out, training, None, tasks)
    forgot = forgetting(recipe, losses, held_out_loss(loaded, prepared.held_out)) if losses else None
    if forgot is not None:
        run.say(told(forgot))
    if recipe.tuning.lora is not None:
        _keep_adapter(prepared, out / "adapter")
    save(loaded, out / "model", card=card(recipe, mixture, loaded, training))
    run.say(f"saved the tuned model to {out / 'model'}")
    if not prepared.suites:
        return RunResult(out, training, None, tasks)
    tuned = replace(prepared, loaded=_as_saved(loaded, out / "model"))
    after = _timed(phases, "tuned", lambda: _ask(tuned, run, "tuned", watch))
    report = run_report(recipe, mixture, loaded, run, training, before, after)
    report["seconds"] = time.monotonic() - begun
    report["made"] = how_made(recipe, out, phases, command)
    report["trained_tokens"] = shown
    if forgot is not None:
        report["forgetting"] = forgot
    if (asked := validated(recipe, out, training)) is not None:
        report["validation"] = asked
    write_text(out / "model" / "README.md", card(recipe, mixture, loaded, training, report["verdict"]))
    write_json(out / "report.json", report)
    write_text(out / "report.html", render_run(report))
    run.say(report["verdict"])
    run.say(f"the report is {out / 'report.html'}")
    return RunResult(out, training, report, tasks)


def _show_tokens(prepared: Prepared, run: RunFolder) -> list[TrainedTokens]:
    """The tokens of the first prompts, in a file and for the report."""
    places = prepared.mixture[:_LOOKED_AT]
    encoded = prepared.encoder.encode_batch([place for place in places if isinstance(place, Prompt)])
    shown = trained_tokens(encoded, prepared.loaded.backend)
    run.say(write_trained_on(run.path / "trained-on.txt", shown))
    return shown


def _keep_adapter(prepared: Prepared, folder: Path) -> None:
    """Write the adapter, with what merging it again needs to know, and merge it into the model in memory."""
    recipe, loaded = prepared.recipe, prepared.loaded
    details = {"base": loaded.fingerprint, "dtype": recipe.model.dtype, "chat": loaded.form.chat}
    if loaded.architecture == "masked":
        details["answer_slots"] = loaded.form.answer_slots
    if recipe.tuning.lora is not None and recipe.tuning.lora.quantize:
        details["quantize"] = recipe.tuning.lora.quantize
    save_lora(loaded.model, folder, base=hub_name(recipe), card=adapter_card(recipe), details=details)
    merge_lora(loaded.model)


def tokenizer_fingerprint(loaded: LoadedModel) -> str:
    """Names what turns text into ids; a part of it, the end token, may stand in files that name no model's content."""
    ids = {"bos": loaded.bos_id, "eos": loaded.eos_id, "pad": loaded.pad_id}
    return fingerprint({"tokenizer": loaded.backend.to_str(), **ids})


def _as_saved(loaded: LoadedModel, folder: Path) -> LoadedModel:
    """The model in memory, by the name and fingerprint of what was written."""
    return replace(loaded, path=str(folder), fingerprint=model_fingerprint(folder))


def _compares(recipe: Recipe) -> bool:
    return recipe.evaluation.before and bool(recipe.evaluation.suites)


def _timed(phases: dict[str, float], name: str, work: Callable[[], T]) -> T:
    begun = time.monotonic()
    result = work()
    phases[name] = time.monotonic() - begun
    return result


def _ask(prepared: Prepared, run: RunFolder, side: str, watch: Watch) -> list[SuiteResult]:
    """The model as it is answers every suite."""
    limit = prepared.recipe.evaluation.limit
    count = sum(suite.size(limit) for suite in prepared.suites)
    run.say(f"asking the {side} model {count:,} prompts of {', '.join(suite.name for suite in prepared.suites)}")
    return measure(prepared.loaded, prepared.suites, run.path / "eval" / side, limit=limit, watch=watch)


def _train(prepared: Prepared, run: RunFolder, world: World, show_progress: bool) -> TrainResult:
    recipe = prepared.recipe
    with prepared.windows() as windows, tracking(recipe.trackers, run, title=recipe.name):
        result = tune_windows(
            prepared.loaded,
            windows,
            recipe.tuning,
            run,
            replay=prepared.replay,
            evaluate=prepared.asking,
            show_progress=show_progress,
        )
        run.say(windows.report.line)
    holes = prepared.mixture.holes
    if holes:
        first = next(iter(holes.values()))
        run.say(f"{len(holes):,} places of the mixture are empty, one of {first.task}: {first.reasons[-1]}")
    return result
