"""One recipe becomes an aligned model in a run folder.

recipe -> start, reference, prompts or rankings, rewards      all opened before anything long begins
       -> the start answers suites and test prompts           out/eval/start/, out/monitor/test-start.json
       -> train, watched on the way                           out/metrics.jsonl, out/monitor/step-*.json, out/rollouts/
       -> the model                                           out/model/, a plain Hugging Face folder with its card
       -> it answers the same suites and prompts              out/eval/aligned/, out/monitor/test-aligned.json
       -> report                                              out/report.html, out/report.json
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instil.evaluation.results import SuiteResult
from instil.experiments.align_best_of_n import Sampled, sampled
from instil.experiments.align_best_of_n import points_of as best_of_n_points
from instil.experiments.align_card import align_card
from instil.experiments.align_prepare import AlignPrepared, Given, prepare_align
from instil.experiments.align_recipe import AlignRecipe
from instil.experiments.align_report import align_report, ordered_score, points_of, recommended
from instil.experiments.align_training import aside, held_out_rankings, train_aligned
from instil.experiments.measure import Watch, measure, unwatched
from instil.experiments.monitor import Monitor, Written
from instil.experiments.report import how_made
from instil.mixtures.rankings import Rankings
from instil.models.loading import LoadedModel, model_fingerprint, save
from instil.records import Prompt
from instil.reports.align import render_align
from instil.reports.align_report import AlignReport
from instil.reports.align_verdict import align_verdict
from instil.runs import RunFolder, write_json, write_text
from instil.tuning.best_of_n import best_of_n_kl
from instil.tuning.distributed import World, joined, open_run
from instil.tuning.loop import CHANGEABLE, TrainResult
from instil.tuning.loop_spec import piece_tokens
from instil.tuning.lora import merge_lora, save_lora
from instil.tuning.rewards import Reward
from instil.tuning.trackers import tracking

#: Keys of a recipe that may change when a run is continued: they do not decide a single step.
MAY_CHANGE = (
    "name", "data", "evaluation", "trackers", "model.path", "monitor.alarms",
    *(f"alignment.{key}" for key in CHANGEABLE),
)  # fmt: skip
#: The longest answer where a method does not say one.
_NEW_TOKENS = 64

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AlignResult:
    """What a run gave."""

    out: Path
    training: TrainResult | None
    """None for best-of-n, which trains nothing."""
    report: AlignReport | None
    """None in processes beside the first."""

    @property
    def model(self) -> Path:
        """The aligned model's folder; best-of-n leaves none."""
        return self.out / "model"


def align(
    recipe: AlignRecipe,
    out: Path,
    *,
    resume: bool = False,
    say: Say | None = None,
    show_progress: bool = True,
    watch: Watch = unwatched,
    command: str = "",
    follow: Callable[[Mapping[str, Any]], None] | None = None,
    strict: bool = False,
    rewards: Sequence[Reward] = (),
    gold: Sequence[Reward] = (),
    prompts: Sequence[Prompt] | None = None,
    monitor_prompts: Sequence[Prompt] | None = None,
    test_prompts: Sequence[Prompt] | None = None,
    rankings: Rankings | None = None,
) -> AlignResult:
    """Carry out a recipe in a run folder, or go on with one that was stopped.

    Args:
        recipe: what to do.
        out: the run folder.
        resume: go on from the last checkpoint there.
        say: shows a line to the person; the standard error stream by default.
        show_progress: whether to show how far training is.
        watch: shows how far an evaluation is.
        command: how the run was started, for the report.
        follow: gets every row of metrics as it is written.
        strict: refuse the first row that cannot be used, instead of setting it aside.
        rewards: further rewards as objects, to learn by; what names their content is `fingerprint`, where they have it.
        gold: further rewards as objects, to watch by alone.
        prompts: what is answered, in place of the recipe's.
        monitor_prompts: what is watched by, in place of prompts that the recipe holds out.
        test_prompts: what is tested by, in place of prompts that the recipe holds out.
        rankings: in place of the recipe's.

    Raises:
        InstilError: if anything in the recipe cannot be used, or the folder cannot be written.
        Interrupted: after Ctrl-C or SIGTERM, once the step is saved.
    """
    begun = time.monotonic()
    given = Given(rewards, gold, prompts, monitor_prompts, test_prompts, rankings)
    with joined(recipe.model.device) as world:
        prepared = world.together(lambda: prepare_align(recipe, given=given, strict=strict))
        run = open_run(
            world,
            out,
            recipe=recipe.model_dump(mode="json"),
            inputs=prepared.inputs,
            changeable=MAY_CHANGE,
            resume=resume,
            echo=say,
        )
        if follow is not None:
            run.followers.append(follow)
        with run:
            if not recipe.way.trains:
                return _best_of_n(prepared, run, world, watch=watch, command=command, begun=begun)
            return _carry_out(
                prepared, run, world, show_progress=show_progress, watch=watch, command=command, begun=begun
            )


def _carry_out(
    prepared: AlignPrepared,
    run: RunFolder,
    world: World,
    *,
    show_progress: bool,
    watch: Watch,
    command: str,
    begun: float,
) -> AlignResult:
    recipe, start, out = prepared.recipe, prepared.start, run.path
    phases: dict[str, float] = {}
    for remark in prepared.remarks:
        run.log(remark)
    start.model.float()  # as it is trained: what is compared is compared in one precision
    kept = prepared.reference or aside(start)
    kept.model.float()
    before: list[SuiteResult] = []
    answers = watched = tested = None
    if world.is_first:
        watched, tested = _monitors(prepared, kept, run)
        with _timing(phases, "start"):
            before = _asked(prepared, start, run, "start", watch) if recipe.evaluation.before else []
            watched.begin(start)
            answers = tested.answered("test-start", start)
    ordered = held_out_rankings(prepared, start, run)
    if watched is not None and ordered.watched is not None:
        watched.besides = ordered.watched.figures
    with _timing(phases, "training"), tracking(recipe.trackers, run, title=recipe.name):
        reference = kept if prepared.reference is not None or not _lora(recipe) else None
        training = train_aligned(prepared, start, reference, run, watch=watched, show_progress=show_progress)
    if answers is None or tested is None:
        return AlignResult(out, training, None)
    accuracy = None if ordered.tested is None else ordered.tested.accuracy(start.model)
    if _lora(recipe):
        details = {"base": start.fingerprint, "dtype": recipe.model.dtype, "chat": start.form.chat}
        save_lora(start.model, out / "adapter", base=None, card=align_card(prepared, training), details=details)
        merge_lora(start.model)
    save(start, out / "model", card=align_card(prepared, training))
    run.say(f"saved the aligned model to {out / 'model'}")
    aligned = replace(start, path=str(out / "model"), fingerprint=model_fingerprint(out / "model"))
    with _timing(phases, "aligned"):
        after = _asked(prepared, aligned, run, "aligned", watch)
        answered = tested.answered("test-aligned", aligned)
    points = points_of(run)
    report = align_report(prepared, run, training, tested, answers, answered, points=points, before=before, after=after)
    if accuracy is not None:
        report["ordered"] = ordered_score(accuracy)
        report["verdict"] = align_verdict(report)
    report["seconds"] = round(time.monotonic() - begun, 1)
    report["made"] = how_made(recipe, out, phases, command)
    write_text(out / "model" / "README.md", align_card(prepared, training, report["verdict"]))
    write_report(report, out)
    run.say(report["verdict"])
    run.say(f"the report is {out / 'report.html'}")
    return AlignResult(out, training, report)


def _best_of_n(
    prepared: AlignPrepared, run: RunFolder, world: World, *, watch: Watch, command: str, begun: float
) -> AlignResult:
    """What choosing among several answers of the start is worth; no weight is moved."""
    recipe, start, out = prepared.recipe, prepared.start, run.path
    if not world.is_first:
        return AlignResult(out, None, None)
    phases: dict[str, float] = {}
    watched, tested = _monitors(prepared, start, run)
    with _timing(phases, "start"):
        watched.begin(start)
        answers = tested.answered("test-start", start)
    with _timing(phases, "sampling"):
        shown = [_sampled(prepared, one, watch) for one in (watched, tested)]
    budget = recipe.monitor.kl_budget
    points = best_of_n_points(
        shown[0],
        watched.start,
        n=recipe.alignment.completions_per_prompt,  # type: ignore[attr-defined]  # of a BestOfNSpec
        judged_by=watched.judged_by,
        kl_budget=budget,
    )
    best = recommended(points, judged_by=watched.judged_by, kl_budget=budget, unit="n")
    n = 1 if best is None else best["step"]
    chosen = [one.best(n) or Written("", (), False, 0.0, 0.0, 0) for one in shown[1]]
    write_json(out / "monitor" / "test-aligned.json", {"n": n, "answers": [one.row() for one in chosen]})
    report = align_report(prepared, run, None, tested, answers, chosen, points=points)
    report["kl"] = {"score": best_of_n_kl(n), "n": len(chosen), "ci95": [0.0, best_of_n_kl(n)]}
    report["verdict"] = align_verdict(report)
    report["seconds"] = round(time.monotonic() - begun, 1)
    report["made"] = how_made(recipe, out, phases, command)
    write_report(report, out)
    run.say(report["verdict"])
    run.say(f"the report is {out / 'report.html'}")
    return AlignResult(out, None, report)


def _sampled(prepared: AlignPrepared, monitor: Monitor, watch: Watch) -> list[Sampled]:
    total, done = len(monitor.prompts), 0
    with watch("sampling answers") as advance:

        def count(more: int) -> None:
            nonlocal done
            done += more
            advance(done, total)

        return sampled(prepared, monitor, monitor.prompts, count)


def write_report(report: AlignReport, out: Path) -> None:
    """report.json and report.html of a run; whoever adds keys to a report writes it again."""
    write_json(out / "report.json", finite(report))
    write_text(out / "report.html", render_align(report))


def finite(value: Any) -> Any:
    """Plain data in which what is no number is null, as JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _monitors(prepared: AlignPrepared, reference: LoadedModel, run: RunFolder) -> tuple[Monitor, Monitor]:
    """What asks the watched prompts on the way, and what asks the test prompts before and after."""
    recipe, spec = prepared.recipe, prepared.recipe.alignment
    most = recipe.monitor.max_new_tokens or getattr(spec, "max_new_tokens", None) or _NEW_TOKENS
    strength = f"alignment.{recipe.way.strength}" if recipe.way.strength else ""
    watched, tested = (
        Monitor(
            recipe.monitor,
            prompts,
            encoder=prepared.encoder,
            reference=reference,
            proxy=prepared.proxy,
            gold=prepared.gold,
            folder=run.path,
            max_new_tokens=most,
            seed=recipe.seed,
            tokens_per_batch=piece_tokens(spec, prepared.start.device),
            strength=strength,
            say=run.say,
            score="" if recipe.way.on_policy else "accuracy",
            stops=not recipe.way.on_policy,
        )
        for prompts in (prepared.watched, prepared.tested)
    )
    return watched, tested


def _asked(prepared: AlignPrepared, loaded: LoadedModel, run: RunFolder, side: str, watch: Watch) -> list[SuiteResult]:
    """A model answers every suite."""
    if not prepared.suites:
        return []
    limit = prepared.recipe.evaluation.limit
    count = sum(suite.size(limit) for suite in prepared.suites)
    run.say(f"asking the {side} model {count:,} prompts of {', '.join(suite.name for suite in prepared.suites)}")
    return measure(loaded, prepared.suites, run.path / "eval" / side, limit=limit, watch=watch)


@contextlib.contextmanager
def _timing(phases: dict[str, float], name: str) -> Iterator[None]:
    """Notes how long something takes."""
    begun = time.monotonic()
    yield
    phases[name] = time.monotonic() - begun


def _lora(recipe: AlignRecipe) -> bool:
    return getattr(recipe.alignment, "lora", None) is not None
