"""The embedded base: it is there, it is small, it has skills and no manners."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from instil.models.loading import LoadedModel, load
from instil.pocket.bases import FORM, PocketText, folder, own_form
from instil.pocket.chains import single, singles
from instil.pocket.lexicon import every_word
from instil.pocket.split import split
from instil.records import PromptFormat


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return load("pocket")


def test_the_base_is_in_the_package_and_at_most_8_mb(base: LoadedModel) -> None:
    assert sum(path.stat().st_size for path in folder().iterdir()) <= 8_000_000
    assert base.form == FORM
    assert base.form != PromptFormat()


def test_the_base_says_which_recipe_made_it_and_that_recipe_is_the_one_in_the_repository(repository: Path) -> None:
    details = json.loads((folder() / "instil.json").read_text("utf-8"))["pretraining"]
    recipe = yaml.safe_load((repository / "recipes" / "pocket-base.yaml").read_text("utf-8"))
    assert details["text"] == {"seed": 0, **recipe["text"]}
    for section in ("model", "pretraining"):
        assert {key: details[section][key] for key in recipe[section]} == recipe[section]


def test_the_text_is_still_the_one_that_the_base_read() -> None:
    """The fingerprint in the run that made the shipped weights. If this fails, the base must be pre-trained again."""
    assert PocketText().fingerprint == "5f224bd9149b0ffcb45029ecd8cc5986"


def test_the_tokenizer_in_the_package_is_the_one_that_the_text_gives(base: LoadedModel) -> None:
    assert PocketText().tokenizer().get_vocab() == base.backend.get_vocab()


def test_every_word_of_the_world_is_one_token(base: LoadedModel) -> None:
    assert [word for word in every_word() if len(base.backend.encode(word).ids) != 1] == []


def test_any_text_survives_the_tokenizer(base: LoadedModel) -> None:
    for text in (" cat", " Grüße, 你好 🙂", " a\tb\n\nc", " <end>"):
        ids = base.backend.encode(text, add_special_tokens=False).ids
        if text != " <end>":
            assert base.backend.decode(ids) == text


def test_the_base_does_its_skills_in_their_own_form(base: LoadedModel) -> None:
    right = own_form(base, singles(), count=3)
    mean = sum(map(sum, right.values())) / sum(map(len, right.values()))
    assert mean > 0.8


def test_the_base_cannot_do_the_control_in_any_form(base: LoadedModel) -> None:
    right = own_form(base, split().negative_control, count=6)
    assert sum(map(sum, right.values())) / sum(map(len, right.values())) < 0.1


def test_a_wrong_answer_does_not_count_as_a_skill_shown(base: LoadedModel) -> None:
    """The probe itself: asked for one skill and judged by another, the base fails."""
    from instil.pocket.chains import Chain
    from instil.pocket.skills import SKILLS, Skill

    reverse, first = SKILLS["reverse"], SKILLS["drop_last"]
    mislabelled = Chain((Skill("x", "x", reverse.labels, "words", "words", first.apply),))
    assert sum(own_form(base, [mislabelled], count=8)["x"]) <= 2
    assert sum(own_form(base, [single("reverse")], count=8)["reverse"]) >= 5
