"""A reward that a service gives: answers are sent as JSON, rewards come back in their order.

    POST http://localhost:8000/score
    {"items": [{"messages": [{"role": "user", "content": "Name a fruit."}], "completion": "An apple.",
                "finished": true, "task": "mine/fruit", "references": ["apple"]}]}
    -> {"rewards": [0.8]}              null where it has none for an answer: left out, and counted

A service that does not answer in time, refuses the connection or says 429 or 5xx is asked again, after 1, 2, 4, ...
seconds; then the run ends with one line, and goes on with `--resume` once the service is back.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from instil.errors import RecipeError, RunError
from instil.experiments.reward_source_spec import RewardSourceSpec
from instil.records import Prompt, PromptFormat

#: Bytes of a reply beyond which it is none: a number takes twenty.
_MOST_BYTES = 16_000_000
#: What a service says when the same may work a little later.
_LATER = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0
#: What to do about a reply that is none.
_FORM = 'It should answer {"items": [...]} with {"rewards": [a number for each]}; then go on with --resume'


class Endpoint:
    """Asks one service.

    Args:
        spec: its address, and how patient to be.
        sleep: waits so many seconds; for tests.

    Raises:
        RecipeError: if its token's environment variable is not set.
    """

    def __init__(self, spec: RewardSourceSpec, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.spec, self.sleep = spec, sleep
        self.headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if spec.token is not None:
            token = os.environ.get(spec.token)
            if not token:
                raise RecipeError(
                    f"the reward {spec.label!r} takes its token from {spec.token}, which is not set",
                    remedy=f"Set the environment variable {spec.token}",
                )
            self.headers["Authorization"] = f"Bearer {token}"
        # A reply that sends somewhere else is an error: the answers, and the token, go to the address that was given.
        self._opener = urllib.request.build_opener(_NoRedirect)

    def __call__(self, prompts: Sequence[Prompt], completions: Sequence[str], finished: Sequence[bool]) -> list[float]:
        """The reward of every answer; NaN where the service has none.

        Raises:
            RunError: if it cannot be reached, or what it says are no rewards.
        """
        items = [
            {
                "messages": [{"role": one.role, "content": one.content} for one in prompt.conversation(PromptFormat())],
                "completion": completion,
                "finished": ended,
                "task": prompt.task,
                "references": list(prompt.references or ((prompt.target,) if prompt.target else ())),
            }
            for prompt, completion, ended in zip(prompts, completions, finished, strict=True)
        ]
        size = self.spec.batch
        return [reward for at in range(0, len(items), size) for reward in self._asked(items[at : at + size])]

    def _asked(self, items: Sequence[dict[str, Any]]) -> list[float]:
        body = json.dumps({"items": list(items)}).encode()
        reply = self._sent(body)
        try:
            rewards = json.loads(reply)["rewards"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._wrong(
                f"its reply is no JSON with `rewards` ({reply[:80].decode('utf-8', 'replace')!r})"
            ) from None
        if not isinstance(rewards, list) or len(rewards) != len(items):
            said = f"{len(rewards)} rewards" if isinstance(rewards, list) else "no list of rewards"
            raise self._wrong(f"it gave {said} for {len(items)} answers")
        return [self._number(value) for value in rewards]

    def _number(self, value: object) -> float:
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(f"it gave {str(value)[:40]!r} for a reward")
        try:
            return float(value)
        except OverflowError:  # JSON's integers have no end
            raise self._wrong(
                f"it gave {str(value)[:20]}..., an integer of {len(str(value))} digits, for a reward"
            ) from None

    def _sent(self, body: bytes) -> bytes:
        reason = ""
        for attempt in range(self.spec.retries + 1):
            if attempt:
                self.sleep(min(2.0 ** (attempt - 1), _LONGEST_WAIT))
            request = urllib.request.Request(str(self.spec.url), data=body, headers=self.headers, method="POST")  # noqa: S310  # http alone
            try:
                with self._opener.open(request, timeout=self.spec.timeout_seconds) as reply:
                    said: bytes = reply.read(_MOST_BYTES + 1)
                if len(said) > _MOST_BYTES:
                    raise self._wrong("its reply has no end")
                return said
            except urllib.error.HTTPError as error:
                with error:
                    reason = f"it says {error.code} {error.reason}"
                if error.code not in _LATER:
                    raise self._wrong(reason) from None
            except (OSError, http.client.HTTPException) as error:  # timeouts and refused connections among them
                cause = getattr(error, "reason", None) or error
                reason = f"it does not answer ({str(cause) or type(cause).__name__})"
        tries = f" after {self.spec.retries + 1} attempts" if self.spec.retries else ""
        raise self._wrong(reason + tries, remedy="Start it, or correct its url; a run that began goes on by --resume")

    def _wrong(self, reason: str, *, remedy: str = _FORM) -> RunError:
        return RunError(f"the reward {self.spec.label!r} at {self.spec.url} gave none: {reason}", remedy=remedy)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: the reply itself is the error."""
