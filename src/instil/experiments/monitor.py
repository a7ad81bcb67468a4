"""What a policy is watched by while it learns: the same held-out prompts, asked again and again.

    step   proxy   gold    KL     length  entropy  distinct-2  ended  win rate     score
    0      0.12    0.31    0.00   21      1.10     0.61        0.98   0.50         0.31
    40     0.80    0.72    4.1    24      0.92     0.58        0.99   0.71         0.72       <- recommended
    80     1.35    0.55    11.8   39      0.41     0.33        0.80   0.63         -          beyond the budget of 10
    an alarm: reward hacking, proxy rose while gold fell

`score` is what weights are chosen by (`alignment.keep_best: score`): the gold reward, or the proxy where there is no
gold, while the KL to the reference stays within `kl_budget`; beyond it there is none, so that `patience` ends the run.
Gold is only ever looked at here: training never sees it, but choosing by it is choosing, so that what a report tells is
measured on other prompts, which are asked once, at the end.

Every answer is drawn with a seed of its prompt alone: at every step, and by the start, with the same one. Where answers
are sampled to learn from, they are asked for here just as there: what ends one is the end token, or the length limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from transformers import PreTrainedModel

from instil.experiments.alarms import Alarm, AlarmSpec, alarms, since_best
from instil.experiments.divergence import divergences
from instil.experiments.rewards import Judge
from instil.experiments.variety import distinct, repeated, unique
from instil.experiments.win_rate import Interval, average, gain, win_rate
from instil.fingerprint import fingerprint, keyed_int
from instil.mixtures.encode import Encoder
from instil.models.architecture import engine_of
from instil.models.loading import LoadedModel
from instil.models.sampling import Sampling
from instil.recipe import Section
from instil.records import Encoded, Prompt
from instil.runs import read_metrics, write_json

#: What weights are chosen by.
SCORE = "score"
#: n of the n-grams whose repetition within an answer is counted.
_REPEATED = 4


class MonitorSpec(Section):
    """What is watched while a policy learns, and when it has gone too far."""

    prompts: int = Field(default=64, ge=8)
    """Held-out prompts that are asked at every evaluation."""
    test_prompts: int = Field(default=200, ge=8)
    """Other held-out prompts, asked of the start and of the aligned model once: what the report tells."""
    examples_per_task: int = Field(default=16, ge=1)
    """Examples that every task of `prompts` keeps for these two, where `prompts.hold_out.examples` says nothing."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """The longest answer; as long as the policy's own while it learns, by default."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the drawn answers. With another than 1 the KL is that of the plain model on answers so drawn."""
    kl_budget: float | None = Field(default=None, gt=0)
    """How far the policy may go from the reference, in nats a completion: no step beyond counts as better."""
    alarms: AlarmSpec = Field(default_factory=AlarmSpec)
    """When figures are alarming."""


@dataclass(frozen=True, slots=True)
class Written:
    """A model's answer to one prompt, and all that is known about it."""

    text: str
    ids: tuple[int, ...]
    finished: bool
    kl: float
    entropy: float
    tokens: int
    """Those that the model chose: with the end token, where it ended."""
    proxy: float = math.nan
    gold: float = math.nan
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Each reward and each gold reward by itself, unweighted."""

    def row(self) -> dict[str, Any]:
        """As it stands in a file: what is not a number is null."""
        rewards = {name: known(value) for name, value in self.rewards.items()}
        numbers = {name: known(getattr(self, name)) for name in ("kl", "entropy", "proxy", "gold")}
        whole = {"text": self.text, "finished": self.finished, "tokens": self.tokens, "ids": list(self.ids)}
        return {**whole, **numbers, "rewards": rewards}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Written:
        """The answer that a row holds."""
        numbers = {name: _number(row[name]) for name in ("kl", "entropy", "proxy", "gold")}
        rewards = {name: _number(value) for name, value in row["rewards"].items()}
        return cls(row["text"], tuple(row["ids"]), row["finished"], tokens=row["tokens"], rewards=rewards, **numbers)


class Monitor:
    """Asks models the same prompts, judges what they write, and says what looks wrong.

    Args:
        spec: what is watched.
        prompts: what is asked.
        encoder: turns them into ids.
        reference: what the KL is measured to.
        proxy: the rewards that are learned by; None where nothing is.
        gold: the rewards that are only watched; None where there are none.
        folder: the run's; what was found goes to `monitor/` in it.
        max_new_tokens: the longest answer.
        seed: decides what is drawn.
        tokens_per_batch: tokens that are read together.
        strength: the recipe's key that holds the policy near its reference, for advice.
        say: shows a line to the person.
        besides: further figures of a model, such as those of held-out rankings; they are not judged.
        score: the name of the figure that `score` is where nothing judges answers.
        stops: whether the next turn or example ends an answer too, as in evaluation and chat. Not where answers are
            sampled to learn from: there the end token alone does, and a model that does not write it should look so.
    """

    def __init__(
        self,
        spec: MonitorSpec,
        prompts: Sequence[Prompt],
        *,
        encoder: Encoder,
        reference: LoadedModel,
        proxy: Judge | None,
        gold: Judge | None,
        folder: Path,
        max_new_tokens: int,
        seed: int = 0,
        tokens_per_batch: int = 1024,
        strength: str = "",
        say: Callable[[str], None] = lambda line: None,
        besides: Callable[[PreTrainedModel], Mapping[str, float]] | None = None,
        score: str = "",
        stops: bool = False,
    ) -> None:
        self.spec, self.prompts, self.encoder, self.reference = spec, tuple(prompts), encoder, reference
        self.proxy, self.gold, self.folder, self.say = proxy, gold, folder, say
        self.max_new_tokens, self.seed, self.tokens_per_batch = max_new_tokens, seed, tokens_per_batch
        self.strength, self.besides, self.score, self.stops = strength, besides, score, stops
        self.start: list[Written] = []
        self.policy: LoadedModel | None = None

    @property
    def judged_by(self) -> str:
        """What wins are counted by: `gold`, `proxy`, or nothing."""
        return "gold" if self.gold else "proxy" if self.proxy else ""

    def begin(self, start: LoadedModel) -> None:
        """Let the start answer, before it is changed."""
        self.policy = start
        self.start = self.answered("start", start)

    def __call__(self, step: int, model: PreTrainedModel) -> dict[str, float]:
        """The figures after a step: an `Evaluate` of the loop. `begin` comes first."""
        if self.policy is None:
            raise ValueError("a monitor is begun with the start before it is asked")
        written = self.ask(replace(self.policy, model=model))
        figures = self.figures(written)
        if self.besides is not None:
            figures |= self.besides(model)
        figures = {SCORE: self._score(figures), **figures}
        found = self._alarms(step, figures, written)
        for alarm in found:
            self.say(alarm.told)
        content = {
            "step": step,
            "figures": {name: known(value) for name, value in figures.items()},
            "alarms": [alarm.row() for alarm in found],
            "answers": [one.row() for one in written],
        }
        write_json(step_file(self.folder, step), content)
        return figures

    def answered(self, name: str, loaded: LoadedModel) -> list[Written]:
        """A model's answers, kept in a file; those that an earlier part of the run has kept are read again."""
        path = self.folder / "monitor" / f"{name}.json"
        prompts = [[prompt.task, prompt.example, prompt.input] for prompt in self.prompts]
        asked = fingerprint([loaded.fingerprint, prompts])
        try:
            there = json.loads(path.read_text("utf-8"))
            if there["asked"] == asked:
                return [Written.of(row) for row in there["answers"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there yet, or of an earlier, unlike run
        written = self.ask(loaded)
        write_json(path, {"asked": asked, "answers": [one.row() for one in written]})
        return written

    def ask(self, loaded: LoadedModel) -> list[Written]:
        """A model's answers to every prompt, judged."""
        most = self.max_new_tokens
        if loaded.architecture != "seq2seq":  # half of the context is left for the prompt
            most = min(most, max(1, self.encoder.max_length // 2))
        read = [reading.ids for reading in self.encoder.read(self.prompts, most)]
        engine = engine_of(loaded)
        sampling = Sampling(temperature=self.spec.temperature)
        seeds = [keyed_int(self.seed, "monitor", place, n=1 << 63) for place in range(len(read))]
        stops = [self.encoder.stops(prompt) if self.stops else () for prompt in self.prompts]
        found: dict[int, Any] = {}
        for ends in sorted(set(stops)):
            places = [place for place, mine in enumerate(stops) if mine == ends]
            drawn = engine.generate(
                [read[p] for p in places], most, ends, sampling=sampling, seeds=[seeds[p] for p in places]
            )
            found |= dict(zip(places, drawn, strict=True))
        completions = [found[place] for place in range(len(read))]
        encoded = [
            _encoded(ids, [*one.ids, *([] if one.end is None else [one.end])])
            for ids, one in zip(read, completions, strict=True)
        ]
        apart = divergences(loaded, self.reference, encoded, tokens_per_batch=self.tokens_per_batch)
        written = [
            Written(one.text.strip(), one.ids, one.finished, part.kl, part.entropy, part.tokens)
            for one, part in zip(completions, apart, strict=True)
        ]
        return self._judged(written)

    def _judged(self, written: Sequence[Written]) -> list[Written]:
        found = list(written)
        for name, judge in (("proxy", self.proxy), ("gold", self.gold)):
            if judge is None:
                continue
            total, parts = judge(
                self.prompts, [one.text for one in found], [one.ids for one in found], [one.finished for one in found]
            )
            for place, one in enumerate(found):
                rewards = {**one.rewards, **{label: values[place] for label, values in parts.items()}}
                found[place] = replace(one, rewards=rewards, **{name: total[place]})  # type: ignore[arg-type]
        return found

    def figures(self, written: Sequence[Written]) -> dict[str, float]:
        """What answers come to, beside the start's."""
        figures: dict[str, float] = {}
        for name, judge in (("proxy", self.proxy), ("gold", self.gold)):
            if judge is not None:
                figures |= _with_ends(f"{name}_reward", average([getattr(one, name) for one in written]))
        figures |= _with_ends("kl", average([one.kl for one in written]))
        tokens = max(1, sum(one.tokens for one in written))
        judged = [value for one in written for value in one.rewards.values()]
        figures |= {
            "length": float(np.mean([one.tokens for one in written])),
            "entropy": sum(one.entropy for one in written) / tokens,
            "distinct_1": distinct([one.ids for one in written], 1),
            "distinct_2": distinct([one.ids for one in written], 2),
            "repeated": float(np.mean([repeated(one.ids, _REPEATED) for one in written])),
            "unique": unique([one.text for one in written]),
            "ended": float(np.mean([one.finished for one in written])),
            "invalid": sum(not math.isfinite(value) for value in judged) / max(1, len(judged)),
        }
        if self.judged_by and self.start:
            figures |= _with_ends("win", self.compared(self.start, written)[0], mean="win_rate")
        names = [
            name for judge in (self.proxy, self.gold) if judge is not None and len(judge) > 1 for name in judge.names
        ]
        figures |= {f"reward/{name}": average([one.rewards[name] for one in written]).value for name in names}
        return figures

    def compared(self, start: Sequence[Written], now: Sequence[Written]) -> tuple[Interval, Interval]:
        """The win rate over the start, and the gain in the reward that counts it."""
        before, after = ([getattr(one, self.judged_by) for one in side] for side in (start, now))
        return win_rate(before, after), gain(before, after)

    def _score(self, figures: Mapping[str, float]) -> float:
        if self.spec.kl_budget is not None and figures["kl"] > self.spec.kl_budget:
            return math.nan
        return figures[f"{self.judged_by}_reward"] if self.judged_by else figures.get(self.score, math.nan)

    def _alarms(self, step: int, figures: Mapping[str, float], written: Sequence[Written]) -> list[Alarm]:
        best = None
        if self.gold is not None and self.proxy is not None:
            earlier = {one: steps_written(self.folder, one) for one in evaluated_steps(self.folder) if one < step}
            every = {**earlier, step: list(written)}
            proxy, gold = (
                {k: [getattr(one, name) for one in v] for k, v in every.items()} for name in ("proxy", "gold")
            )
            best = since_best(proxy, gold)
        return alarms(
            step,
            figures,
            self.figures(self.start),
            self.spec.alarms,
            kl_budget=self.spec.kl_budget,
            since_best=best,
            strength=self.strength,
        )


def step_file(folder: Path, step: int) -> Path:
    """Where the answers after a step are kept."""
    return folder / "monitor" / f"step-{step:08d}.json"


def evaluated_steps(folder: Path) -> list[int]:
    """The steps of a run that were evaluated, of which the answers are there."""
    steps = sorted({int(row["step"]) for row in read_metrics(folder) if "evaluation" in row})
    return [step for step in steps if step_file(folder, step).is_file()]


def steps_written(folder: Path, step: int) -> list[Written]:
    """The answers after a step."""
    rows = json.loads(step_file(folder, step).read_text("utf-8"))["answers"]
    return [Written.of(row) for row in rows]


def alarms_of(folder: Path) -> list[Mapping[str, Any]]:
    """Every alarm of a run, in order."""
    files = [step_file(folder, step) for step in evaluated_steps(folder)]
    return [alarm for path in files for alarm in json.loads(path.read_text("utf-8"))["alarms"]]


def known(value: float) -> float | None:
    """The number; None for what is none, which JSON does not have."""
    return float(value) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _with_ends(name: str, found: Interval, *, mean: str = "") -> dict[str, float]:
    short = name.removesuffix("_reward")
    return {mean or name: found.value, f"{short}_low": found.low, f"{short}_high": found.high}


def _encoded(prompt: Sequence[int], completion: Sequence[int]) -> Encoded:
    return Encoded(np.array([*prompt, *completion], dtype=np.int32), len(prompt))


def measured(value: object) -> bool:
    """Whether a value of a file is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
