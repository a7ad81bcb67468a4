"""All that a recipe names, opened and checked before anything long begins or is written.

prepare(recipe)  ->  mixture, suites, validation, model in its form, text to replay; or one line that says what is wrong
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from instil.errors import RecipeError
from instil.evaluation.scoring import encoder_of
from instil.evaluation.suite import Suite
from instil.experiments.forgetting import parted, text_of
from instil.experiments.measure import open_suites, refuse_leaks
from instil.experiments.recipe import Recipe
from instil.experiments.scratch import refuse_adapters, with_fresh_weights
from instil.experiments.texts import Documents
from instil.experiments.texts import replay as replay_from
from instil.experiments.validation import Validating, Validation, open_validation
from instil.experiments.windows import Windows
from instil.mixtures.compiled import Compiled, CompiledSpec
from instil.mixtures.encode import Encoder
from instil.mixtures.encoding_report import EncodingReport
from instil.mixtures.load import assemble
from instil.mixtures.mixture import Mixture
from instil.models.added_tokens import with_added_tokens
from instil.models.loading import LoadedModel, load
from instil.tuning.head import training_only
from instil.tuning.lora import target_names
from instil.tuning.memory import recomputing
from instil.tuning.sft import Replay, refuse_foreign_keys
from instil.tuning.trackers import check_trackers


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a recipe names, opened and checked."""

    recipe: Recipe
    mixture: Mixture
    suites: Sequence[Suite]
    loaded: LoadedModel
    text: Documents | None
    compiled: Compiled | None = None
    looked: EncodingReport = field(default_factory=EncodingReport)
    """What encoding did to the first prompts."""
    validation: Validation | None = None
    held_out: Sequence[str] = ()
    """Documents of the pre-training text that are never replayed: what forgetting is measured by."""

    @property
    def encoder(self) -> Encoder:
        """Turns prompts into this model's ids, at the recipe's length."""
        tuning = self.recipe.tuning
        return encoder_of(self.loaded, tuning.max_length, tuning.max_answer_length)

    @property
    def asking(self) -> Validating | None:
        """What asks the model while it learns."""
        if self.validation is None:
            return None
        return self.validation.on(self.loaded, self.encoder, self.recipe.tuning)

    @property
    def replay(self) -> Replay | None:
        """Pre-training text by step."""
        if self.text is None:
            return None
        return replay_from(self.text, self.loaded.backend, seed=self.recipe.tuning.seed)

    def windows(self) -> Windows:
        """The prompts of each step."""
        spec = self.recipe.tuning
        return Windows(
            self.mixture, self.encoder, size=spec.prompts_per_step, steps=spec.max_steps, compiled=self.compiled
        )


def prepare(recipe: Recipe, *, text: Documents | None = None, strict: bool = False) -> Prepared:
    """Open the mixture, the suites, the model and the text to replay; nothing is written.

    Raises:
        InstilError: whatever is wrong with any of them, before anything long begins.
    """
    data = None if recipe.data is None else Path(recipe.data)
    mixture = assemble(recipe.mixture, data=data, strict=strict)
    suites = open_suites(recipe.evaluation, data)
    check_trackers(recipe.trackers)
    refuse_leaks(suites, (task.name for task in mixture.tasks))
    validation = open_validation(recipe, mixture, suites, data)
    text = text or text_of(recipe, data)
    if text is None and recipe.tuning.replay_share:
        raise RecipeError(
            "tuning.replay_share asks for pre-training text, and none is known for this model",
            remedy="Name a text file with `replay`, or set tuning.replay_share to 0",
        )
    replayed, held_out = (None, []) if text is None else parted(text)
    asked = recipe.model
    loaded = load(asked.path, device=asked.device, dtype=asked.dtype)
    if asked.from_scratch:
        refuse_adapters(lora=recipe.tuning.lora is not None, trained=recipe.tuning.trained)
        loaded = with_fresh_weights(loaded, seed=recipe.tuning.seed)
    loaded = _with_added_tokens(loaded, recipe)
    loaded = in_form(loaded, chat=asked.chat, answer_slots=asked.answer_slots)
    refuse_foreign_keys(loaded, recipe.tuning)
    if recipe.tuning.lora is not None:
        target_names(loaded.model, recipe.tuning.lora)
    with (
        training_only(loaded.model, recipe.tuning.trained),
        recomputing(loaded.model, recipe.tuning.gradient_checkpointing),
    ):
        pass  # a model that cannot is refused here, before anything is written
    replayed = replayed if recipe.tuning.replay_share else None
    prepared = Prepared(recipe, mixture, suites, loaded, replayed, validation=validation, held_out=held_out)
    if recipe.compiled is not None:
        prepared = replace(prepared, compiled=_open_compiled(prepared, recipe.compiled, data))
    with prepared.windows() as windows:
        looked = windows.check()
    return replace(prepared, looked=looked)


def _with_added_tokens(loaded: LoadedModel, recipe: Recipe) -> LoadedModel:
    """The model with the tokens that the recipe adds.

    Raises:
        RecipeError: if there are some, and what is trained leaves their embeddings as they are.
    """
    grown = with_added_tokens(loaded, recipe.model.added_tokens)
    if grown is loaded:
        return loaded
    frozen = (
        "tuning.lora" if recipe.tuning.lora is not None else "tuning.trained" if recipe.tuning.trained != "all" else ""
    )
    if frozen:
        raise RecipeError(
            f"model.added_tokens has tokens that the model does not know, and with {frozen} no embedding is trained",
            remedy=f"Leave out {frozen}, or start from a model that was tuned with these tokens",
        )
    return grown


def in_form(loaded: LoadedModel, *, chat: bool | None = None, answer_slots: int | None = None) -> LoadedModel:
    """The model, with its prompts written as the recipe says; through a chat template, its turns end the answers.

    Raises:
        RecipeError: if the model's architecture has no such form.
        ModelError: if its chat template is missing or cannot be used.
    """
    if chat and loaded.architecture == "masked":
        raise RecipeError("model.chat is true, and a masked model holds no conversations", remedy="Leave it out")
    if answer_slots is not None and loaded.architecture != "masked":
        raise RecipeError(
            f"model.answer_slots is {answer_slots}, and only a masked model answers in slots; this one is "
            f"{loaded.architecture}",
            remedy="Leave it out",
        )
    if chat is not None:
        loaded = replace(loaded, form=replace(loaded.form, chat=chat))
    if answer_slots is not None:
        form, specials = replace(loaded.form, answer_slots=answer_slots), replace(loaded.specials, slots=answer_slots)
        loaded = replace(loaded, form=form, specials=specials)
    return replace(loaded, eos_id=encoder_of(loaded).eos_id) if loaded.form.chat else loaded


def _open_compiled(prepared: Prepared, spec: CompiledSpec, data: Path | None) -> Compiled:
    """The compiled mixture, checked to be what the recipe would read without it."""
    tuning, mixture, encoder = prepared.recipe.tuning, prepared.mixture, prepared.encoder
    compiled = Compiled(spec.path, stream=(mixture, encoder) if spec.past_end == "stream" else None)
    compiled.fit(mixture, encoder, data=data)
    if tuning.prompts_per_step % compiled.window_prompts:
        raise RecipeError(
            f"{spec.path} was built in windows of {compiled.window_prompts:,} prompts, which do not make up steps of "
            f"{tuning.prompts_per_step:,}",
            remedy="Set tuning.prompts_per_step to a multiple of that, or build it again",
        )
    needed = tuning.prompts_per_step * tuning.max_steps
    if spec.past_end == "error" and needed > len(compiled):
        raise RecipeError(
            f"{spec.path} holds {len(compiled):,} prompts, and {tuning.max_steps:,} steps of "
            f"{tuning.prompts_per_step:,} read {needed:,}",
            remedy=f"Build it with --prompts {needed}, or set compiled.past_end to stream",
        )
    return compiled
