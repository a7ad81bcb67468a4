r"""The work that both sides are given: the same rows, the same tokenizer, the same 17M-parameter Llama.

    corpus.prepare(folder, data, rows=384)
        folder/rows.jsonl         {"inputs": "Answer ... step by step.\n\nQ", "targets": "... So the answer is 4."}
        folder/model/             weights, configuration, tokenizer: what both sides load

The rows are drawn from the five FLAN chain-of-thought sets; the tokenizer is a byte-level BPE trained on all of them.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

SETS = ("aqua", "creak", "ecqa", "gsm8k", "strategyqa")
VOCABULARY = 16_000
SHAPE = {
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def prepare(folder: Path, data: Path, *, rows: int) -> int:
    """Write rows and model below `folder` (the model is kept from an earlier call); the number of parameters."""
    everything = list(_read(data / "flan_cot"))
    random.Random(0).shuffle(everything)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for row in everything[:rows]:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    if not (folder / "model" / "config.json").is_file():
        _model(folder / "model", [f"{row['inputs']}\n{row['targets']}" for row in everything])
    counted: int = json.loads((folder / "model" / "parameters.json").read_text("utf-8"))
    return counted


def _read(folder: Path) -> Iterator[dict[str, str]]:
    for name in SETS:
        with gzip.open(folder / f"{name}_train.tsv.gz", "rt", encoding="utf-8", newline="\n") as lines:
            for line in lines:
                cells = [cell.replace("\\n", "\n") for cell in line.rstrip("\n").split("\t")]
                if len(cells) == 3:
                    question, answer, rationale = cells
                    yield {
                        "inputs": f"Answer the following question by reasoning step by step.\n\n{question}",
                        "targets": f"{rationale} So the answer is {answer}.",
                    }


def _model(folder: Path, texts: list[str]) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", model_max_length=2048
    )
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, bos_token_id=2, **SHAPE)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    count = sum(parameter.numel() for parameter in model.parameters())
    (folder / "parameters.json").write_text(json.dumps(count), encoding="utf-8")
