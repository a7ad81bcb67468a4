"""Where the rewards of a recipe come from: each takes a batch of answers, and gives a number for each of them.

    FromModel(load_reward("runs/reward"))     what a reward model says of prompt and answer, read as texts
    FromMetric("task", {"ni/task1": "rouge_l"})    how right the answer is, by the metric of the prompt's task
    FromFunction("my_rewards.py:short")       what a function of one's own says
    FromService(spec)                         what a service says (`endpoint`)

A number that is none (NaN) is no error here: whoever asks leaves such an answer out, and counts it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, Protocol

from instil.errors import ModelError, RecipeError, RunError
from instil.experiments.endpoint import Endpoint
from instil.experiments.reward_source_spec import TASK, RewardSourceSpec
from instil.fingerprint import fingerprint, fingerprint_file
from instil.records import Message, Prompt, PromptFormat
from instil.tasks.metrics import final_answer, metric
from instil.tuning.reward_model import RewardEnsemble, load_ensemble, load_reward
from instil.tuning.rewards import RewardBatch

#: Errors of a function of one's own that are the machine's, not the function's.
_PASSED_ON = (MemoryError,)


class Judging(Protocol):
    """A reward model, or several."""

    @property
    def fingerprint(self) -> str:
        """Names its content."""

    def rewards_of(
        self, prompts: Sequence[Sequence[Message]], completions: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """The reward of each completion of each prompt."""


class FromModel:
    """What a reward model, or an ensemble, says.

    Args:
        model: the model.
        name: of the reward.
        weight: what the sum multiplies it by.
    """

    def __init__(self, model: Judging, *, name: str, weight: float = 1.0) -> None:
        self.model, self.name, self.weight = model, name, weight

    @property
    def fingerprint(self) -> str:
        """Names the model's content."""
        return self.model.fingerprint

    def __call__(self, batch: RewardBatch) -> list[float]:
        """The reward of every answer; each prompt is given once, with its answers."""
        places: dict[tuple[Message, ...], list[int]] = {}
        for place, prompt in enumerate(batch.prompts):
            places.setdefault(prompt.conversation(PromptFormat()), []).append(place)
        found = self.model.rewards_of(
            list(places), [[batch.completions[place] for place in mine] for mine in places.values()]
        )
        rewards = [0.0] * len(batch.prompts)
        for mine, values in zip(places.values(), found, strict=True):
            for place, value in zip(mine, values, strict=True):
                rewards[place] = value
        return rewards


class FromMetric:
    """A verifiable reward: how right an answer is.

    Args:
        name_of_metric: a metric, or `task`.
        metrics: the first metric of each task, by the task's name; what `task` is looked up in.
        name: of the reward.
        weight: what the sum multiplies it by.
    """

    def __init__(self, name_of_metric: str, metrics: Mapping[str, str], *, name: str, weight: float = 1.0) -> None:
        self.metric, self.metrics, self.name, self.weight = name_of_metric, dict(metrics), name, weight

    @property
    def fingerprint(self) -> str:
        """Names the metric, and those of the tasks."""
        return fingerprint(["metric", self.metric, sorted(self.metrics.items()) if self.metric == TASK else []])

    def __call__(self, batch: RewardBatch) -> list[float]:
        """The reward of every answer, from 0 to 1. Where the target reasons, the final answers are compared."""
        return [self._one(prompt, text) for prompt, text in zip(batch.prompts, batch.completions, strict=True)]

    def _one(self, prompt: Prompt, text: str) -> float:
        references = (prompt.answer,) if prompt.answer else prompt.references or (prompt.target,)
        if not any(reference.strip() for reference in references):
            raise RunError(
                f"a prompt of {prompt.task!r} has no target that the reward {self.name!r} could compare with",
                remedy="Give prompts from tasks with targets, or another reward",
            )
        name = self.metrics.get(prompt.task, "exact_match") if self.metric == TASK else self.metric
        return metric(name)(final_answer(text) if prompt.answer else text.strip(), references)


class FromFunction:
    """What a function of one's own says.

    Args:
        place: `package.module:name` or `file.py:name`.
        name: of the reward.
        weight: what the sum multiplies it by.

    Raises:
        RecipeError: if there is no such function, or it does not take prompts and answers.
    """

    def __init__(self, place: str, *, name: str, weight: float = 1.0) -> None:
        self.place, self.name, self.weight = place, name, weight
        self.function, self.fingerprint = _function(place)

    def __call__(self, batch: RewardBatch) -> list[float]:
        """The reward of every answer.

        Raises:
            RunError: if the function fails, or gives no number for each answer.
        """
        try:
            given = self.function(list(batch.prompts), list(batch.completions))
            if isinstance(given, Iterator):  # a generator, which may fail as late as here
                given = list(given)
        except _PASSED_ON:
            raise
        except Exception as error:  # whatever a function of somebody else raises
            raise RunError(
                f"the reward {self.place} failed: {type(error).__name__}: {str(error)[:200]}",
                remedy="Correct the function, and begin a new run; with the same function a run goes on by --resume",
            ) from error
        try:
            rewards = [float(value) for value in given]
        except (TypeError, ValueError, OverflowError):
            rewards = []
        if len(rewards) != len(batch.completions):
            raise RunError(
                f"the reward {self.place} gave no list of {len(batch.completions)} numbers for as many answers",
                remedy="It should return a number for every answer, in their order",
            )
        return rewards


class FromService:
    """What a service says.

    Args:
        spec: where it is.
    """

    def __init__(self, spec: RewardSourceSpec) -> None:
        self.name, self.weight = spec.label, spec.weight
        self.endpoint = Endpoint(spec)
        self.fingerprint = fingerprint(["service", spec.url])
        """Of the address alone: what a service is made from, nobody here knows."""

    def __call__(self, batch: RewardBatch) -> list[float]:
        """The reward of every answer."""
        return self.endpoint(batch.prompts, batch.completions, batch.finished)


def _function(place: str) -> tuple[Callable[..., Any], str]:
    """The function of a place, and what names its source."""
    where, _, name = place.rpartition(":")
    try:
        module = _file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except RecipeError:
        raise
    except Exception as error:  # a module of somebody else may raise anything while it is read
        raise RecipeError(
            f"the reward {place} cannot be imported ({type(error).__name__}: {str(error)[:200]})",
            remedy="Give MODULE:FUNCTION of an installed module, or FILE.py:FUNCTION",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise RecipeError(
            f"{where} has no function {name!r}", remedy=f"There are {', '.join(there[:8])}" if there else "Write one"
        )
    try:
        inspect.signature(function).bind([], [])
    except TypeError as error:
        raise RecipeError(
            f"the reward {place} cannot be called with prompts and answers ({error})",
            remedy="Write it as def reward(prompts, completions)",
        ) from None
    except ValueError:
        pass  # one that is not written in Python says nothing of its arguments
    file = inspect.getsourcefile(module)
    return function, fingerprint([name, fingerprint_file(Path(file))] if file and Path(file).is_file() else [place])


def _file(path: Path) -> Any:
    if not path.is_file():
        raise RecipeError(f"no file at {path} to take a reward from", remedy="Give FILE.py:FUNCTION")
    name = f"instil_reward_{path.stem}"
    loader = _AsItIs(name, str(path.absolute()))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


class _AsItIs(importlib.machinery.SourceFileLoader):
    """Reads the file itself: a cache would miss a change within a second, and lie beside somebody's file."""

    def get_code(self, fullname: str) -> CodeType:
        """The file, compiled anew."""
        return self.source_to_code(self.get_data(self.path), self.path)


def reward_models(spec: RewardSourceSpec, *, device: str) -> Judging:
    """The reward model of a spec, or the ensemble.

    Raises:
        ModelError: if a folder holds no reward model.
    """
    if isinstance(spec.models, str):
        return load_ensemble(spec.models, device=device, combine=spec.combine)
    if spec.models is None:
        return load_reward(str(spec.model), device=device)
    loaded = [load_reward(name, device=device) for name in spec.models]
    if len({model.fingerprint for model in loaded}) < len(loaded):
        raise ModelError(
            f"the reward {spec.label!r} names a model twice", remedy="An ensemble has models that were trained apart"
        )
    return RewardEnsemble(loaded, combine=spec.combine)
