"""A service that gives rewards: what it is sent, and one line for everything that can be wrong with it."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from instil.errors import InstilError, RecipeError, RunError
from instil.experiments.endpoint import Endpoint
from instil.experiments.reward_source_spec import RewardSourceSpec
from instil.records import Message, Prompt

PROMPTS = [
    Prompt("Name a fruit.", "apple", task="mine/fruit", references=("apple", "pear")),
    Prompt(
        "And now?", "", messages=(Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "And now?"))
    ),
]
Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


class Service:
    """Answers with what a test says, and keeps what it was sent."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers, self.sent, self.headers = answers, [], []  # type: ignore[var-annotated]
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.sent.append(body)
                service.headers.append(dict(self.headers))
                answer = service.answers[min(len(service.sent), len(service.answers)) - 1]
                code, said = answer(body)
                self.send_response(code)
                if code in (301, 302, 307):
                    self.send_header("Location", said.decode())
                    said = b""
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/score"


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def start(*answers: Answer) -> Service:
        made.append(Service(list(answers)))
        return made[-1]

    yield start
    for service in made:
        service.server.shutdown()
        service.server.server_close()


def lengths(body: dict[str, Any]) -> tuple[int, bytes]:
    return 200, json.dumps({"rewards": [len(item["completion"]) for item in body["items"]]}).encode()


def says(code: int, text: str) -> Answer:
    return lambda body: (code, text.encode())


def asked(url: str, completions: list[str] | None = None, **keys: Any) -> list[float]:
    waited: list[float] = []
    endpoint = Endpoint(RewardSourceSpec(url=url, **keys), sleep=waited.append)
    completions = completions or ["An apple.", "Bye"]
    prompts = [PROMPTS[k % 2] for k in range(len(completions))]
    found = endpoint(prompts, completions, [k % 2 == 0 for k in range(len(completions))])
    asked.waited = waited  # type: ignore[attr-defined]
    return found


def test_answers_are_sent_with_what_they_answer(serve: Callable[..., Service]) -> None:
    service = serve(lengths)
    assert asked(service.url) == [9.0, 3.0]
    first, second = service.sent[0]["items"]
    assert first == {
        "messages": [{"role": "user", "content": "Name a fruit."}],
        "completion": "An apple.",
        "finished": True,
        "task": "mine/fruit",
        "references": ["apple", "pear"],
    }
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["references"] == []


def test_many_answers_go_in_several_requests_and_come_back_in_order(serve: Callable[..., Service]) -> None:
    service = serve(lengths)
    completions = ["x" * k for k in range(1, 12)]
    assert asked(service.url, completions, batch=4) == [float(k) for k in range(1, 12)]
    assert [len(body["items"]) for body in service.sent] == [4, 4, 3]


def test_null_is_a_reward_that_is_not_there(serve: Callable[..., Service]) -> None:
    service = serve(says(200, '{"rewards": [null, 1.5]}'))
    first, second = asked(service.url)
    assert math.isnan(first)
    assert second == 1.5


def test_a_service_that_is_overloaded_is_asked_again_later(serve: Callable[..., Service]) -> None:
    service = serve(says(503, "later"), says(429, "later"), lengths)
    assert asked(service.url) == [9.0, 3.0]
    assert asked.waited == [1.0, 2.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (404, "not here", "404"),
        (401, "who are you", "401"),
        (200, "hello", "no JSON with `rewards`"),
        (200, "[]", "no JSON with `rewards`"),
        (200, '{"rewards": 3}', "no list of rewards for 2 answers"),
        (200, '{"rewards": [1.0]}', "1 rewards for 2 answers"),
        (200, '{"rewards": [1.0, "good"]}', "'good' for a reward"),
        (200, '{"rewards": [1.0, true]}', "'True' for a reward"),
        (200, '{"rewards": [1.0, 1' + "0" * 400 + "]}", "an integer of 401 digits, for a reward"),
        (200, '{"rewards": [1.0, 1' + "0" * 9000 + "]}", "no JSON with `rewards`"),  # more than Python reads
        (302, "http://127.0.0.1:9/elsewhere", "302"),
    ],
)
def test_what_is_no_reward_is_one_line_at_once(serve: Callable[..., Service], code: int, said: str, told: str) -> None:
    service = serve(says(code, said))
    with pytest.raises(RunError, match=told) as error:
        asked(service.url)
    assert "\n" not in str(error.value)
    assert "--resume" in error.value.remedy
    assert len(service.sent) == 1


def test_a_service_that_stays_down_is_one_line_after_all_attempts() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RunError, match=r"does not answer .* after 4 attempts") as error:
        asked(f"http://127.0.0.1:{port}/score")
    assert error.value.remedy.startswith("Start it, or correct its url")


def test_a_service_that_takes_too_long_is_given_up(serve: Callable[..., Service]) -> None:
    stopped = threading.Event()
    service = serve(lambda body: (stopped.wait(5), (200, b"{}"))[1])
    try:
        with pytest.raises(RunError, match="does not answer"):
            asked(service.url, timeout_seconds=0.1, retries=1)
    finally:
        stopped.set()


def test_the_token_comes_from_the_environment_and_stands_in_no_message(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(lengths, says(403, "no"))
    with pytest.raises(RecipeError, match="MY_TOKEN, which is not set"):
        asked(service.url, token="MY_TOKEN")
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    asked(service.url, token="MY_TOKEN")
    assert service.headers[0]["Authorization"] == "Bearer s3cret"
    with pytest.raises(InstilError) as error:
        asked(service.url, token="MY_TOKEN")
    assert "s3cret" not in str(error.value)
