"""What it took to pre-train a base, in the same operations as tuning it: the scale that a study's cost is put on.

pretraining_flops("pocket")                      by its own pre-training recipe, which its folder holds
pretraining_flops("my/base", tokens=2 * 10**9)   6 x weights x tokens, where the tokens are known
pretraining_flops("my/base")                     None
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instil.studies.flops import TRAINING, Matrices

if TYPE_CHECKING:
    from instil.experiments.pretrain import PretrainRecipe
    from instil.models.tensors import PackTensors

#: Steps of the pre-training that are laid out to count what they take, spread over the run.
_LOOKED_AT = 6


@cache
def pretraining_flops(model: str, *, tokens: int | None = None) -> float | None:
    """Operations of a base's pre-training; None where nobody knows.

    Args:
        model: its name or folder.
        tokens: that it was pre-trained on, for models whose folder does not say how.

    Raises:
        ModelError: if there is no such model.
    """
    recipe = _own_recipe(model)
    if recipe is not None:
        return _of_recipe(model, recipe)
    if tokens is None:
        return None
    sizes = Matrices.named(model)
    # attention is left out, as its rows are not known: the cost of tuning is made to look larger, never smaller
    return 2.0 * TRAINING * (sizes.read + sizes.head + sizes.encoder) * tokens


def _own_recipe(model: str) -> PretrainRecipe | None:
    """The recipe in the `instil.json` of a base that `instil pretrain` made."""
    from instil.errors import RecipeError
    from instil.experiments.pretrain import PretrainRecipe
    from instil.models.loading import resolve
    from instil.recipe import parse

    path = Path(resolve(model)) / "instil.json"
    try:
        raw = json.loads(path.read_text("utf-8")).get("pretraining")
        return None if raw is None else parse(PretrainRecipe, raw, origin=str(path))
    except (OSError, ValueError, AttributeError, RecipeError):
        return None


def _of_recipe(model: str, recipe: PretrainRecipe) -> float | None:
    """Some of its steps, laid out as they were."""
    from instil.errors import DataError
    from instil.experiments.texts import load_text, read
    from instil.models.loading import load
    from instil.tuning.loop import piece_tokens
    from instil.tuning.pretrain import text_pieces

    try:
        text = load_text(recipe.text.source)
    except DataError:
        return None
    loaded = load(model, device="cpu")
    spec, each = recipe.pretraining, recipe.text.documents_per_step
    sizes = Matrices.named(model)
    total = 0.0
    for place in range(_LOOKED_AT):
        step = place * spec.max_steps // _LOOKED_AT
        pieces = text_pieces(
            read(text, loaded.backend, range(step * each, (step + 1) * each)),
            loaded,
            piece_tokens(spec, loaded.device),
            row_tokens=spec.row_tokens,
            objective=spec.objective,
            seed=spec.seed,
            step=step,
            progress=step / (spec.schedule_steps or spec.max_steps),
        )
        total += sum(piece_flops(sizes, piece.item) for piece in pieces)
    return total / _LOOKED_AT * spec.max_steps


def piece_flops(sizes: Matrices, item: PackTensors) -> float:
    """Operations of a forward and a backward pass over a rectangle of rows."""
    rows, tokens = item.ids.shape
    read: Any = item.encoder
    encoder_tokens = 0 if read is None else read.ids.numel() / rows
    return TRAINING * sizes.forward(
        rows=rows, tokens=tokens, targets=len(item.target_ids), encoder_tokens=encoder_tokens
    )
