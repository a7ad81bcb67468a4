"""What a recipe says of a reward: where it comes from, and how much it weighs.

    rewards:
      - {model: runs/reward}                                      a reward model
      - {models: [runs/rm-a, runs/rm-b, runs/rm-c], combine: worst}   the least of several, hard to fool
      - {metric: task, weight: 0.5}                               right or wrong, by the metric of the prompt's own task
      - {python: my_rewards.py:short, weight: 0.1}                a function of one's own
      - {url: "http://localhost:8000/score"}                      a service

The reward of an answer is the sum of them all, each times its weight.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from instil.recipe import Section
from instil.tasks.metrics import METRICS

#: In place of a metric's name: the one that the prompt's own task is judged by.
TASK = "task"


class RewardSourceSpec(Section):
    """One reward: of `model`, `models`, `metric`, `python` and `url`, exactly one."""

    model: str | None = None
    """A reward model: a folder that `instil reward` wrote, or a run's. One with another tokenizer than the policy's
    reads the texts anew."""
    models: list[str] | str | None = None
    """Several reward models, combined into one; or the run of an ensemble (`instil reward` with `members`)."""
    combine: Literal["mean", "worst"] = "mean"
    """Of several: their mean, or the least, which an answer that fools one of them does not fool."""
    metric: str | None = None
    """A verifiable reward: a metric against the target of the prompt (`exact_match`, `rouge_l`, ...), or `task`: the
    first metric of the prompt's own task."""
    python: str | None = None
    """A function: `package.module:name`, or `file.py:name`. It is called with a list of prompts and one of answers, and
    gives a number for each."""
    url: str | None = None
    """A service that is sent answers as JSON and gives their rewards."""
    name: str = ""
    """What it is called in figures and reports; named after what it is by default."""
    weight: float = Field(default=1.0, allow_inf_nan=False)
    """What it is multiplied by in the sum; below zero is a penalty."""
    timeout_seconds: float = Field(default=60.0, gt=0)
    """A service: how long it may take."""
    retries: int = Field(default=3, ge=0)
    """A service: how often it is asked again where it does not answer or is overloaded, after 1, 2, 4, ... seconds."""
    batch: int = Field(default=64, ge=1)
    """A service: the most answers that are sent at once."""
    token: str | None = None
    """A service: the environment variable that holds its bearer token."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, raw: Any) -> Any:
        """A plain text is a reward model."""
        return {"model": raw} if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _one_kind(self) -> RewardSourceSpec:
        kinds = ("model", "models", "metric", "python", "url")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} are given" if given else "none is given"
            raise ValueError(f"a reward is one of {', '.join(kinds)}, and {said}")
        belongs = {"combine": "models", **dict.fromkeys(("timeout_seconds", "retries", "batch", "token"), "url")}
        for name, kind in belongs.items():
            if getattr(self, name) != type(self).model_fields[name].default and kind != given[0]:
                raise ValueError(f"{name} goes with {kind}, and this reward is a {given[0]}")
        if isinstance(self.models, list) and len(self.models) < 2:
            raise ValueError("models names at least two; give a single one as model")
        if self.metric is not None and self.metric != TASK and self.metric not in METRICS:
            raise ValueError(f"no metric {self.metric!r}: there are {', '.join((TASK, *METRICS))}")
        if self.python is not None and not all(part.strip() for part in self.python.partition(":")):
            raise ValueError(f"{self.python!r} is not MODULE:FUNCTION, such as my_rewards:short or my_rewards.py:short")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"{self.url!r} is no address of http:// or https://")
        if self.weight == 0:
            raise ValueError("a weight of 0 rewards nothing; leave the reward out, or put it under gold to watch it")
        return self

    @property
    def kind(self) -> str:
        """Which of the five it is."""
        kinds = ("model", "models", "metric", "python", "url")
        return next(name for name in kinds if getattr(self, name) is not None)

    @property
    def label(self) -> str:
        """Its name, or one made from what it is."""
        if self.name:
            return self.name
        if isinstance(self.models, list):
            return f"{self.combine} of {len(self.models)} models"
        if self.models is not None:
            return f"{self.combine} of {self.models.rstrip('/').rpartition('/')[2]}"
        said = self.metric or self.python or self.url or self.model or ""
        return f"{self.metric} metric" if self.metric else said.rstrip("/").rpartition("/")[2] or said
