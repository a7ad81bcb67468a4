"""Tiny random models with a byte-level tokenizer, for the tests of models and evaluation."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from instil.models.loading import LoadedModel
from instil.records import PromptFormat

torch.set_num_threads(1)
END = 256
PAD = 257
VOCABULARY = 258


def byte_tokenizer() -> Tokenizer:
    """One token a byte, in any order of merges: none; plus `<end>` and `<pad>`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>", "<pad>"])
    return tokenizer


def build(kind: str, *, layers: int = 2, width: int = 32, context: int = 512, seed: int = 0) -> Any:
    """A random model of a family; the same one for the same arguments."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
        "eos_token_id": END,
        "bos_token_id": None,
        "pad_token_id": PAD,
        "initializer_range": 0.2,
    }
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape)).eval()
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**shape)).eval()
    if kind == "gemma2":
        return Gemma2ForCausalLM(Gemma2Config(**shape, sliding_window=16, query_pre_attn_scalar=8)).eval()
    gpt2 = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=width,
        n_layer=layers,
        n_head=4,
        n_positions=context,
        initializer_range=0.2,
        eos_token_id=END,
        bos_token_id=None,
        pad_token_id=PAD,
    )
    return GPT2LMHeadModel(gpt2).eval()


def wrap(model: Any, *, context: int = 512, form: PromptFormat | None = None) -> LoadedModel:
    """The model as `load` would give it."""
    backend = byte_tokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<pad>")
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        backend=backend,
        architecture="causal",
        form=form or PromptFormat(),
        bos_id=None,
        eos_id=END,
        pad_id=PAD,
        max_length=context,
        device=torch.device("cpu"),
        fingerprint="tiny",
        path="tiny",
    )


@cache
def tiny(kind: str = "llama") -> LoadedModel:
    """A wrapped random model, made once."""
    return wrap(build(kind))
