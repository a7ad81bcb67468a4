"""The quickstart of preferences: what do rankings add to a model tuned on demonstrations, and how far does it go?

    tune      the embedded base learns from people who answer in different ways   out/start/
    rank      people rank answers that it samples, 4 to 6 to a prompt             out/rankings.jsonl
    reward    a reward model learns from these rankings                           out/reward/
    align     PPO learns from the reward model, with a price on KL to the start   out/aligned/
              beside it, in a second process, the same with next to no price      out/without-beta/
    report    gold, proxy and KL of both; answers before and after                out/report.html, report.json

**Gold is for measuring.** What people value (`labeller.gold`) reaches training through noisy rankings alone. It is
handed to what watches the policy, and no weights are chosen by it: the model is that of the last step. A test trains
with another gold and gets the same weights to the bit.

Offline; minutes on two CPU cores. A quickstart that was stopped goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from instil.errors import RunError
from instil.experiments.align import align, write_report
from instil.experiments.align_recipe import AlignRecipe, resolve_align
from instil.experiments.measure import Watch, unwatched
from instil.experiments.monitor import Written
from instil.experiments.recipe import Recipe, resolve
from instil.experiments.report import how_made
from instil.experiments.reward import RewardResult, reward
from instil.experiments.reward_recipe import RewardRecipe, resolve_reward
from instil.experiments.tune import tune
from instil.experiments.win_rate import average
from instil.mixtures.rankings import Rankings, open_rankings
from instil.models.loading import load, save
from instil.pocket.demonstrations import prompts
from instil.pocket.labeller import HELD_OUT, PEOPLE, Gold
from instil.pocket.ranked import RankedSpec, ranked, write_rankings
from instil.recipe import Section, load_yaml, override, parse
from instil.records import Prompt
from instil.reports.align_report import AlignReport

Say = Callable[[str], None]

#: Rows that nothing else has: of prompts whose answers are ranked, that are learned from, watched and tested.
RANKED, LEARNED, WATCHED, TESTED = "ranked", "learned", "watched", "tested"


class PromptsSpec(Section):
    """Requests without an answer."""

    learned: int = Field(default=3000, ge=8)
    """What the policy answers while it learns; again from the first when all were asked."""
    watched: int = Field(default=128, ge=8)
    """What it is asked on the way."""
    tested: int = Field(default=400, ge=8)
    """What start and aligned model are asked at the end."""


class _Sections(Section):
    """The parts of align.yaml; those that recipes read themselves are plain."""

    start: dict[str, Any]
    rankings: RankedSpec
    reward: dict[str, Any]
    prompts: PromptsSpec
    align: dict[str, Any]
    without_beta: dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """All that the quickstart does."""

    start: Recipe
    rankings: RankedSpec
    reward: RewardRecipe
    prompts: PromptsSpec
    align: AlignRecipe
    without_beta: AlignRecipe
    """As `align`, with next to no price on KL."""
    seed: int


@dataclass(frozen=True)
class Requests:
    """Prompts by what they are for. None of those watched or tested is among the others."""

    ranked: Sequence[Prompt]
    learned: Sequence[Prompt]
    watched: Sequence[Prompt]
    tested: Sequence[Prompt]


def settings(out: Path, *, seed: int = 0, assignments: Sequence[str] = ()) -> Settings:
    """What `align.yaml` says, for a folder and a seed.

    Args:
        out: where models and rankings will lie.
        seed: decides all that is drawn.
        assignments: overrides of the file, as in `align.alignment.beta=0.1`.

    Raises:
        RecipeError: if an override names no key, or gives it a wrong value.
    """
    path = Path(str(files("instil.pocket") / "align.yaml"))
    raw = override(load_yaml(path), assignments)
    origin = f"{path}{' with --set' if assignments else ''}"
    parts = parse(_Sections, raw, origin=origin)
    start, model = out / "start", str(out / "start" / "model")
    kept = {"held_out_annotators": [HELD_OUT], **parts.reward.get("rankings", {})}
    sources = [{"collection": "comparisons", "path": str(out / "rankings.jsonl")}]
    policy = {
        "name": "quickstart align",
        "model": model,
        "seed": seed,
        "rewards": [{"model": str(out / "reward" / "model")}],
        **parts.align,
    }
    free = {**policy, "name": "without beta", "alignment": {**parts.align["alignment"], **parts.without_beta}}
    return Settings(
        resolve({"name": start.name, "model": "pocket", "seed": seed, **parts.start}, origin=origin),
        parts.rankings,
        resolve_reward(
            {**parts.reward, "name": "reward", "model": model, "seed": seed, "rankings": {**kept, "sources": sources}},
            origin=origin,
        ),
        parts.prompts,
        resolve_align(policy, origin=origin),
        resolve_align(free, origin=origin),
        seed,
    )


def requests(asked: Settings) -> Requests:
    """The prompts of a quickstart."""
    drawn = prompts(asked.rankings.prompts, part=RANKED, seed=asked.seed)
    learned = prompts(asked.prompts.learned, part=LEARNED, seed=asked.seed)
    known = {prompt.input for prompt in (*drawn, *learned)}
    sides = []
    for part, count in ((WATCHED, asked.prompts.watched), (TESTED, asked.prompts.tested)):
        # small worlds repeat themselves: what was asked before is passed over
        new = {one.input: one for one in prompts(3 * count, part=part, seed=asked.seed) if one.input not in known}
        sides.append(list(new.values())[:count])
        known |= {one.input for one in sides[-1]}
    return Requests(drawn, learned, *sides)


def run(
    out: Path,
    *,
    seed: int = 0,
    assignments: Sequence[str] = (),
    say: Say = print,
    watch: Watch = unwatched,
    show_progress: bool = True,
    command: str = "instil quickstart align",
) -> AlignReport:
    """Carry out the quickstart in `out`.

    Args:
        out: the folder; a quickstart that was stopped there is continued.
        seed: decides all that is drawn.
        assignments: overrides of `align.yaml`, as in `start.tuning.max_steps=50`.
        say: shows a line to the person.
        watch: shows how far an evaluation is.
        show_progress: whether to show how far training is.
        command: how it was started, for the report.

    Raises:
        InstilError: if the folder cannot be used, or the second process failed.
        Interrupted: after Ctrl-C, once the step is saved.
    """
    begun = time.monotonic()
    asked = settings(out, seed=seed, assignments=assignments)
    asks = requests(asked)
    phases: dict[str, float] = {}
    with _timed(phases, "demonstrations"):
        say("1 of 4: the base learns from demonstrations, by people who answer in different ways")
        tune(
            asked.start,
            out / "start",
            resume=_begun(out / "start"),
            say=say,
            show_progress=show_progress,
            measure_forgetting=False,
        )
        _as_conversation(out / "start" / "model")
    with _timed(phases, "rankings"):
        rankings = _rankings(asked, asks, out, say)
    with _timed(phases, "reward model"):
        say("3 of 4: a reward model learns from the rankings")
        judged = reward(
            asked.reward,
            out / "reward",
            resume=_begun(out / "reward"),
            say=say,
            show_progress=show_progress,
        )
    with _timed(phases, "policy"):
        say("4 of 4: PPO learns from the reward model; beside it, a second run without a price on KL")
        with _beside(out, seed, assignments):
            report = _align(
                asked.align, asks, out / "aligned", say=say, show_progress=show_progress, watch=watch, command=command
            )
    free = _read_report(out / "without-beta")
    report = _whole(asked, report, free, rankings, judged, out)
    report["made"] = how_made(asked.align, out / "aligned", phases, command)
    report["seconds"] = round(time.monotonic() - begun, 1)
    write_report(report, out)
    return report


def _begun(folder: Path) -> bool:
    return (folder / "fingerprint.json").is_file()


@contextlib.contextmanager
def _timed(phases: dict[str, float], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    phases[name] = time.monotonic() - begun


def _as_conversation(folder: Path) -> None:
    """Let a conversation of one turn be written as a request is: what ranks and judges answers reads conversations."""
    loaded = load(folder)
    form = replace(loaded.form, user="", assistant=loaded.form.separator.lstrip("\n"))
    if form != loaded.form:
        save(replace(loaded, form=form), folder, card=(folder / "README.md").read_text("utf-8"))


def _rankings(asked: Settings, asks: Requests, out: Path, say: Say) -> Rankings:
    path = out / "rankings.jsonl"
    if not path.is_file():
        say(f"2 of 4: people rank what it answers to {len(asks.ranked):,} prompts")
        write_rankings(path, ranked(load(out / "start" / "model"), asks.ranked, asked.rankings, seed=asked.seed))
    return open_rankings(asked.reward.rankings)


def _align(
    recipe: AlignRecipe,
    asks: Requests,
    out: Path,
    *,
    say: Say,
    show_progress: bool = False,
    watch: Watch = unwatched,
    command: str = "",
) -> AlignReport:
    """One run of PPO: it learns from the rewards of the recipe; gold watches."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.alignment.threads or threads)
    try:
        result = align(
            recipe,
            out,
            resume=_begun(out),
            say=say,
            show_progress=show_progress,
            watch=watch,
            command=command,
            gold=[Gold()],
            prompts=asks.learned,
            monitor_prompts=asks.watched,
            test_prompts=asks.tested,
        )
    finally:
        torch.set_num_threads(threads)
    if result.report is None:
        raise RunError("the quickstart runs in one process", remedy="Start it without torchrun")
    return result.report


@contextlib.contextmanager
def _beside(out: Path, seed: int, assignments: Sequence[str]) -> Iterator[None]:
    """While open, the run without a price on KL goes on in a process of its own; whoever leaves waits for its end.

    Raises:
        RunError: if it failed.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=_without_beta, args=(out, seed, tuple(assignments)), daemon=True
    )
    process.start()
    try:
        yield
    except BaseException:
        process.terminate()  # it saves its step
        raise
    finally:
        process.join()
    if process.exitcode:
        raise RunError(
            f"the run without a price on KL ended with code {process.exitcode}",
            remedy=f"Its log is {out / 'without-beta' / 'log.txt'}; the same command goes on",
        )


def _without_beta(out: Path, seed: int, assignments: Sequence[str]) -> None:
    """In its own process: the second run. What went wrong stands in its log."""
    from instil.errors import InstilError

    asked = settings(out, seed=seed, assignments=assignments)
    try:
        _align(asked.without_beta, requests(asked), out / "without-beta", say=lambda line: None)
    except InstilError as error:
        raise SystemExit(f"the run without a price on KL: {error}") from error
    except KeyboardInterrupt:  # its parent says how to go on
        raise SystemExit(130) from None


def _read_report(folder: Path) -> AlignReport:
    found: AlignReport = json.loads((folder / "report.json").read_text("utf-8"))
    return found


def _whole(
    asked: Settings, report: AlignReport, free: AlignReport, rankings: Rankings, judged: RewardResult, out: Path
) -> AlignReport:
    """The report of the run with a price on KL, with what came before it and what went on beside it."""
    said = _what_free_shows(asked, report, free)
    whole: dict[str, Any] = dict(report)
    whole["points"] = [_at_start(out / "aligned"), *report.get("points", ())]
    whole["over_optimised"] = {
        "label": f"The same without a price on KL: beta {_beta(asked.without_beta):g}",
        "points": [_at_start(out / "without-beta"), *free.get("points", ())],
        "text": said,
        "win_rate": free.get("win_rate"),
        "gold_reward": free.get("gold_reward"),
        "proxy_reward": free.get("proxy_reward"),
        "kl": free.get("kl"),
    }
    if judged.report is not None:
        whole["reward_model"] = judged.report["accuracy"]
    if (agreed := rankings.agreement) is not None:
        whole["agreement"] = {"score": agreed.rate, "n": agreed.n, "ci95": list(agreed.ci95)}
    whole["notes"] = [*_notes(asked, rankings, judged), *report.get("notes", ())]
    whole["verdict"] = f"{report['verdict']} {said}"
    return cast(AlignReport, whole)


def _at_start(folder: Path) -> dict[str, Any]:
    """The start's figures on the prompts that a run is watched by: the first point of its picture."""
    written = [Written.of(row) for row in json.loads((folder / "monitor" / "start.json").read_text("utf-8"))["answers"]]
    point: dict[str, Any] = {"step": 0, "kl": 0.0, "kl_low": 0.0, "kl_high": 0.0}
    for name in ("proxy", "gold"):
        found = average([getattr(one, name) for one in written])
        point |= {f"{name}_reward": found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return point


def _what_free_shows(asked: Settings, report: AlignReport, free: AlignReport) -> str:
    """One sentence about the run without a price on KL, whatever it shows."""
    proxies, golds = ([one[key]["gain"]["score"] for one in (report, free)] for key in ("proxy_reward", "gold_reward"))
    more, less = proxies[1] > proxies[0], golds[1] < golds[0]
    found = (
        "it pleases the reward model more, and people less"
        if more and less
        else "it pleases the reward model more, and people too"
        if more
        else "it pleases the reward model no more than this one"
    )
    return (
        f"Without a price on KL (beta {_beta(asked.without_beta):g}) it goes {free['kl']['score']:.1f} nats away; "
        f"{found}: gold {golds[1]:+.2f} over the start instead of {golds[0]:+.2f}, proxy {proxies[1]:+.2f} instead of "
        f"{proxies[0]:+.2f}."
    )


def _notes(asked: Settings, rankings: Rankings, judged: RewardResult) -> list[str]:
    """What the reward model learned from, and how well."""
    spec = asked.rankings
    learned = (
        f"The reward model learned from {len(rankings.train):,} rankings of {spec.fewest} to {spec.most} answers by "
        f"{len(PEOPLE) - 1} programmed people. Gold is what they would say without noise and habits: it trained "
        "nothing, and no weights were chosen by it."
    )
    said = [learned]
    if (agreed := rankings.agreement) is not None:
        said[0] += f" Two people order a pair alike in {100 * agreed.rate:.0f}% of cases."
    if judged.report is not None:
        accuracy: Mapping[str, Any] = judged.report["accuracy"]
        sides = {
            "held_out": "held-out prompts",
            "held_out_annotators": f"those that {HELD_OUT} ranked, whom it never met",
        }
        parts = [
            f"{100 * accuracy[side]['score']:.0f}% of the pairs of {name}"
            for side, name in sides.items()
            if side in accuracy
        ]
        said.append(f"The reward model orders as people did {', and '.join(parts)}.")
    return said


def _beta(recipe: AlignRecipe) -> float:
    return float(getattr(recipe.alignment, "beta", 0.0))
