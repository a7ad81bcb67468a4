"""`instil mix show`: what is trained on can be seen, and read by machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from typer.testing import CliRunner

from instil.cli.mix import app
from instil.errors import ModelError
from instil.mixtures.encode import Encoder
from instil.mixtures.mixture import Hole
from instil.mixtures.showing import describe, pieces
from instil.mixtures.tokenizer import find_encoder
from instil.records import Exemplar, Prompt, PromptFormat

TEXTS = ["What is the answer? It is 42, and naïve 漢字 \x1b[31m."] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as Hugging Face writes it, without weights."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<pad>", "<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": {"content": "<end>"}}', encoding="utf-8")
    (folder / "config.json").write_text('{"max_position_embeddings": 128, "eos_token_id": 0}', encoding="utf-8")
    (folder / "instil.json").write_text('{"form": {"separator": "\\nAnswer: "}}', encoding="utf-8")
    return folder


@pytest.fixture
def recipe(tmp_path: Path, folder: Path) -> Path:
    rows = [{"inputs": f"[bold]{k}[/bold] and \x1b[31m?", "targets": f"x{k}"} for k in range(5)]
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    whole = {
        "model": {"path": str(folder)},
        "data": str(tmp_path),
        "mixture": {"sources": [{"collection": "jsonl", "path": "my.jsonl"}], "settings": {"few-shot-2": 1}},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


def show(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["show", *map(str, arguments)], catch_exceptions=False)


def test_the_pieces_of_an_encoding_are_its_text(folder: Path) -> None:
    encoder = find_encoder(folder)
    prompt = Prompt("What is naïve?", "漢字 is 漢")
    encoded = encoder.encode(prompt)
    ids = encoded.ids.tolist()
    whole = prompt.text(encoder.form) + prompt.continuation(encoder.form) + "<end>"
    assert "".join(pieces(encoder.tokenizer, ids)) == whole
    trained = pieces(encoder.tokenizer, ids[encoded.answer_start :], after=ids[: encoded.answer_start])
    assert "".join(trained) == " 漢字 is 漢<end>"


def test_a_row_says_what_is_read_and_what_is_trained_on(folder: Path) -> None:
    encoder = find_encoder(folder)
    prompt = Prompt("What?", "It is", exemplars=(Exemplar("Why?", "is"),), task="t", setting="few-shot-1")
    row = describe(7, prompt, encoder)
    assert (row["index"], row["task"], row["text"]) == (7, "t", "Why?\nAnswer: is\n\nWhat?\nAnswer:")
    assert row["continuation"] == " It is"
    assert len(row["ids"]) == len(row["mask"]) == len(row["tokens"])
    assert "".join(token for token, on in zip(row["tokens"], row["mask"], strict=True) if on) == " It is<end>"
    assert "".join(token for token, on in zip(row["tokens"], row["mask"], strict=True) if not on) == row["text"]


def test_a_row_of_a_cut_prompt_shows_what_is_left(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder = Encoder(tokenizer, form=PromptFormat(), max_length=20, eos_id=1)
    row = describe(0, Prompt("What is " * 30, "It"), encoder)
    assert row["cut"] == "input"
    assert row["text"] == "".join(row["tokens"][: row["mask"].index(1)])
    assert describe(0, Prompt("What", " "), encoder)["refused"]


def test_a_hole_is_a_row_with_its_reasons() -> None:
    assert describe(3, Hole(3, "t", "zero-shot", ("bad", "bad"))) == {
        "index": 3,
        "task": "t",
        "setting": "zero-shot",
        "hole": ["bad", "bad"],
    }


def test_json_is_a_list_with_a_row_a_prompt(recipe: Path) -> None:
    done = show(recipe, "-n", 4, "--start", 2, "--json", "--set", "mixture.seed=9")
    rows = json.loads(done.stdout)
    assert done.exit_code == 0
    assert [row["index"] for row in rows] == [2, 3, 4, 5]
    assert {"text", "target", "ids", "mask", "tokens", "setting", "template", "example", "options"} <= set(rows[0])
    assert rows[0]["setting"] == "few-shot-2"
    assert rows != json.loads(show(recipe, "-n", 4, "--start", 2, "--json").stdout)


def test_a_person_sees_the_trained_tokens_marked_and_no_control_characters(recipe: Path) -> None:
    done = show(recipe, "-n", 2)
    assert done.exit_code == 0
    assert "⟦<end>⟧" in done.stdout
    assert "[bold]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "<U+001B>" in done.stdout
    assert "1 tasks, 5 prompts an epoch; context 128 tokens" in done.stdout


def test_a_conversation_and_listed_options_are_named(recipe: Path, tmp_path: Path, folder: Path) -> None:
    rows = [{"inputs": f"Is it {k}?", "targets": "yes" if k % 2 else "no", "options": ["yes", "no"]} for k in range(9)]
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    chosen = "mixture.sources.0.option_styles=[lettered]"
    done = show(recipe, "-n", 1, "--set", "mixture.settings={few-shot-1-options-dialogue: 1}", "--set", chosen)
    assert done.exit_code == 0, done.stderr
    assert "conversation: a worked example as an earlier turn, then user" in done.stdout
    assert "options: (A) | (B)" in done.stdout
    assert "listed as: lettered" in done.stdout
    assert done.stdout.count("\n(A) yes\n(B) no\n") == 2
    assert "\nAssistant:⟦" in done.stdout
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role + '> ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant> ' }}{% endif %}"
    )
    done = show(recipe, "-n", 1, "--set", "model.chat=true", "--set", "tuning.max_length=9999")
    (folder / "chat_template.jinja").unlink()
    assert done.exit_code == 0, done.stderr
    assert "\nassistant> ⟦" in done.stdout
    assert "context 128 tokens" in done.stdout


def test_without_a_tokenizer_the_answer_is_marked_as_text(recipe: Path) -> None:
    done = show(recipe, "-n", 1, "--set", "model.path=/nowhere/at/all")
    assert done.exit_code == 0
    assert "⟦x" in done.stdout
    assert "answers are marked as text" in done.stderr
    assert "ids" not in json.loads(show(recipe, "-n", 1, "--json", "--set", "model=null").stdout)[0]


def test_the_facts_of_a_model_folder_are_read_without_the_model(folder: Path, tmp_path: Path) -> None:
    encoder = find_encoder(folder / "tokenizer.json")
    assert (encoder.eos_id, encoder.max_length, encoder.form.separator) == (1, 128, "\nAnswer: ")
    assert find_encoder(folder, max_length=64).max_length == 64
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(folder)
    assert find_encoder(tmp_path / "run").max_length == 128


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", "{}", "cannot be read as a tokenizer"),
        ("tokenizer.json", None, "no tokenizer.json at"),
        ("instil.json", '{"form": {"sep": "x"}}', "is not what instil writes"),
        ("tokenizer_config.json", "{", "is not JSON"),
    ],
)
def test_a_broken_model_folder_is_named(
    folder: Path, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        find_encoder(tmp_path)


def test_a_tokenizer_without_an_end_token_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="names no end token"):
        find_encoder(tmp_path)
