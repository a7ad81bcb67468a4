"""The verbs under torchrun: which of them several processes carry out together, and who of them speaks.

torchrun --nproc-per-node 2 -m instil tune recipe.yaml --out runs/two      both train, the first speaks
torchrun --nproc-per-node 2 -m instil eval --model ...                     error: `instil eval` is work for one
                                                                           process, and torchrun started 2. ...
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from instil.errors import InstilError, RecipeError, ToldElsewhereError

#: Verbs that share their work among processes. Of the others, each process would write the same files.
_SHARED = ("tune", "pretrain", "reward", "align")


def is_beside_another() -> bool:
    """Whether torchrun started this process, and not as the first of several."""
    return "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0"


def refuse_several(verb: str | None) -> None:
    """Refuse a verb that is work for one process where torchrun started more.

    Raises:
        RecipeError: in the first process.
        ToldElsewhereError: in the others.
    """
    started = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    count = os.environ["WORLD_SIZE"] if started else "1"
    if verb is None or verb in _SHARED or count == "1":
        return
    error = RecipeError(
        f"`instil {verb}` is work for one process, and torchrun started {count}",
        remedy=f"Start it without torchrun: only {', '.join(_SHARED[:-1])} and {_SHARED[-1]} take several",
    )
    raise ToldElsewhereError(error.message) if is_beside_another() else error


@contextlib.contextmanager
def met_alike() -> Iterator[None]:
    """While open, an error is one that all processes of a machine meet: the first of them tells it.

    For what is read before the processes have joined and can agree on who speaks.
    """
    try:
        yield
    except InstilError as error:
        if is_beside_another() and os.environ.get("LOCAL_RANK", "0") != "0":
            raise ToldElsewhereError(error.message) from error
        raise
