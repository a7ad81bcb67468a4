"""The embedded base models, and the text that made them.

    folder()            the pocket's causal base, inside the installed package
    folder("seq2seq")   its encoder-decoder base; and "masked" the one that finds masked words
    small()             a causal base of a fifth of the size, for questions about size
    PocketText()[12]    "she had cat dog fox and wrote the reverse: fox dog cat."

`instil pretrain recipes/pocket-base.yaml` makes the causal base, `pocket-base-seq2seq.yaml`,
`pocket-base-masked.yaml` and `ladder/causal-0.3m.yaml` the others; nothing but this text was ever in them.
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
from instil.records import Architecture, PromptFormat

if TYPE_CHECKING:
    import tokenizers

    from instil.models.loading import LoadedModel

#: How prompts are written for pocket models: the answer comes after a cue on a line of its own.
FORM = PromptFormat(separator="\nAnswer: ", exemplar_separator="\n\n")

_TOKENIZER_DOCUMENTS = 20_000
_PROBES_PER_SKILL = 4


#: Architecture -> the installed name of its base.
BASES: Mapping[Architecture, str] = {"causal": "pocket", "seq2seq": "pocket-seq2seq", "masked": "pocket-masked"}
_RECIPES: Mapping[Architecture, str] = {
    "causal": "pocket-base",
    "seq2seq": "pocket-base-seq2seq",
    "masked": "pocket-base-masked",
}


def small() -> Path:
    """Where the pocket's small causal base lies, installed as `pocket-0.3m`."""
    return _lying("causal-0.3m", "ladder/causal-0.3m")


def seq2seq() -> Path:
    """Where the pocket's encoder-decoder base lies."""
    return folder("seq2seq")


def masked() -> Path:
    """Where the pocket's masked base lies."""
    return folder("masked")


def folder(architecture: Architecture = "causal") -> Path:
    """Where a base of the pocket lies.

    Raises:
        ModelError: if the package was installed without it.
    """
    return _lying(architecture, _RECIPES[architecture])


def _lying(name: str, recipe: str) -> Path:
    path = Path(str(files("instil.pocket") / "weights" / name))
    if not (path / "model.safetensors").is_file():
        raise ModelError(
            f"the embedded {name} base is not in this installation",
            remedy=f"Install the package whole, or make it: instil pretrain recipes/{recipe}.yaml --out runs/{recipe}",
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
    from instil.models.architecture import engine_of

    asked: list[tuple[str, list[int], str, str]] = []
    # an encoder reads texts that end; behind what a masked model reads its slots stand
    closing = loaded.specials.end if loaded.architecture == "seq2seq" else ()
    for chain in chains:
        dice = Dice("own form", chain.name)
        for _ in range(count):
            before, _, after = dice.choice(layouts.LAYOUTS).partition("{y}")
            text = chain.draw(dice)
            start = before.format(n=labelled(chain, dice), x=text).rstrip(" ")
            ids = loaded.backend.encode(start, add_special_tokens=False).ids
            asked.append((chain.name, [*ids, *closing], chain.steps(text)[-1], after))
    longest = max(len(loaded.backend.encode(answer).ids) for _, _, answer, _ in asked) + 2
    written = engine_of(loaded).generate([ids for _, ids, _, _ in asked], max_new_tokens=longest)
    right: dict[str, list[float]] = {}
    for (name, _, answer, after), completion in zip(asked, written, strict=True):
        text = completion.text.strip()
        ends = (answer + (after.strip()[:1] or " "), f"{answer} ")
        right.setdefault(name, []).append(float(text == answer or text.startswith(ends)))
    return right
