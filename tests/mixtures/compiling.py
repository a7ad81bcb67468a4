"""What the tests of compiled mixtures build from: a tokenizer folder, rows with a promptsource file, or memory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from instil.mixtures.encode import Encoder
from instil.mixtures.mixture import Mixture
from instil.records import PromptFormat

END = 256


@cache
def tokenizer() -> Tokenizer:
    """A token a byte, and `<end>`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<end>"])
    return made


def encoder(max_length: int = 64) -> Encoder:
    return Encoder(tokenizer(), form=PromptFormat(), max_length=max_length, eos_id=END)


@dataclass(frozen=True)
class InMemory:
    """An opening that needs no files, for builds in this process."""

    mixture: Mixture
    encoder: Encoder = field(default_factory=encoder)
    data: str | None = None

    def open(self) -> tuple[Mixture, Encoder]:
        return self.mixture, self.encoder


TEMPLATES = """!Template
dataset: sums
templates:
  1f0a: !Template
    answer_choices: null
    id: 1f0a
    jinja: '{% if a % 9 %}What is {{ a }} + {{ b }}? ||| {{ a + b }}{% endif %}'
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages: [en]
      metrics: [Accuracy]
      original_task: true
    name: add
    reference: ''
"""


def write_sources(folder: Path, *, rows: int = 60) -> dict[str, Any]:
    """A data root, a tokenizer folder, and the recipe over them as plain data. Some places are holes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"question": f"What is {k} + 1?", "answer": str(k + 1)} for k in range(rows)]
    (folder / "my.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sums = [*({"a": 9 * k, "b": k} for k in range(1, 4)), {"a": 5, "b": 1}]
    (folder / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in sums))
    (folder / "templates.yaml").write_text(TEMPLATES)
    model = folder / "model"
    model.mkdir()
    tokenizer().save(str(model / "tokenizer.json"))
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>", "model_max_length": 64}))
    own = {"collection": "jsonl", "path": "my.jsonl", "map": {"inputs": "question", "targets": "answer"}}
    own |= {"settings": {"zero-shot": 0.5, "few-shot-2": 0.5}, "share": 0.8}
    phrased = {"collection": "promptsource", "path": "sums.jsonl", "templates": "templates.yaml", "share": 0.2}
    return {
        "model": str(model),
        "data": str(folder),
        "mixture": {"seed": 3, "sources": [own, phrased]},
        "tuning": {"prompts_per_step": 8, "max_steps": 4},
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a build; the lock is empty and does not count."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def in_a_child(work: Callable[[], object], *, kill_after: float | None = None) -> int:
    """Do `work` in a forked process, killed after so many seconds; its wait status, 0 where it ended well."""
    child = os.fork()
    if not child:
        _work_and_leave(work)
    if kill_after is not None:
        import time

        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _work_and_leave(work: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)
