"""What a policy is asked while it learns, and what is kept to watch and to test it by.

    mixture    window(3, 64): prompts 192..255       watched, tested: examples that the mixture holds out
    rankings   the prompts that were ranked          watched, tested: prompts of the held-out rankings
               in a keyed order, epoch by epoch

Nothing that is watched or tested is ever trained on, and nothing that is tested chooses weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from instil.errors import DataError
from instil.evaluation.suite import Cell
from instil.experiments.monitor import MonitorSpec
from instil.fingerprint import fingerprint, keyed_order
from instil.mixtures.groups import prompt_of
from instil.mixtures.mixture import Mixture
from instil.records import Prompt, Ranking

#: Fewer prompts than this say nothing about a policy.
_FEWEST = 8


class Asked(Protocol):
    """Prompts by step."""

    def window(self, step: int, size: int) -> list[Prompt]:
        """The prompts of a step: a pure function. Fewer than `size` where places of a mixture are empty."""

    @property
    def metrics(self) -> Mapping[str, str]:
        """The first metric of each task, by name; empty where prompts have no targets."""

    @property
    def fingerprint(self) -> str:
        """Names every prompt."""


@dataclass(frozen=True)
class MixturePrompts:
    """The prompts of a mixture."""

    mixture: Mixture

    def window(self, step: int, size: int) -> list[Prompt]:
        """The prompts of a step."""
        return self.mixture.window(step, size)

    @property
    def metrics(self) -> Mapping[str, str]:
        """The first metric of each task."""
        return {task.name: task.metrics[0] for task in (*self.mixture.tasks, *self.mixture.held_out)}

    @property
    def fingerprint(self) -> str:
        """Names every prompt."""
        return self.mixture.fingerprint

    def held_out(self) -> list[Prompt]:
        """The examples that the mixture holds out, as prompts of their mixture's first setting; tasks take turns."""
        settings = {part.task.name: part.settings[0] for part in self.mixture.parts}
        pools: list[list[Prompt]] = []
        for task in self.mixture.held_out:
            if task.name not in settings:
                continue  # left out as a whole: its rows repeat those of other tasks
            cell = Cell(task, settings[task.name], limit=None)
            pools.append([item.prompt for item in cell.asked(seed=0, limit=None) if item.prompt is not None])
        longest = max(map(len, pools), default=0)
        return [pool[turn] for turn in range(longest) for pool in pools if turn < len(pool)]


@dataclass(frozen=True)
class ListedPrompts:
    """Prompts that are all known, asked in a keyed order of their own in every epoch."""

    prompts: Sequence[Prompt]
    seed: int = 0

    def window(self, step: int, size: int) -> list[Prompt]:
        """The prompts of a step."""
        count, first, stop = len(self.prompts), step * size, (step + 1) * size
        epochs = range(first // count, (stop - 1) // count + 1)
        orders = {epoch: keyed_order(count, self.seed, "prompts", epoch) for epoch in epochs}
        return [self.prompts[orders[place // count][place % count]] for place in range(first, stop)]

    @property
    def metrics(self) -> Mapping[str, str]:
        """None: they have no task to look it up in."""
        return {}

    @property
    def fingerprint(self) -> str:
        """Names every prompt."""
        return fingerprint([self.seed, prompts_fingerprint(self.prompts)])


def prompts_fingerprint(prompts: Iterable[Prompt]) -> str:
    """Names prompts with all that a reward may look at: targets, references and metadata too."""
    return fingerprint([asdict(prompt) for prompt in prompts])


def prompts_of(rankings: Iterable[Ranking]) -> list[Prompt]:
    """What was ranked answers of, each prompt once, in order; rankings of texts without a prompt give none."""
    found: dict[object, Prompt] = {}
    for ranking in rankings:
        if ranking.messages:
            found.setdefault(ranking.messages, replace(prompt_of(ranking), options=()))
    return list(found.values())


def kept_apart(pool: Sequence[Prompt], spec: MonitorSpec, *, remedy: str) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts that are watched, and those that are tested: as many as the spec asks for, or in its proportion.

    Args:
        pool: what training does not see; where tasks take turns, both parts have of all.
        spec: how many of each.
        remedy: what to do where there are too few.

    Raises:
        DataError: if there are fewer than eight for either.
    """
    wanted = spec.prompts + spec.test_prompts
    have = min(wanted, len(pool))
    tested = spec.test_prompts * have // wanted
    if have - tested < _FEWEST or tested < _FEWEST:
        raise DataError(
            f"{len(pool)} prompts are held out, too few to watch and to test a policy by (at least {2 * _FEWEST})",
            remedy=remedy,
        )
    order = keyed_order(have, "watched and tested")
    chosen = set(order[:tested])
    return [pool[k] for k in range(have) if k not in chosen], [pool[k] for k in range(have) if k in chosen]
