"""The rollouts of a run: each is made once, before the first step on it, and read wherever it is there already.

    step   0       1     2     3     | 4       5 ...        four steps a rollout
           made    -     -     -     | made    -
    killed at 3:   read  -           | made                 the weights of step 3 could not make it again
    killed at 4:                       read, if these very weights made it; else made

What a rollout carries on (beta, a baseline) comes from what the one before came to, which stays in its file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from instil.errors import RunError
from instil.fingerprint import fingerprint
from instil.runs import RunFolder
from instil.tuning.checkpoint import checkpoints
from instil.tuning.distributed import World
from instil.tuning.policy_method import Learned
from instil.tuning.policy_spec import PolicySpec
from instil.tuning.rollout_maker import RolloutMaker
from instil.tuning.rollouts import Rollout, RolloutFolder, arrays_of, rollout_of


class RolloutKeeper:
    """Has the rollout of a step, and what it teaches.

    Args:
        spec: which steps learn from which rollout.
        run: where rollouts and their figures go.
        maker: makes them.
    """

    def __init__(self, spec: PolicySpec, run: RunFolder, maker: RolloutMaker) -> None:
        self.spec, self.run, self.maker = spec, run, maker
        self.folder = RolloutFolder(run.path / "rollouts")
        self._number = -1
        self._held: tuple[Rollout, Learned] | None = None

    def of(self, step: int) -> tuple[Rollout, Learned]:
        """The rollout of a step that was prepared."""
        assert self._held is not None, f"step {step} was not prepared"
        assert self._number == self.spec.rollout_of(step), f"step {step} was not prepared"
        return self._held

    def prepare(self, step: int, model: PreTrainedModel) -> None:
        """Have the rollout of a step.

        Raises:
            RunError: if it is gone and cannot be made again.
        """
        number = self.spec.rollout_of(step)
        if number == self._number:
            return
        rollout = self._begun(number, step, model) if self.spec.begins_rollout(step) else self._kept(number)
        self._number, self._held = number, (rollout, self.maker.method.learned(rollout))

    def _begun(self, number: int, step: int, model: PreTrainedModel) -> Rollout:
        """The rollout that begins with this step: read where these very weights made it, else made."""
        world = World.current()
        key = fingerprint([number, step, _mark_of(model), self.maker.prompts(number)[1]])
        rollout = _shared(world, lambda: self.folder.read(number, key=key))
        if rollout is None:
            before = world.first(lambda: self.folder.summary(number - 1) if number else None)
            if number and before is None:
                raise world.once(_gone(number - 1, self.folder))
            rollout, summary = self.maker.make(number, model, self.maker.method.carried(before))
            self._tell(number, rollout)
            made = rollout
            world.first(lambda: self.folder.write(number, made, key=key, summary=summary))
        world.first(lambda: self._row(number, step))
        return rollout

    def _kept(self, number: int) -> Rollout:
        """The rollout of a run that is continued in the midst of it."""
        world = World.current()
        rollout = _shared(world, lambda: self.folder.read(number))
        if rollout is None:
            raise world.once(_gone(number, self.folder))
        return rollout

    def _row(self, number: int, step: int) -> None:
        """The rollout's row of metrics, once; and old rollouts go."""
        summary = self.folder.summary(number) or {}
        if not any(row["step"] == step and "rollout" in row for row in self.run.metrics()):
            self.run.add_metrics({"step": step, "rollout": {"number": number, **summary}})
        steps = [int(path.name.rpartition("-")[2]) for path in checkpoints(self.run.path / "checkpoints")]
        needed = min([number, *map(self.spec.rollout_of, steps)])
        self.folder.prune(min(needed, number + 1 - self.spec.keep_rollouts))

    def _tell(self, number: int, rollout: Rollout) -> None:
        """Say which answers are not learned from."""
        judged = rollout.judged
        if judged.all():
            return
        by = sorted(name for name, values in rollout.parts.items() if not _finite(values))
        prompts = len(judged[~judged]) // rollout.samples
        self.run.say(
            f"rollout {number}: {prompts} of {len(rollout.groups)} prompts are left out, whose answers have a reward "
            f"that is no number ({', '.join(by)})"
        )


def _mark_of(model: PreTrainedModel) -> str:
    """Names the bits of all that is trained: any step changes it."""
    sums = [
        [name, int(weight.detach().contiguous().view(torch.int32).sum(dtype=torch.int64))]
        for name, weight in model.named_parameters()
        if weight.requires_grad and weight.element_size() == 4
    ]
    return fingerprint(sums)


def _shared(world: World, read: Callable[[], Rollout | None]) -> Rollout | None:
    """What the first process reads, in all of them."""
    if world.size == 1:
        return read()
    found: list[Rollout | None] = []

    def plain() -> dict[str, Any] | None:
        found.append(rollout := read())
        if rollout is None:
            return None
        arrays = {name: [str(array.dtype), array.tolist()] for name, array in arrays_of(rollout).items()}
        return {"arrays": arrays, "state": dict(rollout.state), "texts": list(rollout.texts)}

    told = world.first(plain)
    if told is None or found:
        return found[0] if found else None
    arrays = {name: np.array(values, dtype=dtype) for name, (dtype, values) in told["arrays"].items()}
    return rollout_of(arrays, told["state"], told["texts"])


def _finite(values: Any) -> bool:
    return bool((values == values).all() and abs(values).max(initial=0.0) != float("inf"))


def _gone(number: int, folder: RolloutFolder) -> RunError:
    return RunError(
        f"rollout {number}, which the run goes on from, is gone or damaged in {folder.folder}",
        remedy="Restore it, or start a new run in another folder",
    )
