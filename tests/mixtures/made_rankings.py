"""Files of preferences that a test writes, and rankings in a short form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from instil.mixtures.rankings import Rankings, RankingsSpec, open_rankings
from instil.records import Message, Ranking


def ranked(
    prompt: str, ranks: dict[str, int], annotator: str = "", *, scores: Sequence[float] = (), task: str = ""
) -> Ranking:
    """Completions with their ranks, of a prompt that is one message; none where it is empty."""
    messages = (Message("user", prompt),) if prompt else ()
    return Ranking(messages, tuple(ranks), tuple(ranks.values()), tuple(scores), annotator, task)


def scored(prompt: str, completion: str, score: float, annotator: str = "") -> Ranking:
    """One completion with its score."""
    return Ranking((Message("user", prompt),), (completion,), (), (score,), annotator)


def write(path: Path, rows: Iterable[object]) -> Path:
    """Rows as JSON lines; texts stand as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def opened(path: Path, *, collection: str = "comparisons", **keys: Any) -> Rankings:
    """The rankings of one file."""
    spec = RankingsSpec.model_validate({"sources": [{"collection": collection, "path": str(path)}], **keys})
    return open_rankings(spec)


def every(rankings: Rankings) -> list[Ranking]:
    """What stands on any side, scored ones included."""
    return [
        *rankings.train,
        *rankings.held_out,
        *rankings.held_out_annotators,
        *rankings.rated,
        *rankings.rated_held_out,
    ]
