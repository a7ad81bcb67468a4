"""A file of rankings, and the recipe of a reward model over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from instil.records import Ranking


def written(path: Path, made: list[Ranking]) -> Path:
    lines = [
        {
            "messages": [{"role": one.role, "content": one.content} for one in ranking.messages],
            "completions": list(ranking.completions),
            "ranks": list(ranking.ranks),
            **({"annotator": ranking.annotator} if ranking.annotator else {}),
            **({"scores": list(ranking.scores)} if ranking.scores else {}),
        }
        for ranking in made
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def raw_of(base: Path, ranked: Path, **tuning: Any) -> dict[str, Any]:
    keys = {"prompts_per_step": 16, "learning_rate": 3e-3, "log_every": 2, "tokens_per_batch": 512, **tuning}
    return {
        "name": "liked",
        "model": str(base),
        "rankings": {"held_out": 0.2, "sources": [{"collection": "comparisons", "path": str(ranked)}]},
        "tuning": keys,
    }
