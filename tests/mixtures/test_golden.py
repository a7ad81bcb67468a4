"""Prompts that may never change: the same on every machine, whatever is built around them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from instil.mixtures.load import load_mixture
from instil.mixtures.mixture import Hole
from instil.records import Prompt, PromptFormat


def digest(places: Iterable[Prompt | Hole]) -> str:
    """Names what is read, what is answered, and where both came from."""
    hasher = hashlib.sha256()
    for place in places:
        if isinstance(place, Hole):
            row = ["hole", place.task, place.setting, *place.reasons]
        else:
            row = [place.text(PromptFormat()), place.target, place.answer, *place.options, "", *place.references]
            row += ["", place.task, place.template, place.setting, place.example]
        hasher.update(json.dumps(row).encode())
    return hasher.hexdigest()[:32]


def test_the_prompts_of_the_pocket_recipe_stay(repository: Path) -> None:
    mixture = load_mixture(repository / "recipes" / "pocket.yaml")
    assert digest(mixture[:200]) == "e933284b8daa2a91bad0ceac839e234a"
    assert digest(mixture[10**9 : 10**9 + 50]) == "372d3c79980bfedb85ca014f9328ce61"


def test_the_prompts_of_the_real_mix_stay(repository: Path, data_root: Path) -> None:
    """Without the chain-of-thought sets, whose templates have become more since the first release."""
    mixture = load_mixture(repository / "recipes" / "real-mix.yaml", data_root)
    near = [place for place in mixture[:200] if not place.task.startswith("cot/")]
    far = [place for place in mixture[10**9 : 10**9 + 50] if not place.task.startswith("cot/")]
    assert digest(near) == "525ac1cba4fefc86a1b53d9afd038e1a"
    assert digest(far) == "67dd76ff0d5ca64dba045e8ea2389ffc"
