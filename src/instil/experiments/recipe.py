"""The whole recipe: which model, which mixture, how it is tuned, what it is evaluated on.

    name: first
    model: pocket                       # or a folder, or a hub name; or {path: ..., device: ..., dtype: ...}
    mixture:
      sources: [{collection: pocket}]
    tuning: {max_steps: 600, learning_rate: 1.0e-3}
    evaluation: {suites: [pocket], limit: 50}

Each section is declared beside the code that uses it; here they only meet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from instil.errors import RecipeError
from instil.mixtures.compiled import CompiledSpec
from instil.mixtures.load import assemble, beside
from instil.mixtures.mixture import Mixture
from instil.mixtures.spec import MixtureSpec
from instil.mixtures.tokenizer import find_encoder
from instil.recipe import Section, load_yaml, override, parse
from instil.records import Prompt
from instil.tasks.registry import collection_of
from instil.tuning.sft import TuningSpec
from instil.tuning.trackers import Name

#: Collections that a file of one's own may be of by its form alone. Preferences are not among them: to be tuned on them
#: is to learn to judge, which nobody asked for.
TUNED_ON = ("chat", "sharegpt", "alpaca", "flan")
#: A file of one's own is read so many times, within these bounds of steps.
_EPOCHS = 3
_STEPS_FOR_A_FILE = (20, 3000)
#: Slots of a masked model for the answers of a file: as many as the longest of the first rows takes, up to this many.
_MOST_SLOTS, _LOOKED_AT = 32, 2000
#: Bytes of weights, and the learning rate of full fine-tuning that suits models up to there.
_LEARNING_RATES = ((5e7, 1e-3), (5e8, 1e-4), (3e9, 3e-5), (math.inf, 1e-5))


class ModelSpec(Section):
    """The model to start from."""

    path: str
    """An installed name (`pocket`), a folder of a model or a run, or a hub name such as HuggingFaceTB/SmolLM2-135M."""
    device: str = "auto"
    """`auto` is the GPU where there is one, else the CPU; or a torch device such as `cuda:1`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """How weights are held while evaluating; tuning keeps float32 weights (`tuning.dtype` is that of its products)."""
    chat: bool | None = None
    """Whether prompts are written through the model's own chat template, as conversations; as the model was tuned
    before by default, and as plain text where it was not. The tuned model remembers it."""
    answer_slots: int | None = Field(default=None, ge=1, le=64)
    """Masked models: the mask tokens that an answer has room in; with 1 it is one token, with more it ends with the end
    token. As the model was tuned before by default, and 1 where it was not. The tuned model remembers it."""
    from_scratch: bool = False
    """A control: the model's shape and tokenizer with fresh weights, drawn by `tuning.seed`, as if it had never been
    pre-trained."""
    added_tokens: list[str] = Field(default_factory=list)
    """Tokens that the tokenizer gains where it does not have them, each embedded as the mean of all others. One in the
    form `<|...|>` is special: a chat template may write it, data cannot."""


class EvaluationSpec(Section):
    """What is measured before and after tuning."""

    suites: list[str] = Field(default_factory=list)
    """Names of suites (`pocket`, `ni-dev`, `bbh`) or suite files; none by default."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many examples of a task; what the suite says by default."""
    before: bool = True
    """Whether the base answers too, so that a gain can be told from what was there before."""


class ValidationSpec(Section):
    """What is asked while tuning, every `tuning.evaluate_every` steps: what `tuning.keep_best` may choose by. Examples
    of the trained tasks are kept for it by `mixture.hold_out.examples`.
    """

    suites: list[str] = Field(default_factory=list)
    """Names of suites or suite files. None of what they ask may be asked by `evaluation.suites`: a checkpoint that was
    chosen on the test would flatter itself."""
    watched: list[str] = Field(default_factory=list)
    """Suites that are asked too, for their curves alone: nothing can be chosen by them, so they may be tests."""
    limit: int | None = Field(default=20, ge=1)
    """At most so many examples of a task, each time."""
    held_out: bool = True
    """Whether the examples that the mixture holds out are asked; where not, they are only kept out of tuning."""
    methods: list[Literal["auto", "preferred", "rank", "generate"]] | None = None
    """How the examples that the mixture holds out are asked, as in a suite file; `auto` (ranked where there are
    options) by default."""


class Recipe(Section):
    """All of one run."""

    name: str
    """What the run is called in its report and model card; the file's name by default."""
    model: ModelSpec
    """The model to start from; a plain text is its `path`."""
    mixture: MixtureSpec
    """What is trained on."""
    compiled: CompiledSpec | None = None
    """The same mixture built by `instil mix build`, to be read instead of made on the way; `--compiled` gives its
    path. What is trained on stays the same."""
    tuning: TuningSpec = Field(default_factory=TuningSpec)
    """How it is trained."""
    validation: ValidationSpec = Field(default_factory=ValidationSpec)
    """What is asked while tuning."""
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    """What is measured."""
    data: str | None = None
    """The folder that the mixture's and the suites' paths start from; `--data` overrides it."""
    replay: str | None = None
    """The text that `tuning.replay_share` mixes in: an installed name (`pocket`) or a text file. By default the text
    that the model was pre-trained on, where one of the model's name is installed."""
    trackers: list[Name] = Field(default_factory=list)
    """Where the figures of training go besides metrics.jsonl: tensorboard, trackio, mlflow, wandb."""
    seed: int | None = None
    """The seed of mixture and tuning, where those say nothing."""

    @model_validator(mode="before")
    @classmethod
    def _seed_reaches_the_parts(cls, raw: Any) -> Any:
        seed = raw.get("seed") if isinstance(raw, Mapping) else None
        if seed is None:
            return raw
        parts = {key: raw.get(key, {}) for key in ("mixture", "tuning")}
        return {**raw, **{key: {"seed": seed, **part} for key, part in parts.items() if isinstance(part, Mapping)}}


def read_recipe(path: Path, assignments: Sequence[str] = (), *, data: Path | None = None) -> Recipe:
    """The recipe in a file, with `--set` and `--data` applied.

    Raises:
        RecipeError: if the file, a key or an override is wrong; the message names the nearest valid key.
    """
    raw = {"name": path.stem, **load_yaml(path)}
    if isinstance(raw.get("mixture"), dict):
        raw["mixture"] = beside(raw["mixture"], path.parent)
    return resolve(raw, assignments, data=data, origin=str(path) + (" with --set" if assignments else ""))


def resolve(
    raw: Mapping[str, Any], assignments: Sequence[str] = (), *, data: Path | None = None, origin: str = "the recipe"
) -> Recipe:
    """A recipe from plain data: the model's short form written out, then overrides, then `data`."""
    plain = dict(raw)
    if isinstance(plain.get("model"), str):
        plain["model"] = {"path": plain["model"]}
    plain = override(plain, assignments)
    if isinstance(plain.get("model"), str):
        plain["model"] = {"path": plain["model"]}
    if data is not None:
        plain["data"] = str(data)
    return parse(Recipe, plain, origin=origin)


def recipe_for_file(*, model: str, file: Path, columns: Sequence[str], assignments: Sequence[str]) -> Recipe:
    """The recipe that tunes a model on a file of one's own: three times over the rows, at a rate that suits its size.

    Args:
        model: a model folder, a hub name, or an installed name.
        file: JSONL, JSON, CSV, TSV or Parquet, of inputs and targets, conversations, or instructions.
        columns: `inputs=question` and the like.
        assignments: overrides, applied last.

    Raises:
        RecipeError: if `columns` is not of that form.
        DataError: if no row of the file can be used.
    """
    renamed = {}
    for column in columns:
        field, equals, name = column.partition("=")
        if not (field and equals and name):
            raise RecipeError(f"--map {column!r} is not FIELD=COLUMN", remedy="Write it like --map inputs=question")
        renamed[field] = name
    form = None if renamed or not file.is_file() else collection_of(file)
    source: dict[str, Any] = {"collection": "jsonl", "path": str(file.absolute()), "map": renamed}
    if form in TUNED_ON:
        source = {"collection": form, "path": str(file.absolute())}
    mixture = assemble(parse(MixtureSpec, {"sources": [source]}, origin=str(file)))
    rows = len(mixture)
    window = TuningSpec().prompts_per_step
    fewest, most = _STEPS_FOR_A_FILE
    steps = min(max(math.ceil(_EPOCHS * rows / window), fewest), most)
    raw = {
        "name": file.name.partition(".")[0],
        "model": {"path": model, "answer_slots": _answer_slots(model, mixture)},
        "mixture": {"sources": [source]},
        "tuning": {"max_steps": steps, "warmup_steps": steps // 20, "learning_rate": _learning_rate(model)},
    }
    return resolve(raw, assignments, origin="--set")


def _answer_slots(model: str, mixture: Mixture) -> int | None:
    """For a masked model that has no slots of its own, room for the longest answer of the file; None for any other."""
    from instil.models.loading import resolve as folder_of  # imports torch
    from instil.models.weights import architecture_of, config_of

    folder = folder_of(model)
    if architecture_of(folder, config_of(folder)) != "masked":
        return None
    encoder = find_encoder(folder)
    if encoder.form.answer_slots > 1:
        return None
    prompts = (place for place in mixture[: min(len(mixture), _LOOKED_AT)] if isinstance(place, Prompt))
    longest = max((len(encoder.encode_continuation(encoder.continuation(prompt))) for prompt in prompts), default=1)
    return 1 if longest <= 1 else min(longest + 1, _MOST_SLOTS)  # with more than one slot, the end token takes one


def _learning_rate(model: str) -> float:
    """Small models want large steps: by the size of the weights, in bytes, at two bytes a weight or more."""
    from instil.models.loading import resolve as folder_of  # imports torch

    size = sum(path.stat().st_size for path in folder_of(model).glob("*.safetensors"))
    return next(rate for most, rate in _LEARNING_RATES if size <= most)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of recipes, for editors: the short form of `model` allowed, `name` left to the file's name."""
    schema = Recipe.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "instil recipe"
    schema["required"] = [key for key in schema["required"] if key != "name"]
    model = schema["properties"]["model"]
    schema["properties"]["model"] = {
        "description": model.pop("description", ""),
        "anyOf": [{"type": "string"}, model],
    }
    return schema
