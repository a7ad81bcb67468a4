"""The embedded base models, and the text that made them.

    folder()            the pocket causal base, inside the installed package
    PocketText()[12]    "she had cat dog fox and wrote the reverse: fox dog cat."

`instil pretrain recipes/pocket-base.yaml` makes the base; nothing else was ever in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from instil.errors import ModelError
from instil.fingerprint import fingerprint
from instil.pocket import layouts, lexicon
from instil.pocket.chains import Chain, singles
from instil.pocket.dice import Dice
from instil.pocket.documents import SHARES, Documents, labelled
from instil.pocket.split import split
from instil.records import PromptFormat

if TYPE_CHECKING:
    import tokenizers

    from instil.models.loading import LoadedModel

#: How prompts are written for pocket models: the answer comes after a cue on a line of its own.
FORM = PromptFormat(separator="\nAnswer: ", exemplar_separator="\n\n")

_TOKENIZER_DOCUMENTS = 20_000
_PROBES_PER_SKILL = 4


def folder() -> Path:
    """Where the pocket causal base lies.

    Raises:
        ModelError: if the package was installed without it.
    """
    path = Path(str(files("instil.pocket") / "weights" / "causal"))
    if not (path / "model.safetensors").is_file():
        raise ModelError(
            "the embedded base is not in this installation",
            remedy="Install the package whole, or make it: instil pretrain recipes/pocket-base.yaml --out runs/base",
        )
    return path


class PocketText(Documents):
    """The pocket world's pre-training text, as `instil pretrain` takes it."""

    form = FORM

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(split().shown_compositions, seed=seed)

    @property
    def fingerprint(self) -> str:
        """Names the text: the first documents stand for the generator that made them."""
        return fingerprint({"seed": self.seed, "shares": SHARES, "first": list(islice(self, 2000))})

    def tokenizer(self) -> tokenizers.Tokenizer:
        """Trained on this text, every word of the lexicon made sure of."""
        from instil.pocket.tokenizer import train_tokenizer

        words = " ".join(lexicon.every_word())
        cues = [FORM.cue.strip(), *layouts.SAYINGS]
        return train_tokenizer([*islice(self, _TOKENIZER_DOCUMENTS), *[words, *cues] * 400])

    def probe(self, loaded: LoadedModel) -> Mapping[str, float]:
        """Exact match on every skill in its own form, by teacher forcing on a sample; and the mean."""
        scores = own_form(loaded, singles(), count=_PROBES_PER_SKILL)
        return {"own_form": sum(sum(hits) for hits in scores.values()) / sum(map(len, scores.values()))}


def own_form(loaded: LoadedModel, chains: Sequence[Chain], *, count: int) -> dict[str, list[float]]:
    """How well a model does each skill in the form its pre-training text has it, without any instruction.

    The model continues a document up to the output; what it writes first must be the output, and then what closes it.
    Returns 1 or 0 for every document, by skill.

    Args:
        loaded: the model.
        chains: what to probe.
        count: documents a chain.
    """
    from instil.models.engine import Engine

    asked: list[tuple[str, list[int], str, str]] = []
    for chain in chains:
        dice = Dice("own form", chain.name)
        for _ in range(count):
            before, _, after = dice.choice(layouts.LAYOUTS).partition("{y}")
            text = chain.draw(dice)
            start = before.format(n=labelled(chain, dice), x=text).rstrip(" ")
            asked.append((chain.name, loaded.backend.encode(start).ids, chain.steps(text)[-1], after))
    longest = max(len(loaded.backend.encode(answer).ids) for _, _, answer, _ in asked) + 2
    written = Engine(loaded).generate([ids for _, ids, _, _ in asked], max_new_tokens=longest)
    right: dict[str, list[float]] = {}
    for (name, _, answer, after), completion in zip(asked, written, strict=True):
        text = completion.text.strip()
        ends = (answer + (after.strip()[:1] or " "), f"{answer} ")
        right.setdefault(name, []).append(float(text == answer or text.startswith(ends)))
    return right
