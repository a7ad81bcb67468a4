"""The embedded bases: they are there, they are small, they have skills and no manners."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from instil.experiments.shapes import SENTINELS
from instil.fingerprint import fingerprint_file
from instil.models.loading import LoadedModel, load
from instil.pocket.bases import BASES, FORM, PocketText, folder, own_form, small
from instil.pocket.chains import Chain, single, singles
from instil.pocket.lexicon import every_word
from instil.pocket.skills import SKILLS, Skill
from instil.pocket.split import split
from instil.records import Architecture, PromptFormat

ARCHITECTURES: tuple[Architecture, ...] = ("causal", "seq2seq", "masked")
RECIPES = {"causal": "pocket-base", "seq2seq": "pocket-base-seq2seq", "masked": "pocket-base-masked"}
#: What each base reaches at least in the skills' own form.
SKILLED = {"causal": 0.8, "seq2seq": 0.85, "masked": 0.85}
#: The bytes of the weights that were shipped: another file is another base, and every figure must be taken again.
SHA256 = {
    "causal": "fb442517675e786aaead6c82ef07f3d0f6cd118a3746bfdc0576a83acd8bfcec",
    "seq2seq": "813c8f76e1daec82fef55f44afeee8c948e5527f2c6dbe804e7155170908a17a",
    "masked": "d52b4b5f2d98af15d04f3d7bdd35dab1ea81b295abc49692e915add22442658e",
}

SMALL_SHA256 = "0a8cac92728706bb812894c96946396c271c7b7e5ba2337cce83a95ef9eef797"


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return load("pocket")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def each(request: pytest.FixtureRequest) -> LoadedModel:
    return load(BASES[request.param])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_base_is_in_the_package_and_at_most_8_mb(architecture: Architecture) -> None:
    assert sum(path.stat().st_size for path in folder(architecture).iterdir()) <= 8_000_000


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_weights_are_those_that_the_figures_were_taken_with(architecture: Architecture) -> None:
    assert fingerprint_file(folder(architecture) / "model.safetensors") == SHA256[architecture]


def test_the_small_base_is_the_rung_of_the_ladder_that_its_recipe_makes(repository: Path) -> None:
    assert fingerprint_file(small() / "model.safetensors") == SMALL_SHA256
    details = json.loads((small() / "instil.json").read_text("utf-8"))["pretraining"]
    recipe = yaml.safe_load((repository / "recipes" / "ladder" / "causal-0.3m.yaml").read_text("utf-8"))
    assert {key: details["pretraining"][key] for key in recipe["pretraining"]} == recipe["pretraining"]
    model = load("pocket-0.3m")
    assert model.parameters < load("pocket").parameters / 4
    right = own_form(model, singles(), count=3)
    assert sum(map(sum, right.values())) / sum(map(len, right.values())) > 0.65


def test_each_base_writes_prompts_as_the_pocket_does(each: LoadedModel) -> None:
    assert each.form == replace(FORM, answer_slots=32 if each.architecture == "masked" else 1)
    assert each.form != PromptFormat()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_base_says_which_recipe_made_it_and_that_recipe_is_the_one_in_the_repository(
    repository: Path, architecture: Architecture
) -> None:
    details = json.loads((folder(architecture) / "instil.json").read_text("utf-8"))["pretraining"]
    recipe = yaml.safe_load((repository / "recipes" / f"{RECIPES[architecture]}.yaml").read_text("utf-8"))
    assert details["text"] == {"seed": 0, **recipe["text"]}
    for section in ("model", "pretraining"):
        for key, value in recipe[section].items():
            made = details[section][key]
            assert ({name: made[name] for name in value} if isinstance(value, dict) else made) == value


def test_the_text_is_still_the_one_that_the_base_read() -> None:
    """The fingerprint in the run that made the shipped weights. If this fails, the base must be pre-trained again."""
    assert PocketText().fingerprint == "5f224bd9149b0ffcb45029ecd8cc5986"


def test_the_tokenizer_in_the_package_is_the_one_that_the_text_gives(base: LoadedModel) -> None:
    assert PocketText().tokenizer().get_vocab() == base.backend.get_vocab()


def test_every_base_has_the_words_of_the_causal_one_under_the_same_numbers(
    base: LoadedModel, each: LoadedModel
) -> None:
    vocabulary = each.backend.get_vocab()
    assert {word: vocabulary[word] for word in base.backend.get_vocab()} == base.backend.get_vocab()
    more = set(vocabulary) - set(base.backend.get_vocab())
    assert len(more) == {"causal": 0, "seq2seq": SENTINELS, "masked": 1}[each.architecture]


def test_every_word_of_the_world_is_one_token(base: LoadedModel) -> None:
    assert [word for word in every_word() if len(base.backend.encode(word).ids) != 1] == []


def test_any_text_survives_the_tokenizer(base: LoadedModel) -> None:
    for text in (" cat", " Grüße, 你好 🙂", " a\tb\n\nc", " <end>"):
        ids = base.backend.encode(text, add_special_tokens=False).ids
        if text != " <end>":
            assert base.backend.decode(ids) == text


def test_each_base_does_its_skills_in_their_own_form(each: LoadedModel) -> None:
    right = own_form(each, singles(), count=3)
    mean = sum(map(sum, right.values())) / sum(map(len, right.values()))
    assert mean > SKILLED[each.architecture]


def test_no_base_can_do_the_control_in_any_form(each: LoadedModel) -> None:
    right = own_form(each, split().negative_control, count=6)
    assert sum(map(sum, right.values())) / sum(map(len, right.values())) < 0.1


def test_a_wrong_answer_does_not_count_as_a_skill_shown(base: LoadedModel) -> None:
    """The probe itself: asked for one skill and judged by another, the base fails."""
    reverse, first = SKILLS["reverse"], SKILLS["drop_last"]
    mislabelled = Chain((Skill("x", "x", reverse.labels, "words", "words", first.apply),))
    assert sum(own_form(base, [mislabelled], count=8)["x"]) <= 2
    assert sum(own_form(base, [single("reverse")], count=8)["reverse"]) >= 5
