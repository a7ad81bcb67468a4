"""Answers sampled by a server that speaks OpenAI's completions, such as vLLM: for those who outgrow one machine.

    refresh   the policy's weights go to a folder; POST {refresh_url} {"path": ".../00012"}     the server reads them
    sample    POST {url}/v1/completions {"prompt": [12, 7, 9], "n": 8, "logprobs": 0, "seed": ..., ...}
              answers by token ids where the server gives them (vLLM: `return_tokens_as_token_ids`); else by their
              text, which is encoded again: special tokens within it are lost

    {"choices": [{"text": " Paris", "finish_reason": "stop",
                  "logprobs": {"tokens": ["token_id:31", "token_id:2"], "token_logprobs": [-0.7, -0.1]}}]}

Log-probabilities of the server are only compared, never learned from: the training computes its own (`mismatch_*` and
`effective_sample` in metrics.jsonl), and `importance_cap` corrects for the difference. A server need not draw the same
answers twice: a run that was killed goes on with the rollouts in its folder, and makes one that is missing anew.
"""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from transformers import PreTrainedModel

from instil.errors import RecipeError, RunError
from instil.models.completion import Writing
from instil.models.loading import LoadedModel, save
from instil.recipe import Section
from instil.tuning.sampler import Sampled
from instil.tuning.weight_average import plain

#: How vLLM writes the id of a token in place of its text.
_ID = "token_id:"


class RemoteSamplerSpec(Section):
    """Where answers are sampled."""

    url: str
    """The server, without `/v1/completions`."""
    model: str = "policy"
    """The name that the server knows the model by."""
    weights: str
    """The folder that weights are written to, where the server can read them."""
    refresh_url: str | None = None
    """What is asked (POST, with the folder as `path`) to read them; without it the server must watch the folder."""
    timeout_seconds: float = Field(default=600.0, gt=0)
    """How long an answer is waited for."""
    requests: int = Field(default=16, ge=1)
    """Prompts that are asked at once."""

    @field_validator("url", "refresh_url")
    @classmethod
    def _over_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} does not begin with http:// or https://")
        return url


class RemoteSampler:
    """A server that samples.

    Args:
        spec: where it is.
        loaded: the policy: its tokenizer reads what comes as text, and its folder is what is written.
        max_new_tokens: the most tokens of an answer, its end token included.
        temperature: that tokens are drawn at.
    """

    def __init__(
        self, spec: RemoteSamplerSpec, loaded: LoadedModel, *, max_new_tokens: int, temperature: float = 1.0
    ) -> None:
        self.spec, self.loaded = spec, loaded
        self.most, self.temperature = max_new_tokens, temperature
        self.writing = Writing(loaded)
        self._written: Path | None = None
        """Where the weights lie that the server has."""

    def refresh(self, model: PreTrainedModel, number: int) -> None:
        """Write the weights to a folder of their own, have the server read them, and remove the folder before.

        Raises:
            RunError: if they cannot be written, or the server refuses them.
            RecipeError: if the policy is an adapter.
        """
        if hasattr(model, "peft_config"):
            raise RecipeError(
                "a server that samples is given whole weights, and the policy learns through an adapter",
                remedy="Leave alignment.lora out, or sample with the policy itself",
            )
        folder = Path(self.spec.weights) / f"{number:05d}"
        with plain(model):
            save(replace(self.loaded, model=model), folder, card=f"Weights of a policy for rollout {number}.\n")
        if self.spec.refresh_url is not None:
            self._post(self.spec.refresh_url, {"path": str(folder.absolute()), "rollout": number})
        if self._written is not None and self._written != folder:  # never a folder that somebody else put there
            shutil.rmtree(self._written, ignore_errors=True)
        self._written = folder

    def sample(self, prompts: Sequence[Sequence[int]], *, samples: int, seeds: Sequence[int]) -> list[Sampled]:
        """So many answers to every prompt.

        Raises:
            RunError: if the server cannot be reached, or answers something else.
        """

        def asked(place: int) -> list[Sampled]:
            # servers take a seed of 32 bits at least, one for all answers of a request
            seed = seeds[place * samples] % (1 << 31)
            return self._asked(list(map(int, prompts[place])), samples, seed)

        with ThreadPoolExecutor(self.spec.requests) as pool:
            return [one for answers in pool.map(asked, range(len(prompts))) for one in answers]

    def _asked(self, prompt: list[int], samples: int, seed: int) -> list[Sampled]:
        url = self.spec.url.rstrip("/") + "/v1/completions"
        said = self._post(
            url,
            {
                "model": self.spec.model,
                "prompt": prompt,
                "n": samples,
                "max_tokens": self.most,
                "temperature": self.temperature,
                "top_p": 1.0,
                "seed": seed,
                "logprobs": 0,
                "return_tokens_as_token_ids": True,
            },
        )
        try:
            choices = sorted(said["choices"], key=lambda one: one.get("index", 0))
            if len(choices) != samples:
                raise ValueError(f"{len(choices)} answers in place of {samples}")
            return [self._read(choice) for choice in choices]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                f"{url} gave no completions ({type(error).__name__}: {error})",
                remedy="Give the address of a server with OpenAI's completions, such as `vllm serve`",
            ) from error

    def _read(self, choice: Mapping[str, Any]) -> Sampled:
        """An answer: by its token ids where they are told, else by its text."""
        ended = choice["finish_reason"] == "stop"
        told = choice.get("logprobs") or {}
        tokens = told.get("tokens") or []
        log_probs = tuple(float(value) for value in told.get("token_logprobs") or ())
        if tokens and all(str(token).startswith(_ID) for token in tokens):
            ids = [int(str(token).removeprefix(_ID)) for token in tokens]
        else:
            ids, log_probs = list(self.loaded.backend.encode(choice["text"], add_special_tokens=False).ids), ()
            ended = ended or not ids  # of special tokens alone, which its text does not tell
        if ended and (not ids or ids[-1] not in self.writing.end_ids):
            ids.append(self.loaded.eos_id)
            log_probs = ()
        text = str(self.loaded.backend.decode(ids, skip_special_tokens=True)).strip()
        return Sampled(tuple(ids), text, ended, log_probs if len(log_probs) == len(ids) else ())

    def _post(self, url: str, content: Mapping[str, Any]) -> Any:
        data, headers = json.dumps(content).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method="POST")  # noqa: S310  # http alone, see the spec
        try:
            with urllib.request.urlopen(request, timeout=self.spec.timeout_seconds) as response:  # noqa: S310  # as above
                text = response.read().decode("utf-8")
        except urllib.error.HTTPError as error:
            raise RunError(
                f"{url} answered {error.code}: {error.read().decode('utf-8', 'replace')[:200]}",
                remedy="Look at the server's log, then go on with --resume",
            ) from error
        except (OSError, ValueError) as error:
            raise RunError(
                f"{url} cannot be reached ({error})", remedy="Start the server, then go on with --resume"
            ) from error
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise RunError(f"{url} answered no JSON: {text[:200]}", remedy="Look at the server's log") from error
