"""The work that both sides of `preferences.py` are given: the same pairs, tokenizer and model of about 17M parameters.

    prepare(folder, data, rows=384)
        folder/rows.jsonl    {"messages": [["user", "..."]], "chosen": "...", "rejected": "...", "prompt": "User: ..."}
        folder/model/        a Llama with random weights, and a byte-level BPE trained on the rows' own kind of text

Rows are Anthropic's hh-rlhf, in one drawn order; conversations and replies that are too long for a row of 512 tokens
are left out for both sides, so that nobody has to cut. `prompt` is what instil reads of `messages`, as text: the other
side reads just that.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from corpus import fresh, tokenizer_of

from instil.mixtures.groups import prompt_of
from instil.mixtures.tokenizer import find_encoder
from instil.records import Message, Ranking
from instil.tasks.readers.hh_rlhf import HhRlhf

FILE = Path("hh_rlhf") / "harmless-base_test_even.jsonl.gz"
LONGEST_PROMPT, LONGEST_REPLY = 384, 127


def prepare(folder: Path, data: Path, *, rows: int) -> int:
    """Write rows and model below `folder` (the model is kept from an earlier call); the number of parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    reading = HhRlhf().read(data / FILE)
    (task,) = reading.tasks
    examples: list[dict[str, Any]] = [dict(task.examples[number].fields) for number in range(task.size)]
    random.Random(0).shuffle(examples)
    model = folder / "model"
    if not (model / "parameters.json").is_file():
        texts = ["\n".join(turn["content"] for turn in one["messages"]) for one in examples]
        _write(model, [*texts, *(reply for one in examples for reply in one["completions"])])
    encoder = find_encoder(model)
    kept = []
    for one in examples:
        said = tuple(Message(turn["role"], turn["content"]) for turn in one["messages"])
        better, worse = one["completions"]
        prompt = encoder.text(prompt_of(Ranking(said, (better, worse), (1, 2))))
        sizes = [len(encoder.encode_continuation(text)) for text in (prompt, better, worse)]
        if sizes[0] <= LONGEST_PROMPT and max(sizes[1:]) <= LONGEST_REPLY:
            turns = [[message.role, message.content] for message in said]
            kept.append({"messages": turns, "chosen": better, "rejected": worse, "prompt": prompt})
    if len(kept) < rows:
        raise SystemExit(f"only {len(kept)} rows of {len(examples)} fit, {rows} are asked for")
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept[:rows])
    counted: int = json.loads((model / "parameters.json").read_text("utf-8"))
    return counted


def _write(model: Path, texts: list[str]) -> None:
    tokenizer = tokenizer_of("causal", texts)
    made = fresh("causal", len(tokenizer))
    made.save_pretrained(model)
    tokenizer.save_pretrained(model)
    count = sum(parameter.numel() for parameter in made.parameters())
    (model / "parameters.json").write_text(json.dumps(count), encoding="utf-8")
