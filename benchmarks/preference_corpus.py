"""The work that both sides of `preferences.py` are given: the same rows, tokenizer and model of about 17M parameters.

    prepare(folder, data, part="dpo", rows=384)
        folder/rows.jsonl    {"messages": [["user", "..."]], "completions": ["...", "..."], "prompt": "User: ..."}
        folder/pairs.jsonl   {"prompt": "User: ...", "chosen": " ...", "rejected": " ..."}, for a peer that takes pairs
        folder/model/        a Llama with random weights, and a byte-level BPE trained on the rows' own kind of text

    dpo           Anthropic's hh-rlhf as it is: prompts of 107 tokens, replies of 33 and 41, on average
    reward        rankings of 9: prompts of 256 tokens, completions of 64, cut from texts of hh-rlhf; ranks are drawn
    grpo, rloo    the prompts of hh-rlhf

Rows come in one drawn order; conversations and replies that are too long for a row of 512 tokens are left out for both
sides, so that nobody has to cut. The first completion is the best. `prompt` is what instil reads of `messages`, as
text: the other side reads just that.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from corpus import fresh, tokenizer_of
from preference_shapes import RANKED

from instil.mixtures.encode import Encoder
from instil.mixtures.groups import prompt_of
from instil.mixtures.tokenizer import find_encoder
from instil.records import Message, Ranking
from instil.tasks.readers.hh_rlhf import HhRlhf

FILE = Path("hh_rlhf") / "harmless-base_test_even.jsonl.gz"
LONGEST_PROMPT, LONGEST_REPLY = 384, 127
#: Rankings: tokens of the prompt, and of each completion.
PROMPT_TOKENS, COMPLETION_TOKENS = 256, 64

Row = dict[str, Any]


def prepare(folder: Path, data: Path, *, part: str, rows: int) -> int:
    """Write rows and model below `folder` (the model is kept from an earlier call); the number of parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    (task,) = HhRlhf().read(data / FILE).tasks
    examples: list[Row] = [dict(task.examples[number].fields) for number in range(task.size)]
    random.Random(0).shuffle(examples)
    model = folder / "model"
    if not (model / "parameters.json").is_file():
        texts = ["\n".join(turn["content"] for turn in one["messages"]) for one in examples]
        _write(model, [*texts, *(reply for one in examples for reply in one["completions"])])
    encoder = find_encoder(model)
    kept = list(_rankings(examples, encoder) if part == "reward" else _as_they_are(examples, encoder))
    if len(kept) < rows:
        raise SystemExit(f"only {len(kept)} rows of {len(examples)} fit, {rows} are asked for")
    _lines(folder / "rows.jsonl", kept[:rows])
    pairs = [
        {"prompt": row["prompt"], "chosen": f" {better}", "rejected": f" {worse}"}
        for row in kept[:rows]
        for better, worse in combinations(row["completions"], 2)
    ]
    if part == "reward":
        random.Random(1).shuffle(pairs)
    _lines(folder / "pairs.jsonl", pairs)
    counted: int = json.loads((model / "parameters.json").read_text("utf-8"))
    return counted


def _as_they_are(examples: list[Row], encoder: Encoder) -> Iterator[Row]:
    """Those that fit."""
    for one in examples:
        row = _row([[turn["role"], turn["content"]] for turn in one["messages"]], one["completions"], encoder)
        sizes = [len(encoder.encode_continuation(text)) for text in (row["prompt"], *row["completions"])]
        if sizes[0] <= LONGEST_PROMPT and max(sizes[1:]) <= LONGEST_REPLY:
            yield row


def _rankings(examples: list[Row], encoder: Encoder) -> Iterator[Row]:
    """Texts cut to one length each: what is said does not matter here, how long it is does."""
    asked = " ".join(turn["content"] for one in examples for turn in one["messages"])
    said = " ".join(reply for one in examples for reply in one["completions"])
    prompts = _cut(asked, PROMPT_TOKENS, encoder)
    completions = _cut(said, COMPLETION_TOKENS - 1, encoder)  # and an end token
    for prompt in prompts:
        chosen = list(dict.fromkeys(text for _, text in zip(range(RANKED), completions, strict=False)))
        if len(chosen) == RANKED:
            yield _row([["user", prompt]], chosen, encoder)


def _cut(text: str, tokens: int, encoder: Encoder) -> Iterator[str]:
    ids = encoder.encode_continuation(text)
    for start in range(0, len(ids) - tokens, tokens):
        yield encoder.decode(ids[start : start + tokens]).strip()


def _row(turns: list[list[str]], completions: list[str], encoder: Encoder) -> Row:
    said = tuple(Message(role, text) for role, text in turns)
    asked = Ranking(said, tuple(completions), tuple(range(1, len(completions) + 1)))
    return {"messages": turns, "completions": completions, "prompt": encoder.text(prompt_of(asked))}


def _lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write(model: Path, texts: list[str]) -> None:
    tokenizer = tokenizer_of("causal", texts)
    made = fresh("causal", len(tokenizer))
    made.save_pretrained(model)
    tokenizer.save_pretrained(model)
    count = sum(parameter.numel() for parameter in made.parameters())
    (model / "parameters.json").write_text(json.dumps(count), encoding="utf-8")
