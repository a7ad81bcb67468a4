"""The rewards of a recipe, opened and put together: what answers are learned by, and what they are only watched by.

    rewards = open_rewards(recipe.rewards, metrics={"ni/task1": "rouge_l"}, device="cpu")
    Judge(rewards)(prompts, texts, ids, finished)  ->  [0.82, nan, ...],  {"reward": [...], "short": [...]}

A sum with a part that is not a number is not one either: such an answer is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from instil.errors import RecipeError
from instil.experiments.reward_source_spec import RewardSourceSpec
from instil.experiments.reward_sources import FromFunction, FromMetric, FromModel, FromService, reward_models
from instil.fingerprint import fingerprint
from instil.records import Prompt
from instil.tuning.rewards import Reward, RewardBatch, judge


class Judge:
    """A weighted sum of rewards.

    Args:
        rewards: its parts; at least one, each with a name of its own.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        self.rewards = tuple(rewards)

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def names(self) -> list[str]:
        """Of its parts."""
        return [reward.name for reward in self.rewards]

    @property
    def fingerprint(self) -> str:
        """Names all that decides it; a part that was handed over and has no fingerprint goes by its name."""
        return fingerprint([[one.name, str(one.weight), getattr(one, "fingerprint", "")] for one in self.rewards])

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[str],
        ids: Sequence[Sequence[int]],
        finished: Sequence[bool],
    ) -> tuple[list[float], dict[str, list[float]]]:
        """The reward of every answer, and what each part gives, unweighted.

        Raises:
            RunError: if a part gives another number of rewards than there are answers, or cannot be asked.
        """
        found = judge(
            self.rewards,
            RewardBatch(
                prompts=tuple(prompts),
                completions=tuple(completions),
                ids=tuple(tuple(one) for one in ids),
                finished=tuple(finished),
            ),
        )
        return found.total, found.by_source


def open_rewards(
    specs: Sequence[RewardSourceSpec], *, metrics: Mapping[str, str], device: str, where: str = "rewards"
) -> list[Reward]:
    """The rewards of a recipe, models loaded, functions imported.

    Args:
        specs: what the recipe says.
        metrics: the first metric of each task among the prompts, by name; empty where prompts have no targets.
        device: where reward models are computed.
        where: the recipe's key, for messages.

    Raises:
        RecipeError: if two have one name, a metric has nothing to compare with, or a function is not there.
        ModelError: if a reward model cannot be used.
    """
    names = [spec.label for spec in specs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RecipeError(f"{where} has two rewards named {twice!r}", remedy="Give each a `name`")
    return [_opened(spec, metrics, device, where) for spec in specs]


def try_rewards(rewards: Sequence[Reward], prompts: Sequence[Prompt]) -> None:
    """Ask each function and each service once, so that one that cannot work says so before anything long begins.

    Args:
        rewards: all of a run; models and metrics are known to work once they are opened.
        prompts: a few that will be asked; what is judged is their target, or their own text where they have none.

    Raises:
        RunError: if one fails, or gives another number of rewards than there are answers.
    """
    answers = tuple(prompt.target or prompt.input for prompt in prompts)
    batch = RewardBatch(
        prompts=tuple(prompts), completions=answers, ids=((),) * len(answers), finished=(True,) * len(answers)
    )
    for reward in rewards:
        if isinstance(reward, (FromFunction, FromService)):
            reward(batch)


def _opened(spec: RewardSourceSpec, metrics: Mapping[str, str], device: str, where: str) -> Reward:
    if spec.metric is not None:
        if not metrics:
            raise RecipeError(
                f"{where} asks for the metric {spec.metric!r}, and prompts that come from rankings have no targets",
                remedy="Give `prompts` from tasks with targets, or another reward",
            )
        return FromMetric(spec.metric, metrics, name=spec.label, weight=spec.weight)
    if spec.python is not None:
        return FromFunction(spec.python, name=spec.label, weight=spec.weight)
    if spec.url is not None:
        return FromService(spec)
    return FromModel(reward_models(spec, device=device), name=spec.label, weight=spec.weight)
