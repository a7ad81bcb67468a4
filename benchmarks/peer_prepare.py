"""The peer's preparation of a data set: tokenise, label, pack, in TRL's SFTTrainer. Runs in the peer's environment.

    python peer_prepare.py ROWS.jsonl MODEL LENGTH     -> one JSON line a setting
    {"name": "packed, 2 processes", "rows": 6000, "seconds": 3.1}

Only `SFTTrainer._prepare_dataset` is timed: the model, the trainer and the reading of the rows are not.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"

from datasets import Dataset, disable_caching, disable_progress_bars
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

#: Every setting that was tried; all else is the trainer's default, loss on completions alone included.
SETTINGS: dict[str, dict[str, object]] = {
    "packed, 1 process": {"packing": True},
    "packed, 2 processes": {"packing": True, "dataset_num_proc": 2},
    "not packed, 1 process": {},
    "not packed, 2 processes": {"dataset_num_proc": 2},
}


class Timed(SFTTrainer):
    """Notes how long the preparation took."""

    seconds = 0.0

    def _prepare_dataset(self, *arguments: object, **named: object) -> Dataset:
        begun = time.perf_counter()
        prepared = super()._prepare_dataset(*arguments, **named)
        Timed.seconds = time.perf_counter() - begun
        return prepared


def main() -> None:
    """One JSON line a setting."""
    disable_caching()
    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
    model, length = sys.argv[2], int(sys.argv[3])
    for name, setting in SETTINGS.items():
        dataset = Dataset.from_list([{"prompt": row["prompt"], "completion": row["completion"]} for row in rows])
        with tempfile.TemporaryDirectory() as folder:
            arguments = SFTConfig(folder, max_length=length, report_to="none", use_cpu=True, **setting)
            Timed(
                LlamaForCausalLM.from_pretrained(model),
                arguments,
                train_dataset=dataset,
                processing_class=AutoTokenizer.from_pretrained(model),
            )
        print(json.dumps({"name": name, "rows": len(rows), "seconds": Timed.seconds}), flush=True)


if __name__ == "__main__":
    main()
