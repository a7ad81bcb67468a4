"""What a policy is held near: the model that it starts as, or another one.

given               that model, which must read the same tokens
nothing, full       a copy of the policy, made before the first step
nothing, lora       the policy itself with its adapter switched off: no second model in memory
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace

from transformers import PreTrainedModel

from instil.errors import RecipeError
from instil.models.loading import LoadedModel
from instil.tuning.kin import stranger


class PolicyReference:
    """A reference that can be asked; make it before the policy is changed.

    Args:
        loaded: the policy as it starts.
        given: another model.
        adapted: whether the policy learns through an adapter.

    Raises:
        RecipeError: if the other model reads other tokens.
    """

    def __init__(self, loaded: LoadedModel, given: LoadedModel | None, *, adapted: bool) -> None:
        if given is not None and (fault := stranger(given, loaded)):
            raise RecipeError(
                f"the reference reads other tokens than the policy {loaded.path}: {fault}",
                remedy="Give the model that the policy was made from, or leave the reference out",
            )
        self.is_kin = given is None
        """Whether it computes in the policy's layout as the policy does."""
        self._model: PreTrainedModel | None = None
        if given is not None:
            self._model = given.model
        elif not adapted:
            self._model = copy.deepcopy(loaded.model)
        if self._model is not None:
            self._model.requires_grad_(False)
        self.loaded = given if given is not None else replace(loaded, model=self._model or loaded.model)

    @contextlib.contextmanager
    def asked(self, policy: PreTrainedModel) -> Iterator[PreTrainedModel]:
        """The model to ask; where it is the policy itself, its adapter is off meanwhile."""
        if self._model is not None:
            yield self._model
            return
        with adapter_off(policy):
            yield policy


@contextlib.contextmanager
def adapter_off(model: PreTrainedModel) -> Iterator[None]:
    """While open, the model is what it was before it had an adapter."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    try:
        for layer in layers:  # not peft's own switch, which also says what is trained
            layer._disable_adapters = True
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False
