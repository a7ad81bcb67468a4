"""A control: the same shape and tokenizer with fresh weights. What tuning alone teaches, pre-training did not give.

    with_fresh_weights(load("pocket"), seed=0)     pocket's shape and tokenizer, knowing nothing

A base that says how it was pre-trained (`instil.json`) begins as it began there; any other as transformers begins a
model of its configuration.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from instil.errors import RecipeError
from instil.experiments.shapes import ShapeSpec, fresh_model
from instil.fingerprint import fingerprint
from instil.models.fused import use_fused
from instil.models.linear import use_onednn
from instil.models.loading import LoadedModel, resolve
from instil.recipe import parse


def with_fresh_weights(loaded: LoadedModel, *, seed: int) -> LoadedModel:
    """The model as it was before it learned anything.

    Args:
        loaded: its shape, tokenizer, form and device stay.
        seed: decides the weights.
    """
    held = loaded.model
    model = _begun(loaded, seed)
    use_fused(model)
    use_onednn(model)
    model.to(device=loaded.device, dtype=held.dtype).eval()
    return replace(loaded, model=model, fingerprint=fingerprint([loaded.fingerprint, "fresh weights", seed]))


def refuse_adapters(*, lora: bool, trained: str) -> None:
    """Fresh weights must be trained, all of them.

    Raises:
        RecipeError: if the recipe trains only some.
    """
    if lora or trained != "all":
        key = "tuning.lora" if lora else "tuning.trained"
        raise RecipeError(
            f"model.from_scratch has fresh weights, and {key} would leave most of them as they are",
            remedy=f"Leave out {key}",
        )


def _begun(loaded: LoadedModel, seed: int) -> PreTrainedModel:
    said: dict[str, Any] = {}
    if (about := resolve(loaded.path) / "instil.json").is_file():
        said = json.loads(about.read_text("utf-8")).get("pretraining", {})
    if said:
        shape = parse(ShapeSpec, said["model"], origin=f"{about}, pretraining.model")
        return fresh_model(shape, loaded.model.config.vocab_size, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return type(loaded.model)(loaded.model.config)
