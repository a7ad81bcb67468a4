"""What one render may do: a budget of steps that is paid before the work, and a clock behind it.

    budget.spend(len(text))          before a text of that length is made
    budget.weigh([[x, x], [x, x]])   pays for the x four times: shared parts count each time that they are reached
    for item in paid(context, items):  one step a round

One step is about one character or one round of a loop. Counting work instead of time makes a template stop at the same
place on every machine and in any thread; the clock is for what the prices judge too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic, thread_time
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import SecurityError
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Undefined

from instil.fingerprint import keyed_int

_SCALARS = frozenset({str, int, float, bool, type(None)})


class BoundError(Exception):
    """A template that does more than its budget, or runs longer than its clock."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one render may do."""

    steps: int = 1_000_000
    """Characters made plus rounds of loops, about 0.3 s of the worst templates."""
    seconds: float = 2.0
    """The second line: half of it by the clock, half of it by the processor time of the thread."""


class Budget:
    """What is left of the bounds of one render, and the seed of its random choices."""

    __slots__ = ("bounds", "busy_since", "deadline", "depth", "draws", "left", "seed")

    def __init__(self, bounds: Bounds, seed: int) -> None:
        self.bounds = bounds
        self.left = bounds.steps
        self.deadline = monotonic() + bounds.seconds / 2
        self.busy_since: float | None = None
        self.seed = seed
        self.draws = 0
        self.depth = 0

    def spend(self, steps: int) -> None:
        """Pay for work that is about to be done."""
        self.left -= steps
        if self.left < 0:
            raise BoundError(f"does more than {self.bounds.steps:,} steps (characters made, rounds of loops)")
        if monotonic() > self.deadline:
            self._check_processor_time()

    def _check_processor_time(self) -> None:
        """A machine that stands still must not change what is rendered: the second half counts this thread alone."""
        if self.busy_since is None:
            self.busy_since = thread_time()
        elif thread_time() - self.busy_since > self.bounds.seconds / 2:
            raise BoundError(f"runs longer than {self.bounds.seconds:g} s")

    def draw(self, n: int) -> int:
        """The next random number below `n`: decided by the seed and by how many were drawn before."""
        self.draws += 1
        if n == 1:
            return 0
        return keyed_int(self.seed, "draw", self.draws, n=n)

    def weigh(self, value: object, *, text: bool = False) -> None:
        """Pay for a value with all that it holds, shared parts each time.

        Args:
            value: anything.
            text: whether it is about to be written out; then its characters are paid for as well.
        """
        pending, due = [value], 0
        while pending:
            item = pending.pop()
            kind = type(item)
            if kind in (list, tuple):
                pending.extend(item)  # type: ignore[arg-type]  # kind says that it can be iterated over
                due += len(item)  # type: ignore[arg-type]
            elif kind is dict:
                pending.extend(item)  # type: ignore[arg-type]
                pending.extend(item.values())  # type: ignore[attr-defined]
                due += len(item)  # type: ignore[arg-type]
            elif text:
                if kind is str:
                    due += len(item)  # type: ignore[arg-type]
                elif kind is int:
                    due += item.bit_length() // 3  # type: ignore[attr-defined]
                elif isinstance(item, Undefined):
                    str(item)  # raises what is missing
                elif kind not in _SCALARS and kind is not range:
                    raise SecurityError(_unshowable(item))
            if due > self.left:
                self.spend(due)
        self.spend(due + 1)


class RenderContext(Context):
    """The names that a template sees, and its budget."""

    budget: Budget

    @classmethod
    def of(cls, environment: Environment, names: dict[str, Any], budget: Budget) -> RenderContext:
        """A context for one run, without what Jinja adds for includes and blocks, which do not exist here: making one
        Jinja's way takes longer than most templates do.

        Args:
            environment: the sandbox.
            names: the row's fields and the sandbox's globals; they are not written to.
            budget: what the run may do.
        """
        context = cls.__new__(cls)
        context.parent, context.vars, context.environment = names, {}, environment
        context.eval_ctx = _escaping(environment)
        context.exported_vars, context.globals_keys = set(), set()
        context.name, context.blocks = None, {}
        context.budget = budget
        return context


@lru_cache(maxsize=16)
def _escaping(environment: Environment) -> EvalContext:
    """Whether HTML is escaped: it is not, and no template can change that, so that all runs share one."""
    return EvalContext(environment, None)


def _unshowable(value: object) -> str:
    if isinstance(value, Iterator):
        return "prints a stream of values: add `| list` or `| join`"
    return f"prints a {type(value).__name__}, which is no text"


def paid(context: RenderContext, values: Any, price: int = 1) -> Iterable[Any]:
    """An iterable whose rounds are paid for: at once where its length is known, else one by one."""
    if isinstance(values, (list, tuple, str, dict, range)):
        context.budget.spend(len(values) * price + 1)
        return values
    return paid_singly(context.budget, values, price)


def paid_singly(budget: Budget, values: Iterable[Any], price: int = 1) -> Iterator[Any]:
    """The values, each paid for when it is asked for: the clock is read between any two."""
    for value in values:
        budget.spend(price)
        yield value
