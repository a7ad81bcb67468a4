"""The ways of learning from preferences that a recipe can name, and what each needs.

ppo, grpo, rloo, reinforce    sample answers of prompts and learn from their rewards
rejection                     sample answers, keep the best, tune on them; again
best-of-n                     sample answers, give the best: nothing is trained
dpo, ipo, kto                 learn from rankings, sample nothing

spec_of("ppo", {"max_steps": 200, "beta": 0.02})   -> PpoSpec; a key of another method is named as such
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import ValidationError

from instil.tuning.loop_spec import LoopSpec

Method = Literal["ppo", "grpo", "rloo", "reinforce", "dpo", "ipo", "kto", "best-of-n", "rejection"]


@dataclass(frozen=True, slots=True)
class Way:
    """What a method is made of."""

    spec: str
    """Module and class of its section."""
    on_policy: bool
    """Whether it samples answers and needs rewards; else it needs rankings."""
    trains: bool = True
    fixed: Mapping[str, str] | None = None
    """Keys of the section that the method's name decides."""
    strength: str = ""
    """The key that holds a policy near its reference, for advice."""


WAYS: Mapping[str, Way] = {
    "ppo": Way("instil.tuning.ppo:PpoSpec", True, strength="beta"),
    "grpo": Way("instil.tuning.group_policy:GroupPolicySpec", True, fixed={"method": "grpo"}, strength="beta"),
    "rloo": Way("instil.tuning.group_policy:GroupPolicySpec", True, fixed={"method": "rloo"}, strength="beta"),
    "reinforce": Way(
        "instil.tuning.group_policy:GroupPolicySpec", True, fixed={"method": "reinforce"}, strength="beta"
    ),
    "dpo": Way("instil.tuning.dpo:DpoSpec", False, fixed={"method": "dpo"}, strength="beta"),
    "ipo": Way("instil.tuning.dpo:DpoSpec", False, fixed={"method": "ipo"}, strength="beta"),
    "kto": Way("instil.tuning.dpo:DpoSpec", False, fixed={"method": "kto"}, strength="beta"),
    "best-of-n": Way("instil.tuning.best_of_n:BestOfNSpec", True, trains=False),
    "rejection": Way("instil.tuning.rejection:RejectionSpec", True),
}
METHODS = get_args(Method)


def section_of(method: str) -> type[LoopSpec]:
    """The class of a method's section; its module is imported here and not before."""
    module, _, name = WAYS[method].spec.partition(":")
    found: type[LoopSpec] = getattr(importlib.import_module(module), name)
    return found


def spec_of(method: str, raw: Mapping[str, Any]) -> LoopSpec:
    """The section `alignment` of a recipe.

    Args:
        method: which.
        raw: what the recipe says.

    Raises:
        ValueError: if a key is none of this method's, or a value is wrong.
    """
    section, fixed = section_of(method), WAYS[method].fixed or {}
    for name, value in fixed.items():
        if name in raw and raw[name] != value:
            raise ValueError(f"alignment.{name} is {raw[name]!r} and method is {method!r}: say it once, with `method`")
    if foreign := [key for key in raw if key not in section.model_fields]:
        raise ValueError(_foreign(foreign[0], method, section))
    try:
        return section.model_validate({**raw, **fixed})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["alignment", *(str(part) for part in first["loc"])])
        raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None


def _foreign(key: str, method: str, section: type[LoopSpec]) -> str:
    """Why a key does not belong here, and where it would."""
    owners = [other for other in METHODS if other != method and key in section_of(other).model_fields]
    if owners:
        return f"alignment.{key} is a key of {', '.join(owners)}, and method is {method}"
    close = difflib.get_close_matches(str(key), section.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(sorted(section.model_fields))}"
    return f"unknown key alignment.{key}: {hint}"
