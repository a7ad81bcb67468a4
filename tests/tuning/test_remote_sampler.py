"""A server that samples, played by a small one: what it is asked, what is made of its answers, and its errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tests.tiny_models import tiny_folder, tiny_loaded
from tests.tuning.bandit import SmallWords, learnt

from instil.errors import RecipeError, RunError
from instil.models.engine import Engine
from instil.models.loading import load
from instil.models.sampling import Sampling
from instil.tuning.remote_sampler import RemoteSampler, RemoteSamplerSpec
from instil.tuning.value_network import VALUE


class Server(ThreadingHTTPServer):
    """Answers with a model of its own, which it reads where it is told to."""

    def __init__(self, loaded: Any, style: str = "ids") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.loaded, self.style = loaded, style
        self.asked: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append({"path": self.path, **asked})
            if self.path == "/refresh":
                self.server.loaded = load(asked["path"], device="cpu")
                return self._answer(b"")
            if self.server.style == "broken":
                return self._answer(b'{"choices": []}')
            if self.server.style == "error":
                return self._answer(b"no such model", 404)
            if self.server.style == "words":
                return self._answer(b"it works")
            return self._answer(json.dumps({"choices": self._choices(asked)}).encode())

    def _choices(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        n = asked["n"]
        written = Engine(self.server.loaded).generate(
            [asked["prompt"]] * n, asked["max_tokens"], sampling=Sampling(temperature=asked["temperature"]),
            seeds=[asked["seed"] + k for k in range(n)], log_probs=True,
        )  # fmt: skip
        made = []
        for index, one in enumerate(written):
            ids = [*one.ids, *([] if one.end is None else [one.end])]
            choice: dict[str, Any] = {
                "index": index, "text": one.text, "finish_reason": "stop" if one.finished else "length",
            }  # fmt: skip
            if self.server.style == "ids":
                choice["logprobs"] = {"tokens": [f"token_id:{k}" for k in ids], "token_logprobs": list(one.log_probs)}
            made.append(choice)
        return made[::-1]

    def _answer(self, content: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *given: Any) -> None:
        pass


@contextmanager
def serving(loaded: Any, style: str = "ids") -> Iterator[Server]:
    server = Server(loaded, style)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sampler_of(server: Server, loaded: Any, folder: Path, **more: Any) -> RemoteSampler:
    given = {"url": server.url, "refresh_url": server.url + "/refresh", "weights": str(folder), **more}
    return RemoteSampler(RemoteSamplerSpec.model_validate(given), loaded, max_new_tokens=6, temperature=0.9)


ROWS = [[5, 6, 7], [9, 4], [30, 31]]


@pytest.mark.parametrize("style", ["ids", "text"])
def test_answers_come_with_their_tokens_and_log_probabilities(tmp_path: Path, style: str) -> None:
    loaded = tiny_loaded()
    with serving(loaded, style) as server:
        found = sampler_of(server, loaded, tmp_path).sample(ROWS, samples=3, seeds=list(range(100, 109)))
    for place, row in enumerate(ROWS):
        expected = Engine(loaded).generate(
            [row] * 3, 6, sampling=Sampling(temperature=0.9), seeds=[100 + 3 * place + k for k in range(3)],
            log_probs=True,
        )  # fmt: skip
        for one, wanted in zip(found[3 * place : 3 * place + 3], expected, strict=True):
            # a text has neither special tokens nor those without a word
            ids = wanted.ids if style == "ids" else [k for k in wanted.ids if 2 < k < 63]
            assert one.ids == (*ids, *([] if wanted.end is None else [wanted.end]))
            assert one.finished == (wanted.end is not None)
            assert one.text == wanted.text.strip()
            assert one.log_probs == (pytest.approx(wanted.log_probs) if style == "ids" else ())
    asked = {tuple(one["prompt"]): one for one in server.asked}
    assert asked.keys() == {tuple(row) for row in ROWS}
    assert {key: asked[5, 6, 7][key] for key in ("n", "max_tokens", "temperature", "top_p", "seed", "model")} == {
        "n": 3, "max_tokens": 6, "temperature": 0.9, "top_p": 1.0, "seed": 100, "model": "policy",
    }  # fmt: skip


def test_the_server_is_given_the_weights_and_those_before_are_removed(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "start")
    loaded = load(folder, device="cpu")
    loaded.model.add_module(VALUE, torch.nn.Linear(2, 2))  # which is no part of what answers
    with serving(tiny_loaded(seed=9)) as server:
        sampler = sampler_of(server, loaded, tmp_path / "weights")
        (tmp_path / "weights" / "00001").mkdir(parents=True)  # somebody else's
        for number in (3, 4):
            with torch.no_grad():
                loaded.model.model.norm.weight.fill_(1.0 + number)
            sampler.refresh(loaded.model, number)
        assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == ["00001", "00004"]
        assert [Path(one["path"]).name if "rollout" not in one else one["rollout"] for one in server.asked] == [3, 4]
        stored = load_file(tmp_path / "weights" / "00004" / "model.safetensors")
        assert not any(VALUE in name for name in stored)
        assert stored["model.norm.weight"][0] == 5.0
        assert server.loaded.model.model.norm.weight[0] == 5.0
    assert hasattr(loaded.model, VALUE)


def test_a_policy_learns_from_what_the_server_writes(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "start")
    loaded = load(folder, device="cpu")
    with serving(tiny_loaded(seed=9)) as server:
        sampler = sampler_of(server, loaded, tmp_path / "weights")
        keys = {"prompts_per_rollout": 4, "completions_per_prompt": 3, "max_new_tokens": 6, "max_steps": 3,
                "temperature": 0.9, "importance_cap": 2.0}  # fmt: skip
        learnt(tmp_path / "run", loaded, "grpo", [SmallWords()], more={"sampler": sampler}, **keys)
        assert [one["rollout"] for one in server.asked if "rollout" in one] == [0, 1, 2]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    apart = [row["rollout"]["mismatch_max"] for row in rows if "rollout" in row]
    assert len(apart) == 3
    assert np.max(apart) < 1e-4  # the server has the weights of each rollout


@pytest.mark.parametrize(
    ("style", "words"),
    [("broken", "gave no completions"), ("error", "answered 404: no such model"), ("words", "answered no JSON")],
)
def test_a_server_that_answers_something_else_is_one_line(tmp_path: Path, style: str, words: str) -> None:
    loaded = tiny_loaded()
    with serving(loaded, style) as server, pytest.raises(RunError, match=words):
        sampler_of(server, loaded, tmp_path).sample(ROWS, samples=2, seeds=[0] * 6)


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    loaded = tiny_loaded()
    with serving(loaded) as server:
        sampler = sampler_of(server, loaded, tmp_path)
    with pytest.raises(RunError, match="cannot be reached"):
        sampler.sample(ROWS, samples=2, seeds=[0] * 6)


def test_other_schemes_and_adapters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="does not begin with http"):
        RemoteSamplerSpec(url="file:///etc/passwd", weights=str(tmp_path))
    loaded = tiny_loaded()
    loaded.model.peft_config = {}
    with serving(loaded) as server, pytest.raises(RecipeError, match="through an adapter"):
        sampler_of(server, loaded, tmp_path).refresh(loaded.model, 0)
