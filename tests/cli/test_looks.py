"""Cards, duplicates and galleries, from the command line to what they write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from instil.cli.app import run

MIX = """
mixture:
  sources:
    - {collection: jsonl, path: one.jsonl, map: {inputs: question, targets: answer}}
    - {collection: cot, tasks: [creak], limit: 200, settings: {zero-shot: 0.5, zero-shot-cot: 0.5}}
"""


@pytest.fixture
def folder(tmp_path: Path, data_root: Path) -> Path:
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(20)]
    rows.append({"question": "WHAT is 3 + 3", "answer": "6"})
    rows.append({"question": "What is 4 + 4?", "answer": "9"})
    (tmp_path / "one.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "mix.yaml").write_text(MIX)
    (tmp_path / "flan_cot").symlink_to(data_root / "flan_cot")
    return tmp_path


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.S)
    assert found is not None
    return json.loads(found[1])


def test_a_card_is_written_in_three_ways(folder: Path, capsys: pytest.CaptureFixture[str]):
    recipe, data = str(folder / "mix.yaml"), str(folder)
    assert run(["mix", "card", recipe, "--data", data]) == 0
    text = capsys.readouterr().out
    assert "| cot/creak | creak | CC BY-SA 4.0 | copyleft |" in text
    assert "states no licence" in text
    assert run(["mix", "card", recipe, "--data", data, "--format", "json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert {task["licence_class"] for task in card["tasks"]} == {"copyleft", "unknown"}
    assert run(["mix", "card", recipe, "--data", data, "--out", str(folder / "cards" / "card.html")]) == 0
    assert "<!doctype html>" in (folder / "cards" / "card.html").read_text()


def test_filters_become_keys_of_the_mixture(folder: Path, capsys: pytest.CaptureFixture[str]):
    recipe, data = str(folder / "mix.yaml"), str(folder)
    command = ["mix", "card", recipe, "--data", data, "--format", "json"]
    assert run([*command, "--licence", "copyleft", "--licence", "permissive", "--language", "English"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert [task["task"] for task in card["tasks"]] == ["cot/creak"]
    assert card["filters"] == {"licence": ["copyleft", "permissive"], "language": ["English"]}
    assert any("licence" in remark for remark in card["remarks"])
    assert run([*command, "--licence", "free"]) == 2
    assert "permissive, copyleft, non-commercial" in capsys.readouterr().err
    assert run([*command, "--language", "Elvish of old"]) == 2
    assert "not known" in capsys.readouterr().err


def test_duplicates_are_counted_shown_and_left_out(folder: Path, capsys: pytest.CaptureFixture[str]):
    recipe, data = str(folder / "mix.yaml"), str(folder)
    assert run(["mix", "duplicates", recipe, "--data", data, "--near", "0.8"]) == 0
    text = capsys.readouterr().out
    assert "WHAT is 3 + 3" in text
    command = ["mix", "duplicates", recipe, "--data", data, "--json"]
    assert run(command) == 0
    found = json.loads(capsys.readouterr().out)
    own = next(pair for pair in found["pairs"] if pair["first"].startswith("jsonl/"))
    assert (own["exact"], own["near"], own["conflicting"]) == (1, 0, 1)
    assert run([*command, "--set", "mixture.duplicates=drop-exact"]) == 0
    assert json.loads(capsys.readouterr().out) == found  # the verb looks at all rows, whatever the recipe drops
    show = ["mix", "card", recipe, "--data", data, "--format", "json", "--set", "mixture.duplicates=drop-exact"]
    assert run(show) == 0
    card = json.loads(capsys.readouterr().out)
    assert next(task["rows"] for task in card["tasks"] if task["collection"] == "jsonl") == 21


def test_a_gallery_of_a_mixture_shows_its_tasks_in_its_settings(folder: Path, capsys: pytest.CaptureFixture[str]):
    out = folder / "gallery.html"
    assert (
        run(
            [
                "mix",
                "gallery",
                str(folder / "mix.yaml"),
                "--data",
                str(folder),
                "--out",
                str(out),
                "-n",
                "2",
                "--tokenizer",
                "pocket",
            ]
        )
        == 0
    )
    data = data_of(out)
    creak = next(task for task in data["tasks"] if task["task"] == "cot/creak")
    assert [prompt["setting"] for prompt in creak["prompts"]] == ["zero-shot", "zero-shot-cot"] * 2
    assert data["unit"] == "tokens"
    shown = creak["prompts"][1]
    assert len(shown["answer"]) == shown["written"] > 3
    assert sum(task["weight"] for task in data["tasks"]) == pytest.approx(1)
    first = out.read_bytes()
    assert (
        run(
            [
                "mix",
                "gallery",
                str(folder / "mix.yaml"),
                "--data",
                str(folder),
                "--out",
                str(out),
                "-n",
                "2",
                "--tokenizer",
                "pocket",
            ]
        )
        == 0
    )
    assert out.read_bytes() == first


def test_a_gallery_of_tasks_shows_them_in_every_setting_that_they_allow(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    out = folder / "gallery.html"
    assert run(["tasks", "gallery", "--data", str(folder), "--out", str(out)]) == 0  # what is there: cot
    data = data_of(out)
    assert {task["collection"] for task in data["tasks"]} == {"cot"}
    creak = next(task for task in data["tasks"] if task["task"] == "cot/creak")
    settings = {prompt["setting"] for prompt in creak["prompts"]}
    assert settings >= {"zero-shot", "few-shot-2", "zero-shot-cot", "zero-shot-inverted", "few-shot-2-dialogue"}
    used = {prompt["template"] for prompt in creak["prompts"]}
    written = {name: data["texts"][source] for name, source in creak["templates"]}
    assert all("{{" in written[name] for name in used)
    assert run(["tasks", "gallery", "cot", "--data", str(folder), "--out", str(out), "--setting", "nine-shot"]) == 2
    assert "--setting" in capsys.readouterr().err
    assert run(["tasks", "gallery", "--data", str(folder / "nowhere"), "--out", str(out)]) == 2
    assert "no collection lies under" in capsys.readouterr().err


def test_a_gallery_says_what_was_cut_of_a_conversation(folder: Path, capsys: pytest.CaptureFixture[str]):
    said = [{"role": role, "content": "word " * 12} for role in ("user", "assistant") * 4]
    said[-1] = {"role": "assistant", "content": "Yes."}
    rows = [json.dumps({"prompt": said[:-1], "completion": said[-1:]})] * 3
    (folder / "talk.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    recipe = folder / "talk.yaml"
    recipe.write_text("mixture: {sources: [{collection: chat, path: talk.jsonl}]}\ntuning: {max_length: 64}\n")
    out = folder / "talk.html"
    assert run(["mix", "gallery", str(recipe), "--data", str(folder), "--out", str(out), "--tokenizer", "pocket"]) == 0
    (shown, *_) = data_of(out)["tasks"][0]["prompts"]
    assert shown["remark"] == "The oldest turns were left out to fit the context."


@pytest.mark.parametrize(("option", "said"), [("--licence", "no class of licences"), ("--language", "is not known")])
def test_a_gallery_of_tasks_refuses_filters_that_it_does_not_know(
    option: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    out = folder / "refused.html"
    assert run(["tasks", "gallery", "cot", "--data", str(folder), "--out", str(out), option, "Elvish of old"]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
