"""A run goes on only as what it was: a byte of what it is made from, or a key of its recipe, is refused by name."""

from __future__ import annotations

import shutil
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from instil.errors import RunError
from instil.experiments.recipe import resolve
from instil.experiments.tune import MAY_CHANGE, tune
from instil.runs import RunFolder
from instil.tuning.loop import CHANGEABLE
from instil.tuning.lora import LoraSpec
from instil.tuning.sft import TuningSpec

TEMPLATES = """\
templates:
  - name: asked
    input: "{{ question }} Say it."
    target: "{{ answer }}"
"""


def go(raw: dict[str, Any], out: Path, *assignments: str, resume: bool = False) -> None:
    tune(resolve(raw, assignments), out, resume=resume, say=lambda line: None, show_progress=False)


@pytest.fixture
def made(raw: dict[str, Any], tiny_base: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe all of whose files may be changed: model, rows, templates and replayed text."""
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "templates.yaml").write_text(TEMPLATES)
    (tmp_path / "text.txt").write_text("\n\n".join(f"some plain text {k}" for k in range(20)))
    raw["model"] = str(tmp_path / "base")
    source = raw["mixture"]["sources"][0]
    del source["map"]
    source["templates"] = str(tmp_path / "templates.yaml")
    raw["replay"] = str(tmp_path / "text.txt")
    raw["tuning"] |= {"max_steps": 2, "replay_share": 0.2}
    return raw


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    """A change of one place."""

    def change(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode(), 1)

    return change


CHANGES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "a letter of a row": ("my.jsonl", replaced("What is 7", "What is 8"), "the data"),
    "a letter of an answer": ("my.jsonl", replaced('"answer": "40"', '"answer": "41"'), "the data"),
    "a letter of a template": ("templates.yaml", replaced("Say it.", "Say it!"), "the data"),
    "a letter of replayed text": ("text.txt", replaced("text 19", "text 18"), "the replay"),
    "a bit of a weight": ("base/model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "the model"),
    "a byte of the tokenizer": ("base/tokenizer.json", lambda data: data + b"\n", "the model"),
    "two words of the vocabulary": (
        "base/tokenizer.json",
        lambda data: replaced('"ĵ": 999', '"ĵ": 240')(
            replaced('"Ĵ": 240', '"Ĵ": 241')(replaced('"ĵ": 241', '"ĵ": 999')(data))
        ),
        "the model and the tokenizer",
    ),
    "the end token": (
        "base/tokenizer_config.json",
        replaced('"eos_token": "<end>"', '"eos_token": "<pad>"'),
        "the tokenizer",
    ),
    "the prompt format": ("base/instil.json", replaced('"\\n"', '" "'), "the model"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_what_a_run_is_made_from_is_refused(made: dict[str, Any], tmp_path: Path, what: str) -> None:
    name, change, cause = CHANGES[what]
    out, path = tmp_path / "run", tmp_path / name
    go(made, out, "tuning.save_every=1")
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file() and file.name != ".lock"}
    original = path.read_bytes()
    path.write_bytes(change(original))
    with pytest.raises(RunError, match=f"^{cause} of .* changed since the run began"):
        go(made, out, "tuning.max_steps=3", resume=True)
    assert {file: file.read_bytes() for file in before} == before
    path.write_bytes(original)
    go(made, out, "tuning.max_steps=3", resume=True)


def other(name: str) -> object:
    """A valid value of a key of `tuning` that is not its default."""
    field = TuningSpec.model_fields[name]
    default, kinds = field.default, typing.get_args(field.annotation)
    if typing.get_origin(field.annotation) is typing.Literal:
        return next(kind for kind in kinds if kind != default)
    if isinstance(field.annotation, types.UnionType):
        return {"rank": 2} if LoraSpec in kinds else 64
    if isinstance(default, tuple):
        return [default[0] / 2, default[1]]
    return default + 1 if isinstance(default, int) else default / 2 + 0.25


@pytest.fixture
def begun(raw: dict[str, Any], tmp_path: Path) -> Callable[..., None]:
    """Opens one run folder again and again, as `tune` does, for a recipe with other keys."""
    raw["tuning"] = {}

    def opened(*, assignments: Sequence[str] = (), **tuning: object) -> None:
        recipe = resolve({**raw, "tuning": tuning}, assignments).model_dump(mode="json")
        RunFolder.open(
            tmp_path / "run", recipe=recipe, inputs={}, changeable=MAY_CHANGE, resume=True, echo=lambda line: None
        ).close()

    opened()
    return opened


@pytest.mark.parametrize("name", TuningSpec.model_fields)
def test_every_key_is_refused_by_name_or_stated_to_be_changeable(begun: Callable[..., None], name: str) -> None:
    if name in CHANGEABLE:
        begun(**{name: other(name)})
    else:
        with pytest.raises(RunError, match=rf"was begun with tuning\.{name}(\.\w+)? = .*, and the recipe now says"):
            begun(**{name: other(name)})
    begun()


@pytest.mark.parametrize("assignment", ["mixture.seed=5", "model.dtype=bfloat16", "mixture.sources.0.cap=2"])
def test_keys_beside_tuning_are_refused_by_name(begun: Callable[..., None], assignment: str) -> None:
    with pytest.raises(RunError, match=assignment.partition("=")[0].replace(".", r"\.")):
        begun(assignments=[assignment])
